"""Read a rotating log: the last lines of it, and every new line as it comes.

Only whole lines are given: an unfinished line waits for its newline. The reader has no part in writing; it notices
rotation by comparing the file that it has open with the names in the folder, and reads every file that was between.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import BinaryIO

from prx.files.walk import walked
from prx.logs.files import rotated
from prx.logs.lines import LineSplitter
from prx.logs.records import is_below, is_head

_BLOCK = 64 * 1024
_MOST = 64 * 1024 * 1024  # bytes that are read of one file; a log of prx has 10 MB
_LONGEST = 1024 * 1024  # a stored record may be several times as long as the line in it: JSON escapes
POLL_SECONDS = 0.25
"""How often `follow` checks for new lines."""


@dataclass(slots=True)
class Rest:
    """What of the log at `path` was not read yet: `file` from where it stands on, and what comes after it; None: all.

    head: the record below which the first line of it may stand, if that was not read either.
    """

    path: Path
    file: BinaryIO | None
    head: Sequence[bytes] = ()

    def close(self) -> None:
        """Read no more."""
        if self.file is not None:
            self.file.close()


def tail(path: Path, lines: int) -> list[bytes]:
    """Return the last `lines` whole lines, oldest first, from the file and the older ones that rotation left.

    If the first of them stands below a record (`prx.logs.records`), that record comes before it.
    """
    found, rest = tail_and_rest(path, lines)
    rest.close()
    return found


def tail_and_rest(path: Path, lines: int) -> tuple[list[bytes], Rest]:
    """Return the last lines as `tail` does, and what comes after them: to be followed, or closed."""
    rest = Rest(path, _open(path))  # it may be missing for a moment, just after rotation
    try:
        if lines > 0:
            return _tail(rest, lines), rest
        if rest.file is not None:
            rest.head = _seek_to_last_line(rest.file)
    except BaseException:
        rest.close()
        raise
    return [], rest


def _tail(newest: Rest, lines: int) -> list[bytes]:
    found = [] if newest.file is None else _last_lines(newest.file, lines)
    for number in count(1):
        missing = lines - len(found)
        if missing <= 0:
            break
        try:
            with _opened(rotated(newest.path, number)) as file:
                if newest.file is None or not os.path.sameopenfile(newest.file.fileno(), file.fileno()):
                    found = _last_lines(file, missing) + found  # else it was rotated since it was opened
        except FileNotFoundError:
            break
    return found


def _last_lines(file: BinaryIO, wanted: int) -> list[bytes]:
    """Read backwards, block by block, until there are enough newlines; no more than `_MOST`, whatever lies there.

    The file is left behind the last of these lines.
    """
    position = end = file.seek(0, os.SEEK_END)
    blocks: list[bytes] = []
    newlines = 0
    while position > 0 and newlines <= wanted and end - position < _MOST:
        step = min(_BLOCK, position)
        position = file.seek(position - step)
        blocks.append(file.read(step))
        newlines += blocks[-1].count(b"\n")
    whole, newline, unfinished = b"".join(reversed(blocks)).rpartition(b"\n")
    behind = max(0, end - len(unfinished))
    if not newline:
        file.seek(behind)
        return []
    found = whole.split(b"\n")[-wanted:]
    if is_below(found[0]):
        start = position + len(whole) - sum(map(len, found)) - len(found) + 1
        found[:0] = _head_before(file, start)
    file.seek(behind)
    return found


def _head_before(file: BinaryIO, position: int) -> list[bytes]:
    """Return the record below which the line at `position` stands, if it is found."""
    end, after = position, b""
    while end > 0 and position - end < _MOST:
        start = max(0, end - _BLOCK)
        file.seek(start)
        block = file.read(end - start) + after
        at = block.rfind(b"\n{") + 1
        if at or (start == 0 and block.startswith(b"{")):
            return [block[at:].partition(b"\n")[0]]
        end, after = start, block[: 2 * _BLOCK]
    return []


async def _poll() -> None:
    await asyncio.sleep(POLL_SECONDS)


async def follow(
    log: Path | Rest, *, from_start: bool = False, pause: Callable[[], Awaitable[None]] = _poll
) -> AsyncIterator[bytes]:
    """Yield every line written from now on (or from the start of the file), or the rest of a log, without end.

    It goes on through every rotation. If it begins below a record, that one comes first. `pause` is awaited when there is
    nothing new. A file that is missing is waited for; one that was cut short is read from its start.
    """
    rest = log if isinstance(log, Rest) else Rest(log, _open(log)) if from_start else tail_and_rest(log, 0)[1]
    path, file = rest.path, rest.file
    try:
        for line in rest.head:
            yield line
        splitter = LineSplitter(_LONGEST)
        while True:
            if file is None:
                await pause()
                file = _open(path)
                continue
            if _was_truncated(file):
                file.seek(0)
                splitter = LineSplitter(_LONGEST)
            if block := file.read(_BLOCK):
                for line in splitter.feed(block):
                    yield line
                continue
            successor = _successor(path, file)
            if successor is None:
                await pause()
            elif not (block := file.read(_BLOCK)):  # a last read: the rotation may have come after the read above
                file.close()
                file, splitter = successor, LineSplitter(_LONGEST)
            else:
                successor.close()
                for line in splitter.feed(block):
                    yield line
    finally:
        if file is not None:
            file.close()


def _opened(path: Path) -> BinaryIO:
    """Open a log; FileRefusedError for what is no file."""
    with walked(path) as found:
        return open(found.open(), "rb", buffering=0)  # noqa: PTH123 - by descriptor, for the caller


def _open(path: Path) -> BinaryIO | None:
    try:
        return _opened(path)
    except FileNotFoundError:
        return None


def _seek_to_last_line(file: BinaryIO) -> list[bytes]:
    """Go to the end, or to the beginning of a line that is being written; return the record below which it may stand."""
    position = file.seek(0, os.SEEK_END)
    while position > 0:
        start = max(0, position - _BLOCK)
        file.seek(start)
        newline = file.read(position - start).rfind(b"\n")
        if newline >= 0:
            head = [line for line in _head_before(file, start + newline + 1) if is_head(line)]
            file.seek(start + newline + 1)
            return head
        position = start
    file.seek(0)
    return []


def _was_truncated(file: BinaryIO) -> bool:
    return os.fstat(file.fileno()).st_size < file.tell()


def _successor(path: Path, file: BinaryIO) -> BinaryIO | None:
    """Open the file that came after this one; None while it is still the newest."""
    mine = os.fstat(file.fileno())
    for number in count():
        try:
            if os.path.samestat(mine, rotated(path, number).stat()):
                return _open(rotated(path, number - 1)) if number else None
        except FileNotFoundError:
            if number:
                return _open(path)  # removed, or rotated away altogether
    return None
