"""Many connectors, sudden deaths and hostile bytes: what happens to one connection stays with that connection."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from h2.errors import ErrorCodes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.lab.edge.connector import ScriptedConnector, dialled, hello, registered, respond
from tests.lab.edge.quic_connector import ScriptedQuicConnector
from tests.lab.edge.quic_connector import registered as registered_quic
from tests.support.waits import PATIENCE
from tests.support.wire import get, visiting

from prx.lab import Lab, LabConfig
from prx.lab.events import ConnectionLost, LabEvent
from prx.lab.protocol.h2.stream import H2Stream

SMALL = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


def descriptors() -> int:
    """How many file descriptors this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


async def settled(count: int) -> bool:
    """Return whether no more than `count` descriptors stay open."""
    for _ in range(200):
        if descriptors() <= count:
            return True
        await asyncio.sleep(0.01)
    return False


def over_quic(number: int, carriers: str) -> bool:
    """Return whether a connector of that number speaks QUIC; where they are mixed, every name has one of each."""
    return carriers == "quic" or (carriers == "mixed" and number % 2 == 1)


def kill(connector: ScriptedConnector | ScriptedQuicConnector) -> None:
    """End a connector as a killed process does: over TCP the edge sees a reset, over QUIC nothing at all."""
    if isinstance(connector, ScriptedQuicConnector):
        connector.session.forsake("killed")
    else:
        connector.session.abort()


@pytest.mark.parametrize("carriers", ["http2", "quic", "mixed"])
async def test_a_hundred_connectors(events: list[LabEvent], carriers: str) -> None:
    """Of a hundred connectors 24 die at random under load: every name is served as long as it has one, nothing is left."""
    chance = random.Random(1)
    before, tasks = descriptors(), len(asyncio.all_tasks())
    async with Lab.start(LabConfig(on_event=events.append)) as lab, asyncio.timeout(60):
        idle = descriptors()
        names = [f"app{number}" for number in range(50)]
        async with AsyncExitStack() as stack:
            connectors: list[ScriptedConnector | ScriptedQuicConnector] = []
            for number in range(100):
                connect = registered_quic if over_quic(number, carriers) else registered
                holder = connect(lab, lab.token(names[number // 2]), index=number % 2)
                connectors.append(await stack.enter_async_context(holder))
            victims = chance.sample(range(100), 24)
            async with asyncio.TaskGroup() as group:
                load = [group.create_task(steady(lab, name)) for name in names]
                for victim in victims:
                    kill(connectors[victim])
                    await asyncio.sleep(0.005)
            await lab.wait_for(lambda lab: sum(len(tunnel.connections) for tunnel in lab.tunnels()) == 76)
            assert len([event for event in events if isinstance(event, ConnectionLost)]) == 24
            assert {connectors[number].session.closed for number in range(100) if number not in victims} == {False}
            dead = {victim // 2 for victim in victims if victim ^ 1 in victims}
            for number, name in enumerate(names):
                reply = await get(lab, f"{name}.localhost")
                assert reply.status == (530 if number in dead else 200), name
            hit = {victim // 2 for victim in victims}
            assert [task.result() for number, task in enumerate(load) if number not in hit] == [[200] * 10] * (50 - len(hit))
            assert {status for task in load for status in task.result()} <= {200, 502, 530}
        assert len([event for event in events if isinstance(event, ConnectionLost)]) >= 24
        await lab.wait_for(lambda lab: not any(tunnel.connections for tunnel in lab.tunnels()))
        assert await settled(idle)
    assert await settled(before)
    assert len(asyncio.all_tasks()) == tasks


async def steady(lab: Lab, name: str) -> list[int]:
    """Ask ten times, one after the other."""
    return [(await get(lab, f"{name}.localhost", f"/{number}")).status for number in range(10)]


async def test_refused_request_goes_elsewhere(lab: Lab) -> None:
    """A request that a connection has refused untouched is answered by another; the visitor notices nothing."""

    async def refuse(stream: H2Stream) -> None:
        stream.reset(ErrorCodes.REFUSED_STREAM)

    token = lab.token("web")
    async with (
        registered(lab, token, answer=refuse),
        registered(lab, token, index=1),
        visiting(lab, "web.localhost") as visitor,
    ):
        for number in range(4):
            await visitor.send_head("GET", f"/{number}")
            await visitor.send_body(())
            assert (await visitor.read_reply()).body == b"hello /%d" % number
            visitor.h11.start_next_cycle()


async def test_refused_request_with_a_body_is_not_repeated(lab: Lab) -> None:
    """Once body bytes have been sent, a refusal is the visitor's 502."""

    async def refuse(stream: H2Stream) -> None:
        await stream.read()
        stream.reset(ErrorCodes.REFUSED_STREAM)

    token = lab.token("web")
    async with (
        asyncio.timeout(PATIENCE),
        registered(lab, token, answer=refuse),
        registered(lab, token, index=1, answer=refuse),
    ):
        reply = await get(lab, "web.localhost", method="POST", headers=[("Content-Length", "5")], body=[b"hello"])
        assert reply.status == 502


async def test_refused_by_all(lab: Lab) -> None:
    """Where every connection refuses, the visitor gets 502."""

    async def refuse(stream: H2Stream) -> None:
        stream.reset(ErrorCodes.REFUSED_STREAM)

    async with registered(lab, lab.token("web"), answer=refuse):
        assert (await get(lab, "web.localhost")).status == 502


async def test_late_interim_head(lab: Lab) -> None:
    """A 103 for a request that its visitor has given up does not end the connection."""
    reached, release, over = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def late(stream: H2Stream) -> None:
        if dict(stream.headers)[b":path"] == b"/good":
            await hello(stream)
            return
        reached.set()
        await release.wait()
        stream.session.transport.write(INTERIM)
        over.set()

    # An indexed :status 103 cannot be written without knowing the compression state: a literal without indexing can.
    async with asyncio.timeout(PATIENCE), registered(lab, lab.token("web"), answer=late):
        async with visiting(lab, "web.localhost") as visitor:
            await visitor.send_head("GET", "/")
            await visitor.send_body(())
            await reached.wait()
        await asyncio.sleep(0.05)
        release.set()
        await over.wait()
        assert (await get(lab, "web.localhost", "/good")).status == 200


INTERIM = b"\x00\x00\x05\x01\x04\x00\x00\x00\x03" + b"\x08\x03103"  # HEADERS, END_HEADERS, stream 3; `:status` literally


async def hostile(lab: Lab, data: bytes, *, control: bool) -> None:
    """Send bytes as a registered connector: on its control stream, or in the place of HTTP/2; others must not notice."""
    async with asyncio.timeout(PATIENCE), registered(lab, lab.token("good")):
        async with registered(lab, lab.token("bad")) as bad:
            if control:
                assert bad.control is not None
                await bad.control.send_data(data)
            else:
                bad.session.transport.write(data)
            assert (await get(lab, "good.localhost")).body == b"hello /"
        await lab.wait_for(lambda lab: not lab.tunnel("bad").connections)
        assert (await get(lab, "good.localhost")).status == 200


FRAMES = st.lists(
    st.tuples(st.integers(0, 12), st.integers(0, 255), st.integers(0, 9), st.binary(max_size=40)), min_size=1, max_size=8
)


def frames(drawn: list[tuple[int, int, int, bytes]]) -> bytes:
    """Well-framed HTTP/2 that means nothing: type, flags, stream, payload."""
    return b"".join(
        len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload
        for kind, flags, stream, payload in drawn
    )


def capnp(drawn: tuple[int, list[bytes]]) -> bytes:
    """A message with the right framing and any content."""
    _, words = drawn
    body = b"".join(words)
    return (0).to_bytes(4, "little") + len(words).to_bytes(4, "little") + body


@pytest.mark.parametrize(
    ("data", "control"),
    [
        (st.binary(min_size=1, max_size=200), True),
        (st.tuples(st.just(0), st.lists(st.binary(min_size=8, max_size=8), min_size=1, max_size=12)).map(capnp), True),
        (st.binary(min_size=1, max_size=200), False),
        (FRAMES.map(frames), False),
    ],
    ids=["control-bytes", "capnp", "bytes", "frames"],
)
def test_hostile_bytes(data: st.SearchStrategy[bytes], control: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever a connector sends, the edge serves the others, raises nothing, and lets nothing run on."""

    @SMALL
    @given(data)
    def attack(found: bytes) -> None:
        async def one() -> None:
            problems: list[dict[str, Any]] = []
            asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
            async with Lab.start() as lab:
                await hostile(lab, found, control=control)
            assert (problems, caplog.records) == ([], [])

        asyncio.run(one())

    attack()


async def test_frame_that_never_ends(lab: Lab, events: list[LabEvent]) -> None:
    """A frame that announces 16 MB ends its connection at once, with a reason, before any of it is kept."""
    async with asyncio.timeout(PATIENCE), registered(lab, lab.token("web")) as bad:
        bad.session.transport.write(b"\xff\xff\xff\x00\x00\x00\x00\x00\x03" + b"x" * 100)
        await bad.session.wait_closed()
        await lab.wait_for(lambda lab: not lab.tunnel("web").connections)
    (reason,) = [event.reason for event in events if isinstance(event, ConnectionLost)]
    assert "a frame of 16777215 bytes" in reason


async def test_silent_dialler(lab: Lab) -> None:
    """A silent connection takes no other's place."""
    async with AsyncExitStack() as stack:
        for _ in range(20):
            await stack.enter_async_context(dialled(lab, lab.token("web")))
        async with registered(lab, lab.token("web"), answer=lambda stream: respond(stream, 204, [])):
            assert (await get(lab, "web.localhost")).status == 204
