"""One QUIC connection, both ends: streams, back-pressure, loss, ends and refusals; and the heads that streams begin with."""

from __future__ import annotations

import asyncio
import os
import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aioquic.tls import AlertIllegalParameter
from cryptography.hazmat.primitives.asymmetric import mlkem, x25519
from hypothesis import given
from hypothesis import strategies as st
from tests.support.origin import blob
from tests.support.waits import PATIENCE

from prx.lab.edge.task_group import ServerTaskGroup
from prx.lab.edge.tunnel.certificates import Authority
from prx.lab.protocol.errors import SessionClosedError, StreamError, StreamResetError
from prx.lab.protocol.quic import connection
from prx.lab.protocol.quic.client import dial
from prx.lab.protocol.quic.connection import SESSION_WINDOW, STREAM_WINDOW
from prx.lab.protocol.quic.listener import QuicListener
from prx.lab.protocol.quic.preamble import ConnectRequest, ConnectResponse, RequestKind, read_request, read_response
from prx.lab.protocol.quic.session import UNSENT, Address, QuicSession
from prx.lab.protocol.quic.stream import QuicStream
from prx.lab.protocol.quic.tls import answer_share

MB = 1024 * 1024


@dataclass
class Pair:
    """Both ends of a connection; `accepted` holds the streams that the client opened, as the server sees them."""

    client: QuicSession
    server: QuicSession
    accepted: asyncio.Queue[QuicStream] = field(default_factory=asyncio.Queue)

    async def stream(self) -> tuple[QuicStream, QuicStream]:
        """Open a stream and give both its ends; one byte has passed."""
        near = await self.client.open_stream()
        await near.send_data(b".")
        far = await self.accepted.get()
        assert await far.read() == b"."
        return near, far


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """A certificate authority."""
    return Authority(tmp_path)


@asynccontextmanager
async def listening(authority: Authority, sessions: list[QuicSession]) -> AsyncIterator[QuicListener]:
    """A listener for the length of a block."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    listener = QuicListener(sock, authority.edge_identity(), sessions.append)
    try:
        yield listener
    finally:
        listener.close()


@pytest.fixture
async def pair(authority: Authority) -> AsyncIterator[Pair]:
    """A connection, ready."""
    sessions: list[QuicSession] = []
    async with listening(authority, sessions) as listener, asyncio.timeout(PATIENCE):
        client = await dial("127.0.0.1", listener.port, ca_file=authority.ca_file)
        ends = Pair(client, sessions[0])
        ends.server.on_stream = ends.accepted.put_nowait
        await ends.server.wait_ready()
        yield ends
        client.abort()


async def collect(stream: QuicStream) -> bytes:
    """Read to the end."""
    parts = []
    while data := await stream.read():
        parts.append(data)
    return b"".join(parts)


async def settled(stream: QuicStream) -> None:
    """Wait until a sender waits for room and goes on doing so."""
    quiet = 0
    while quiet < 20:  # looks; a sender has no event for "still waiting"
        await asyncio.sleep(0.005)
        quiet = quiet + 1 if stream.sender_waits else 0


async def test_bytes_pass_both_ways(pair: Pair) -> None:
    """Large bodies pass at the same time in both directions, unchanged, and each direction ends by itself."""
    near, far = await pair.stream()
    body = os.urandom(8 * MB)
    async with asyncio.TaskGroup() as group:
        group.create_task(near.send_data(body, end=True), name="up")
        up = group.create_task(collect(far), name="read-up")
        group.create_task(far.send_data(body[::-1], end=True), name="down")
        down = group.create_task(collect(near), name="read-down")
    assert up.result() == body
    assert down.result() == body[::-1]
    await pair.client.wait_idle()
    await pair.server.wait_idle()
    assert (pair.client.open_streams, pair.server.open_streams) == (0, 0)


@pytest.mark.parametrize("size", [0, 1, UNSENT - 1, UNSENT, UNSENT + 1, STREAM_WINDOW + 1])
async def test_sizes_around_limits(pair: Pair, size: int) -> None:
    """Bodies around the sizes of buffers and windows pass unchanged."""
    near, far = await pair.stream()
    async with asyncio.TaskGroup() as group:
        group.create_task(near.send_data(b"z" * size, end=True), name="up")
        assert await collect(far) == b"z" * size


async def test_reader_holds_the_sender_back(pair: Pair) -> None:
    """Without a reader no more than the window and the sender's own buffer leave the sender; then all of it comes."""
    near, far = await pair.stream()
    sent = 0

    async def send() -> None:
        nonlocal sent
        for part in blob(8 * MB):
            await near.send_data(part)
            sent += len(part)
        await near.send_data(b"", end=True)

    async with asyncio.TaskGroup() as group:
        group.create_task(send(), name="send")
        await settled(near)
        assert STREAM_WINDOW <= sent <= STREAM_WINDOW + UNSENT + 256 * 1024
        assert await collect(far) == b"".join(blob(8 * MB))
    assert sent == 8 * MB


async def test_unread_streams_fill_the_session_window(pair: Pair) -> None:
    """Many unread streams hold no more than the connection's window together; given up, they free it."""
    ends = [await pair.stream() for _ in range(SESSION_WINDOW // STREAM_WINDOW + 4)]
    async with ServerTaskGroup() as group:
        for near, _ in ends:
            group.create_task(near.send_data(b"x" * 2 * MB), name="send")
        for near, _ in ends:
            await settled(near)
        assert sum(far._inbox.credit for _, far in ends) <= SESSION_WINDOW
    for near, far in ends:
        far.reset()
        near.reset()
    await pair.server.wait_idle()
    assert pair.server._quic._unread_total == 0
    near, far = await pair.stream()
    async with asyncio.TaskGroup() as group:
        group.create_task(near.send_data(b"y" * 20 * MB, end=True), name="send")
        assert len(await collect(far)) == 20 * MB


async def test_reset(pair: Pair) -> None:
    """A stream that one side gives up fails at the other in both directions; the connection lives on."""
    near, far = await pair.stream()
    near.reset()
    with pytest.raises(StreamResetError):
        await far.read()
    with pytest.raises(StreamResetError):
        await far.send_data(b"x" * 8 * MB)
    far.reset()
    await pair.client.wait_idle()
    await pair.server.wait_idle()
    await pair.stream()


async def test_reset_wakes_a_waiting_sender(pair: Pair) -> None:
    """A sender that waits for room learns at once that the reader has given up."""
    near, far = await pair.stream()
    async with asyncio.TaskGroup() as group:
        sending = group.create_task(_expect_reset(near), name="send")
        await settled(near)
        far.reset()
        await sending


async def test_bytes_under_way_at_a_reset(pair: Pair) -> None:
    """What still arrives after a reader has given up is dropped and holds no window."""
    near, far = await pair.stream()
    async with asyncio.TaskGroup() as group:
        sending = group.create_task(_expect_reset(near), name="send")
        for _ in range(3):
            await far.read()
        far.reset()
        await sending
    await pair.client.wait_idle()
    await pair.server.wait_idle()
    assert pair.server._quic._unread_total == 0


async def _expect_reset(stream: QuicStream) -> None:
    with pytest.raises(StreamResetError):
        await stream.send_data(b"x" * 8 * MB)


async def test_send_after_the_end(pair: Pair) -> None:
    """Nothing can be sent after the end of a stream."""
    near, _ = await pair.stream()
    await near.send_data(b"", end=True)
    with pytest.raises(StreamError):
        await near.send_data(b"more")


@pytest.fixture
def few_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have both ends allow 128 streams at once, aioquic's own default, in place of our many."""
    monkeypatch.setattr(connection, "STREAMS_AT_ONCE", 128)


async def test_peer_limits_streams(few_streams: None, pair: Pair) -> None:
    """Where the peer allows no more streams, opening one waits until another has ended."""
    ends = [await pair.stream() for _ in range(128)]
    async with asyncio.TaskGroup() as group:
        opening = group.create_task(pair.client.open_stream(), name="open")
        await asyncio.sleep(0.05)
        assert not opening.done()
        for near, far in ends[:64]:  # aioquic announces room in portions
            near.reset()
            far.reset()
        await opening


async def test_close_with_code_0_is_orderly(pair: Pair) -> None:
    """A close with code 0 has no reason; a waiter learns that the connection is gone."""
    near, far = await pair.stream()
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(_expect_closed(far), name="read")
        await asyncio.sleep(0)
        pair.client.close()
        await reading
    assert (pair.client.close_reason, pair.server.close_reason) == ("", "")
    with pytest.raises(SessionClosedError):
        await pair.server.open_stream()
    with pytest.raises(SessionClosedError):
        await near.send_data(b"x")


async def _expect_closed(stream: QuicStream) -> None:
    with pytest.raises(SessionClosedError):
        await stream.read()


async def test_close_with_a_reason(pair: Pair) -> None:
    """Code and text of a close arrive."""
    pair.server.close(7, "go away")
    await pair.client.wait_closed()
    assert pair.client.close_reason == "the peer closed the connection with code 0x7: go away"


@pytest.mark.slow
async def test_keep_alive(pair: Pair) -> None:
    """A client that has nothing to say keeps the connection beyond the idle time-out."""
    await asyncio.sleep(0)
    loop = asyncio.get_running_loop()
    until = loop.time() + 6.0
    heard = asyncio.Event()
    receive = pair.server.receive

    def watch(datagram: bytes, address: Address) -> None:
        receive(datagram, address)
        if loop.time() >= until:
            heard.set()

    pair.server.receive = watch  # type: ignore[method-assign]
    await heard.wait()
    assert not pair.client.closed
    await pair.stream()


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_lost_and_late_packets(pair: Pair, seed: int) -> None:
    """Bytes pass unchanged where packets are lost, doubled and out of order in both directions."""
    chance = random.Random(seed)
    for session in (pair.client, pair.server):
        session.port = _BadPort(session.port.send, chance)
    near, far = await pair.stream()
    body = os.urandom(2 * MB)
    async with asyncio.TaskGroup() as group:
        group.create_task(near.send_data(body, end=True), name="up")
        group.create_task(far.send_data(body, end=True), name="down")
        up = group.create_task(collect(far), name="read-up")
        down = group.create_task(collect(near), name="read-down")
    assert up.result() == down.result() == body


async def test_kernel_that_does_not_join(pair: Pair) -> None:
    """Bytes pass unchanged where every datagram is a system call of its own, as on systems without UDP_SEGMENT."""
    for session in (pair.client, pair.server):
        session.port._joins = False  # type: ignore[attr-defined]
    near, far = await pair.stream()
    body = os.urandom(2 * MB)
    async with asyncio.TaskGroup() as group:
        group.create_task(near.send_data(body, end=True), name="up")
        assert await collect(far) == body


class _BadPort:
    def __init__(self, send: object, chance: random.Random) -> None:
        self._send = send
        self._chance = chance

    def send(self, datagrams: list[bytes], address: Address) -> None:
        kept = [datagram for datagram in datagrams if self._chance.random() > 0.02]
        if kept and self._chance.random() < 0.1:
            self._chance.shuffle(kept)
            kept.append(kept[0])
        for datagram in kept:
            self._send([datagram], address)  # type: ignore[operator]


async def test_untrusted_certificate(authority: Authority, tmp_path: Path) -> None:
    """A certificate of another authority is refused, and the reason says so."""
    folder = tmp_path / "other"
    folder.mkdir()
    other = Authority(folder)
    async with listening(authority, []) as listener:
        with pytest.raises(SessionClosedError, match=r"TLS failed: .*certificate"):
            await dial("127.0.0.1", listener.port, ca_file=other.ca_file)


async def test_nobody_there() -> None:
    """Without an answer dialling ends with its time."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        with pytest.raises(TimeoutError):
            await dial("127.0.0.1", silent.getsockname()[1], timeout=0.2)


async def test_nobody_there_is_no_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an answer a client sleeps between its attempts, however often it would send PINGs later."""
    wakings = 0
    on_timer = QuicSession._on_timer

    def count(session: QuicSession) -> None:
        nonlocal wakings
        wakings += 1
        on_timer(session)

    monkeypatch.setattr(QuicSession, "_on_timer", count)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        with pytest.raises(TimeoutError):
            await dial("127.0.0.1", silent.getsockname()[1], keep_alive=0.001, timeout=0.3)
    assert wakings < 20


def test_hybrid_key_exchange() -> None:
    """Both sides of X25519MLKEM768 come to the same secret, ML-KEM's part first."""
    kem, curve = mlkem.MLKEM768PrivateKey.generate(), x25519.X25519PrivateKey.generate()
    answer, secret = answer_share(kem.public_key().public_bytes_raw() + curve.public_key().public_bytes_raw())
    assert len(answer) == 1088 + 32
    other = x25519.X25519PublicKey.from_public_bytes(answer[1088:])
    assert secret == kem.decapsulate(answer[:1088]) + curve.exchange(other)


@pytest.mark.parametrize("share", [b"", b"\0" * 1215, b"\0" * 1217, b"\xff" * 1184 + b"\x09" + b"\0" * 31, b"\0" * 1216])
def test_bad_hybrid_shares(share: bytes) -> None:
    """A share of a wrong length, with an impossible key, or with the zero point, is an illegal parameter."""
    with pytest.raises(AlertIllegalParameter):
        answer_share(share)


class _Bytes:
    """A stream that gives bytes in portions."""

    def __init__(self, data: bytes, portion: int) -> None:
        self._parts = [data[start : start + portion] for start in range(0, len(data), portion)]

    async def read(self) -> bytes:
        return self._parts.pop(0) if self._parts else b""


_VALUES = st.binary(max_size=40).filter(lambda value: not value.endswith(b"\0"))
_HEADERS = st.lists(st.tuples(st.from_regex(rb"[a-z-]{1,12}", fullmatch=True), _VALUES), max_size=6)


@given(
    st.sampled_from(RequestKind), _VALUES, _VALUES, _VALUES, _HEADERS, st.booleans(), st.binary(max_size=20), st.integers(1, 99)
)
def test_requests_survive_the_wire(
    kind: RequestKind,
    dest: bytes,
    method: bytes,
    host: bytes,
    headers: list[tuple[bytes, bytes]],
    chunked: bool,
    body: bytes,
    portion: int,
) -> None:
    """A request's head is read as it was written, whatever bytes it holds and however they are cut."""
    headers = [header for header in headers if header[0] != b"transfer-encoding"]
    request = ConnectRequest(kind, dest, method, host, headers, chunked)
    stream = _Bytes(request.encode() + body, portion)
    read, rest = asyncio.run(read_request(stream))  # type: ignore[arg-type]
    assert read == request
    assert body.startswith(rest)


@given(st.integers(100, 999), _HEADERS, st.integers(1, 99))
def test_responses_survive_the_wire(status: int, headers: list[tuple[bytes, bytes]], portion: int) -> None:
    """A response's head is read as it was written, however it is cut."""
    response = ConnectResponse(status, headers)
    read, _ = asyncio.run(read_response(_Bytes(response.encode(), portion)))  # type: ignore[arg-type]
    assert read == response


@given(st.binary(max_size=200), st.booleans())
def test_garbled_heads(garbage: bytes, prefixed: bool) -> None:
    """Bytes that are no head are refused with a StreamError, or read as one; nothing else happens."""
    whole = ConnectResponse(200, [(b"a", b"b")]).encode()
    data = whole[: 8 if prefixed else 0] + garbage
    with suppress(StreamError):
        asyncio.run(read_response(_Bytes(data, 50)))  # type: ignore[arg-type]
