"""The log file of one prx: what `prx logs` shows. Events in, redacted lines of JSON out; no caller waits for the disk."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType

from prx.core.events import Dropped, Event, Log, timestamp
from prx.logs.fold import Folder
from prx.logs.records import LogRecord, fold_block
from prx.logs.redact import Redactor
from prx.logs.sinks import file_sink
from prx.runtime.host.clock import Clock, TimerHandle
from prx.ui.event_lines import describe

FOLD_SECONDS = 10.0


def log_folder(data_dir: Path) -> Path:
    """Return the folder of the log files."""
    return data_dir / "logs"


def log_file(data_dir: Path, key: str) -> Path:
    """Return the log file of the instance `key`."""
    return log_folder(data_dir) / f"{key}.log"


class EventLog:
    """Write every event that says something to `path`, in a `with` block; `see` is quick and is called on the event loop.

    Lines of the child that repeat are folded into one with their number, late by `FOLD_SECONDS` at most. `warn(text)` is called
    in the writing thread once when the disk refuses, and again only after it has taken lines in between.
    """

    def __init__(
        self, path: Path, redactor: Redactor, clock: Clock, *, warn: Callable[[str], object] = lambda _text: None
    ) -> None:
        self._clock, self._warn = clock, warn
        self._refused_at = -1  # lines written when the disk refused last
        self._redactor = redactor
        self._folder = Folder(hold=FOLD_SECONDS)
        self._timer: TimerHandle | None = None
        self._sink = file_sink(path, gap=self._gap, on_alarm=self._on_alarm)

    def __enter__(self) -> EventLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._put(self._folder.flush(self._clock.monotonic(), everything=True))
        self._sink.close()

    @property
    def lost(self) -> int:
        """How many lines could not be written."""
        return self._sink.dropped

    def is_behind(self) -> bool:
        """Return whether the disk needs a moment: what is kept meanwhile may be dropped."""
        return self._sink.is_behind

    def see(self, event: Event) -> None:
        """Write `event`."""
        record = as_record(event)
        if record is None:
            return
        if record.source == "prx":
            self._put([record])
            return
        self._put(self._folder.push(self._clock.monotonic(), record))
        self._schedule()

    def keep(self, tunnel: str, source: str, block: bytes) -> int:
        """Write whole lines that came too fast to be followed, each with its newline; they hold no secret any more.

        Return their number.
        """
        self._put(self._folder.flush(self._clock.monotonic(), everything=True))
        stored, count = fold_block(timestamp(self._clock.wall()), tunnel, source, block)
        self._sink.put(stored, lines=count)
        return count

    def _put(self, records: Iterable[LogRecord]) -> None:
        for record in records:
            self._sink.put(self._redactor.line(record.to_json()).encode(errors="backslashreplace"))

    def _schedule(self) -> None:
        """Have the counts of folded lines written when they are due."""
        if self._timer is None and (due := self._folder.due) is not None:
            self._timer = self._clock.call_later(max(0.0, due - self._clock.monotonic()), self._flush)

    def _flush(self) -> None:
        self._timer = None
        self._put(self._folder.flush(self._clock.monotonic()))
        self._schedule()

    def _on_alarm(self, text: str) -> None:
        """Say once that the disk refuses; called in the writing thread, at most once a minute."""
        written = self._sink.written
        if written != self._refused_at:
            self._refused_at = written
            self._warn(text)

    def _gap(self, dropped: int) -> bytes:
        """Return the record that stands for dropped ones; called in the writing thread."""
        message = f"{dropped} lines were dropped here: the disk did not take them in time"
        return LogRecord(timestamp(self._clock.wall()), "", "warn", message).to_json().encode()


def as_record(event: Event) -> LogRecord | None:
    """Return the record that stands for `event`; None if it says nothing."""
    fact = event.fact
    if isinstance(fact, Dropped):  # concerns one slow listener
        return None
    at = timestamp(event.at)
    if isinstance(fact, Log):
        return LogRecord(at, fact.tunnel, fact.level, fact.message, fact.source, event.seq, dict(fact.fields))
    line = describe(event, named=False)
    if line is None:
        return None
    return LogRecord(at, fact.tunnel, line.level, line.text, seq=event.seq, fields={"event": fact.name})
