"""One request as lines for people: safe for a terminal, bodies unpacked within bounds. Pure."""

from __future__ import annotations

import base64
import contextlib
import importlib
import json
import zlib
from collections.abc import Iterator
from typing import Any, Final

from prx.logs.text import printable

UNPACK_LIMIT: Final = 1024 * 1024
"""Bytes that a body is unpacked to at most."""

_LINES: Final = 400


def lines(found: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of `found`, the JSON of one request."""
    yield printable(f"{found['id']}  {found['at']}  {found['tunnel']}")
    for note in found["notes"]:
        yield printable(f"note: {note}")
    if found["signature"]:
        yield printable(f"signature: {found['signature']}")
    if found["request"]:
        yield ""
        yield printable(f"{found['method']} {found['path']} {found['request']['version']}")
        yield from _side(found["request"])
    for status in found["interim"]:
        yield f"\n(interim answer {status})"
    if found["answer"]:
        yield ""
        yield printable(f"{found['answer']['version']} {found['status'] or ''} {found['answer']['reason']}".rstrip())
        yield from _side(found["answer"])
    for name, value in found["trailers"]:
        yield printable(f"trailer {name}: {value}")
    for item in found["events"]:
        yield printable(f"{item['at'][11:23]}  {item['sender']}  {item['kind']}  {item['size']} bytes  {item['data'][:2000]}")
    if found["duration_ms"] is not None:
        yield ""
        yield f"first byte after {found['first_byte_ms']} ms, ended after {found['duration_ms']} ms"


def _side(side: dict[str, Any]) -> Iterator[str]:
    for name, value in side["headers"]:
        yield printable(f"{name}: {value}")
    body = base64.b64decode(side["body"])
    if not side["body_bytes"]:
        return
    yield ""
    headers = {name.lower(): value.lower() for name, value in side["headers"]}
    yield from _body(body, headers.get("content-type", ""), headers.get("content-encoding", ""))
    if side["body_cut"]:
        yield f"(cut: {len(body)} of {side['body_bytes']} bytes are kept)"


def _body(body: bytes, kind: str, coding: str) -> Iterator[str]:
    data, how = unpacked(body, coding)
    if how:
        yield f"({how})"
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = data.decode("utf-8", "replace")
        if text.count("\ufffd") * 10 > len(text):
            yield f"({len(data)} bytes that are no text)"
            return
    if "json" in kind:
        with contextlib.suppress(ValueError, RecursionError):
            text = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    every = text.split("\n")
    yield from (printable(line) for line in every[:_LINES])
    if len(every) > _LINES:
        yield f"({len(every) - _LINES} more lines)"


def unpacked(body: bytes, coding: str) -> tuple[bytes, str]:
    """Return a body without its content coding, at most `UNPACK_LIMIT` of it, and what was done or why it was not."""
    try:
        match coding.strip():
            case "":
                return body, ""
            case "gzip" | "x-gzip" | "deflate":
                # 32: either header; deflate without one is not worth a second try
                data = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32).decompress(body, UNPACK_LIMIT)
            case "br":
                data = importlib.import_module("brotli").Decompressor().process(body, output_buffer_limit=UNPACK_LIMIT)
            case "zstd":
                data = importlib.import_module("compression.zstd").ZstdDecompressor().decompress(body, UNPACK_LIMIT)
            case _:
                return body, f"{coding}: not unpacked"
    except ImportError:
        return body, f"{coding}: this Python cannot unpack it"
    except Exception as error:  # noqa: BLE001 - each library has its own; what a service calls gzip may be anything
        return body, f"{coding}, which cannot be unpacked: {error}"
    return bytes(data[:UNPACK_LIMIT]), f"unpacked from {coding}"
