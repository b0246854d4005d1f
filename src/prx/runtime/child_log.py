"""What one child writes: each line is decoded and redacted once, before anything of it is kept, and then understood.

A child that writes more than `RATE` lines a second is not followed line by line: what goes beyond is in the log file, without
secrets, and in the events its number. Its last words are kept all the same, because they may explain why it ended.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from prx.backends.base import LogLine
from prx.core.events import Log
from prx.logs.flood import clean_block, lines_with
from prx.logs.search import Searched
from prx.logs.text import decode
from prx.runtime.bulkhead import words_of
from prx.runtime.context import TunnelContext

TAIL_LINES = 128  # a client's usage text may have 116 lines, and its first one names the wrong flag
TAIL_SIZE = 128 * 1024  # characters of them, kept for as long as the child runs: one line may have 64 KiB
RATE = 500.0  # lines a second; each costs some 0.2 ms, which a busy machine may stretch to a whole one
BURST = 1000.0
LANDMARKS_AT_ONCE = 16


class ChildLog:
    """The log of one run's child; `on_line(line)` gets each line that is understood, after it was published."""

    def __init__(self, context: TunnelContext, on_line: Callable[[LogLine], None]) -> None:
        self._context = context
        self._on_line = on_line
        self._landmarks = tuple(mark.encode() for mark in context.client.landmarks)
        self._tail = _Tail()
        self._limiter = LineRateLimiter(context.clock.monotonic())
        self._in_file = 0  # lines that were not followed, and are in the log file

    def take(self, stream: str, raw: bytes) -> None:
        """Take in a line of "stdout" or "stderr"."""
        if self._limiter.take(self._context.clock.monotonic()):
            self._follow(stream, raw)
        else:
            self._keep_unread(stream, raw + b"\n")

    def _follow(self, stream: str, raw: bytes) -> None:
        line = self._context.redact(decode(raw))
        self._tail.append(stream, line)
        self._understand(stream, line)

    def _understand(self, stream: str, line: str) -> None:
        parsed = self._context.client.parse_line(stream, line)
        self._publish(stream, parsed)
        self._on_line(parsed)

    def take_block(self, stream: str, block: bytes) -> int:
        """Take in whole lines that came at once, each with its newline; return their number.

        What goes beyond the limit is cleaned in one piece, and kept in the log file.
        """
        within = self._limiter.within(self._context.clock.monotonic())
        *followed, rest = block.split(b"\n", within) if within else (block,)
        failures: list[Exception] = []
        for raw in followed:
            try:
                self._follow(stream, raw)
            except Exception as error:  # noqa: BLE001 - one line that cannot be understood must not cost the others
                failures.append(error)
        unread, in_file = self._keep(stream, rest) if rest else (0, False)
        self._limiter.spend(len(followed) + unread, 0 if in_file else unread)
        if failures:
            raise failures[0]
        return len(followed) + unread

    def _keep_unread(self, stream: str, block: bytes) -> None:
        if self._keep(stream, block)[1]:
            self._limiter.skipped -= 1

    def _keep(self, stream: str, block: bytes) -> tuple[int, bool]:
        """Keep lines that are not followed; return their number, and whether they are in the log file."""
        bus = self._context.shared.bus
        block = clean_block(bus.redactor, block)
        self._follow_landmarks(stream, block)
        kept = bus.keep(self._context.name, self._context.backend.name, block)
        count = kept or block.count(b"\n")
        self._in_file += kept
        if count >= TAIL_LINES:
            self._tail.replace(stream, block)
        else:
            for line in block[:-1].decode("utf-8", "replace").split("\n"):
                self._tail.append(stream, line)
        return count, kept > 0

    def _follow_landmarks(self, stream: str, block: bytes) -> None:
        """Understand those lines of many that a verdict may hang on, up to `LANDMARKS_AT_ONCE` of them."""
        searched = Searched(block)
        found = {block.rfind(b"\n", 0, at) + 1 for mark in self._landmarks for at in lines_with(mark, searched)}
        for start in sorted(found)[-LANDMARKS_AT_ONCE:]:
            self._understand(stream, block[start : block.index(b"\n", start)].decode("utf-8", "replace"))

    def tail(self) -> list[LogLine]:
        """Return the last lines; one that cannot be understood is returned as it is."""
        return [self._understood(stream, line) for stream, line in self._tail.lines()]

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


class _Tail:
    """The last lines of a child with the name of their stream, clean: at most `TAIL_LINES`, and about `TAIL_SIZE` of text."""

    def __init__(self) -> None:
        self._kept: deque[tuple[str, str | bytes]] = deque()  # lines, or whole ones in a block
        self._size = 0

    def append(self, stream: str, line: str) -> None:
        """Keep one more line, and always this one."""
        self._put(stream, line)
        while len(self._kept) > 1 and (len(self._kept) > TAIL_LINES or self._size > TAIL_SIZE):
            source, oldest = self._kept.popleft()
            self._size -= len(oldest)
            if isinstance(oldest, bytes):  # its end still belongs to the last lines
                parts = _lines(oldest)[-TAIL_LINES:]
                self._kept.extendleft((source, part) for part in reversed(parts))
                self._size += sum(map(len, parts))

    def replace(self, stream: str, block: bytes) -> None:
        """Keep the end of many lines, each with its newline, in place of all: they are taken apart only if it is asked for."""
        if (start := len(block) - TAIL_SIZE) > 0:
            block = block[block.index(b"\n", start - 1) + 1 :] or block[block.rfind(b"\n", 0, -1) + 1 :]
        self._kept.clear()
        self._size = 0
        self._put(stream, block)

    def _put(self, stream: str, kept: str | bytes) -> None:
        self._kept.append((stream, kept))
        self._size += len(kept)

    def lines(self) -> list[tuple[str, str]]:
        """Return the lines, the oldest first."""
        return [(stream, line) for stream, kept in self._kept for line in _lines(kept)][-TAIL_LINES:]


def _lines(kept: str | bytes) -> list[str]:
    return [kept] if isinstance(kept, str) else kept[:-1].decode("utf-8", "replace").split("\n")


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

    def within(self, now: float) -> int:
        """Return how many lines are within the rate now; `spend` takes them in."""
        self._left = min(BURST, self._left + (now - self._at) * RATE)
        self._at = now
        return max(0, int(self._left))

    def spend(self, count: int, skipped: int) -> None:
        """Take in `count` lines, `skipped` of them lost. Those beyond the rate count as well: in a flood none is within it."""
        self._left = max(-BURST, self._left - count)
        self.skipped += skipped

    def settle(self) -> int:
        """Return how many lines were skipped since the last call."""
        skipped, self.skipped = self.skipped, 0
        return skipped
