"""What the user asks `prx start` for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class StartOptions:
    """One command line, understood. `local_addr` is empty where the configuration says it; `ttl` is in seconds.

    `allow`: who may visit the quick tunnel, in place of what the configuration says; empty where that counts.

    `quiet`: nothing is shown, as nobody looks: the log has everything.
    """

    local_addr: str = ""
    allow: tuple[str, ...] = ()
    config: Path | None = None
    hello: bool = False
    lab: bool = False
    as_json: bool = False
    ttl: float | None = None
    command: tuple[str, ...] = ()
    quiet: bool = False
