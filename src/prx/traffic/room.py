"""Keep what is answered about exchanges within one line of the control socket (`prx.control.messages.ANSWER_LIMIT`). Pure."""

from __future__ import annotations

import json
from typing import Any, Final

PATH_LENGTH: Final = 2000
"""Characters of a path in a list; one of them may have 128 KiB."""

_LIST_SIZE: Final = 2 * 1024 * 1024
_HEADERS_SIZE: Final = 200 * 1024  # of one side
_SHORT: Final = 40  # characters of a name or value
_EVENTS_SIZE: Final = 512 * 1024  # beside two bodies of 1 MiB in base64, and heads


def lines_within(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the newest lines that have room in an answer, long paths cut."""
    kept: list[dict[str, Any]] = []
    size = 0
    for line in reversed(found):
        path = line["path"]
        short = line | {"path": path[:PATH_LENGTH] + "…"} if len(path) > PATH_LENGTH else line
        size += len(json.dumps(short))
        if size > _LIST_SIZE:
            break
        kept.append(short)
    return kept[::-1]


def whole_within(found: dict[str, Any]) -> dict[str, Any]:
    """Return one exchange, without those of its messages that have no room in an answer."""
    kept: list[dict[str, Any]] = []
    size = 0
    for item in found["events"]:
        size += len(json.dumps(item))
        if size > _EVENTS_SIZE:
            break
        kept.append(item)
    left = len(found["events"]) - len(kept)
    found = found | {name: _short_headers(found[name]) for name in ("request", "answer")}
    return found if not left else found | {"events": kept, "notes": [*found["notes"], f"{left} more messages are not shown"]}


def _short_headers(side: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return a request or an answer with long headers cut if they have no room together."""
    if side is None or len(json.dumps(side["headers"])) <= _HEADERS_SIZE:
        return side
    return side | {"headers": [[_cut(name), _cut(value)] for name, value in side["headers"][:500]]}


def _cut(text: str) -> str:
    return text if len(text) <= _SHORT else f"{text[:_SHORT]}…"
