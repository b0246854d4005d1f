"""A connector as it is seen from outside: its endpoints, its counters, its log."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.runtime.contexts import shared
from tests.support.servers import Servers, answer

from prx.backends.base import Endpoints, LineKind, LogLine
from prx.config.schema import TunnelSettings
from prx.runtime.child_monitor import ChildMonitor
from prx.runtime.context import TunnelContext
from prx.runtime.host.clock import SystemClock
from prx.testing.clock import ManualClock

COUNTERS = b"cloudflared_tunnel_total_requests 7\n"
READY = b'{"status":200,"readyConnections":4,"connectorId":"x"}'


def monitor(folder: Path, clock: ManualClock, port: int) -> ChildMonitor:
    """Return the monitor of a child that answers on `port`."""
    return ChildMonitor(TunnelContext.create("web", TunnelSettings(), shared(folder, clock)), "quic", port)


async def test_one_reading_of_the_counters_serves_several(tmp_path: Path, servers: Servers) -> None:
    """A part that can do with a reading of a moment ago costs the child no request; one that cannot gets a fresh one."""
    clock = ManualClock()
    served = await servers.canned(answer(200, COUNTERS))
    child = monitor(tmp_path, clock, served.port)
    for max_age, asked in ((0.0, 1), (1.0, 1), (0.0, 2), (1.0, 2)):
        counters = await child.counters(max_age=max_age)
        assert counters is not None
        assert (counters.requests, len(served.heads)) == (7, asked)
    clock.advance(1.5)
    assert await child.counters(max_age=1.0)
    assert len(served.heads) == 3


async def test_what_could_not_be_read_is_not_kept(tmp_path: Path, unused_port: int, servers: Servers) -> None:
    """No answer is unknown, and the next reader asks again."""
    child = monitor(tmp_path, ManualClock(), unused_port)
    assert await child.counters() is None
    await servers.start(_counters, port=unused_port)
    assert await child.counters(max_age=1.0)


async def _counters(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(answer(200, COUNTERS))


async def test_a_child_that_comes_up_is_seen_at_once(tmp_path: Path, unused_port: int, servers: Servers) -> None:
    """One that did not listen yet a moment ago is asked again when its log says that it is connected."""
    child = monitor(tmp_path, ManualClock(), unused_port)
    assert not await child.check_ready()
    await servers.start(_ready, port=unused_port)
    assert await child.check_ready(max_age=1.0)
    assert child.observer.ready == 4


async def _ready(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(answer(200, b'{"status":200,"readyConnections":4,"connectorId":"x"}'))


@pytest.mark.parametrize("path", ["counters", "ready", "url", "rules"])
async def test_a_path_that_a_client_has_not_is_not_asked(
    tmp_path: Path,
    servers: Servers,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
) -> None:
    """Each endpoint may be missing: its answer is then unknown, empty, or what the log says."""
    served = await servers.canned(answer(503, b"no"))
    child = monitor(tmp_path, ManualClock(), served.port)
    every = {"counters": "/counters", "ready": "/ready", "url": "/url", "rules": "/rules"}
    monkeypatch.setattr(child._context.client, "endpoints", Endpoints(**{**every, path: ""}))
    await child.counters()
    await child.check_ready()
    assert (await child.url(), await child.route_mismatch()) == ("", "")
    asked = {head.split(b" ")[1].decode() for head in served.heads}
    assert asked == set(every.values()) - {every[path]}


async def test_a_client_without_an_endpoint_is_as_ready_as_its_log_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connections that were registered and not lost are ready; the last one that goes is noticed."""
    child = monitor(tmp_path, ManualClock(), 1)
    monkeypatch.setattr(child._context.client, "endpoints", Endpoints())
    assert not await child.check_ready()
    assert child.lost.is_set()
    child.observer.see_line(1000.0, LogLine("info", "up", LineKind.REGISTERED, connection=0))
    assert await child.check_ready()
    assert not child.lost.is_set()
    child.observer.see_line(1001.0, LogLine("info", "down", LineKind.LOST, connection=0))
    assert await child.check_ready()
    assert child.lost.is_set()


async def test_a_child_that_has_ended_counts_for_nothing(tmp_path: Path, servers: Servers) -> None:
    """It is a way of its tunnel as long as it lives."""
    served = await servers.canned(answer(200, COUNTERS))
    child = monitor(tmp_path, ManualClock(), served.port)
    ways = child._context.shared.ways
    assert (await ways.count("web")) is not None
    child.close()
    assert await ways.count("web") is None
    assert len(served.heads) == 1


async def test_a_child_that_is_silent_is_lost_after_two_questions(
    tmp_path: Path, servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first late answer is no loss, the second is; then each check asks once, and not again what was asked just now."""
    monkeypatch.setattr("prx.runtime.child_monitor.ANSWER_WITHIN", 0.3)
    monkeypatch.setattr("prx.runtime.child_monitor.AGAIN_WITHIN", 0.2)
    monkeypatch.setattr("prx.runtime.observer.DEAF_AFTER", 0.4)
    silent = asyncio.Event()

    async def ready(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if silent.is_set():
            await asyncio.Event().wait()
        writer.write(answer(200, b'{"status":200,"readyConnections":4,"connectorId":"x"}'))

    served = await servers.start(ready)
    context = TunnelContext.create("web", TunnelSettings(), shared(tmp_path, SystemClock()))
    child = ChildMonitor(context, "quic", served.port)
    assert await child.check_ready()
    silent.set()
    assert await child.check_ready()
    assert (child.observer.ready, len(served.heads)) == (0, 3)
    assert not await child.check_ready(max_age=5.0)
    assert len(served.heads) == 3
    assert not await child.check_ready()
    assert len(served.heads) == 4


async def serving_both(servers: Servers) -> tuple[int, asyncio.Event, list[bytes]]:
    """Serve readiness and counters on one connection; return the port, an event set with each answer, and the heads."""
    answered = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = served.heads[-1]
        while True:
            writer.write(answer(200, COUNTERS if b"/metrics" in head else READY))
            await writer.drain()
            answered.set()
            head = await reader.readuntil(b"\r\n\r\n")
            served.heads.append(head)

    served = await servers.start(serve)
    return served.port, answered, served.heads


async def test_what_was_asked_ahead_is_not_asked_again(tmp_path: Path, servers: Servers) -> None:
    """Readiness and counters alike: one question each, and the answer is as good as one that was waited for."""
    port, answered, heads = await serving_both(servers)
    child = monitor(tmp_path, ManualClock(), port)
    child.ask_ahead()
    await answered.wait()
    assert not child.has_counted()
    assert await child.check_ready()
    assert (child.observer.ready, child.has_answered, child.lost.is_set(), len(heads)) == (4, True, False, 1)
    answered.clear()
    child.ask_ahead(counters=True)
    await answered.wait()
    assert child.has_counted()
    counters = await child.counters(max_age=1.0)
    assert counters is not None
    assert (counters.requests, len(heads)) == (7, 2)


async def test_a_child_that_says_nothing_to_what_was_asked_ahead_is_asked(tmp_path: Path, servers: Servers) -> None:
    """Counters that are not at hand are no sign of life: whether the child is ready is asked at once."""
    _, _, heads = await serving_both(servers)
    child = monitor(tmp_path, ManualClock(), 1)
    child.ask_ahead(counters=True)
    assert not child.has_counted()
    assert not await child.check_ready()
    assert not heads


async def test_counters_of_now_are_not_those_that_were_asked_for_ahead(tmp_path: Path, servers: Servers) -> None:
    """A request that came through since is counted: else it would seem to have ended at the edge, and the edge be blamed."""
    requests = 7
    asked = asyncio.Semaphore(0)

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(answer(200, b"cloudflared_tunnel_total_requests %d\n" % requests))
            asked.release()
            await reader.readuntil(b"\r\n\r\n")

    served = await servers.start(count)
    child = monitor(tmp_path, ManualClock(), served.port)
    for _ in range(3):
        before = await child.counters()
        await asked.acquire()
        child.ask_ahead(counters=True)
        await asked.acquire()
        requests += 1
        after = await child.counters()
        await asked.acquire()
        assert before is not None
        assert after is not None
        assert after.requests == before.requests + 1
        assert not child.has_counted(), "what is older does not come after what is newer"
    child.close()
