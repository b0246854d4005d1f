"""`[web] probes`: a real listener, asked by good and by hostile clients."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack

import pytest
from tests.support.visitor import request
from tests.support.waits import PATIENCE, free_port

from prx.app import probes_server
from prx.app.probes_pages import serve_probes
from prx.app.probes_server import BURST, CONNECTIONS, HEAD_LIMIT, RATE, Answer, ProbesServer, _Pace
from prx.backends.base import Counters
from prx.core.errors import PermanentError
from prx.core.events import StateChanged, VerdictChanged
from prx.core.states import State
from prx.core.status import TunnelStatus
from prx.core.verdicts import Verdict
from prx.runtime.bus import Bus
from prx.runtime.host.clock import SystemClock


@pytest.fixture
def bus() -> Bus:
    """Return a bus that has seen a tunnel start."""
    bus = Bus(SystemClock())
    bus.track(TunnelStatus("web", mode="quick"))
    return bus


@pytest.fixture
async def server(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ProbesServer]:
    """Serve the pages of that bus; answers are made for each request."""
    monkeypatch.setattr(probes_server, "FRESH", 0.0)

    async def counters() -> Mapping[str, Mapping[int, Counters | None]]:
        return {
            "web": {
                0: Counters(requests=4),
                7: Counters(requests=2, said={200: 2}),
                8: Counters(requests=1, said={200: 1}),
                9: None,
            }
        }

    async with AsyncExitStack() as stack:
        yield await serve_probes(stack, f"127.0.0.1:{free_port()}", bus, bus.statuses, counters)


async def get(server: ProbesServer, path: str, method: str = "GET") -> tuple[int, str]:
    """Return status and body of an answer."""
    answer = await asyncio.to_thread(request, method, f"http://127.0.0.1:{server.port}{path}")
    return answer.status_code, answer.text


async def raw(server: ProbesServer, data: bytes) -> bytes:
    """Send bytes and return all that comes back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(data)
    try:
        async with asyncio.timeout(PATIENCE):
            return await reader.read()
    finally:
        writer.close()


def become(bus: Bus, state: State, verdict: Verdict) -> None:
    """Publish that the tunnel is in another state."""
    old = bus.statuses()[0].state
    bus.publish(VerdictChanged(tunnel="web", old="", new=verdict, reason="why"))
    bus.publish(StateChanged(tunnel="web", old=old, new=state, reason="why"))


async def test_the_three_pages(bus: Bus, server: ProbesServer) -> None:
    """Prx lives at once, is ready with its tunnel, and gives its metrics with those of the connector."""
    become(bus, State.STARTING, Verdict.STARTING)
    assert await get(server, "/healthz") == (200, "ok\n")
    assert await get(server, "/readyz") == (503, "not ready\nweb: starting, starting\n")
    become(bus, State.READY, Verdict.HEALTHY)
    assert await get(server, "/readyz") == (200, "ready\n")
    become(bus, State.DEGRADED, Verdict.ORIGIN_DOWN)
    assert await get(server, "/readyz?verbose=1") == (200, "ready\n")
    status, text = await get(server, "/metrics")
    assert status == 200
    assert 'prx_verdict{tunnel="web",verdict="origin_down"} 1' in text
    assert 'prx_connector_requests_total{tunnel="web"} 7' in text


@pytest.mark.parametrize(
    ("path", "method", "status"), [("/", "GET", 404), ("/metrics/..", "GET", 404), ("/healthz", "POST", 405)]
)
async def test_nothing_else_is_answered(server: ProbesServer, path: str, method: str, status: int) -> None:
    """Other paths are not found, and nothing can be done."""
    assert (await get(server, path, method))[0] == status


async def test_head_has_no_body(server: ProbesServer) -> None:
    """HEAD answers as GET, without the body."""
    answer = await raw(server, b"HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n\r\n",  # no Host
        b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nA b: c\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",  # a TLS hello
        b"GET /" + b"a" * (HEAD_LIMIT + 10000),
    ],
)
async def test_what_is_no_request_is_refused(server: ProbesServer, data: bytes) -> None:
    """A malformed or endless head is answered with 400, or the connection is closed; the next client is served."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(data)
    writer.write_eof()
    async with asyncio.timeout(PATIENCE):
        answer = await reader.read()
    writer.close()
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400")
    assert await get(server, "/healthz") == (200, "ok\n")


async def test_a_body_is_not_read(server: ProbesServer) -> None:
    """A request that announces a gigabyte is answered before any of it is sent."""
    answer = await raw(server, b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 405")


async def test_silent_clients_do_not_shut_others_out(server: ProbesServer) -> None:
    """With all places taken by clients that say nothing, the oldest makes room and a scrape is answered."""
    silent = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(CONNECTIONS + 5)]
    assert await get(server, "/healthz") == (200, "ok\n")
    async with asyncio.timeout(PATIENCE):
        assert await silent[0][0].read() == b""
    for _, writer in silent:
        writer.close()


async def test_a_flood_is_taken_at_a_pace() -> None:
    """However many connect, prx takes a burst and then so many a second; the pace recovers when it is quiet."""
    now = 0.0

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    pace = _Pace(lambda: now, sleep)
    for number in range(BURST + 200):
        assert now == pytest.approx(max(0, number - BURST) / RATE)
        await pace.wait()
    now += 10
    before = now
    for _ in range(BURST):
        await pace.wait()
    assert now == before


async def test_a_slow_client_is_dropped(server: ProbesServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that sends a byte and then waits is cut off when its time is over."""
    monkeypatch.setattr(probes_server, "SECONDS", 0.05)
    assert await raw(server, b"G") == b""


async def test_many_scrapes_cost_one_answer() -> None:
    """However many ask within the same second, the page is made once."""
    made = 0

    async def page() -> Answer:
        nonlocal made
        made += 1
        return Answer(200, b"x")

    async with ProbesServer(f"127.0.0.1:{free_port()}", {"/x": page}) as server:
        answers = await asyncio.gather(*(raw(server, b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n") for _ in range(20)))
    assert all(answer.endswith(b"\r\n\r\nx") for answer in answers)
    assert made <= 2  # a busy machine may take longer than a second


async def test_a_page_that_fails_is_an_answer() -> None:
    """A defect in a page is a 500, and the server goes on."""

    async def page() -> Answer:
        raise RuntimeError("defect")

    async with ProbesServer(f"127.0.0.1:{free_port()}", {"/x": page}) as server:
        for _ in range(2):
            assert (await get(server, "/x"))[0] == 500


@pytest.mark.parametrize(
    "error",
    [MemoryError(), OSError(errno.EMFILE, "Too many open files"), RuntimeError("no thread"), ValueError("odd")],
    ids=lambda error: type(error).__name__,
)
async def test_a_machine_that_lacks_something_for_a_moment_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """One connection that could not be taken must not leave prx without probes: Kubernetes would end it."""
    loop = asyncio.get_running_loop()
    accept, failures = loop.sock_accept, [error, error]

    async def short(listening: socket.socket) -> tuple[socket.socket, object]:
        if failures:
            raise failures.pop()
        return await accept(listening)

    monkeypatch.setattr(probes_server, "_RETRY", 0.001)
    monkeypatch.setattr(loop, "sock_accept", short)

    async def page() -> Answer:
        return Answer(200, b"ok")

    async with ProbesServer(f"127.0.0.1:{free_port()}", {"/x": page}) as server:
        assert await get(server, "/x") == (200, "ok")


async def test_a_port_that_is_taken_is_named() -> None:
    """The error names the address and the key, and is no traceback."""
    async with ProbesServer(f"127.0.0.1:{free_port()}", {}) as server:
        with pytest.raises(PermanentError, match=rf"127\.0\.0\.1:{server.port} \(\[web\] probes\)"):
            async with ProbesServer(f"127.0.0.1:{server.port}", {}):
                pass
