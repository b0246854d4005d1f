"""Read and write WebSocket frames as a server of binary messages (RFC 6455, section 5). Pure: bytes in, bytes out.

A visitor's text messages are passed over, pings are answered, a close is answered with its own code, and whatever breaks the
protocol ends it without a word. Observed with cloudflared 2026.8.2, with one departure: that one gives a service only the
first 16 KiB of a longer message, and this one all of it.
"""

import struct
from typing import Final

PING: Final = b"\x89\x00"

_TEXT, _BINARY, _CLOSE, _PING, _PONG = 0x1, 0x2, 0x8, 0x9, 0xA
_FIN: Final = 0x80
_MASKED: Final = 0x80
_CONTINUATION: Final = 0x0
_MOST_CONTROL: Final = 125  # bytes in a control frame
_PROTOCOL_ERROR: Final = 1002


class FrameError(ValueError):
    """The visitor broke the protocol."""


def frame(payload: bytes, opcode: int = _BINARY) -> bytes:
    """Return one frame that is a whole message; a server masks nothing."""
    size = len(payload)
    if size <= _MOST_CONTROL:
        head = struct.pack("!BB", _FIN | opcode, size)
    elif size < 1 << 16:
        head = struct.pack("!BBH", _FIN | opcode, 126, size)
    else:
        head = struct.pack("!BBQ", _FIN | opcode, 127, size)
    return head + payload


class VisitorFrames:
    """Take a visitor's frames apart; `replies` is what must be sent back, `closed` is true after a close frame."""

    def __init__(self) -> None:
        self.closed = False
        self._replies = bytearray()
        self._buffer = bytearray()
        self._message: int | None = None  # opcode of the message under way
        self._opcode = 0  # of the frame under way
        self._fin = False
        self._left: int | None = None  # bytes of its payload to come; None: its head is to come
        self._mask = b""

    def take_replies(self) -> bytes:
        """Return what must be sent back, once."""
        replies, self._replies = bytes(self._replies), bytearray()
        return replies

    def feed(self, data: bytes) -> bytes:
        """Return the bytes of binary messages that are among these, as far as they have come. Raises FrameError."""
        self._buffer += data
        payload = bytearray()
        while not self.closed:
            if self._left is None and not self._read_head():
                break
            assert self._left is not None
            control = self._opcode >= _CLOSE
            if len(self._buffer) < (self._left if control else min(self._left, 1)):
                break
            part = self._unmasked(min(self._left, len(self._buffer)))
            if control:
                self._on_control(part)
            elif self._message == _BINARY:
                payload += part
            self._left -= len(part)
            if not self._left:
                self._end_frame()
        return bytes(payload)

    def _read_head(self) -> bool:
        """Read a frame's head; False while it is not whole."""
        if len(self._buffer) < 2:
            return False
        first, second = self._buffer[0], self._buffer[1]
        size, extra = second & 0x7F, {126: 2, 127: 8}.get(second & 0x7F, 0)
        whole = 2 + extra + 4
        self._check(first, second)
        if len(self._buffer) < whole:
            return False
        if extra:
            size = int.from_bytes(self._buffer[2 : 2 + extra], "big")
        self._mask = bytes(self._buffer[2 + extra : whole])
        self._left = size
        self._fin = bool(first & _FIN)
        self._opcode = first & 0x0F
        if self._opcode in {_TEXT, _BINARY}:
            self._message = self._opcode
        del self._buffer[:whole]
        return True

    def _check(self, first: int, second: int) -> None:
        opcode = first & 0x0F
        if first & 0x70 or not second & _MASKED:
            raise FrameError("an extension that was not agreed, or a frame that is not masked")
        if opcode not in {_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG}:
            raise FrameError("a frame of a kind that there is not")
        if opcode >= _CLOSE and (not first & _FIN or second & 0x7F > _MOST_CONTROL):
            raise FrameError("a control frame in parts, or too long")
        if opcode < _CLOSE and (opcode == _CONTINUATION) == (self._message is None):
            raise FrameError("a message inside another, or the rest of none")

    def _unmasked(self, size: int) -> bytes:
        data = int.from_bytes(self._buffer[:size], "little")
        del self._buffer[:size]
        repeated = (self._mask * (size // 4 + 1))[:size]
        turned = size % 4
        self._mask = self._mask[turned:] + self._mask[:turned]
        return (data ^ int.from_bytes(repeated, "little")).to_bytes(size, "little")

    def _on_control(self, payload: bytes) -> None:
        if self._opcode == _PING:
            self._replies += frame(payload, _PONG)
        elif self._opcode == _CLOSE:
            self.closed = True
            self._replies += frame(_answer_to_close(payload), _CLOSE)

    def _end_frame(self) -> None:
        self._left = None
        if self._opcode < _CLOSE and self._fin:
            self._message = None


def _answer_to_close(payload: bytes) -> bytes:
    """Return the payload that answers a close: its code where that may be sent (RFC 6455, section 7.4), else 1002."""
    if not payload:
        return b""
    code = int.from_bytes(payload[:2], "big") if len(payload) > 1 else 0
    allowed = 1000 <= code <= 1003 or 1007 <= code <= 1011 or 3000 <= code <= 4999
    return struct.pack("!H", code if allowed else _PROTOCOL_ERROR)
