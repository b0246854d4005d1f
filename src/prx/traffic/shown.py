"""One request as lines for people: safe for a terminal, bodies unpacked within bounds. Pure."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterator
from typing import Any, Final

from prx.logs.text import printable
from prx.traffic.coding import CODINGS, unpacked

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
    data, how = plain(body, coding)
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


def plain(body: bytes, coding: str) -> tuple[bytes, str]:
    """Return a body without its content coding, and what was done or why it was not."""
    if not coding.strip():
        return body, ""
    if coding.strip() not in CODINGS:
        return body, f"{coding}: not unpacked"
    try:
        return unpacked(body, coding), f"unpacked from {coding}"
    except ImportError:
        return body, f"{coding}: this Python cannot unpack it"
    except ValueError as error:
        return body, f"{coding}, which cannot be unpacked: {error}"
