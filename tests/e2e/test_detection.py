"""How soon a whole prx reports what has happened: within five seconds, at the default interval of 30 s, by its own timestamps.

What this machine is late with by itself, as a clock beside the test sees it, does not count. That a child never answers is held
by `test_bad_children`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.e2e.prx_process import Json, PrxProcess, clean_environment, prx_start
from tests.e2e.world import world
from tests.support.origin import HostedOrigin, serving
from tests.support.waits import free_port

from prx.lab import Lab
from prx.lab.faults import Drop, Refuse, Reset, Stall
from prx.testing.clock import ManualClock

SOON = 5.0  # seconds
TICK = 0.05  # seconds


class Lateness:
    """How many seconds this machine has been late since the last `begin`."""

    def __init__(self) -> None:
        self.seconds = 0.0

    async def measure(self) -> None:
        """Read the clock again and again, until cancelled."""
        while True:
            due = time.monotonic() + TICK
            await asyncio.sleep(TICK)
            self.seconds += max(0.0, time.monotonic() - due - TICK)


@asynccontextmanager
async def ready(lab: Lab, folder: Path, port: int, connector: str, protocol: str = "http2") -> AsyncIterator[PrxProcess]:
    """Run prx in the lab, at its default interval, from its first healthy verdict on."""
    config = folder / "prx.toml"
    config.write_text(f'[tunnel.cloudflare]\ncloudflared_path = "{connector}"\nprotocol = "{protocol}"\n')
    config.chmod(0o600)
    arguments = (str(port), "-c", str(config), f"--lab={lab.control}")
    async with prx_start(*arguments, environ=clean_environment(folder), cwd=folder) as prx:
        await prx.event("verdict_changed", new="healthy")
        yield prx
        assert await prx.stop() == 0


async def seen_within(prx: PrxProcess, act: Callable[[], Awaitable[None] | None], *verdicts: str) -> float:
    """Act, and return how many seconds later, without this machine's own lateness, one of the verdicts was published."""
    late = Lateness()
    last = prx.events[-1]["seq"]

    def fits(event: Json) -> bool:
        return bool(event["seq"] > last and event["event"] == "verdict_changed" and event["new"] in verdicts)

    async with asyncio.TaskGroup() as group:
        watch = group.create_task(late.measure(), name="lateness")
        began = datetime.now(UTC).timestamp()
        if (doing := act()) is not None:
            await doing
        told = await prx.first(fits, f"verdict in {verdicts}")
        watch.cancel()
    return datetime.fromisoformat(told["at"]).timestamp() - began - late.seconds


async def test_a_killed_child(lab: Lab, tmp_path: Path, connector: str, origin: HostedOrigin) -> None:
    """A child that is killed has crashed, at once."""
    async with ready(lab, tmp_path, origin.port, connector) as prx:
        child = (await prx.event("child_started"))["pid"]
        assert await seen_within(prx, lambda: os.kill(child, signal.SIGKILL), "crashed") < SOON


async def test_a_frozen_child(lab: Lab, tmp_path: Path, connector: str, origin: HostedOrigin) -> None:
    """A child that is stopped, and falls silent on its own port, has lost its connections."""
    async with ready(lab, tmp_path, origin.port, connector) as prx:
        child = (await prx.event("child_started"))["pid"]
        assert await seen_within(prx, lambda: os.kill(child, signal.SIGSTOP), "edge_lost") < SOON


@pytest.mark.parametrize("protocol", ["http2", "quic"])
@pytest.mark.parametrize("end", [Drop(), Reset()], ids=["closed", "reset"])
async def test_lost_connections(
    lab: Lab, tmp_path: Path, connector: str, origin: HostedOrigin, protocol: str, end: Drop | Reset
) -> None:
    """Connections that the edge ends are reported as lost, over both protocols."""

    def lose() -> None:
        lab.inject(Refuse())
        lab.inject(end)

    async with ready(lab, tmp_path, origin.port, connector, protocol) as prx:
        assert await seen_within(prx, lose, "edge_lost") < SOON


async def test_a_service_that_is_gone(lab: Lab, tmp_path: Path, connector: str) -> None:
    """A service whose port refuses is reported although no visitor comes."""
    with ExitStack() as service:
        origin = service.enter_context(serving())
        async with ready(lab, tmp_path, origin.port, connector) as prx:
            assert await seen_within(prx, lambda: asyncio.to_thread(service.close), "origin_down") < SOON


async def test_a_service_that_is_stopped(lab: Lab, tmp_path: Path, connector: str) -> None:
    """A service that does not take its connections any more is reported although no visitor comes."""
    port = free_port()
    argv = (sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1")
    service = await asyncio.create_subprocess_exec(*argv, cwd=tmp_path, stderr=asyncio.subprocess.DEVNULL)
    try:
        async with ready(lab, tmp_path, port, connector) as prx:
            assert await seen_within(prx, lambda: service.send_signal(signal.SIGSTOP), "origin_down") < SOON
    finally:
        service.kill()
        await service.wait()


class Hanging:
    """A service that answers until it hangs: then it takes connections and requests, and keeps silent."""

    def __init__(self) -> None:
        self.hangs = False
        self.visited = asyncio.Semaphore(0)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                self.visited.release()
                if not self.hangs:
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        except (OSError, EOFError, asyncio.IncompleteReadError):
            writer.close()


async def test_a_service_that_hangs_while_visitors_come(lab: Lab, tmp_path: Path, connector: str) -> None:
    """A service that takes requests and does not answer them is reported while a visitor waits for an answer."""
    service = Hanging()
    server = await asyncio.start_server(service.handle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]

    def hang() -> None:
        service.hangs = True

    async with ready(lab, tmp_path, port, connector) as prx, asyncio.TaskGroup() as group:
        url = await prx.url()
        visitors = group.create_task(visit(url), name="visitors")
        for _ in range(15):  # so many that prx has seen that there are visitors
            await service.visited.acquire()
        assert await seen_within(prx, hang, "origin_down") < SOON, prx.story()
        visitors.cancel()
    server.close()


async def visit(url: str) -> None:
    """Send a visitor three times a second, whatever the others get."""
    async with asyncio.TaskGroup() as group:
        while True:
            group.create_task(visitor(url), name="visitor")
            await asyncio.sleep(0.3)


async def visitor(url: str) -> None:
    """Ask once, and wait for the end of the answer."""
    where = urlsplit(url)
    reader, writer = await asyncio.open_connection("127.0.0.1", where.port)
    try:
        writer.write(f"GET / HTTP/1.1\r\nHost: {where.netloc}\r\nConnection: close\r\n\r\n".encode())
        await reader.read(-1)
    except OSError:
        pass
    finally:
        writer.close()


class Plug:
    """A network that a test can unplug."""

    plugged = True

    def up(self) -> bool:
        """Return whether it is plugged in."""
        return self.plugged

    def fingerprint(self) -> str:
        """Return the same network every time."""
        return "home"

    def loopback_up(self) -> bool:
        """Return that it is always there."""
        return True


@pytest.mark.parametrize("silent", [False, True], ids=["with its connections", "before its connections"])
async def test_a_network_that_is_gone(
    lab: Lab, clock: ManualClock, tmp_path: Path, connector: str, origin: HostedOrigin, silent: bool
) -> None:
    """Without a network the machine is offline, also while nothing has ended the connections yet (HTTP/2)."""
    network = Plug()
    late = Lateness()
    async with world(lab, clock, tmp_path, connector=connector, port=origin.port, network=network) as here:
        await here.live(lambda status: status.state == "ready")
        network.plugged = False
        lab.inject(Stall() if silent else Refuse())
        if not silent:
            lab.inject(Drop())
        began = clock.monotonic()
        async with asyncio.TaskGroup() as group:
            watch = group.create_task(late.measure(), name="lateness")
            await here.live(lambda status: status.verdict == "offline")
            watch.cancel()
        assert clock.monotonic() - began - late.seconds < SOON, here.story()
