"""One request as lines for people: safe for a terminal, bodies unpacked within bounds. Pure."""

from __future__ import annotations

import base64
import json
from codecs import getincrementaldecoder
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from prx.core.numbers import counted
from prx.core.shortage import lack_for_module
from prx.logs.redact import Redactor
from prx.logs.text import printable
from prx.traffic.charset import decoded, wide_codecs
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
    if not side["body_bytes"]:
        return
    yield ""
    body = body_text(side)
    if body.before:
        yield f"({body.before})"
    yield from body.lines
    yield from (f"({text})" for text in body.after)


@dataclass(frozen=True, slots=True)
class BodyText:
    """A body as printable lines; `before` says what was done to read it, `after` what of it is not here."""

    lines: tuple[str, ...] = ()
    before: str = ""
    after: tuple[str, ...] = ()


def body_text(side: dict[str, Any]) -> BodyText:
    """Return the body of a request or an answer, which may hold anything, as text within bounds."""
    body = base64.b64decode(side["body"])
    headers = {name.lower(): value.lower() for name, value in side["headers"]}
    coding = headers.get("content-encoding", "")
    if not body and side["body_bytes"] and coding:
        return BodyText((), printable(f"{coding}: not shown, as it cannot be unpacked here and may hold secrets"))
    data, before = plain(body, coding)
    cut = (f"cut: {len(body)} of {side['body_bytes']} bytes are kept",) if side["body_cut"] else ()
    kind = headers.get("content-type", "")
    codecs = wide_codecs(data, kind.encode())
    wide = decoded(data, codecs[0]) if codecs else None
    try:
        text = data.decode() if wide is None or "\0" in wide[0] or _is_utf8(data) else wide[0].removeprefix("\ufeff")
    except UnicodeDecodeError:
        text = data.decode("utf-8", "replace")
        if text.count("\ufffd") * 10 > len(text):
            return BodyText((), printable(before), (f"{len(data)} bytes that are no text", *cut))
    every = _readable(text, kind).split("\n")
    more = (counted(len(every) - _LINES, "more line"),) if len(every) > _LINES else ()
    return BodyText(tuple(printable(line) for line in every[:_LINES]), printable(before), (*more, *cut))


def _is_utf8(data: bytes) -> bool:
    """Return whether a body is UTF-8, whatever its header says: some services name what they do not send.

    Its last character may be cut.
    """
    try:
        return "\0" not in getincrementaldecoder("utf-8")().decode(data)
    except UnicodeDecodeError:
        return False


def _readable(text: str, kind: str) -> str:
    """Return JSON with a line for each value; what its escapes had hidden is hidden as well."""
    if "json" not in kind:
        return text
    try:
        return Redactor().text(json.dumps(json.loads(text), indent=2, ensure_ascii=False))
    except (ValueError, RecursionError):
        return text


def plain(body: bytes, coding: str) -> tuple[bytes, str]:
    """Return a body without its content coding, and what was done or why it was not."""
    if coding.strip() in {"", "identity"}:
        return body, ""
    if coding.strip() not in CODINGS:
        return body, f"{coding}: not unpacked"
    try:
        return unpacked(body, coding), f"unpacked from {coding}"
    except ImportError as error:
        if (lack := lack_for_module(error)) is not None:
            return body, f"{coding}: not unpacked, as this machine gives prx {lack.words}"
        return body, f"{coding}: this Python cannot unpack it"
    except ValueError as error:
        return body, f"{coding}, which cannot be unpacked: {error}"
