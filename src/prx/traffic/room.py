"""Keep what is answered about exchanges within one line of the control socket (`prx.control.messages.ANSWER_LIMIT`). Pure."""

from __future__ import annotations

import json
from typing import Any, Final

from prx.traffic.exchange import BODY_LIMIT

PATH_LENGTH: Final = 2000
"""Characters of a path in a list; one of them may have 128 KiB."""

_LIST_SIZE: Final = 2 * 1024 * 1024
_HEADERS_SIZE: Final = 200 * 1024  # of one side
_BODY_SIZE: Final = 4 * -(-BODY_LIMIT // 3)  # of one side, in base64
_SHORT: Final = 40  # characters of a name or value
_EVENTS_SIZE: Final = 512 * 1024  # beside two bodies of 1 MiB in base64, and heads


def lines_within(found: list[dict[str, Any]], *, first: bool = False) -> list[dict[str, Any]]:
    """Return the last lines that have room in an answer, or the `first` ones, long methods and paths cut."""
    kept: list[dict[str, Any]] = []
    size = 0
    for line in found if first else reversed(found):
        path = line["path"]
        short = line | {"method": _cut(line["method"])} if len(line["method"]) > _SHORT else line
        short = short | {"path": path[:PATH_LENGTH] + "…"} if len(path) > PATH_LENGTH else short
        size += len(json.dumps(short))
        if size > _LIST_SIZE:
            break
        kept.append(short)
    return kept if first else kept[::-1]


def whole_within(found: dict[str, Any]) -> dict[str, Any]:
    """Return one exchange, without those of its messages that have no room in an answer."""
    kept: list[dict[str, Any]] = []
    size = 0
    for item in found["events"]:
        size += len(json.dumps(item))
        if size > _EVENTS_SIZE:
            break
        kept.append(item)
    sides = {name: _short_body(_short_headers(found[name])) for name in ("request", "answer")}
    notes = list(found["notes"])
    if any(side is not None and len(side["body"]) < len(found[name]["body"]) for name, side in sides.items()):
        notes.append("a body has become longer by what is hidden in it, and its end is not shown")
    if left := len(found["events"]) - len(kept):
        notes.append(f"{left} more messages are not shown")
    return found | sides | {"events": kept, "notes": notes}


def _short_headers(side: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return a request or an answer with long headers cut if they have no room together."""
    if side is None or len(json.dumps(side["headers"])) <= _HEADERS_SIZE:
        return side
    return side | {"headers": [[_cut(name), _cut(value)] for name, value in side["headers"][:500]]}


def _short_body(side: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return a request or an answer with its body cut if it is longer than what is kept: a mark may stand for a letter."""
    if side is None or len(side["body"]) <= _BODY_SIZE:
        return side
    return side | {"body": side["body"][:_BODY_SIZE], "body_cut": True}


def _cut(text: str) -> str:
    return text if len(text) <= _SHORT else f"{text[:_SHORT]}…"
