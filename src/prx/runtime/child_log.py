"""What one child writes: each line is decoded and redacted once, before anything of it is kept, and then understood.

A child that writes more than `RATE` lines a second is not followed line by line: what goes beyond is in the log file, without
secrets, and in the events its number. Its last words are kept all the same, because they may explain why it ended.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from prx.backends.base import LogLine
from prx.core.events import Log
from prx.logs.flood import clean_lines
from prx.logs.text import decode
from prx.runtime.bulkhead import words_of
from prx.runtime.context import TunnelContext

TAIL_LINES = 128  # a client's usage text may have 116 lines, and its first one names the wrong flag
RATE = 500.0  # lines a second; each costs some 0.2 ms, which a busy machine may stretch to a whole one
BURST = 1000.0
LANDMARKS_AT_ONCE = 16


class ChildLog:
    """The log of one run's child; `on_line(line)` gets each line that is understood, after it was published."""

    def __init__(self, context: TunnelContext, on_line: Callable[[LogLine], None]) -> None:
        self._context = context
        self._on_line = on_line
        self._tail: deque[tuple[str, str]] = deque(maxlen=TAIL_LINES)
        self._limiter = LineRateLimiter(context.clock.monotonic())
        self._in_file = 0  # lines that were not followed, and are in the log file

    def take(self, stream: str, raw: bytes) -> None:
        """Take in a line of "stdout" or "stderr"."""
        if self._limiter.take(self._context.clock.monotonic()):
            self._follow(stream, raw)
        else:
            self._keep_unread(stream, [raw])

    def _follow(self, stream: str, raw: bytes) -> None:
        line = self._context.redact(decode(raw))
        self._tail.append((stream, line))
        self._understand(stream, line)

    def _understand(self, stream: str, line: str) -> None:
        parsed = self._context.client.parse_line(stream, line)
        self._publish(stream, parsed)
        self._on_line(parsed)

    def take_many(self, stream: str, lines: list[bytes]) -> None:
        """Take in lines that came at once; what goes beyond the limit is cleaned in one piece, and kept in the log file."""
        followed = self._limiter.take_many(self._context.clock.monotonic(), len(lines))
        failures: list[Exception] = []
        for raw in lines[:followed]:
            try:
                self._follow(stream, raw)
            except Exception as error:  # noqa: BLE001 - one line that cannot be understood must not cost the others
                failures.append(error)
        if rest := lines[followed:]:
            self._keep_unread(stream, rest)
        if failures:
            raise failures[0]

    def _keep_unread(self, stream: str, lines: list[bytes]) -> None:
        text = clean_lines(self._context.shared.bus.redactor, lines)
        self._follow_landmarks(stream, text)
        if len(lines) < TAIL_LINES:
            self._tail.extend((stream, line) for line in text.split("\n"))
        else:  # taken apart only if it turns out to be the end
            self._tail.clear()
            self._tail.append((stream, text))
        if self._context.shared.bus.keep(self._context.name, self._context.backend.name, text):
            self._in_file += len(lines)
            self._limiter.skipped -= len(lines)

    def _follow_landmarks(self, stream: str, text: str) -> None:
        """Understand those lines of many that a verdict may hang on, up to `LANDMARKS_AT_ONCE` of them."""
        marks = [mark for mark in self._context.client.landmarks if mark in text]
        if marks:
            found = [line for line in text.split("\n") if any(mark in line for mark in marks)]
            for line in found[-LANDMARKS_AT_ONCE:]:
                self._understand(stream, line)

    def tail(self) -> list[LogLine]:
        """Return the last lines; one that cannot be understood is returned as it is."""
        lines = [(stream, line) for stream, text in self._tail for line in text.split("\n")]
        return [self._understood(stream, line) for stream, line in lines[-TAIL_LINES:]]

    def _understood(self, stream: str, line: str) -> LogLine:
        try:
            return self._context.client.parse_line(stream, line)
        except Exception:  # noqa: BLE001 - said when the line came (`report_failure`); the end of the child is dealt with all the same
            return LogLine("info", line)

    def report_skipped(self) -> None:
        """Publish how many lines were not followed since the last time, if there were any."""
        if in_file := self._in_file:
            self._in_file = 0
            self._context.log("warn", f"{in_file} lines of the connector's log are in the log file alone: too many at once")
        if skipped := self._limiter.settle():
            self._context.log("warn", f"{skipped} lines of the connector's log were skipped: too many at once")

    def report_failure(self, error: Exception) -> None:
        """Publish that lines cannot be understood: a defect of prx, which must not be silent."""
        self._context.log("error", f"prx cannot follow the connector's log, which is a defect of prx: {words_of(error)}")

    def _publish(self, stream: str, line: LogLine) -> None:
        fields = {**line.fields, "stream": stream}
        if line.error:
            fields["error"] = line.error
        self._context.publish(
            Log(
                tunnel=self._context.name,
                level=line.level,
                message=line.message,
                source=self._context.backend.name,
                kind=str(line.kind),
                fields=fields,
            )
        )


class LineRateLimiter:
    """A token bucket: `take` says whether this line is within `RATE` lines a second, after a burst of up to `BURST`.

    `skipped` counts those that were not, since `settle` was last called. Times are monotonic seconds.
    """

    def __init__(self, now: float) -> None:
        self.skipped = 0
        self._left = BURST
        self._at = now

    def take(self, now: float) -> bool:
        """Take in one line."""
        self._left = min(BURST, self._left + (now - self._at) * RATE)
        self._at = now
        if self._left < 1:
            self.skipped += 1
            return False
        self._left -= 1
        return True

    def take_many(self, now: float, count: int) -> int:
        """Take in `count` lines; return how many of them, the first ones, are within the rate.

        Those beyond it count as well: while a flood lasts, none is.
        """
        self._left = min(BURST, self._left + (now - self._at) * RATE)
        self._at = now
        within = max(0, min(count, int(self._left)))
        self._left = max(-BURST, self._left - count)
        self.skipped += count - within
        return within

    def settle(self) -> int:
        """Return how many lines were skipped since the last call."""
        skipped, self.skipped = self.skipped, 0
        return skipped
