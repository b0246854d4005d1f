"""What the fake writes: log lines in cloudflared's two formats, and last words."""

from __future__ import annotations

import json
import os
from typing import Any, NoReturn

_MARKS = {"debug": "DBG", "info": "INF", "warn": "WRN", "error": "ERR"}
_TIME = "2026-11-22T17:08:56Z"  # the fake has no clock


class Log:
    """Write log lines to stderr, as JSON or for people."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json

    def __call__(self, level: str, message: str, **fields: Any) -> None:
        """Write one line."""
        if self.as_json:
            entry = {**fields, "level": level, "message": message, "time": _TIME}
            text = json.dumps(dict(sorted(entry.items())), separators=(",", ":"))
        else:
            ordered = sorted(fields.items(), key=lambda item: (item[0] != "error", item[0]))
            text = " ".join([_TIME, _MARKS[level], message, *(f"{name}={_quoted(str(value))}" for name, value in ordered)])
        write(text)


def write(text: str, stream: int = 2) -> None:
    """Write one line; block, as cloudflared does, while the pipe is not read."""
    write_bytes(text.encode() + b"\n", stream)


def write_bytes(data: bytes, stream: int = 2) -> None:
    """Write bytes as they are."""
    while data:
        data = data[os.write(stream, data) :]


def end(code: int, *words: str, stream: int = 2) -> NoReturn:
    """Say these lines and end at once."""
    for line in words:
        write(line, stream)
    os._exit(code)


def _quoted(value: str) -> str:
    return json.dumps(value) if not value or any(character in value for character in ' "=\\') else value
