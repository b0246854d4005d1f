"""Compressed answers for visitors who cannot read them.

An edge asks the origin for `br, gzip` whatever the visitor accepts ("Cloudflare HTTP headers", Accept-Encoding), and unpacks
for those who accept neither. An answer that forbids transformation, a part of one (206) and one in several or other codings
pass as they are. Nothing is packed here that the origin has sent plain.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from typing import Final, Protocol

import brotli

from prx.lab.edge.public.visitor import UnsendableError
from prx.lab.protocol.headers import Headers

ASKED: Final = b"br, gzip"
_PIECE: Final = 256 * 1024  # bytes that one step yields at most: what is packed may grow a thousandfold
_ALIASES: Final = {b"x-gzip": b"gzip"}


class Decoder(Protocol):
    """Unpacks one body."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Return what the data hold, piece by piece; UnsendableError if they are not what they are said to be."""

    def finish(self) -> None:
        """Take the end of the data; UnsendableError if it comes too early."""


class _Gzip:
    def __init__(self) -> None:
        self._stream = zlib.decompressobj(wbits=31)
        self._begun = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Unpack; several members may follow each other (RFC 1952, 2.2)."""
        while data:
            self._begun = True
            if self._stream.eof:
                self._stream = zlib.decompressobj(wbits=31)
            try:
                piece = self._stream.decompress(data, _PIECE)
            except zlib.error as error:
                raise UnsendableError(f"the body is no gzip: {error}") from None
            data = self._stream.unconsumed_tail or self._stream.unused_data
            if piece:
                yield piece

    def finish(self) -> None:
        """Take the end; no data is fine, as behind a HEAD."""
        if self._begun and not self._stream.eof:
            raise UnsendableError("the body is gzip that breaks off")


class _Brotli:
    def __init__(self) -> None:
        self._stream = brotli.Decompressor()
        self._begun = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Unpack (RFC 7932)."""
        self._begun = True
        try:
            piece = self._stream.process(data, output_buffer_limit=_PIECE)
            while piece or not self._stream.can_accept_more_data():
                yield piece
                piece = b"" if self._stream.is_finished() else self._stream.process(b"", output_buffer_limit=_PIECE)
        except brotli.error as error:
            raise UnsendableError(f"the body is no brotli: {error}") from None

    def finish(self) -> None:
        """Take the end."""
        if self._begun and not self._stream.is_finished():
            raise UnsendableError("the body is brotli that breaks off")


def decoder_for(accept: bytes | None, status: int, headers: Headers) -> Decoder | None:
    """Return what unpacks an answer for a visitor with this Accept-Encoding; None if it passes as it is."""
    values = {name.lower(): value for name, value in headers}
    coding = values.get(b"content-encoding", b"").strip().lower()
    coding = _ALIASES.get(coding, coding)
    if coding not in (b"gzip", b"br") or status == 206 or b"no-transform" in values.get(b"cache-control", b"").lower():
        return None
    if accepts(accept, coding):
        return None
    return _Gzip() if coding == b"gzip" else _Brotli()


def accepts(accept: bytes | None, coding: bytes) -> bool:
    """Return whether a visitor takes this coding (RFC 9110, 12.5.3); one who says nothing is taken for one who cannot."""
    weights: dict[bytes, float] = {}
    for part in (accept or b"").lower().split(b","):
        name, _, parameter = part.partition(b";")
        weight = re.fullmatch(rb"\s*q=([01](?:\.\d{0,3})?)\s*", parameter)
        weights[_ALIASES.get(name.strip(), name.strip())] = float(weight[1]) if weight else 1.0
    return weights.get(coding, weights.get(b"*", 0.0)) > 0


def unpacked(headers: Headers) -> Headers:
    """Return the headers of an answer whose body is unpacked on the way: its length is not known, its ETag is weak."""
    kept = [(name, value) for name, value in headers if name.lower() not in (b"content-encoding", b"content-length")]
    weak = [(name, b"W/" + value if name.lower() == b"etag" and not value.startswith(b"W/") else value) for name, value in kept]
    return [*weak, (b"Vary", b"Accept-Encoding")]
