"""The log file of a prx: everything that says something, redacted, repeats folded."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from prx.app.log_file import FOLD_SECONDS, EventLog
from prx.core.events import Event, Log, StateChanged
from prx.core.states import State
from prx.logs.redact import Redactor
from prx.testing.clock import ManualClock


def written(path: Path) -> list[dict[str, Any]]:
    """Read the file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def line(number: int, message: str, source: str = "cloudflare") -> Event:
    """Make a line of log."""
    return Event(number, 1_800_000_000.0, Log(tunnel="web", level="warn", message=message, source=source))


def test_repeats_are_folded(tmp_path: Path) -> None:
    """A line that comes 38 times is written once, and once more with the number of its repeats."""
    clock = ManualClock()
    with EventLog(tmp_path / "log", Redactor(), clock) as logbook:
        for number in range(38):
            logbook.see(line(number, "Retrying connection in up to 1s"))
        clock.advance(FOLD_SECONDS)
        logbook.see(line(99, "Registered tunnel connection"))
    messages = [record["message"] for record in written(tmp_path / "log")]
    assert messages == [
        "Retrying connection in up to 1s",
        "Retrying connection in up to 1s (×37)",
        "Registered tunnel connection",
    ]


def test_nothing_is_lost_at_the_end(tmp_path: Path) -> None:
    """What is still being counted is written when the log is closed."""
    with EventLog(tmp_path / "log", Redactor(), ManualClock()) as logbook:
        logbook.see(line(1, "again"))
        logbook.see(line(2, "again"))
        logbook.see(line(3, "again"))
    assert [record["message"] for record in written(tmp_path / "log")] == ["again", "again (×2)"]


def test_secrets_are_redacted(tmp_path: Path) -> None:
    """A known secret never reaches the file, in whatever field it stands."""
    with EventLog(tmp_path / "log", Redactor(["hush-hush-hush"]), ManualClock()) as logbook:
        logbook.see(line(1, "the word is hush-hush-hush", source="prx"))
        fact = StateChanged(tunnel="web", old=State.STARTING, new=State.FAILED, reason="because of hush-hush-hush")
        logbook.see(Event(2, 1_800_000_000.0, fact))
    text = (tmp_path / "log").read_text()
    assert "hush" not in text
    assert text.count("[redacted]") == 2


@pytest.mark.parametrize("where", ["log", "log/deeper", "log/deeper/still", "x" * 300])
def test_a_log_that_cannot_be_written_is_said_once(tmp_path: Path, where: str) -> None:
    """A file in the place of a folder or a folder in that of the file, a name that no file can have: one word, not silence."""
    if where == "log":
        (tmp_path / "log").mkdir()
    else:
        (tmp_path / "log").write_text("a file")
    said: list[str] = []
    with EventLog(tmp_path / where, Redactor(), ManualClock(), warn=said.append) as logbook:
        for number in range(3):
            logbook.see(line(number, "words", source="prx"))
            while logbook.lost <= number:
                time.sleep(0.001)
    assert len(said) == 1
    assert said[0].startswith("the log cannot be written: ")
