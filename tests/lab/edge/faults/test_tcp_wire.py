"""Faults that touch bytes: they hold for every connection over HTTP/2, live and later, and end when they are cleared."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import pytest
from tests.lab.edge.connector import dialled, hello, registered, respond
from tests.lab.edge.quic_connector import registered as registered_quic
from tests.support.waits import PATIENCE
from tests.support.wire import get

from prx.lab import Lab, LabConfig
from prx.lab.events import ConnectionLost, HandshakeFailed, LabEvent
from prx.lab.faults import Delay, DropAfter, ExpireCert, Garble, HalfClose, Reset, SlowRead
from prx.lab.protocol.h2.stream import H2Stream


def lost(events: list[LabEvent]) -> list[str]:
    """Why connections went, in order."""
    return [event.reason for event in events if isinstance(event, ConnectionLost)]


async def test_delay() -> None:
    """Bytes take their time in both directions, keep their order although chance plays, and are prompt again afterwards."""
    now = 0.0
    asleep: list[tuple[float, asyncio.Event]] = []

    async def sleep(seconds: float) -> None:
        asleep.append((now + seconds, asyncio.Event()))
        await asleep[-1][1].wait()

    async def pass_time() -> None:
        nonlocal now
        while True:
            await asyncio.sleep(0.002)
            if asleep:
                asleep.sort(key=lambda entry: entry[0])
                due, event = asleep.pop(0)
                now = max(now, due)
                event.set()

    async with Lab.start(LabConfig(clock=lambda: now, sleep=sleep)) as lab, asyncio.TaskGroup() as group:
        time = group.create_task(pass_time())
        async with asyncio.timeout(PATIENCE), registered(lab, lab.token("web")):
            lab.inject(Delay(2.0, jitter=1.0))
            began = now
            assert (await get(lab, "web.localhost", "/late")).body == b"hello /late"
            assert 4.0 <= now - began <= 12.0
            lab.clear(Delay)
            await get(lab, "web.localhost")
            began = now
            await get(lab, "web.localhost")
            assert now == began
        time.cancel()


async def test_slow_read(lab: Lab) -> None:
    """What a connector sends is held back to the rate, and nothing is lost."""
    body = bytes(range(256)) * 400

    async def answer(stream: H2Stream) -> None:
        await respond(stream, 200, [(b"Content-Length", b"%d" % len(body))], body)

    lab.inject(SlowRead(200_000))
    async with registered(lab, lab.token("web"), answer=answer):
        began = asyncio.get_running_loop().time()
        assert (await get(lab, "web.localhost")).body == body
        assert asyncio.get_running_loop().time() - began >= 0.4


async def test_slot(lab: Lab) -> None:
    """A fault of the wire may be meant for one address of the edge alone."""
    lab.inject(Garble(every=1, slot=1))
    async with registered(lab, lab.token("web")), asyncio.timeout(PATIENCE):
        async with dialled(lab, lab.token("web"), index=1) as bad:
            await bad.session.wait_closed()
        assert (await get(lab, "web.localhost")).status == 200


@pytest.mark.parametrize("carrier", [registered, registered_quic], ids=["http2", "quic"])
async def test_garble(lab: Lab, events: list[LabEvent], carrier: Any) -> None:
    """Changed bytes end a live connection with a reason; once cleared, the next one is well."""
    async with asyncio.timeout(PATIENCE), carrier(lab, lab.token("web")) as scripted:
        lab.inject(Garble(every=5))
        assert (await get(lab, "web.localhost")).status in (502, 530)
        await scripted.session.wait_closed()
        await lab.wait_for(lambda lab: not lab.tunnel("web").connections)
    assert lost(events)[0]
    lab.clear(Garble)
    async with carrier(lab, lab.token("web")):
        assert (await get(lab, "web.localhost")).status == 200


async def test_drop_after_bytes(lab: Lab, events: list[LabEvent]) -> None:
    """A connection goes once so many bytes have passed on it, and the visitor does not take the rest for all."""

    async def endless(stream: H2Stream) -> None:
        await stream.send_headers([(b":status", b"200")])
        while True:
            await stream.send_data(bytes(1000))

    async with asyncio.timeout(PATIENCE), registered(lab, lab.token("web"), answer=endless):
        lab.inject(DropAfter(bytes=100_000))
        with pytest.raises(ConnectionError):
            await get(lab, "web.localhost")
        await lab.wait_for(lambda _: lost(events) == ["dropped by a fault"])


async def test_drop_after_seconds(lab: Lab, events: list[LabEvent]) -> None:
    """A connection goes some seconds after it came."""
    lab.inject(DropAfter(seconds=0.2))
    async with asyncio.timeout(PATIENCE), registered(lab, lab.token("web")) as scripted:
        await scripted.session.wait_closed()
        await lab.wait_for(lambda _: lost(events) == ["dropped by a fault"])


async def test_reset(lab: Lab, events: list[LabEvent]) -> None:
    """The connector sees a TCP reset, not an end."""
    async with asyncio.timeout(PATIENCE), registered(lab, lab.token("web")) as scripted:
        lab.inject(Reset(count=1))
        await scripted.session.wait_closed()
        assert "reset" in scripted.session.close_reason.lower()
        await lab.wait_for(lambda _: lost(events) == ["reset by a fault"])


async def test_half_close(lab: Lab) -> None:
    """The connector sees the end of the edge's bytes."""
    async with asyncio.timeout(PATIENCE), registered(lab, lab.token("web")) as scripted:
        lab.inject(HalfClose())
        await scripted.session.wait_closed()
        await lab.wait_for(lambda lab: not lab.tunnel("web").connections)


async def test_expired_certificate(lab: Lab, events: list[LabEvent]) -> None:
    """New connections meet an expired certificate, live ones go on; afterwards all is well."""
    async with registered(lab, lab.token("web")):
        lab.inject(ExpireCert())
        with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
            async with dialled(lab, lab.token("web"), index=1):
                pass
        assert (await get(lab, "web.localhost")).status == 200
        await lab.wait_for(lambda _: any(isinstance(event, HandshakeFailed) for event in events))
        lab.clear()
        async with registered(lab, lab.token("web"), index=1):
            assert len(lab.tunnel("web").connections) == 2


async def test_clean_wire_changes_nothing(lab: Lab) -> None:
    """Faults that are meant for others, or gone, leave every byte as it is."""
    lab.inject(Garble(slot=3))
    lab.inject(Delay(5, slot=2))
    async with registered(lab, lab.token("web"), answer=hello):
        for number in range(20):
            assert (await get(lab, "web.localhost", f"/{number}")).body == b"hello /%d" % number
