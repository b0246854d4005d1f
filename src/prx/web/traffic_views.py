"""What templates show of requests: everything decided and put into words here, so that templates hold no logic."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlencode

from prx.logs.text import printable
from prx.traffic.shown import body_text
from prx.web.views import time_of_day

_LONGEST_LINE: Final = 5_000  # characters of a line of a body; `prx requests show` prints all of it
_LONGEST_PATH: Final = 500
_LONGEST_MESSAGE: Final = 2_000
_MESSAGES: Final = 200
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the list; `status` is "…" while there is none. `tone` is ok, wait, warn, bad or off."""

    id: int
    time: str
    method: str
    path: str
    status: str
    tone: str
    took: str
    marks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Side:
    """A request or an answer: its headers in order, and its body as text."""

    first: str
    headers: tuple[tuple[str, str], ...]
    lines: tuple[str, ...]
    remarks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Talk:
    """A WebSocket message or a server-sent event."""

    time: str
    sender: str
    kind: str
    size: int
    text: str


@dataclass(frozen=True, slots=True)
class Detail:
    """One request. replay: the path to POST to; `ask` is what is asked before. Empty if it cannot be, and `ask` says why."""

    row: Row
    tunnel: str
    first_byte: str
    signature: str
    request: Side | None
    interim: str
    answer: Side | None
    trailers: tuple[tuple[str, str], ...]
    talks: tuple[Talk, ...]
    more_talks: int
    replay: str
    ask: str


def path_of(prx: str, tunnel: str) -> str:
    """Return the path of the page that lists the requests of a tunnel."""
    return f"/tunnels/{quote(prx, safe='')}/{quote(tunnel, safe='')}/requests"


def row(found: dict[str, Any]) -> Row:
    """Return a line of the list from what `prx requests --json` prints of a request."""
    status = found["status"]
    marks = [
        *([found["signature"]] if found["signature"] else []),
        *([f"replay of {found['replay_of']}"] if found["replay_of"] else []),
        *([f"{found['messages']} messages"] if found["messages"] else []),
        *(["prx's own check"] if found["own"] else []),
        f"{_size(found['request_bytes'])} → {_size(found['answer_bytes'])}",
        *found["notes"],
    ]
    return Row(
        id=found["id"],
        time=time_of_day(found["at"]),
        method=printable(found["method"]) or "?",
        path=_cut(printable(found["path"]), _LONGEST_PATH) or "?",
        status=str(status or "…"),
        tone=_tone(status),
        took=_milliseconds(found["duration_ms"]),
        marks=tuple(map(printable, marks)),
    )


def detail(found: dict[str, Any], prx: str, local_addr: str) -> Detail:
    """Return what the page of one request shows, from what `prx requests show --json` prints of it. Takes a moment."""
    shown, refusal = row(found), _refusal(found)
    query = urlencode({"prx": prx, "tunnel": found["tunnel"], "at": found["at"]})
    changes = "" if found["method"] in _SAFE else " It may change something there."
    where = f"Send {shown.method} {_cut(shown.path, 80)} to {local_addr} again?{changes}"
    return Detail(
        row=shown,
        tunnel=printable(found["tunnel"]),
        first_byte=_milliseconds(found["first_byte_ms"]),
        signature=printable(found["signature"] or ""),
        request=_side(f"{shown.method} {found['path']} {(found['request'] or {}).get('version', '')}", found["request"]),
        interim=", ".join(map(str, found["interim"])),
        answer=_side(_first_of_answer(found), found["answer"]),
        trailers=_pairs(found["trailers"]),
        talks=tuple(_talk(item) for item in found["events"][:_MESSAGES]),
        more_talks=max(0, found["messages"] - len(found["events"])),
        replay="" if refusal else f"/api/v1/requests/{found['id']}/replay?{query}",
        ask=refusal or where,
    )


def _refusal(found: dict[str, Any]) -> str:
    """Return why a request cannot be sent again; empty if it can. prx itself decides in the end."""
    if found["request"] is None or found["status"] == 101 or found["method"] in {"", "CONNECT"}:
        return "It cannot be sent again: it is no plain HTTP request."
    if found["request"]["body_cut"]:
        return "It cannot be sent again: its body was cut."
    return ""


def _first_of_answer(found: dict[str, Any]) -> str:
    answer = found["answer"] or {}
    return f"{answer.get('version', '')} {found['status'] or ''} {answer.get('reason', '')}".strip()


def _side(first: str, side: dict[str, Any] | None) -> Side | None:
    if side is None:
        return None
    body = body_text(side)
    lines = tuple(_cut(line, _LONGEST_LINE) for line in body.lines) if side["body_bytes"] else ()
    remarks = (*([body.before] if body.before else []), *body.after) if side["body_bytes"] else ()
    return Side(_cut(printable(first), 4 * _LONGEST_PATH), _pairs(side["headers"]), lines, remarks)


def _pairs(headers: Sequence[Sequence[str]]) -> tuple[tuple[str, str], ...]:
    return tuple((printable(name), _cut(printable(value), _LONGEST_LINE)) for name, value in headers)


def _talk(item: dict[str, Any]) -> Talk:
    text = item["data"]
    if item["kind"] == "binary":
        text = base64.b64decode(text + "=" * (-len(text) % 4)).hex(" ")
    sender, kind = printable(item["sender"]), printable(item["kind"])
    return Talk(time_of_day(item["at"]), sender, kind, item["size"], _cut(printable(text), _LONGEST_MESSAGE))


def _tone(status: int | None) -> str:
    if status is None:
        return "wait"
    return "ok" if status < 400 else "warn" if status < 500 else "bad"


def _milliseconds(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value / 1000:.1f} s" if value >= 10_000 else f"{value:.0f} ms" if value >= 10 else f"{value:.1f} ms"


def _size(count: int) -> str:
    if count < 1_000:
        return f"{count} B"
    return f"{count / 1_000:.1f} kB" if count < 1_000_000 else f"{count / 1_000_000:.1f} MB"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}… ({len(text)} characters)"
