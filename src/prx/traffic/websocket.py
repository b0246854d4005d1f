"""Read one direction of a WebSocket for showing: messages, unpacked within bounds (RFC 6455, 5.2; RFC 7692). Pure.

wsproto would unpack a message whole, and a few hundred bytes can unpack to a gigabyte; here no more is unpacked than is
shown.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from prx.traffic.exchange import MESSAGE_LIMIT

_KINDS: Final = {1: "text", 2: "binary", 8: "close", 9: "ping", 10: "pong"}
_UNPACK_LIMIT: Final = 4 * 1024 * 1024  # bytes that one message unpacks to; beyond it its direction is read no further


class UnreadableError(Exception):
    """What follows cannot be read as WebSocket."""


_CONTROL_LIMIT: Final = 125  # bytes of a control frame (RFC 6455, 5.5); what is longer is not kept


@dataclass(slots=True)
class Received:
    """A message; `data` is its beginning, `size` that of all of it, as it was sent."""

    kind: str
    data: bytes
    size: int


class WebSocketReader:
    """Reads the frames of one direction. `packed`: permessage-deflate was agreed; `keeps_window`: with context takeover."""

    def __init__(self, *, packed: bool, keeps_window: bool = True) -> None:
        self._packed, self._keeps_window = packed, keeps_window
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        self._held = bytearray()
        self._kind, self._message, self._size, self._deflated = "", bytearray(), 0, False
        self._unpacked = 0  # bytes that a message has been unpacked to
        self._frame: tuple[bool, int, bytes, int] | None = None  # final, opcode, mask, bytes left
        self._at = 0  # how much of the frame has been taken, for its mask
        self._control = bytearray()

    def feed(self, data: bytes) -> Iterator[Received]:
        """Yield the messages that `data` completes; raise UnreadableError if it is no WebSocket."""
        self._held += data
        while True:
            if self._frame is None and not self._begin():
                return
            assert self._frame is not None
            final, opcode, mask, left = self._frame
            piece = bytes(self._held[:left])
            del self._held[: len(piece)]
            self._take(piece, opcode, mask)
            left -= len(piece)
            self._frame = (final, opcode, mask, left) if left else None
            if left:
                return
            yield from self._end(opcode, final=final)

    def _begin(self) -> bool:
        """Read a frame's head; return whether it is whole."""
        held = self._held
        if len(held) < 2:
            return False
        final, opcode, length = bool(held[0] & 0x80), held[0] & 0x0F, held[1] & 0x7F
        more = {126: 2, 127: 8}.get(length, 0)
        masked = 4 if held[1] & 0x80 else 0
        size = 2 + more + masked
        if len(held) < size:
            return False
        if opcode not in {0, 1, 2, 8, 9, 10} or held[0] & 0x30:
            raise UnreadableError("its frames are not those of a WebSocket")
        if more:
            length = int.from_bytes(held[2 : 2 + more], "big")
        mask = bytes(held[size - 4 : size]) if masked else b""
        if opcode in {1, 2}:
            self._kind, self._deflated, self._size = _KINDS[opcode], bool(held[0] & 0x40) and self._packed, 0
            self._message.clear()
            self._unpacked = 0
        del held[:size]
        self._frame, self._at = (final, opcode, mask, length), 0
        self._control.clear()
        return True

    def _take(self, piece: bytes, opcode: int, mask: bytes) -> None:
        if opcode >= 8:
            self._control += _unmasked(piece[: max(0, _CONTROL_LIMIT - len(self._control))], mask, self._at)
        else:
            self._size += len(piece)
            if self._deflated:
                self._unpack(_unmasked(piece, mask, self._at))
            elif (left := MESSAGE_LIMIT - len(self._message)) > 0:
                self._message += _unmasked(piece[:left], mask, self._at)
        self._at += len(piece)

    def _end(self, opcode: int, *, final: bool) -> Iterator[Received]:
        if opcode >= 8:
            yield Received(_KINDS[opcode], bytes(self._control), len(self._control))
        elif final:
            if self._deflated:
                self._unpack(b"\0\0\xff\xff")
                if not self._keeps_window:
                    self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)
            yield Received(self._kind, bytes(self._message), self._size)
            self._message.clear()

    def _unpack(self, data: bytes) -> None:
        """Unpack a part of a message as it comes, and keep the beginning: what waits for its end weighs no more than that."""
        while True:
            try:
                out = self._inflate.decompress(data, MESSAGE_LIMIT)
            except zlib.error as error:
                raise UnreadableError("a message cannot be unpacked") from error
            self._unpacked += len(out)
            if self._unpacked > _UNPACK_LIMIT:
                raise UnreadableError("a message is too large to be unpacked for showing")
            self._message += out[: max(0, MESSAGE_LIMIT - len(self._message))]
            data = self._inflate.unconsumed_tail
            if not data and len(out) < MESSAGE_LIMIT:  # else more of it may wait inside
                return


def _unmasked(data: bytes, mask: bytes, at: int) -> bytes:
    if not mask or not data:
        return data
    turned = mask[at % 4 :] + mask[: at % 4]
    key = (turned * (len(data) // 4 + 1))[: len(data)]
    return (int.from_bytes(data, "big") ^ int.from_bytes(key, "big")).to_bytes(len(data), "big")
