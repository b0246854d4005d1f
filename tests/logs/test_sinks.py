"""No caller ever waits for a log, not even for a full disk."""

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from tests.support.waits import PATIENCE

from prx.logs.sinks import STALL_SECONDS, Sink, file_sink


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    """Fail a test that leaves a thread or a descriptor behind."""
    before, fds = set(threading.enumerate()), len(list(Path("/proc/self/fd").iterdir()))
    yield
    assert set(threading.enumerate()) <= before
    assert len(list(Path("/proc/self/fd").iterdir())) == fds


class Gate:
    """A target that writes, refuses or stalls as a test says."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.error: OSError | MemoryError | None = None
        self.open = threading.Event()
        self.open.set()
        self.entered = threading.Event()
        self.calls = threading.Semaphore(0)

    def write(self, lines: Sequence[bytes]) -> int:
        """Take lines."""
        self.entered.set()
        self.open.wait(PATIENCE)
        try:
            if self.error is not None:
                raise self.error
            self.lines += lines
            return len(lines)
        finally:
            self.calls.release()

    def close(self) -> None:
        """Do nothing."""


def test_everything_is_written_at_close(tmp_path: Path) -> None:
    """Closing writes what is queued, in order; later lines are counted as dropped."""
    sink = file_sink(tmp_path / "prx.log", gap=lambda count: b"gap")
    for number in range(5000):
        assert sink.put(b"%d" % number)
    sink.close()
    assert (tmp_path / "prx.log").read_bytes().split() == [b"%d" % number for number in range(5000)]
    assert not sink.put(b"late")
    assert (sink.written, sink.dropped) == (5000, 1)
    sink.close()


def test_stalled_target_drops_and_tells() -> None:
    """While the target stalls, the queue fills to its bound, the rest is dropped, and the gap is reported in its place."""
    target = Gate()
    target.open.clear()
    sink = Sink(target, queue_bytes=10, gap=lambda count: b"lost %d" % count)
    sink.put(b"1")
    assert target.entered.wait(PATIENCE)
    taken = [sink.put(b"23456") for _ in range(5)]
    assert taken == [True, False, False, False, False]
    target.open.set()
    for _ in range(2):
        assert target.calls.acquire(timeout=PATIENCE)
    while not sink.put(b"after"):
        pass
    sink.close()
    assert target.lines[:2] == [b"1", b"lost 4"]
    assert target.lines[2:][-1] == b"after"
    assert sink.written == 3


def test_lines_that_come_as_one_are_counted_as_they_are() -> None:
    """What is dropped, written and said to be missing is lines, however many of them were handed over at once."""
    target = Gate()
    target.open.clear()
    sink = Sink(target, queue_bytes=10, gap=lambda count: b"lost %d" % count)
    sink.put(b"1")
    assert target.entered.wait(PATIENCE)
    assert [sink.put(b"23456", lines=5) for _ in range(3)] == [True, False, False]
    target.open.set()
    sink.close()
    assert target.lines == [b"1", b"lost 10", b"23456"]
    assert (sink.written, sink.dropped) == (6, 10)


def test_a_sink_is_behind_while_its_target_takes_lines_too_slowly() -> None:
    """A caller that can wait should while more than half of the queue waits, but for no target that stalls."""
    target, now = Gate(), [100.0]
    target.open.clear()
    sink = Sink(target, queue_bytes=10, gap=lambda count: b"lost %d" % count, clock=lambda: now[0])

    def is_behind() -> bool:
        return sink.is_behind

    assert not is_behind()
    sink.put(b"1234")
    assert target.entered.wait(PATIENCE)
    assert not is_behind()
    sink.put(b"5678")
    assert is_behind()
    now[0] += STALL_SECONDS
    assert not is_behind()
    target.open.set()
    sink.close()
    assert not is_behind()
    assert sink.dropped == 0


@pytest.mark.parametrize(
    ("error", "reason"), [(OSError(28, "No space left on device"), "No space left on device"), (MemoryError(), "no memory")]
)
def test_refusing_target_alarms_once_a_minute(error: OSError | MemoryError, reason: str) -> None:
    """A full disk, or no memory, costs lines and one alarm a minute, and when there is space again, writing goes on."""
    target, now, alarms = Gate(), [0.0], list[str]()
    target.error = error
    sink = Sink(target, gap=lambda count: b"lost %d" % count, on_alarm=alarms.append, clock=lambda: now[0])

    def put(line: bytes) -> None:
        sink.put(line)
        assert target.calls.acquire(timeout=PATIENCE)

    for second in (0.0, 1.0, 59.0, 61.0):
        now[0] = second
        put(b"x")
    put(b"y")
    target.error = None
    put(b"z")
    sink.close()
    assert len(alarms) == 2
    assert reason in alarms[0]
    assert target.lines == [b"lost 5", b"z"]
    assert (sink.written, sink.dropped) == (1, 5)


def test_what_was_written_is_not_kept() -> None:
    """The last lines of a flood are megabytes: they are dropped once they are written, not when there are others."""
    target, gone = Gate(), threading.Event()

    class Lines(bytes):
        """Lines that report their end."""

        def __del__(self) -> None:
            gone.set()

    sink = Sink(target, gap=lambda count: b"lost %d" % count)
    sink.put(Lines(b"x" * 1000))
    assert target.calls.acquire(timeout=PATIENCE)
    target.lines.clear()
    is_gone = gone.wait(5)
    sink.close()
    assert is_gone
