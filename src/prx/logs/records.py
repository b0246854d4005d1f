"""One stored log record, and its line of JSON: what the file holds and `prx logs --json` prints.

    {"seq": 12, "at": "2026-11-22T17:12:10.123Z", "tunnel": "web", "level": "info",
     "message": "…", "source": "cloudflared", …further fields…}

A child that writes faster than it can be followed has many lines below one record, whose `lines` is their number. Each stands
there as the child wrote it, behind a space: no record begins with one, and JSON allows it. If they are not JSON, `lines` is
their text, with newlines between them. `Unfolder` makes records of both again.

`seq` is there for records that are events too. `level` is one of `LEVELS`. A line is always one line: JSON escapes every
line end.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import field

from prx.core.parsing import parse_json
from prx.core.value import Value, value_class

LEVELS = ("debug", "info", "warn", "error")
"""Levels of a record, least important first; cloudflared's own words."""

LINES = "lines"

_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=str)
_OWN = frozenset({"seq", "at", "tunnel", "level", "message", "source"})


@value_class(frozen=True, slots=True, eq=False, repr=False)
class LogRecord(Value):
    """Hold one record: `at` is UTC in RFC 3339, `source` is "prx" or the client's name, `fields` are JSON values.

    Everything in it is redacted already: a record is what may be stored.
    """

    at: str
    tunnel: str
    level: str
    message: str
    source: str = "prx"
    seq: int | None = None
    fields: Mapping[str, object] = field(default_factory=dict)

    @property
    def words(self) -> str:
        """The message with the error that belongs to it, and at the end how many there were of a repeated one."""
        repeated = self.fields.get("repeated")
        many = f"(×{repeated})" if isinstance(repeated, int) else ""
        message = self.message.removesuffix(many).rstrip() if many else self.message
        error = self.fields.get("error", "")
        reason = error if isinstance(error, str) and error not in message else ""
        return " ".join(part for part in (": ".join(part for part in (message, reason) if part), many) if part)

    def to_json(self) -> str:
        """Return the record as one line of JSON, without a newline; a further field never replaces one of the six."""
        head: dict[str, object] = {} if self.seq is None else {"seq": self.seq}
        head |= {"at": self.at, "tunnel": self.tunnel, "level": self.level, "message": self.message}
        head["source"] = self.source
        rest = {key: value for key, value in self.fields.items() if key not in _OWN}
        return _JSON.encode(head | rest)

    @classmethod
    def from_json(cls, line: str | bytes) -> LogRecord:
        """Read a stored line; ValueError if it is not a record (cut by a crash, or another program's)."""
        data = parse_json(line)
        if not isinstance(data, dict):
            raise ValueError(f"expected a JSON object, found {type(data).__name__}")  # noqa: TRY004 - bad content
        rest = {key: value for key, value in data.items() if key not in _OWN}
        match data:
            case {"at": str(at), "tunnel": str(tunnel), "level": str(level), "message": str(message), "source": str(source)}:
                seq = data.get("seq")
                return cls(at, tunnel, level, message, source, seq if isinstance(seq, int) else None, rest)
        raise ValueError("expected at, tunnel, level, message and source, all text")


def fold_block(at: str, tunnel: str, source: str, block: bytes) -> tuple[bytes, int]:
    """Return what stores whole lines of a child, each with its newline and all of them clean, and how many they are.

    Lines of JSON are stored as they are. Only the first and the last one are examined: to examine each would cost most.
    """
    first, last = block[: block.index(b"\n")], block[block.rfind(b"\n", 0, -1) + 1 : -1]
    if not all(line.startswith(b'{"') and line.endswith(b"}") for line in (first, last)):
        text = block[:-1].decode("utf-8", "replace")
        record = LogRecord(at, tunnel, "debug", "", source, fields={LINES: text})
        return record.to_json().encode(), text.count("\n") + 1
    indented = block.replace(b"\n", b"\n ")
    count = len(indented) - len(block)
    head = LogRecord(at, tunnel, "debug", "", source, fields={LINES: count}).to_json().encode()
    return b"".join((head, b"\n ", memoryview(indented)[:-2])), count


def is_below(line: bytes) -> bool:
    """Return whether a stored line belongs to the record above it."""
    return line.startswith(b" ")


def is_head(line: bytes) -> bool:
    """Return whether a stored line is a record that has lines below it."""
    with suppress(ValueError):
        return isinstance(LogRecord.from_json(line).fields.get(LINES), int)
    return False


def blocks(lines: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Yield each stored record with the lines that stand below it."""
    block: list[bytes] = []
    for line in lines:
        if block and not is_below(line):
            yield block
            block = []
        block.append(line)
    if block:
        yield block


class Unfolder:
    """Make records of stored lines, in their order."""

    def __init__(self) -> None:
        self._head = LogRecord("", "", "debug", "", "")

    def take(self, line: bytes) -> Iterator[LogRecord]:
        """Yield the records that a stored line stands for; ValueError if it is none (cut by a crash, or another program's)."""
        if is_below(line):
            yield _of_child(self._head, line[1:].decode("utf-8", "replace"))
            return
        self._head = record = LogRecord.from_json(line)
        lines = record.fields.get(LINES)
        if isinstance(lines, str):
            for text in lines.split("\n"):
                yield _of_child(record, text)
        elif not isinstance(lines, int):
            yield record


def _of_child(record: LogRecord, line: str) -> LogRecord:
    """Return the record of a child's own line: its level and message if it is JSON that has them, else as it is."""
    found: object = None
    with suppress(ValueError):
        found = parse_json(line)
    match found:
        case {"message": str(message), **fields}:
            level = fields.get("level")
            kept = {str(key): value for key, value in fields.items() if key not in _OWN}
            return LogRecord(
                record.at, record.tunnel, level if level in LEVELS else "info", message, record.source, fields=kept
            )
    return LogRecord(record.at, record.tunnel, "info", line, record.source)
