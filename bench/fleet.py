"""Several hosts with the same token, under load: a rolling update, one cut off, one frozen.

    python -m bench.fleet [--hosts 3] [--rate 200] [--scenes update,cut,freeze] [--transports http2,quic] [--rounds 1]

Each host is a network namespace with a service and a prx of its own; the lab, which stands for Cloudflare, and the visitors are
outside. PRX_TEST_CLOUDFLARED names the real program. Needs network namespaces: root, or user namespaces.

    update    one host after another: prx is stopped as a service manager does, started again, and ready before the next
    cut       the cable of one host is pulled out for `--away` seconds
    freeze    every process of one host is stopped for as long (SIGSTOP)

Exit code 1: an update lost a request; or, of a host that was cut off or frozen, one was lost that was sent after the edge had
noticed. Over HTTP/2 the edge does not notice a frozen host, as its system goes on acknowledging: requests wait for the thaw.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from bench.room.client import chosen
from bench.room.host import Host, prepare_here, running_host
from bench.room.lab import RunningLab, running_lab
from bench.room.namespace import command_prefix
from bench.room.origin import running_origin
from bench.room.steady import Load, load
from bench.room.subject import Prx, Setup, Transport, prx

HOSTNAME: Final = "app.localhost"
CONNECTIONS: Final = 4  # of each connector
PATIENCE: Final = 60.0  # seconds


class Member:
    """One host with its service and its prx."""

    def __init__(self, host: Host, lab: RunningLab, setup: Setup, folder: Path) -> None:
        self.host = host
        self._lab, self._setup, self._folder = lab, setup, folder
        self._stack = AsyncExitStack()
        self._port = 0
        self.subject: Prx | None = None

    async def start(self) -> None:
        """Start the service, if it does not run, and prx, until that has proven the URL."""
        if not self._port:
            origin = await self._stack.enter_async_context(running_origin(self._folder, self.host.inside))
            self._port = origin.port
        self._prx = AsyncExitStack()
        self.subject = await self._prx.enter_async_context(prx(self._lab, self._port, self._setup, self._folder))

    async def stop(self) -> int:
        """Stop prx as a service manager does; return its exit code."""
        assert self.subject is not None
        self.subject.process.send_signal(signal.SIGTERM)
        code = await self.subject.process.wait()
        await self._prx.aclose()
        self.subject = None
        return code

    async def end(self) -> None:
        """End everything."""
        if self.subject is not None:
            await self._prx.aclose()
        await self._stack.aclose()


class Fleet:
    """The hosts, and what is done to them; `unaware` is when the edge may not have known yet, `notes` what is worth a word."""

    def __init__(self, members: list[Member], lab: RunningLab, options: argparse.Namespace, transport: Transport) -> None:
        self.members = members
        self.unaware: tuple[float, float] | None = None
        self.notes: list[str] = []
        self._lab, self._options, self._transport = lab, options, transport

    async def complete(self) -> None:
        """Wait until all connections of all hosts are there."""
        await self.connections(lambda number: number >= CONNECTIONS * len(self.members))

    async def connections(self, enough: Callable[[int], bool], *, within: float = PATIENCE) -> bool:
        """Wait until the edge has as many connections as `enough` wants; return whether that came in time."""
        end = time.monotonic() + within
        while not enough(len(await self._lab.connections(HOSTNAME))):
            if time.monotonic() > end:
                return False
            await asyncio.sleep(0.1)
        return True

    async def update(self) -> None:
        """Restart one host after another, each ready before the next is touched."""
        for _ in range(self._options.rounds):
            for member in self.members:
                if code := await member.stop():
                    self.notes.append(f"prx ended with {code}")
                await member.start()
                await self.complete()

    async def cut(self) -> None:
        """Cut the last host off, and connect it again."""
        host = self.members[-1].host
        await self._away(host.cut, host.mend)

    async def freeze(self) -> None:
        """Stop every process of the last host, and let them go on."""
        host = self.members[-1].host

        async def send(number: signal.Signals) -> None:
            host.signal(number)

        await self._away(lambda: send(signal.SIGSTOP), lambda: send(signal.SIGCONT))

    async def _away(self, begin: Callable[[], Awaitable[None]], end: Callable[[], Awaitable[None]]) -> None:
        began, rest = time.monotonic(), CONNECTIONS * (len(self.members) - 1)
        await begin()
        noticed = await self.connections(lambda number: number <= rest, within=self._options.away)
        self.unaware = (began, time.monotonic())
        known = f"the edge noticed after {self.unaware[1] - began:.1f} s" if noticed else "the edge did not notice"
        await asyncio.sleep(max(0.0, began + self._options.away - time.monotonic()))
        await end()
        back = time.monotonic()
        if not noticed:
            self.unaware = (began, back)
        await asyncio.sleep(0.5)
        whole = await self.connections(lambda number: number >= rest + CONNECTIONS)
        self.notes.append(
            f"{known}, whole again {time.monotonic() - back:.1f} s later" if whole else f"{known}, never whole again"
        )


async def play(name: str, transport: Transport, program: str, options: argparse.Namespace) -> bool:
    """Play one scene and print what was lost; return whether that is what may be lost."""
    setup = Setup(program, "named", transport, interval=5.0, namespace=True, more=("grace_period_secs = 10",), apart=True)
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="prx-fleet-", ignore_cleanup_errors=True)))
        if keep := os.environ.get("PRX_BENCH_KEEP"):  # to read the logs afterwards
            folder = Path(tempfile.mkdtemp(dir=keep))
        lab = await stack.enter_async_context(running_lab(folder))
        ports = [*lab.edge_ports, lab.public_port, lab.control_port, lab.quick_port]
        members = []
        for number in range(1, options.hosts + 1):
            host = await stack.enter_async_context(running_host(number))
            await host.connect(ports)
            (folder / str(number)).mkdir()
            member = Member(host, lab, _inside(setup, host), folder / str(number))
            stack.push_async_callback(member.end)
            await member.start()
            members.append(member)
        fleet = Fleet(members, lab, options, transport)
        await fleet.complete()
        assert members[0].subject is not None
        async with load(members[0].subject.url, options.rate) as visitors:
            await asyncio.sleep(1)
            await getattr(fleet, name)()
            await asyncio.sleep(1)
        return _tell(name, transport, fleet, visitors)


def _inside(setup: Setup, host: Host) -> Setup:
    return Setup(
        setup.program, setup.mode, setup.transport, setup.interval, setup.namespace, setup.more, setup.apart, host.inside
    )


def _tell(name: str, transport: Transport, fleet: Fleet, visitors: Load) -> bool:
    begin, end = fleet.unaware or (0.0, 0.0)
    excused = [visit for visit in visitors.lost if visit.began <= end and visit.ended >= begin]
    lost = len(visitors.lost) - len(excused)
    seconds = sorted(visit.ended - visit.began for visit in visitors.visits)
    p99 = seconds[len(seconds) * 99 // 100]
    notes = "; ".join(fleet.notes) or "nothing else"
    print(
        f"{name:7} {transport:6} {len(fleet.members)} hosts: {len(visitors.visits)} sent, "
        f"{len(excused)} lost before the edge knew, {lost} lost beside; the longest wait {seconds[-1]:.1f} s, "
        f"p99 {p99 * 1000:.0f} ms, the bench late by {visitors.lag * 1000:.0f} ms; {notes}",
        flush=True,
    )
    return lost == 0 and not any("never" in note or "ended with" in note for note in fleet.notes)


async def _inside_namespace(options: argparse.Namespace, program: str) -> int:
    await prepare_here()
    transports: tuple[Transport, ...] = tuple(item for item in ("http2", "quic") if item in options.transports.split(","))
    results = [await play(name, transport, program, options) for name in options.scenes.split(",") for transport in transports]
    return 0 if all(results) else 1


def main() -> int:
    """Play all scenes, one after another, in namespaces of their own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, default=3)
    parser.add_argument("--rate", type=float, default=200.0)
    parser.add_argument("--scenes", default="update,cut,freeze")
    parser.add_argument("--transports", default="http2,quic")
    parser.add_argument("--rounds", type=int, default=1, help="rolling updates")
    parser.add_argument("--away", type=float, default=20.0, help="seconds that a host is cut off or frozen")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if unknown := set(options.scenes.split(",")) - {"update", "cut", "freeze"}:
        parser.error(f"no scene {', '.join(sorted(unknown))}; there are update, cut, freeze")
    if options.inside:
        program, _ = chosen()
        return asyncio.run(_inside_namespace(options, program))
    prefix = command_prefix()
    if not prefix:
        print("no network namespaces here: needs root, or user namespaces (unshare --net)", file=sys.stderr)
        return 2
    return subprocess.run([*prefix, sys.executable, "-m", "bench.fleet", "--inside", *sys.argv[1:]], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
