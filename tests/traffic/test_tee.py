"""What is read of a copy: messages, events, notes; and what happens if it comes too fast."""

from __future__ import annotations

import random
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prx.core.events import timestamp
from prx.logs.redact import Redactor
from prx.traffic import tee as tee_module
from prx.traffic.exchange import MESSAGE_LIMIT, Exchange, exchange_json, summary_json
from prx.traffic.framing import Data, Framing, Piece
from prx.traffic.masks import Masks
from prx.traffic.ring import Ring
from prx.traffic.shown import lines
from prx.traffic.tee import SERVICE, VISITOR, Copier, Tee
from prx.traffic.websocket import WebSocketReader

WANTS = b"GET /ws HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
AGREES = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"


def frame(data: bytes, opcode: int = 1, *, mask: bytes = b"", packed: bool = False, final: bool = True) -> bytes:
    """Return a WebSocket frame."""
    if packed:
        packer = zlib.compressobj(wbits=-15)
        data = (packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\0\0\xff\xff")
    first = (0x80 if final else 0) | (0x40 if packed else 0) | opcode
    size = len(data)
    head = bytes([first, (0x80 if mask else 0) | (size if size < 126 else 126 if size < 65536 else 127)])
    head += b"" if size < 126 else size.to_bytes(2 if size < 65536 else 8, "big")
    return head + mask + (bytes(byte ^ mask[at % 4] for at, byte in enumerate(data)) if mask else data)


async def seen(*pieces: tuple[int, bytes | None]) -> tuple[list[Exchange], Ring]:
    """Return what is kept of the pieces of one connection."""
    copier = Copier(Ring(100, 64_000_000), "web", lambda: 1_800_000_000.0)
    tee = Tee(copier)
    for side, data in pieces:
        copier.put(tee, side, data)
    copier.read_all()
    copier.close()
    return list(copier.ring), copier.ring


async def test_websocket_messages_are_read() -> None:
    """Text, binary and packed messages of both sides, masked or not, in pieces."""
    (exchange,), _ = await seen(
        (VISITOR, WANTS),
        (SERVICE, AGREES + frame(b"hello")[:3]),
        (SERVICE, frame(b"hello")[3:]),
        (VISITOR, frame(b"from a browser", mask=b"abcd", packed=True)),
        (VISITOR, frame(b"x" * 70_000, 2, mask=b"\1\2\3\4")),
        (SERVICE, frame(b"one, ", final=False) + frame(b"", 9) + frame(b"two", 0)),
    )
    assert [(item.sender, item.kind, item.data[:20], item.size) for item in exchange.messages] == [
        ("service", "text", b"hello", 5),
        ("visitor", "text", b"from a browser", exchange.messages[1].size),
        ("visitor", "binary", b"x" * 20, 70_000),
        ("service", "ping", b"", 0),
        ("service", "text", b"one, two", 8),
    ]


def test_a_message_that_unpacks_to_a_gigabyte_costs_little() -> None:
    """What is unpacked is bounded; then the direction is not read any further."""
    bomb = frame(b"\0" * 50_000_000, packed=True)
    with pytest.raises(Exception, match="too large"):
        list(WebSocketReader(packed=True).feed(bomb))


@pytest.mark.parametrize("size", [1, 100, 65_536])
@pytest.mark.parametrize("length", [0, 1, 65_535, 65_536, 65_537, 131_072, 300_000])
def test_a_packed_message_is_read_as_it_comes(size: int, length: int) -> None:
    """However it is cut, and whatever it unpacks to, its beginning is kept, and the messages behind it are read."""
    packer, raw = zlib.compressobj(wbits=-15), b""
    texts = [random.Random(length).randbytes(length), b"second", b"\0" * length, b"fourth"]
    for text in texts:  # with one window for all
        packed = (packer.compress(text) + packer.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\0\0\xff\xff")
        head = bytes([0xC1, 127]) + len(packed).to_bytes(8, "big")
        raw += head + packed
    reader = WebSocketReader(packed=True)
    found = [item for at in range(0, len(raw), size) for item in reader.feed(raw[at : at + size])]
    assert [item.data for item in found] == [text[:MESSAGE_LIMIT] for text in texts]


def test_a_packed_message_that_does_not_end_weighs_little() -> None:
    """A visitor who sends megabytes of one message, on many connections, costs each of them its beginning and no more."""
    packer, reader = zlib.compressobj(0, wbits=-15), WebSocketReader(packed=True)  # level 0: as large as it was
    packed = packer.compress(random.Random(0).randbytes(3_000_000)) + packer.flush(zlib.Z_SYNC_FLUSH)
    tracemalloc.start()
    try:
        list(reader.feed(bytes([0x41, 127]) + (8_000_000).to_bytes(8, "big")))
        for at in range(0, len(packed), 65_536):
            assert list(reader.feed(packed[at : at + 65_536])) == []
        assert tracemalloc.get_traced_memory()[0] < 500_000
    finally:
        tracemalloc.stop()


async def test_events_are_read_as_they_come() -> None:
    """Server-sent events are kept one by one while the stream goes on."""
    (exchange,), _ = await seen(
        (VISITOR, b"GET /events HTTP/1.1\r\n\r\n"),
        (SERVICE, b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (SERVICE, b"9\r\ndata: 1\n\n\r\n8\r\ndata: 2\n\r\n1\r\n\n\r\n"),
    )
    assert [item.data for item in exchange.messages] == [b"data: 1", b"data: 2"]
    assert not exchange.ended


async def test_an_answer_that_breaks_off_says_so() -> None:
    """What never came to its end is not shown as if it had."""
    (exchange,), _ = await seen(
        (VISITOR, b"GET / HTTP/1.1\r\n\r\n"), (SERVICE, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"), (SERVICE, None)
    )
    assert exchange.answer_body.cut
    assert any("before the answer was whole" in note for note in exchange.notes)


@pytest.mark.parametrize("hours", [3, -3, 24 * 365])
async def test_a_wall_clock_that_is_set_changes_no_duration(hours: int) -> None:
    """First byte and duration are what has passed; the time is that of the clock when the request came."""
    wall, steady = [1_800_000_000.0], [500.0]
    copier = Copier(Ring(100, 64_000_000), "web", lambda: wall[0], lambda: steady[0])
    tee = Tee(copier)

    def pass_by(seconds: float, jump: float = 0.0) -> None:
        steady[0] += seconds
        wall[0] += seconds + jump

    copier.read_now(tee, VISITOR, b"GET /1 HTTP/1.1\r\n\r\n")
    pass_by(0.25, hours * 3600)
    copier.read_now(tee, SERVICE, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nha")
    pass_by(0.5)
    copier.read_now(tee, SERVICE, b"lf")
    copier.read_now(tee, VISITOR, b"GET /2 HTTP/1.1\r\n\r\n")
    copier.close()
    first, second = (summary_json(exchange, Masks(Redactor())) for exchange in copier.ring)
    assert (first["at"], first["first_byte_ms"], first["duration_ms"]) == (timestamp(1_800_000_000.0), 250.0, 750.0)
    assert second["at"] == timestamp(1_800_000_000.75 + hours * 3600)


async def test_a_copy_that_comes_too_fast_is_dropped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is missing is noted, and the next request is read again."""
    monkeypatch.setattr(tee_module, "QUEUE_BYTES", 1000)
    copier = Copier(Ring(100, 64_000_000), "web", lambda: 1_800_000_000.0)
    tee = Tee(copier)
    copier.put(tee, VISITOR, b"GET /1 HTTP/1.1\r\n\r\n")
    for _ in range(20):
        copier.put(tee, SERVICE, b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100)
    copier.read_all()
    copier.put(tee, SERVICE, b"x" * 100)
    copier.put(tee, VISITOR, b"GET /2 HTTP/1.1\r\n\r\n")
    copier.put(tee, SERVICE, b"HTTP/1.1 204 No Content\r\n\r\n")
    copier.read_all()
    copier.close()
    first, second = copier.ring
    assert first.notes == ["the copy was dropped: it came too fast"]
    assert (second.status, second.notes) == (204, [])
    assert copier.ring.dropped > 10


MESSAGES = st.lists(
    st.sampled_from(
        [
            b"POST /a HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
            b"POST /b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
            b"GET / HTTP/1.1\r\nA: b\r\n\r\n",
            b"GET / HTTP/1.1\nA: b\n\n",
            b"\x00nonsense",
        ]
    ),
    max_size=5,
)


@given(MESSAGES, st.randoms(use_true_random=False))
def test_pieces_of_any_size_are_read_alike(messages: list[bytes], chance: random.Random) -> None:
    """How the bytes arrive changes nothing of what is read."""
    raw = b"".join(messages)
    at, cut = 0, Framing(of_requests=True)
    in_pieces: list[Piece] = []
    while at < len(raw):
        size = chance.randint(1, 20)
        in_pieces += cut.feed(raw[at : at + size])
        at += size
    whole = Framing(of_requests=True)
    assert merged([*in_pieces, *cut.close()]) == merged([*whole.feed(raw), *whole.close()])


def merged(pieces: list[Piece]) -> list[object]:
    """Return pieces with neighbouring data as one."""
    out: list[object] = []
    for piece in pieces:
        data = getattr(piece, "data", None)
        if data is not None and out and isinstance(out[-1], tuple) and out[-1][0] is type(piece):
            out[-1] = (type(piece), out[-1][1] + data)
        elif data is not None:
            out.append((type(piece), data))
        else:
            out.append(piece)
    return [item for item in out if item != (Data, b"")]


async def test_secrets_are_hidden_where_they_are_shown() -> None:
    """What the log hides is hidden in headers, paths and bodies; a webhook's signature, too."""
    masks = Masks(Redactor(["planted-secret"]))
    (exchange,), _ = await seen(
        (
            VISITOR,
            b"".join(
                [
                    b"POST /hook?token=abcdef HTTP/1.1\r\nAuthorization: Bearer abc\r\nCookie: a=b\r\n",
                    b"CF-Access-Client-Secret: c\r\n",
                    b"X-Hub-Signature-256: sha256=1234\r\nX-Safe: planted-secret\r\n",
                    b"Content-Length: 18\r\n\r\nit=planted-secret&",
                ]
            ),
        ),
        (SERVICE, b"HTTP/1.1 200 OK\r\nSet-Cookie: sid=verysecret\r\nContent-Length: 14\r\n\r\nplanted-secret"),
    )
    everything = "\n".join([str(exchange_json(exchange, masks)), *lines(exchange_json(exchange, masks))])
    for secret in ("abcdef", "Bearer abc", "a=b", "sha256=1234", "planted-secret", "verysecret"):
        assert secret not in everything


async def test_what_is_shown_does_nothing_to_a_terminal() -> None:
    """Escapes in paths, headers and bodies are shown, not obeyed."""
    (exchange,), _ = await seen(
        (VISITOR, b"GET /\x1b[2J HTTP/1.1\r\nX: \x1b]0;title\x07\r\n\r\n"),
        (SERVICE, b"HTTP/1.1 200 \x1b[31m\r\nContent-Length: 4\r\n\r\n\x1b[2J"),
    )
    text = "\n".join(lines(exchange_json(exchange, Masks(Redactor()))))
    assert "\x1b" not in text
    assert "\x07" not in text
