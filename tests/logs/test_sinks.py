"""Nobody ever waits for a log: not for a full disk, not for a terminal that nobody reads."""

import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from tests.support.waits import PATIENCE

from prx.logs.sinks import Sink, file_sink, stream_sink


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
        self.error: OSError | None = None
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

    def interrupt(self) -> None:
        """Open."""
        self.open.set()

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
    """While the target stalls, the queue fills to its bound, the rest is dropped, and the gap is told in its place."""
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


def test_refusing_target_alarms_once_a_minute() -> None:
    """A full disk costs lines and one alarm a minute, and when there is space again, writing goes on."""
    target, now, alarms = Gate(), [0.0], list[str]()
    target.error = OSError(28, "No space left on device")
    sink = Sink(target, on_alarm=alarms.append, clock=lambda: now[0])

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
    assert "No space left on device" in alarms[0]
    assert target.lines == ["… 5 lines were dropped here".encode(), b"z"]
    assert (sink.written, sink.dropped) == (1, 5)


def test_real_full_disk() -> None:
    """A device that is always full only counts."""
    fd = os.open("/dev/full", os.O_WRONLY)
    sink = stream_sink(fd)
    sink.put(b"x")
    sink.close()
    os.close(fd)
    assert sink.dropped == 1


def test_reader_that_never_reads() -> None:
    """A full pipe blocks neither the caller nor the end of the program."""
    read, write = os.pipe()
    sink = stream_sink(write)
    line = b"x" * 1000
    while sink.put(line):
        pass
    sink.close(timeout=0.05)
    assert sink.dropped > 1
    os.close(read)
    os.close(write)


def test_slow_reader_gets_every_line() -> None:
    """A reader that reads late gets whole lines, in order."""
    read, write = os.pipe()
    sink = stream_sink(write)
    lines = [b"%d " % number + b"x" * 700 for number in range(300)]
    for line in lines:
        sink.put(line)
    found = b""
    while found.count(b"\n") < 300:
        found += os.read(read, 65536)
    sink.close()
    os.close(read)
    os.close(write)
    assert found.splitlines() == lines


def test_reader_is_gone() -> None:
    """A pipe without a reader drops, without an exception or a signal."""
    read, write = os.pipe()
    os.close(read)
    sink = stream_sink(write)
    sink.put(b"x")
    sink.close()
    os.close(write)
    assert (sink.written, sink.dropped) == (0, 1)


def test_terminal_keeps_its_mode() -> None:
    """Writing to a terminal leaves the flags that the shell shares as they were."""
    main, terminal = os.openpty()
    sink = stream_sink(terminal)
    sink.put(b"hello")
    assert os.read(main, 100) == b"hello\r\n"
    assert os.get_blocking(terminal)
    sink.close()
    os.close(terminal)
    os.close(main)


def test_stopped_terminal_does_not_hold_the_end() -> None:
    """A terminal that nobody reads (Ctrl-S) drops lines and lets the program end."""
    main, terminal = os.openpty()
    sink = stream_sink(terminal)
    while sink.put(b"y" * 5000):
        pass
    sink.close(timeout=0.05)
    os.close(terminal)
    os.close(main)
    assert sink.dropped
