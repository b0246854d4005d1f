"""Nonsense over QUIC, inside its protection and before it: it costs the one who sends it, with a reason, and no other."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

import pytest
from aioquic.quic.connection import QuicConnection
from aioquic.tls import Epoch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.lab.edge.quic_connector import ScriptedQuicConnector, registered, respond
from tests.support.waits import PATIENCE
from tests.support.wire import get

from prx.lab import Lab
from prx.lab.events import ConnectionLost, HandshakeFailed, LabEvent
from prx.lab.protocol.errors import StreamError, StreamResetError
from prx.lab.protocol.quic.client import SERVER_NAME
from prx.lab.protocol.quic.connection import STREAM_WINDOW, configuration
from prx.lab.protocol.quic.preamble import DATA, RPC, ConnectRequest, ConnectResponse, RequestKind
from prx.lab.protocol.quic.stream import QuicStream
from prx.lab.protocol.rpc.framing import MAX_MESSAGE

SMALL = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
GOOD = ConnectResponse(200, [(b"X-A", b"1")]).encode()


def reasons(events: list[LabEvent], hostname: str = "bad.localhost") -> list[str]:
    """Why a tunnel's connections went."""
    return [event.reason for event in events if isinstance(event, ConnectionLost) and event.hostname == hostname]


def send_frames(scripted: ScriptedQuicConnector, frames: bytes) -> None:
    """Send one packet with these frames, protected as it should be."""
    quic = scripted.session._quic
    pair = quic._cryptos[Epoch.ONE_RTT]
    encrypt = pair.encrypt_packet

    def replace(plain_header: bytes, plain_payload: bytes, packet_number: int) -> bytes:
        pair.encrypt_packet = encrypt  # type: ignore[method-assign]
        return encrypt(plain_header, frames.ljust(4, b"\0"), packet_number)

    pair.encrypt_packet = replace  # type: ignore[method-assign]
    quic.send_ping(0)
    scripted.session.flush()


# -- frames ----------------------------------------------------------------------------------------------------------

BREAKING: Final = {
    "unknown type": b"\x3f",
    "stream that only the edge may open": b"\x0a\x41\x01\x01x",
    "more than the window": b"\x0e\x00\xbf\xff\xff\xff\x01x",
    "acknowledgement of ranges below zero": b"\x02\x00\x00\x00\x3f",
    "end of the handshake, from a client": b"\x1e",
    "connection id too long": b"\x18\x05\x00\x20" + b"c" * 48,
    "connection id that is unknown": b"\x19\x3f",
    "too many streams": b"\x12\xff\xff\xff\xff\xff\xff\xff\xff",
    "number cut off": b"\0\0\0\0\xc0",
    "stream cut off": b"\x0e\x00\x00\x40\xff",
    "token, from a client": b"\x07\x04abcd",
    "reset of a stream that only the edge may open": b"\x04\x41\x01\x00\x00",
}
HARMLESS: Final = {
    "acknowledgement of what was never sent": b"\x02\x80\xff\xff\xff\x00\x00\x00",
    "answer to a challenge that was none": b"\x1b" + b"p" * 8,
    "datagram": b"\x31\x05hello",
    "waits for a window": b"\x14\x00",
}


@pytest.mark.parametrize("frames", BREAKING.values(), ids=BREAKING)
async def test_frames_that_break_the_protocol(lab: Lab, events: list[LabEvent], frames: bytes) -> None:
    """Well-protected nonsense ends its connection with a reason that the lab tells; others are served on."""
    async with asyncio.timeout(PATIENCE), registered(lab, lab.token("good")), registered(lab, lab.token("bad")) as bad:
        send_frames(bad, frames)
        await bad.session.wait_closed()
        await lab.wait_for(lambda lab: not lab.tunnel("bad").connections)
        assert (await get(lab, "good.localhost")).status == 200
    (reason,) = reasons(events)
    assert reason.startswith("the peer broke QUIC (code 0x")


@pytest.mark.parametrize("frames", HARMLESS.values(), ids=HARMLESS)
async def test_frames_without_meaning(lab: Lab, frames: bytes) -> None:
    """Frames that mean nothing to a tunnel are passed over; their connection goes on."""
    async with asyncio.timeout(PATIENCE), registered(lab, lab.token("bad")) as bad:
        send_frames(bad, frames)
        assert (await get(lab, "bad.localhost")).status == 200
        assert not bad.session.closed


# -- streams ---------------------------------------------------------------------------------------------------------

CONTROL: Final = {
    "no RPC": b"\xff" * 1000,
    "too large": b"\0\0\0\0" + (MAX_MESSAGE // 8).to_bytes(4, "little"),
    "too many segments": b"\xff\xff\0\0",
    "pointer to nowhere": b"\0\0\0\0\x01\0\0\0" + b"\x7f" * 8,
    "preamble of a request": DATA + b"\0" * 64,
    "preamble of RPC": RPC + b"\xff" * 64,
}


@pytest.mark.parametrize("data", CONTROL.values(), ids=CONTROL)
async def test_control_stream(lab: Lab, events: list[LabEvent], data: bytes) -> None:
    """Garbage on the control stream ends that connection with a reason that the lab tells; others are served on."""
    async with asyncio.timeout(PATIENCE), registered(lab, lab.token("good")), registered(lab, lab.token("bad")) as bad:
        assert bad.control is not None
        await bad.control.send_data(data)
        await bad.session.wait_closed()
        await lab.wait_for(lambda lab: not lab.tunnel("bad").connections)
        assert (await get(lab, "good.localhost")).status == 200
    (reason,) = reasons(events)
    assert reason


ANSWERS: Final = {
    "nothing": b"",
    "unknown preamble": b"\x01" * 64,
    "another version": DATA[:-2] + b"02" + GOOD[len(DATA) :],
    "preamble alone": DATA,
    "cut off": GOOD[:-1],
    "too large": DATA + b"\0\0\0\0" + (MAX_MESSAGE // 8).to_bytes(4, "little") + b"x" * 1000,
    "pointer to nowhere": DATA + b"\0\0\0\0\x01\0\0\0" + b"\x7f" * 8,
    "status in letters": GOOD.replace(b"200", b"abc"),
    "status out of range": GOOD.replace(b"200", b"099"),
    "a request": ConnectRequest(dest=b"http://x/", kind=RequestKind.HTTP).encode(),
}


@pytest.mark.parametrize("data", ANSWERS.values(), ids=ANSWERS)
@pytest.mark.parametrize("ends", [True, False], ids=["ended", "open"])
async def test_answer(lab: Lab, data: bytes, ends: bool) -> None:
    """A stream that does not begin as an answer is that request's 502 alone, or its wait; the connection goes on."""

    async def answer(stream: QuicStream, request: ConnectRequest, early: bytes) -> None:
        if request.dest.endswith(b"/bad"):
            await stream.send_data(data, end=ends)
            await stream.read()
        else:
            await respond(stream, 200, [], b"good")

    waits = not ends and data in (b"", DATA, ANSWERS["cut off"])  # more may come
    async with asyncio.timeout(PATIENCE), registered(lab, lab.token("bad"), answer=answer) as bad:
        if not waits:
            assert (await get(lab, "bad.localhost", "/bad")).status == 502
        assert (await get(lab, "bad.localhost", "/")).body == b"good"
        await bad.session.wait_idle(besides=bad.control)
        assert len(lab.tunnel("bad").connections) == 1


async def test_streams_nobody_asked_for(lab: Lab) -> None:
    """Streams that a connector opens beside its control stream are refused; they hold nothing, and the connection goes on."""
    async with asyncio.timeout(PATIENCE), registered(lab, lab.token("web")) as scripted:
        for _ in range(300):
            stream = await scripted.session.open_stream()
            await stream.send_data(DATA + b"x" * 1000)
            with pytest.raises(StreamResetError):
                await stream.read()
            stream.reset()
        quic = scripted.session._quic
        quic.send_stream_data(quic.get_next_available_stream_id(is_unidirectional=True), b"one way")
        scripted.session.flush()
        assert (await get(lab, "web.localhost")).status == 200
        assert not scripted.session.closed


async def test_flood_of_a_stream(lab: Lab) -> None:
    """Of a message that announces nearly too much no more is kept than announced; whole, it is found to be none."""
    async with asyncio.timeout(PATIENCE), registered(lab, lab.token("bad")) as bad:
        assert bad.control is not None
        await bad.control.send_data(b"\0\0\0\0" + (MAX_MESSAGE // 8 - 1).to_bytes(4, "little"))
        sent = 0
        with suppress(StreamError):
            while sent < 64 * STREAM_WINDOW:
                await bad.control.send_data(b"\x7f" * 100_000)
                sent += 100_000
        await bad.session.wait_closed()
        assert MAX_MESSAGE - 100_000 <= sent <= MAX_MESSAGE + 2 * STREAM_WINDOW


FRAMES = st.lists(st.tuples(st.integers(0, 0x31), st.binary(max_size=40)), min_size=1, max_size=6).map(
    lambda drawn: b"".join(bytes([kind]) + payload for kind, payload in drawn)
)
WORDS = st.lists(st.binary(min_size=8, max_size=8), min_size=1, max_size=12)
MESSAGE = WORDS.map(lambda words: b"\0\0\0\0" + len(words).to_bytes(4, "little") + b"".join(words))
BYTES = st.binary(min_size=1, max_size=200)


async def by_frames(lab: Lab, data: bytes) -> None:
    """Send nonsense frames."""
    async with registered(lab, lab.token("bad")) as bad:
        send_frames(bad, data)
        assert (await get(lab, "good.localhost")).status == 200


async def by_control(lab: Lab, data: bytes) -> None:
    """Send nonsense on the control stream."""
    async with registered(lab, lab.token("bad")) as bad:
        assert bad.control is not None
        await bad.control.send_data(data)
        assert (await get(lab, "good.localhost")).status == 200


async def by_answer(lab: Lab, data: bytes) -> None:
    """Answer a request with nonsense."""

    async def answer(stream: QuicStream, request: ConnectRequest, early: bytes) -> None:
        await stream.send_data(data, end=True)

    async with registered(lab, lab.token("bad"), answer=answer):
        assert 100 <= (await get(lab, "bad.localhost")).status <= 999
        assert (await get(lab, "good.localhost")).status == 200


@pytest.mark.parametrize(
    ("way", "data"),
    [
        (by_frames, FRAMES),
        (by_control, BYTES),
        (by_control, MESSAGE),
        (by_answer, BYTES),
        (by_answer, MESSAGE.map(lambda message: DATA + message)),
        (by_answer, st.integers(0, len(GOOD) * 8 - 1).map(lambda bit: flipped(GOOD, bit))),
    ],
    ids=["frames", "control-bytes", "control-capnp", "answer-bytes", "answer-capnp", "answer-flipped"],
)
def test_fuzz(
    way: Callable[[Lab, bytes], Awaitable[None]], data: st.SearchStrategy[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever a connector sends, the edge serves the others, raises nothing, and lets nothing run on."""

    @SMALL
    @given(data)
    def attack(found: bytes) -> None:
        async def one() -> None:
            problems: list[dict[str, Any]] = []
            asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
            async with Lab.start() as lab, asyncio.timeout(PATIENCE), registered(lab, lab.token("good")):
                await way(lab, found)
                await lab.wait_for(lambda lab: not lab.tunnel("bad").connections)
                assert (await get(lab, "good.localhost")).status == 200
            assert (problems, caplog.records) == ([], [])

        asyncio.run(one())

    attack()


def flipped(data: bytes, bit: int) -> bytes:
    """Change one bit."""
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


# -- before any handshake --------------------------------------------------------------------------------------------


def initial_packet() -> bytes:
    """The first datagram of a connector that dials."""
    settings = configuration(client=True)
    settings.server_name = SERVER_NAME
    quic = QuicConnection(configuration=settings)
    quic.connect(("127.0.0.1", 1), 0.0)
    return quic.datagrams_to_send(0.0)[0][0]


async def test_noise_takes_no_place(lab: Lab, events: list[LabEvent]) -> None:
    """Noise, and first packets that cannot be read, are forgotten at once; who dials after thousands of them is served."""
    chance = random.Random(7)
    host, _, port = lab.edge_addrs[0].partition(":")
    (listener,) = [found for found in lab._quic._listeners if found.port == int(port)]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        initial = bytearray(initial_packet())
        for number in range(10_000):
            initial[6:14] = chance.randbytes(8)  # the connection id, from which the keys follow
            noise = chance.randbytes(chance.choice((1, 20, 1200, 1472))) if number % 2 else initial
            sender.sendto(noise, (host, int(port)))
            if number % 50 == 0:
                await asyncio.sleep(0)  # or the socket would overflow
    async with asyncio.timeout(PATIENCE), registered(lab, lab.token("web")):
        assert (await get(lab, "web.localhost")).status == 200
        assert len(listener._sessions) == 1
    failed = [event for event in events if isinstance(event, HandshakeFailed)]
    assert failed
    assert {event.reason for event in failed} == {"the first packet cannot be read"}
