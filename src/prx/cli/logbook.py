"""The log file of one prx: what `prx logs` shows. Events in, redacted lines of JSON out; nobody waits for the disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from prx.cli.story import tell
from prx.core.events import Dropped, Event, Log, timestamp
from prx.logs.records import LogRecord
from prx.logs.redact import Redactor
from prx.logs.sinks import file_sink


def log_folder(data_dir: Path) -> Path:
    """Return the folder of the log files."""
    return data_dir / "logs"


def log_file(data_dir: Path, key: str) -> Path:
    """Return the log file of the instance `key`."""
    return log_folder(data_dir) / f"{key}.log"


class Logbook:
    """Write every event that says something to `path`, in a `with` block; `see` is quick and may be called on the event loop.

    `wall` gives seconds since 1970; it is called in the writing thread.
    """

    def __init__(self, path: Path, redactor: Redactor, *, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._redactor = redactor
        self._sink = file_sink(path, gap=self._gap)

    def __enter__(self) -> Logbook:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._sink.close()

    def see(self, event: Event) -> None:
        """Write `event`."""
        record = as_record(event)
        if record is not None:
            self._sink.put(self._redactor.line(record.to_json()).encode(errors="backslashreplace"))

    def _gap(self, dropped: int) -> bytes:
        """Return the record that stands for dropped ones."""
        message = f"{dropped} lines were dropped here: the disk did not take them in time"
        return LogRecord(timestamp(self._wall()), "", "warn", message).to_json().encode()


def as_record(event: Event) -> LogRecord | None:
    """Return the record that stands for `event`; None where it says nothing."""
    fact = event.fact
    if isinstance(fact, Dropped):  # concerns one slow listener
        return None
    at = timestamp(event.at)
    if isinstance(fact, Log):
        return LogRecord(at, fact.tunnel, fact.level, fact.message, fact.source, event.seq, dict(fact.fields))
    line = tell(event, named=False)
    if line is None:
        return None
    return LogRecord(at, fact.tunnel, line.level, line.text, seq=event.seq, fields={"event": fact.name})
