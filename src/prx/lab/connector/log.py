"""Write log lines in cloudflared's two formats, on stderr and possibly into a file.

Console: `2026-11-22T17:42:05Z INF message key=value`, the error first, then the keys in alphabetical order, a value in
quotes when it holds anything but plain printable characters. JSON: one object a line, keys in alphabetical order. Times
are UTC in whole seconds. Observed with cloudflared 2026.8.2.

A line is written with one blocking `write`: like the real client, a connector whose stderr is not read stands still, and
one whose reader is gone dies of SIGPIPE.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import Path
from typing import Final

from prx.lab.connector.log_file import LogFile, LogFolder

Field = str | int | float | bool | None

_ESCAPES: Final = {"\n": "\\n", "\t": "\\t", "\r": "\\r", "\a": "\\a", "\b": "\\b", "\f": "\\f", "\v": "\\v"}


class Level(IntEnum):
    """The levels, in their order; `label` and `word` are their console and JSON spellings."""

    DEBUG = 0
    INFO = 1
    WARN = 2
    ERROR = 3
    FATAL = 4

    @property
    def label(self) -> str:
        """Return the three letters of the console format."""
        return ("DBG", "INF", "WRN", "ERR", "FTL")[self]

    @property
    def word(self) -> str:
        """Return the word of the JSON format, which is also the value of `--loglevel`."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Entry:
    """One line before it is formatted."""

    time: datetime
    level: Level
    message: str
    fields: Mapping[str, Field]


def utc_now() -> datetime:
    """Return the present time, in UTC."""
    return datetime.now(UTC)


def write_stderr(text: str) -> None:
    """Write a whole text to stderr; die of SIGPIPE, as the real client does, when its reader is gone."""
    data = text.encode("utf-8", "surrogateescape")
    try:
        while data:
            data = data[os.write(2, data) :]
    except BrokenPipeError:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGPIPE)


class Log:
    """A log of lines at or above a level: to `sink` in the chosen format, to `file` and into `folder` always as JSON."""

    def __init__(
        self,
        *,
        level: Level = Level.INFO,
        as_json: bool = False,
        file: Path | None = None,
        folder: Path | None = None,
        sink: Callable[[str], None] = write_stderr,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._level = level
        self._format = format_json if as_json else format_console
        self._files: list[LogFile] = [LogFile(file)] if file else []
        if folder:
            self._files.append(LogFolder(folder, now=now))
        self._sink = sink
        self._now = now
        self._listeners: list[Callable[[Entry], None]] = []

    @contextmanager
    def listened(self, take: Callable[[Entry], None]) -> Iterator[None]:
        """Hand every line to `take` while the block runs, whatever the level of the log is."""
        self._listeners.append(take)
        try:
            yield
        finally:
            self._listeners.remove(take)

    def close(self) -> None:
        """Close the log files, if there are any."""
        for file in self._files:
            file.close()

    def enabled(self, level: Level) -> bool:
        """Return whether lines of this level are written, so that costly ones need not be built."""
        return level >= self._level or bool(self._listeners)

    def write(self, level: Level, message: str, **fields: Field) -> None:
        """Write one line, if its level is enabled."""
        if not self.enabled(level):
            return
        now = self._now()
        for take in tuple(self._listeners):
            take(Entry(now, level, message, fields))
        if level < self._level:
            return
        self._sink(self._format(now, level, message, fields) + "\n")
        for file in self._files:
            file.write(format_json(now, level, message, fields) + "\n")

    def debug(self, message: str, **fields: Field) -> None:
        """Write a line at level debug."""
        self.write(Level.DEBUG, message, **fields)

    def info(self, message: str, **fields: Field) -> None:
        """Write a line at level info."""
        self.write(Level.INFO, message, **fields)

    def warn(self, message: str, **fields: Field) -> None:
        """Write a line at level warn."""
        self.write(Level.WARN, message, **fields)

    def error(self, message: str, **fields: Field) -> None:
        """Write a line at level error."""
        self.write(Level.ERROR, message, **fields)


def format_console(now: datetime, level: Level, message: str, fields: dict[str, Field]) -> str:
    """Return a line of the console format, without its newline."""
    keys = sorted(fields, key=lambda key: (key != "error", key))
    pairs = [f"{key}={_console_value(fields[key])}" for key in keys]
    return " ".join([_stamp(now), level.label, message, *pairs])


def format_json(now: datetime, level: Level, message: str, fields: dict[str, Field]) -> str:
    """Return a line of the JSON format, without its newline; an empty message is left out."""
    record: dict[str, Field] = {**fields, "level": level.word, "time": _stamp(now)}
    if message:
        record["message"] = message
    text = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    # Go's encoder also escapes what would be dangerous inside HTML.
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _stamp(now: datetime) -> str:
    return now.strftime("%Y-%m-%dT%H:%M:%SZ")


def _console_value(value: Field) -> str:
    if not isinstance(value, str):
        return json.dumps(value)
    plain = all("!" <= character <= "~" and character not in '"\\' for character in value)
    return value if plain else quote(value)


def quote(text: str) -> str:
    """Return a text in Go's double quotes, so that it stays on one line."""
    parts = []
    for character in text:
        if character in '"\\':
            parts.append("\\" + character)
        elif character in _ESCAPES:
            parts.append(_ESCAPES[character])
        elif character.isprintable():
            parts.append(character)
        else:
            code = ord(character)
            parts.append(f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")
    return f'"{"".join(parts)}"'
