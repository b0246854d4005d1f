"""Who keeps a tunnel up: prx, or cloudflared alone."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from bench.room import control
from bench.room.lab import RunningLab
from bench.room.program import running
from bench.room.timeline import Sample

START_SECONDS: Final = 90.0
BUILTIN: Final = (sys.executable, "-m", "prx.lab.connector")

Mode = Literal["quick", "named"]
Transport = Literal["quic", "http2"]


@dataclass(frozen=True, slots=True)
class Setup:
    """What is run: the program (`builtin` or a path), quick or named, QUIC or HTTP/2, and prx's health check interval.

    more: further lines of `[tunnel.cloudflare]`. apart: prx takes the lab for Cloudflare, and keeps the token of its
    configuration. inside: words in front of the command, such as those that enter a namespace.
    `quic` is what each of the two does by default: cloudflared's own QUIC for a quick tunnel, and `protocol = "auto"` of prx.
    """

    program: str = "builtin"
    mode: Mode = "quick"
    transport: Transport = "quic"
    interval: float = 30.0
    namespace: bool = False
    more: tuple[str, ...] = ()
    apart: bool = False
    inside: tuple[str, ...] = ()


class Subject(Protocol):
    """A tunnel and who keeps it."""

    url: str  # the newest that was published

    @property
    def name(self) -> str:
        """`prx` or `bare`."""

    @property
    def hostname(self) -> str:
        """The public name, without the port."""

    @property
    def child(self) -> int:
        """The pid of the connector."""

    @property
    def starts(self) -> list[float]:
        """When a connector was started (monotonic)."""

    async def sample(self) -> Sample:
        """Return what it says of itself now."""


class Bare:
    """cloudflared as a user runs it by hand."""

    name = "bare"

    def __init__(self, process: asyncio.subprocess.Process, hostname: str, url: str) -> None:
        self.hostname = hostname
        self.url = url
        self.child = process.pid
        self.starts = [time.monotonic()]

    async def sample(self) -> Sample:
        """Say nothing: it does not tell."""
        return Sample(time.monotonic(), "–")


class Prx:
    """A whole prx."""

    name = "prx"

    def __init__(self, process: asyncio.subprocess.Process, folder: Path, seat: str = "prx") -> None:
        self.process = process
        self.url = ""
        self.events: list[dict[str, Any]] = []
        self.children: list[int] = []
        self.starts: list[float] = []
        self._runtime = folder / seat / "data" / "run"
        self._events_file = folder / f"{seat}.events.jsonl"  # for a look afterwards
        self._proven = asyncio.Event()

    @property
    def hostname(self) -> str:
        """The public name, without the port."""
        return self.url.partition("://")[2].partition(":")[0]

    @property
    def child(self) -> int:
        """The connector that was started last."""
        return self.children[-1]

    async def read(self) -> None:
        """Take its events in until it ends."""
        assert self.process.stdout is not None
        with self._events_file.open("wb") as kept:
            async for line in self.process.stdout:
                kept.write(line)
                kept.flush()
                self._take_in(json.loads(line))

    def _take_in(self, event: dict[str, Any]) -> None:
        if event["event"] != "log":
            self.events.append({**event, "monotonic": time.monotonic()})
        match event["event"]:
            case "child_started":
                self.children.append(event["pid"])
                self.starts.append(time.monotonic())
            case "url_changed":
                self.url = event["url"]
                self._proven.set()

    async def proven(self) -> None:
        """Wait for the first proven URL."""
        async with asyncio.timeout(START_SECONDS):
            await self._proven.wait()

    async def sample(self) -> Sample:
        """Return the verdict that `prx status` shows."""
        found = await control.status(self._runtime)
        now = time.monotonic()
        return Sample(now, "?", "?") if found is None else Sample(now, found["verdict"] or "-", found["state"])

    async def restart(self) -> None:
        """Do what `prx restart` does."""
        await control.ask(self._runtime, "restart")


@asynccontextmanager
async def bare(lab: RunningLab, port: int, setup: Setup, folder: Path, seat: str = "") -> AsyncIterator[Bare]:
    """Run cloudflared alone, until it has a connection and after. `seat` tells several of one scene apart.

    A quick tunnel's name is the one that the lab did not know before, so only one may start at a time.
    """
    (folder / "config.yml").write_text("{}")
    host = f"bare{seat}.localhost"
    program = list(BUILTIN) if setup.program == "builtin" else [setup.program]
    edges = [word for address in lab.edge for word in ("--edge", address)]
    flags = ["--no-autoupdate", "--no-prechecks", "--config", str(folder / "config.yml"), "--cacert", lab.facts["ca"]]
    flags += ["--protocol", setup.transport, "--metrics", "127.0.0.1:0"]
    url = ["--url", f"http://127.0.0.1:{port}"]
    before = await _names(lab)
    tail = ["--quick-service", lab.facts["quick_service"], *url]
    if setup.mode == "named":
        token = folder / f"bare{seat}.token"
        token.write_text(await lab.token(host))
        tail = ["run", "--token-file", str(token), *url]
    async with running([*program, "tunnel", *edges, *flags, *tail], folder=folder, name=f"bare{seat}") as process:
        hostname = host if setup.mode == "named" else await _fresh(lab, before)
        await _connected(lab, hostname)
        yield Bare(process, hostname, f"http://{hostname}:{lab.public_port}")


@asynccontextmanager
async def prx(lab: RunningLab, port: int, setup: Setup, folder: Path, seat: str = "") -> AsyncIterator[Prx]:
    """Run prx, from its first proven URL on. `seat` tells several of one scene apart."""
    name = f"prx{seat}"
    config = folder / f"{name}.toml"
    config.touch(mode=0o600)
    config.write_text(await _configuration(lab, setup, f"app{seat}.localhost"))
    network = ("real" if setup.namespace else "local") + (",apart" if setup.apart else "")
    words = [*setup.inside, sys.executable, "-m", "bench.room.beside", json.dumps(lab.facts), network]
    words += ["start", str(port), "-c", str(config), "--json"]
    async with running(words, folder=folder, name=name) as process:
        subject = Prx(process, folder, name)
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(subject.read(), name="events")
            await subject.proven()
            await _connected(lab, subject.hostname)
            yield subject
            reading.cancel()


async def _configuration(lab: RunningLab, setup: Setup, hostname: str) -> str:
    named = setup.mode == "named"
    token = await lab.token(hostname) if named else ""
    lines = [
        "[tunnel]",
        f"health_check_interval_secs = {setup.interval:g}",
        "[tunnel.cloudflare]",
        f'mode = "{setup.mode}"',
        f'cloudflared_path = "{setup.program}"',
        f'protocol = "{"auto" if setup.transport == "quic" else setup.transport}"',
        *([f'token = "{token}"', f'hostname = "{hostname}"'] if named else []),
        *setup.more,
    ]
    return "\n".join(lines) + "\n"


async def _names(lab: RunningLab) -> set[str]:
    return {tunnel["hostname"] for tunnel in (await lab.state())["tunnels"]}


async def _fresh(lab: RunningLab, before: set[str]) -> str:
    async with asyncio.timeout(START_SECONDS):
        while not (fresh := await _names(lab) - before):  # noqa: ASYNC110 - it is in another process
            await asyncio.sleep(0.1)
    return fresh.pop()


async def _connected(lab: RunningLab, hostname: str) -> None:
    async with asyncio.timeout(START_SECONDS):
        while not await lab.connections(hostname):  # noqa: ASYNC110 - it is in another process
            await asyncio.sleep(0.1)


def signal_all(pids: Sequence[int], number: signal.Signals) -> None:
    """Send a signal to each."""
    for pid in pids:
        os.kill(pid, number)
