"""A stored record is one line of JSON that reads back as the same record."""

import json

import pytest

from prx.logs.records import LogRecord


def test_round_trip() -> None:
    """Every field survives, line ends and all, on one line."""
    record = LogRecord("2026-11-22T17:12:10Z", "web", "info", "two\nlines ü", "cloudflared", 7, {"ip": "127.0.0.1"})
    line = record.to_json()
    assert "\n" not in line
    assert list(json.loads(line)) == ["seq", "at", "tunnel", "level", "message", "source", "ip"]
    assert LogRecord.from_json(line) == record


def test_fields_never_replace_the_record() -> None:
    """A client that logs a field named "source" cannot pretend to be prx."""
    record = LogRecord("t", "web", "info", "m", "cloudflared", fields={"source": "prx", "seq": 1})
    assert json.loads(record.to_json()) == {
        "at": "t", "tunnel": "web", "level": "info", "message": "m", "source": "cloudflared"
    }  # fmt: skip


@pytest.mark.parametrize("line", ["", "{", "[]", "3", '{"at": 1}', '{"at":"t","tunnel":"w","level":"info"}'])
def test_not_a_record(line: str) -> None:
    """Anything else is refused with one kind of error."""
    with pytest.raises(ValueError, match="xpect"):
        LogRecord.from_json(line)
