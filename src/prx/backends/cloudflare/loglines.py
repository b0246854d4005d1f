"""Take cloudflared's log lines apart, whatever their format.

Theory of operation. One line is one of four things, tried in this order: a JSON object (`--output json`), a console line
(`2026-11-22T17:08:56Z INF message key=value …`), a line of Go's own log package (`2026/11/22 17:11:34 text`), or bare text.
All of them appear on one stderr: the last error of the process, usage and token errors, and crash dumps are bare in either
format, a message may hold raw newlines, and two writers may tear each other's lines. So nothing here ever raises, and what
is not understood stays readable as it is. Control characters are made visible: part of a line comes from visitors. Formats
observed with cloudflared 2026.8.2.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

from prx.backends.base import LogLine
from prx.core.parsing import parse_json

STDOUT: Final = "stdout"

_LEVELS: Final = {
    "trace": "debug", "debug": "debug", "info": "info", "warn": "warn", "warning": "warn",
    "error": "error", "fatal": "error", "panic": "error",
    "TRC": "debug", "DBG": "debug", "INF": "info", "WRN": "warn", "ERR": "error", "FTL": "error", "PNC": "error",
}  # fmt: skip

_COLOUR: Final = re.compile(r"\x1b\[[0-9;]*m")
# C0 and C1 controls, line separators, what turns the direction of writing, and halves of characters (JSON can smuggle them in)
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_CONSOLE: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\S*) (TRC|DBG|INF|WRN|ERR|FTL|PNC)(?: (.*))?", re.DOTALL)
_GO_LOG: Final = re.compile(r"(\d{4}/\d\d/\d\d \d\d:\d\d:\d\d(?:\.\d+)?) (.*)", re.DOTALL)
_FIELD: Final = re.compile(r'([A-Za-z_][\w.-]*)=("(?:[^"\\]|\\.)*"|[^\s"]*)(?= |$)')
_GO_ESCAPE: Final = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)", re.DOTALL)
_GO_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}


def take_apart(line: str) -> LogLine:
    """Return the parts of one line; its kind is left open (`OTHER`)."""
    text = _COLOUR.sub("", line).rstrip("\r\n")
    return _json_line(text) or _console_line(text) or _go_line(text) or LogLine("info", visible(text), fields={"bare": True})


def visible(text: str) -> str:
    """Return the text with its control characters, but not tabs, written as escapes."""
    if text.isprintable():
        return text
    return _CONTROL.sub(lambda match: repr(match[0])[1:-1], text)


def _json_line(text: str) -> LogLine | None:
    if not text.startswith("{"):
        return None
    try:
        found = parse_json(text)
    except ValueError:
        return None
    if not isinstance(found, dict):
        return None
    level = _LEVELS.get(str(found.pop("level", "")), "info")
    return _line(level, found.pop("message", ""), found)


def _console_line(text: str) -> LogLine | None:
    match = _CONSOLE.fullmatch(text)
    if match is None:
        return None
    message, fields = _split_fields(match[3] or "")
    return _line(_LEVELS[match[2]], message, {"time": match[1], **fields})


def _go_line(text: str) -> LogLine | None:
    match = _GO_LOG.fullmatch(text)
    return None if match is None else LogLine("info", visible(match[2]), fields={"time": match[1]})


def _line(level: str, message: Any, fields: dict[str, Any]) -> LogLine:
    """Promote the fields that have a place of their own."""
    index = fields.pop("connIndex", None)
    return LogLine(
        level=level,
        message=_text(message),
        connection=index if isinstance(index, int) and not isinstance(index, bool) else None,
        location=_text(fields.pop("location", "")),
        protocol=_text(fields.pop("protocol", "")),
        error=_text(fields.pop("error", "")),
        fields={visible(name): value if isinstance(value, int) else _text(value) for name, value in fields.items()},
    )


def _text(value: Any) -> str:
    if isinstance(value, str):
        return visible(value)
    try:
        return "" if value is None else json.dumps(value)
    except RecursionError:
        return "…"


def _split_fields(text: str) -> tuple[str, dict[str, Any]]:
    """Split `message key=value key="quoted value"`: the fields are the longest run of them that reaches the end.

    One pass from the left; a word that is no field makes everything before it part of the message.
    """
    fields: dict[str, Any] = {}
    begin = position = 0
    while position < len(text):
        match = _FIELD.match(text, position)
        if match is None:
            fields.clear()
            space = text.find(" ", position)
            position = len(text) if space < 0 else space + 1
            begin = position
        else:
            fields[match[1]] = _value(match[2])
            position = match.end() + 1
    message = text[:begin] if fields else text
    return message.removesuffix(" ") if fields else message, fields


def _value(text: str) -> str | int:
    if text.startswith('"'):
        return _GO_ESCAPE.sub(_unescape, text[1:-1])
    return int(text) if re.fullmatch(r"-?[0-9]{1,18}", text) else text


def _unescape(match: re.Match[str]) -> str:
    code = match[1]
    if len(code) > 1:
        number = int(code[1:], 16)
        return chr(number) if number <= 0x10FFFF else "\ufffd"
    return _GO_ESCAPES.get(code, code)
