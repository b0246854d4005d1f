"""Faults of the wire over QUIC: what datagrams, streams and connectors see of them, and that they end when cleared."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Any

import httpx2
import pytest
from tests.lab.edge.connector import registered as registered_http2
from tests.lab.edge.quic_connector import ScriptedQuicConnector, registered, respond
from tests.support.waits import PATIENCE
from tests.support.wire import get

from prx.lab import Lab, LabConfig
from prx.lab.events import ConnectionLost, LabEvent
from prx.lab.faults import Delay, Drop, DropAfter, HalfClose, Lose, Reset, SlowRead
from prx.lab.protocol.quic.connection import STREAM_WINDOW
from prx.lab.protocol.quic.preamble import ConnectRequest, ConnectResponse
from prx.lab.protocol.quic.session import Address
from prx.lab.protocol.quic.stream import QuicStream
from prx.testing.clock import ManualClock

HERE = ("127.0.0.1", 1)
KB = 1024


def lost(events: list[LabEvent]) -> list[str]:
    """Why connections went, in order."""
    return [event.reason for event in events if isinstance(event, ConnectionLost)]


def heard(scripted: ScriptedQuicConnector) -> list[bytes]:
    """Collect the datagrams that reach a connector from now on."""
    datagrams: list[bytes] = []
    receive = scripted.session.receive

    def watch(datagram: bytes, address: Address) -> None:
        datagrams.append(datagram)
        receive(datagram, address)

    scripted.session.receive = watch  # type: ignore[method-assign]
    return datagrams


@asynccontextmanager
async def timeless(events: list[LabEvent] | None = None) -> AsyncIterator[tuple[Lab, ManualClock]]:
    """A lab in virtual time, which passes as soon as a task waits for it."""
    clock = ManualClock(1000.0)

    async def run() -> None:
        while True:
            await asyncio.sleep(0.002)
            if (at := clock.next_at()) is not None:
                clock.advance_to_next(at)

    config = LabConfig(clock=clock.monotonic, sleep=clock.sleep, on_event=None if events is None else events.append)
    async with Lab.start(config) as lab, asyncio.TaskGroup() as group:
        time = group.create_task(run())
        try:
            async with asyncio.timeout(PATIENCE):
                yield lab, clock
        finally:
            time.cancel()


async def test_delay() -> None:
    """A request takes at least the way there and back and is whole; once cleared, no time passes at all."""
    async with timeless() as (lab, clock), registered(lab, lab.token("web")):
        lab.inject(Delay(2.0, jitter=1.0))
        began = clock.monotonic()
        assert (await get(lab, "web.localhost", "/late")).body.endswith(b"/late")
        assert clock.monotonic() - began >= 4.0
        lab.clear(Delay)
        await get(lab, "web.localhost")
        began = clock.monotonic()
        await get(lab, "web.localhost")
        assert clock.monotonic() == began


async def test_slow_read() -> None:
    """Streams are read at the rate; a connector can send no more than its window beyond that, and nothing is lost."""
    body = random.Random(1).randbytes(4 * STREAM_WINDOW)
    rate = 1024 * KB
    ahead: list[int] = []

    async def answer(stream: QuicStream, request: ConnectRequest, early: bytes) -> None:
        await stream.send_data(ConnectResponse(200, [(b"Content-Length", b"%d" % len(body))]).encode())
        for start in range(0, len(body), 64 * KB):
            await stream.send_data(body[start : start + 64 * KB])
            read = (clock.monotonic() - began) * rate
            ahead.append(int(start - read))
        await stream.send_data(b"", end=True)

    async with timeless() as (lab, clock), registered(lab, lab.token("web"), answer=answer):
        lab.inject(SlowRead(rate))
        began = clock.monotonic()
        assert (await get(lab, "web.localhost")).digest == sha256(body).hexdigest()
        assert clock.monotonic() - began == pytest.approx(len(body) / rate, rel=0.1)
        lab.clear()
        began = clock.monotonic()
        assert (await get(lab, "web.localhost")).digest == sha256(body).hexdigest()
        assert clock.monotonic() == began
    assert max(ahead[: len(body) // (64 * KB)]) < 2 * STREAM_WINDOW


async def test_slow_read_is_shared(lab: Lab) -> None:
    """The rate is that of the connection: streams share it, none is kept waiting for the end of another."""
    order: list[str] = []

    async def answer(stream: QuicStream, request: ConnectRequest, early: bytes) -> None:
        await respond(stream, 200, [], bytes(40 * KB))

    async with asyncio.timeout(PATIENCE), registered(lab, lab.token("web"), answer=answer):
        lab.inject(SlowRead(400 * KB))

        async def visit(name: str) -> None:
            assert len((await get(lab, "web.localhost", f"/{name}")).body) == 40 * KB
            order.append(name)

        began = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as group:
            for name in ("a", "b", "c"):
                group.create_task(visit(name))
        assert asyncio.get_running_loop().time() - began >= 0.3
    assert sorted(order) == ["a", "b", "c"]


async def test_loss_is_only_slow(lab: Lab) -> None:
    """Where one datagram in four is lost, everything arrives whole."""
    body = random.Random(2).randbytes(300 * KB)

    async def answer(stream: QuicStream, request: ConnectRequest, early: bytes) -> None:
        await respond(stream, 200, [], body)

    lab.inject(Lose(4))
    async with asyncio.timeout(PATIENCE), registered(lab, lab.token("web"), answer=answer):
        assert (await get(lab, "web.localhost")).body == body


async def test_drop_after_bytes(lab: Lab, events: list[LabEvent]) -> None:
    """After its bytes no datagram reaches the connector, which gets no notice; the visitor does not take it for all."""

    async def endless(stream: QuicStream, request: ConnectRequest, early: bytes) -> None:
        await stream.send_data(ConnectResponse(200, []).encode())
        while True:
            await stream.send_data(bytes(1000))

    token = lab.token("web")
    async with asyncio.timeout(PATIENCE), registered(lab, token, answer=endless) as scripted:
        lab.inject(DropAfter(bytes=300_000))
        with pytest.raises(ConnectionError):
            await get(lab, "web.localhost")
        await lab.wait_for(lambda _: lost(events) == ["dropped by a fault"])
        await silent(lab, scripted)


async def silent(lab: Lab, scripted: ScriptedQuicConnector) -> None:
    """Check that nothing reaches a connector any more, though it asks, while others are served."""
    lab.clear(DropAfter)
    datagrams = heard(scripted)
    scripted.session._quic.send_ping(0)
    scripted.session.flush()
    async with registered(lab, lab.token("other"), index=1):
        for _ in range(10):
            assert (await get(lab, "other.localhost")).status == 200
    assert datagrams == []
    assert not scripted.session.closed


async def test_drop_after_seconds() -> None:
    """A connection goes some seconds after it came, without a word to the connector."""
    events: list[LabEvent] = []
    async with timeless(events) as (lab, clock), registered(lab, lab.token("web")) as scripted:
        began = clock.monotonic()
        lab.inject(DropAfter(seconds=60.0))
        await lab.wait_for(lambda _: lost(events) == ["dropped by a fault"])
        assert clock.monotonic() - began == 60.0
        await silent(lab, scripted)


async def test_reset(lab: Lab, events: list[LabEvent]) -> None:
    """The connector learns by a stateless reset that the edge has lost the connection, and not by a close."""
    async with asyncio.timeout(PATIENCE), registered(lab, lab.token("web")) as scripted:
        lab.inject(Reset(count=1))
        await scripted.session.wait_closed()
        assert scripted.session.close_reason == "the peer has lost the connection (stateless reset)"
        await lab.wait_for(lambda _: lost(events) == ["reset by a fault"])


async def test_half_close(lab: Lab) -> None:
    """The edge goes on reading, so what a connector answers still reaches the visitor; the connector hears nothing."""
    reached, release = asyncio.Event(), asyncio.Event()

    async def answer(stream: QuicStream, request: ConnectRequest, early: bytes) -> None:
        reached.set()
        await release.wait()
        await respond(stream, 200, [], b"one way")

    async with (
        asyncio.timeout(PATIENCE),
        registered(lab, lab.token("web"), answer=answer) as scripted,
        registered_http2(lab, lab.token("other")),
        asyncio.TaskGroup() as group,
    ):
        visit = group.create_task(get(lab, "web.localhost"))
        await reached.wait()
        lab.inject(HalfClose(hostname="web"))
        assert (await get(lab, "other.localhost")).status == 200  # meanwhile what was under way arrives
        datagrams = heard(scripted)
        release.set()
        assert (await visit).body == b"one way"
        assert datagrams == []


async def test_slot(lab: Lab) -> None:
    """A fault of the wire may be meant for one address of the edge alone."""
    token = lab.token("web")
    async with asyncio.timeout(PATIENCE), registered(lab, token), registered(lab, token, index=1) as other:
        lab.inject(DropAfter(seconds=0.0, slot=1))
        await lab.wait_for(lambda lab: [connection.index for connection in lab.tunnel("web").connections] == [0])
        assert (await get(lab, "web.localhost")).status == 200
        assert not other.session.closed


async def by_python(lab: Lab, words: str) -> None:
    """Play a line in the process of the lab."""
    await lab.play(words)


async def by_file(lab: Lab, words: str) -> None:
    """Play a line as a script in the background, as `prx lab --script` does."""
    lab.begin(f"# from a file\nseed 3\nat 10ms {words}")


async def by_control(lab: Lab, words: str) -> None:
    """Send a line to the control endpoint, as `prx lab fault` does."""
    async with httpx2.AsyncClient(base_url=lab.control, trust_env=False) as client:
        (await client.post("/faults", json={"script": words})).raise_for_status()


@pytest.mark.parametrize("way", [by_python, by_file, by_control])
@pytest.mark.parametrize("carrier", [registered, registered_http2], ids=["quic", "http2"])
@pytest.mark.parametrize("words", ["reset all", "drop-after 10ms", "drop all", "go-away all"])
async def test_every_way_leads_to_every_carrier(lab: Lab, way: Callable[..., Any], carrier: Any, words: str) -> None:
    """Faults from Python, from a file and over the control endpoint reach connections over QUIC as those over HTTP/2."""
    async with asyncio.timeout(PATIENCE), carrier(lab, lab.token("web")):
        await way(lab, words)
        await lab.wait_for(lambda lab: not lab.tunnel("web").connections)


async def test_drop_is_told(lab: Lab) -> None:
    """A drop differs from the silence of `DropAfter`: the connector learns of it at once, as of a failure."""
    async with asyncio.timeout(PATIENCE), registered(lab, lab.token("web")) as scripted:
        lab.inject(Drop())
        await scripted.session.wait_closed()
        assert "code 0x1: dropped by a fault" in scripted.session.close_reason
