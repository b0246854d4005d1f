"""WebSocket frames of a TCP service's visitor: against a client of the trade, and in every cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side

from prx.lab.connector.origin.websocket import PING, FrameError, VisitorFrames, message


def client() -> Protocol:
    """A client whose handshake is done."""
    return Protocol(Side.CLIENT, max_size=None)


def masked(opcode: int, payload: bytes, *, fin: bool = True, mask: bytes = b"\1\2\3\4") -> bytes:
    """One short frame of a visitor's, by hand."""
    body = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
    return bytes([(0x80 if fin else 0) | opcode, 0x80 | len(payload)]) + mask + body


@given(
    st.lists(st.tuples(st.sampled_from(["binary", "text", "ping", "parts"]), st.binary(max_size=300)), max_size=6), st.data()
)
def test_in_every_cut(messages: list[tuple[str, bytes]], data: st.DataObject) -> None:
    """However the bytes are cut, binary messages come out whole, text is passed over, and pings are answered in order."""
    visitor, wanted, pings = client(), b"", []
    for kind, payload in messages:
        match kind:
            case "binary":
                visitor.send_binary(payload)
                wanted += payload
            case "text":
                visitor.send_text(payload.hex().encode())
            case "ping":
                visitor.send_ping(payload[:125])
                pings.append(payload[:125])
            case _:
                visitor.send_binary(payload, fin=False)
                visitor.send_ping(b"between")
                pings.append(b"between")
                visitor.send_continuation(payload, fin=True)
                wanted += payload * 2
    sent, frames, found, replies = b"".join(visitor.data_to_send()), VisitorFrames(), b"", b""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=8)))
    for start, end in zip([0, *cuts], [*cuts, len(sent)], strict=True):
        found += frames.feed(sent[start:end])
        replies += frames.take_replies()
    assert found == wanted
    visitor.receive_data(replies)
    assert [bytes(event.data) for event in visitor.events_received() if isinstance(event, Frame)] == pings


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_what_is_written_can_be_read(size: int) -> None:
    """Messages of every size of length field are read by a client of the trade, and so is a ping."""
    visitor = client()
    visitor.receive_data(message(b"x" * size) + PING)
    first, second = visitor.events_received()
    assert isinstance(first, Frame)
    assert isinstance(second, Frame)
    assert (first.opcode, len(first.data), second.opcode, second.data) == (Opcode.BINARY, size, Opcode.PING, b"")


@pytest.mark.parametrize(
    ("payload", "answer"),
    [
        (b"", b"\x88\x00"),
        (b"\x03\xe8bye", b"\x88\x02\x03\xe8"),
        (b"\x0f\xa1", b"\x88\x02\x0f\xa1"),
    ],
)
def test_close(payload: bytes, answer: bytes) -> None:
    """A close is answered with its own code; nothing behind it counts."""
    frames = VisitorFrames()
    assert frames.feed(masked(2, b"last") + masked(8, payload) + masked(2, b"too late")) == b"last"
    assert (frames.closed, frames.take_replies()) == (True, answer)


@pytest.mark.parametrize(
    "data",
    [
        b"\x82\x04data",  # not masked
        masked(0x42, b""),  # an extension
        masked(3, b""),
        masked(9, b"", fin=False),
        b"\x89\xfe\x00\x7e",  # a ping of 126 bytes
        masked(0, b"rest of none"),
        masked(2, b"a", fin=False) + masked(2, b"b"),
        masked(8, b"\x03\xed"),  # 1005 must not be sent
        masked(8, b"\x03"),
    ],
)
def test_broken(data: bytes) -> None:
    """What breaks the protocol is an error, and not a guess."""
    with pytest.raises(FrameError):
        VisitorFrames().feed(data)
