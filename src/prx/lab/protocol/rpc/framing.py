"""Cutting a byte stream into unpacked Cap'n Proto messages.

A message starts with a table of little-endian 32-bit numbers: the number of segments less one, then the size of each
segment in words of eight bytes, then padding to a whole word (Cap'n Proto, "Serialization Over a Stream").
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from prx.lab.protocol.errors import RpcError

MAX_SEGMENTS = 64
MAX_MESSAGE = 4 * 1024 * 1024  # bytes, with its table; the largest message in use carries a configuration
_WORD = 8


class MessageSplitter:
    """A collector of bytes that returns whole messages; it holds at most one message's worth."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield every message that `data` completes; RpcError as soon as a table announces too much."""
        self._buffer += data
        while (size := self._size()) is not None and len(self._buffer) >= size:
            message = bytes(self._buffer[:size])
            del self._buffer[:size]
            yield message

    def rest(self) -> bytes:
        """Return what has come after the last whole message, and forget it."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest

    def _size(self) -> int | None:
        """Size of the message at the front in bytes, or None while its table is incomplete."""
        if len(self._buffer) < 4:
            return None
        segments = int.from_bytes(self._buffer[:4], "little") + 1
        if segments > MAX_SEGMENTS:
            raise RpcError(f"a message announces {segments} segments; at most {MAX_SEGMENTS} are accepted")
        table = (4 + 4 * segments + _WORD - 1) // _WORD * _WORD
        if len(self._buffer) < table:
            return None
        words: int = sum(struct.unpack_from(f"<{segments}I", self._buffer, 4))
        size = table + words * _WORD
        if size > MAX_MESSAGE:
            raise RpcError(f"a message announces {size} bytes; at most {MAX_MESSAGE} are accepted")
        return size
