"""How a lab is set up; every field has a default that works on any machine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

from prx.lab.edge import address
from prx.lab.edge.limits import Limits
from prx.lab.events import Listener

Sleep: TypeAlias = Callable[[float], Awaitable[None]]


@dataclass(frozen=True)
class LabConfig:
    """Ports (0: a free one), names and limits of a lab; everything listens on loopback only.

    `edge_addrs`: one slot per entry, "HOST:PORT", TCP and UDP at the same number; ValueError if a host is not a loopback
    address. Use at least two, for cloudflared retries without any pause when it has a single slot that refuses (observed
    with cloudflared 2026.8.2). `locations`: names that connections report, by slot, repeated as needed. `state_dir`: where
    the CA goes, created 0700; None: a temporary directory, removed at the end. `forget_after`: seconds without any
    connection after which a quick tunnel is deleted, as Cloudflare does after some minutes; None: never. `max_connections`:
    per tunnel. `drain_seconds`: how long an unregistered connection may finish its requests. `limits`: what the edge refuses
    visitors, `free` as Cloudflare does on a free plan, `none`, or `Limits` of one's own. `clock`: monotonic seconds, for
    event times and for faults that end by themselves; `sleep` waits so many of them. `wall`: seconds since 1970, for what
    Access signs. `seed`: for whatever a fault leaves to chance.
    """

    edge_addrs: tuple[str, ...] = ("127.0.0.1:0",) * 4
    public_port: int = 0
    public_https_port: int = 0
    control_port: int = 0
    quick_service_port: int = 0
    api_port: int = 0
    locations: tuple[str, ...] = ("lab01", "lab02", "lab03", "lab04")
    state_dir: Path | None = None
    forget_after: float | None = 120.0
    max_connections: int = 100
    drain_seconds: float = 180.0
    on_event: Listener | None = None
    clock: Callable[[], float] = time.monotonic
    sleep: Sleep = asyncio.sleep
    wall: Callable[[], float] = lambda: datetime.now(UTC).timestamp()
    seed: int = 0
    limits: str | Limits = "free"

    @property
    def limited(self) -> Limits:
        """The limits, by whatever name."""
        return Limits.named(self.limits) if isinstance(self.limits, str) else self.limits

    def __post_init__(self) -> None:
        _ = self.limited
        for text in self.edge_addrs:
            address.parse(text)
        if self.forget_after is not None and not self.forget_after > 0:
            raise ValueError(f"forget_after is {self.forget_after}; expected seconds above 0, or None for never")
