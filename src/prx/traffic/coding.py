"""Content codings of bodies, unpacked within bounds: gzip, deflate, br, zstd. Pure."""

from __future__ import annotations

import gzip
import importlib
import zlib
from typing import Final

UNPACK_LIMIT: Final = 1024 * 1024
"""Bytes that a body is unpacked to at most."""

CODINGS: Final = ("gzip", "x-gzip", "deflate", "br", "zstd")


def is_whole(body: bytes, coding: str) -> bool:
    """Return whether `unpacked` returns all that is in a body: not of one with several parts, or with more than the limit."""
    if coding.strip() not in {"gzip", "x-gzip", "deflate"}:
        return len(unpacked(body, coding)) < UNPACK_LIMIT
    reader = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    reader.decompress(body, UNPACK_LIMIT)
    return not reader.unconsumed_tail and not reader.unused_data


def unpacked(body: bytes, coding: str) -> bytes:
    """Return at most `UNPACK_LIMIT` bytes of a body without its coding.

    Raises ImportError if this Python cannot unpack it, and ValueError if it is not what it is called or has no known name.
    """
    match coding.strip():
        case "gzip" | "x-gzip" | "deflate":
            # 32: either header; deflate without one is not worth a second try
            try:
                return zlib.decompressobj(wbits=zlib.MAX_WBITS | 32).decompress(body, UNPACK_LIMIT)
            except zlib.error as error:
                raise ValueError(str(error)) from error
        case "br" | "zstd" as name:
            return _by_library(body, name)[:UNPACK_LIMIT]
        case other:
            raise ValueError(f"{other} is not known")


def _by_library(body: bytes, coding: str) -> bytes:
    try:
        if coding == "br":
            return bytes(importlib.import_module("brotli").Decompressor().process(body, output_buffer_limit=UNPACK_LIMIT))
        return bytes(importlib.import_module("compression.zstd").ZstdDecompressor().decompress(body, UNPACK_LIMIT))
    except ImportError:
        raise
    except Exception as error:  # each library has its own; what a service calls br may be anything
        raise ValueError(str(error)) from error


def packed(body: bytes, coding: str) -> bytes:
    """Return a body with a coding that `unpacked` knows."""
    match coding.strip():
        case "gzip" | "x-gzip":
            return gzip.compress(body, mtime=0)
        case "deflate":
            return zlib.compress(body)
        case "br":
            return bytes(importlib.import_module("brotli").compress(body))
        case _:
            return bytes(importlib.import_module("compression.zstd").compress(body))
