"""The two formats of a log line, against lines of the real connector."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prx.lab.connector.log import Field, Level, Log, format_console, format_json, quote

TRANSCRIPTS = Path(__file__).parents[2] / "data" / "cloudflared-2026.8.2"
PAIRS = [
    "lost_one_http2",
    "origin_refused_http2",
    "config_update_http2",
    "startup_quick_http2",
    "quick_500_html",
    "reject_dupconn",
]
_LINE = re.compile(r" *[\d.]+ E (.*)")
_FIELD = re.compile(r' (\w+)=((?:"(?:[^"\\]|\\.)*")|[^ "]*)')


def lines(name: str) -> list[str]:
    """The log lines of a transcript, without bare text."""
    text = (TRANSCRIPTS / name).read_text()
    found = [match[1] for match in map(_LINE.fullmatch, text.splitlines()) if match]
    return [line for line in found if line.startswith(("{", "2026-"))]


@pytest.mark.parametrize("name", PAIRS)
def test_json_lines(name: str) -> None:
    """Every JSON line of the real connector can be written again, byte by byte, from what it says."""
    for line in lines(f"{name}.json.log"):
        record = json.loads(line)
        now = datetime.strptime(record.pop("time"), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        word = record.pop("level")
        level = next(level for level in Level if level.word == word)
        assert format_json(now, level, record.pop("message", ""), record) == line


@pytest.mark.parametrize("name", PAIRS)
def test_console_lines(name: str) -> None:
    """Every console line of the real connector can be written again, byte by byte, from what it says."""
    for line in lines(f"{name}.console.log"):
        stamp, label, rest = line.split(" ", 2)
        fields: dict[str, Field] = {}
        message = rest
        first = next((match.start() for match in _FIELD.finditer(rest) if _only_fields(rest[match.start() :])), None)
        if first is not None:
            message = rest[:first]
            for key, value in _FIELD.findall(rest[first:]):
                fields[key] = json.loads(value) if value.startswith('"') else int(value) if value.isdigit() else value
        now = datetime.strptime(stamp, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        level = next(level for level in Level if level.label == label)
        assert format_console(now, level, message, fields) == line


def _only_fields(text: str) -> bool:
    return "".join(match[0] for match in _FIELD.finditer(text)) == text


@given(st.text())
def test_a_line_is_one_line(text: str) -> None:
    """Nothing that a visitor or an edge sends can break a line in two."""
    assert quote(text).splitlines() == [quote(text)]
    line = format_console(datetime(2026, 1, 1, tzinfo=UTC), Level.INFO, "m", {"error": text})
    assert line.splitlines() == [line]


def test_levels_and_file(tmp_path: Path) -> None:
    """Lines below the level are left out; the file has the same lines as JSON."""
    written: list[str] = []
    log = Log(level=Level.WARN, file=tmp_path / "log", sink=written.append, now=lambda: datetime(2026, 1, 2, tzinfo=UTC))
    log.info("no")
    log.warn("yes", connIndex=1)
    log.error("", error="why not")
    log.close()
    assert written == ["2026-01-02T00:00:00Z WRN yes connIndex=1\n", '2026-01-02T00:00:00Z ERR  error="why not"\n']
    records = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [record["level"] for record in records] == ["warn", "error"]
    assert "message" not in records[1]
