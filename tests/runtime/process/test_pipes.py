"""How much of a pipe is read at once."""

import asyncio
import fcntl
import os
import time

import pytest
from tests.support.waits import PATIENCE

from prx.runtime.process.pipes import CHUNK, FLOOD, FLOOD_CHUNK, FLOOD_PIPE, LOG_PIPE, QUICK_SECONDS, PipeReader, set_pipe_size

DATA = b"a line of a flood\n" * 50_000


@pytest.mark.parametrize(("seconds", "largest"), [(0.0, FLOOD_CHUNK), (2 * QUICK_SECONDS, CHUNK)], ids=["quick", "slow"])
async def test_a_flood_is_read_in_pieces_that_its_consumer_can_bear(seconds: float, largest: int) -> None:
    """Much is read at once only if that holds up nothing else: a consumer that needs time for its lines gets fewer."""
    read, write = os.pipe()
    fcntl.fcntl(read, fcntl.F_SETPIPE_SZ, 1024 * 1024)
    os.set_blocking(read, False)
    assert os.write(write, DATA) == len(DATA)
    os.close(write)
    blocks: list[bytes] = []
    closed = asyncio.Event()

    def on_block(name: str, block: bytes) -> int:
        began = time.thread_time()
        while time.thread_time() < began + seconds:
            pass
        blocks.append(block)
        return block.count(b"\n")

    def on_line(name: str, line: bytes) -> None:
        blocks.append(line + b"\n")

    reader = PipeReader("stderr", read, on_line, lambda _: closed.set(), lambda _: None, on_block=on_block)
    async with asyncio.timeout(PATIENCE):
        await closed.wait()
    assert b"".join(blocks) == DATA
    assert reader.stats.lines == 50_000
    assert largest / 2 < max(map(len, blocks)) <= largest + 100


class Pipe:
    """A pipe with its reader, and what that has handed out; times are the test's own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.loop = asyncio.get_running_loop()
        self._now = self.loop.time()
        monkeypatch.setattr(self.loop, "time", lambda: self._now)
        self.read, self._write = os.pipe()
        set_pipe_size(self.read, LOG_PIPE)
        os.set_blocking(self.read, False)
        self.blocks: list[bytes] = []
        self.closed = False
        self.reader = PipeReader("stderr", self.read, self._line, self._close, lambda _: None, on_block=self._block)

    @property
    def size(self) -> int:
        """How many bytes the pipe may hold."""
        return fcntl.fcntl(self.read, fcntl.F_GETPIPE_SZ)

    def write(self, data: bytes) -> None:
        """Write as a child does."""
        assert os.write(self._write, data) == len(data)

    def end(self) -> None:
        """Close the child's end."""
        os.close(self._write)

    async def turn(self, seconds: float = 0.0) -> None:
        """Go on, so many seconds later, once the loop has gone round."""
        self._now += seconds
        for _ in range(3):
            await asyncio.sleep(0)

    def _block(self, name: str, block: bytes) -> int:
        self.blocks.append(block)
        return block.count(b"\n")

    def _line(self, name: str, line: bytes) -> None:
        self.blocks.append(line + b"\n")

    def _close(self, name: str) -> None:
        self.closed = True


PIECE = b"%s\n" % (b"x" * 63) * 128
"""Many lines, fewer than a wakeup may read."""


async def test_many_lines_that_come_one_by_one_gather_before_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wakeup costs as much as many lines: after some, the next ones gather for a millisecond, and are handed out together."""
    assert FLOOD <= len(PIECE) < CHUNK // 2
    pipe = Pipe(monkeypatch)
    for _ in range(5):
        pipe.write(PIECE)
        await pipe.turn()
    assert pipe.blocks == [PIECE]
    await pipe.turn(0.002)
    assert pipe.blocks == [PIECE, 4 * PIECE]
    pipe.end()
    await pipe.turn(0.002)
    assert pipe.closed


async def test_few_lines_do_not_wait_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line of a quiet log is handed out as soon as it is there, and so is one after it."""
    pipe = Pipe(monkeypatch)
    for number in range(5):
        pipe.write(b"line %d\n" % number)
        await pipe.turn()
        assert pipe.blocks[number:] == [b"line %d\n" % number]
    pipe.end()
    await pipe.turn()
    assert pipe.closed


@pytest.mark.parametrize("is_rest_read", [False, True], ids=["end of the pipe", "end of the child"])
async def test_what_gathers_is_not_lost_at_the_end(is_rest_read: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a child that ends while its lines gather every one is handed out."""
    pipe = Pipe(monkeypatch)
    pipe.write(PIECE)
    await pipe.turn()
    pipe.write(PIECE + b"the last words")
    if is_rest_read:
        pipe.reader.read_rest(FLOOD_CHUNK)
    pipe.end()
    for _ in range(3):
        await pipe.turn(0.002)
    assert pipe.closed
    assert b"".join(pipe.blocks) == 2 * PIECE + b"the last words\n"
    assert pipe.reader.stats.lines == 2 * 128 + 1


async def test_a_pipe_that_is_closed_while_lines_gather_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its number may be another file's by then."""
    pipe = Pipe(monkeypatch)
    pipe.write(PIECE)
    await pipe.turn()
    pipe.reader.close()
    others = os.pipe()
    assert pipe.read in others
    await pipe.turn(0.002)
    assert not pipe.loop.remove_reader(pipe.read)
    assert pipe.blocks == [PIECE]
    pipe.end()
    for fd in others:
        os.close(fd)


async def test_a_flooded_pipe_holds_more_until_the_flood_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """The child writes on while its lines gather; afterwards the user's quota of pipes is given back."""
    pipe = Pipe(monkeypatch)
    assert pipe.size == LOG_PIPE
    while pipe.size == LOG_PIPE and len(pipe.blocks) < 20:
        pipe.write(PIECE * 24)
        await pipe.turn(0.002)
    assert pipe.size == FLOOD_PIPE
    for _ in range(5):
        pipe.write(b"quiet\n")
        await pipe.turn(0.002)
    assert pipe.size == LOG_PIPE
    pipe.end()
    await pipe.turn(0.002)


def test_a_pipe_whose_size_cannot_be_changed_is_used_as_it_is() -> None:
    """A system that refuses, as it does beyond a user's quota, ends nothing."""
    read, write = os.pipe()
    before = fcntl.fcntl(read, fcntl.F_GETPIPE_SZ)
    os.write(write, bytes(before))
    set_pipe_size(read, before // 2)  # it holds more than that
    assert fcntl.fcntl(read, fcntl.F_GETPIPE_SZ) == before
    os.close(write)
    os.close(read)
    set_pipe_size(read, before)  # not a pipe any more
