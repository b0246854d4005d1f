"""A stored record is one line of JSON that reads back as the same record."""

import json

import pytest

from prx.logs.records import LogRecord, unfold


def test_round_trip() -> None:
    """Every field survives, line ends and all, on one line."""
    record = LogRecord("2026-11-22T17:12:10Z", "web", "info", "two\nlines ü", "cloudflared", 7, {"ip": "127.0.0.1"})
    line = record.to_json()
    assert "\n" not in line
    assert list(json.loads(line)) == ["seq", "at", "tunnel", "level", "message", "source", "ip"]
    assert LogRecord.from_json(line) == record


@pytest.mark.parametrize(
    ("message", "fields", "words"),
    [
        ("Request failed", {}, "Request failed"),
        ("Request failed", {"error": "refused"}, "Request failed: refused"),
        ("Request failed (×2)", {"error": "refused", "repeated": 2}, "Request failed: refused (×2)"),
        ("", {"error": "refused"}, "refused"),
        ("(×12)", {"error": "refused", "repeated": 12}, "refused (×12)"),
        ("it was refused", {"error": "refused"}, "it was refused"),
        ("", {"error": 5}, ""),
        ("(×2)", {}, "(×2)"),
    ],
)
def test_the_words_of_a_record(message: str, fields: dict[str, object], words: str) -> None:
    """A line has its message, the error that belongs to it, and how many there were, each once and in this order."""
    assert LogRecord("t", "web", "error", message, fields=fields).words == words


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


@pytest.mark.parametrize(
    ("line", "level", "message", "fields"),
    [
        ('{"level":"warn","message":"m","time":"t"}', "warn", "m", {"level": "warn", "time": "t"}),
        ('{"level":"fatal","message":"m"}', "info", "m", {}),
        ('{"message":7}', "info", '{"message":7}', {}),
        ("bare", "info", "bare", {}),
        ("[" * 100_000, "info", "[" * 100_000, {}),
        ("", "info", "", {}),
    ],
)
def test_many_lines_in_one_record_are_records_again(line: str, level: str, message: str, fields: dict[str, str]) -> None:
    """Each line that a child wrote is a record of its own for readers, whatever it holds."""
    stored = LogRecord("2026-11-22T17:12:10.123Z", "web", "debug", "", "cloudflared", fields={"lines": f"first\n{line}"})
    first, second = unfold(LogRecord.from_json(stored.to_json()))
    assert (first.message, first.tunnel, first.source) == ("first", "web", "cloudflared")
    assert (second.level, second.message) == (level, message)
    assert {key: value for key, value in fields.items() if key != "level"}.items() <= second.fields.items()
    assert list(unfold(second)) == [second]
