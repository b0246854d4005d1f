"""The rotating file survives whatever happens to it, and its readers lose nothing."""

import errno
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from prx.logs import reader
from prx.logs.files import RotatingFile, rotated
from prx.logs.reader import follow, tail, tail_and_rest
from prx.logs.records import fold_block, is_head


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name a log in a folder that does not exist yet."""
    return tmp_path / "logs" / "prx.log"


def test_private(path: Path) -> None:
    """Only the owner can read the log and its folder."""
    log = RotatingFile(path)
    assert log.write([b"a", b"b"]) == 2
    log.close()
    assert path.read_bytes() == b"a\nb\n"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_rotation_bounds_the_size(path: Path) -> None:
    """No file exceeds its bound, only so many are kept, and the order of lines is kept over all of them."""
    log = RotatingFile(path, max_bytes=100, backups=2)
    lines = [b"line %04d" % number for number in range(200)]
    for start in range(0, 200, 7):
        assert log.write(lines[start : start + 7]) == len(lines[start : start + 7])
    log.close()
    names = sorted(file.name for file in path.parent.iterdir())
    assert names == ["prx.log", "prx.log.1", "prx.log.2"]
    assert all(file.stat().st_size <= 100 for file in path.parent.iterdir())
    kept = b"".join(rotated(path, number).read_bytes() for number in (2, 1, 0)).splitlines()
    assert kept == lines[-len(kept) :]
    assert tail(path, 12) == lines[-12:]
    assert tail(path, 999) == kept


def test_long_line_gets_its_own_file(path: Path) -> None:
    """A line longer than the bound is kept whole."""
    log = RotatingFile(path, max_bytes=10, backups=3)
    log.write([b"a", b"x" * 50, b"b"])
    log.close()
    assert tail(path, 9) == [b"a", b"x" * 50, b"b"]


def test_no_backups(path: Path) -> None:
    """With no older files the log simply starts again."""
    log = RotatingFile(path, max_bytes=10, backups=0)
    log.write([b"12345678", b"abcdefgh"])
    log.close()
    assert [file.name for file in path.parent.iterdir()] == ["prx.log"]
    assert path.read_bytes() == b"abcdefgh\n"


@pytest.mark.parametrize("how", ["removed", "renamed", "folder removed", "truncated"])
def test_changed_from_outside(path: Path, how: str) -> None:
    """After a deletion, logrotate's rename or its copytruncate, the next line is in the file at the path."""
    log = RotatingFile(path)
    log.write([b"before"])
    if how == "removed":
        path.unlink()
    elif how == "renamed":
        path.rename(path.with_name("elsewhere"))
    elif how == "folder removed":
        path.unlink()
        path.parent.rmdir()
    else:
        os.truncate(path, 0)
    assert log.write([b"after"]) == 1
    log.close()
    assert path.read_bytes() == b"after\n"


def test_symlink_and_fifo_are_refused(path: Path) -> None:
    """Nothing is written through a symbolic link, and a FIFO does not block."""
    path.parent.mkdir()
    target = path.with_name("target")
    path.symlink_to(target)
    with pytest.raises(OSError, match="symbolic"):
        RotatingFile(path).write([b"a"])
    assert not target.exists()
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(OSError, match=r"No such device|regular"):
        RotatingFile(path).write([b"a"])


def test_full_disk_in_the_middle(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk fills up inside a line, the piece is taken back: lines are whole or absent."""
    log = RotatingFile(path)
    real, room = os.write, 12

    def short_write(fd: int, data: bytes) -> int:
        nonlocal room
        if not room:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = real(fd, bytes(data[:room]))
        room -= written
        return written

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", short_write)
        assert log.write([b"12345", b"67890", b"never"]) == 2
        with pytest.raises(OSError, match="No space"):
            log.write([b"lost"])
        room = 3
        with pytest.raises(OSError, match="No space"):
            log.write([b"torn"])
    assert log.write([b"back"]) == 1
    log.close()
    assert path.read_bytes() == b"12345\n67890\nback\n"


def test_tail_of_odd_files(path: Path) -> None:
    """Missing, empty and unfinished files give what whole lines there are."""
    assert tail(path, 5) == []
    path.parent.mkdir()
    path.write_bytes(b"")
    assert tail(path, 5) == []
    path.write_bytes(b"\n")
    assert tail(path, 5) == [b""]
    path.write_bytes(b"unfinished")
    assert tail(path, 5) == []
    path.write_bytes(b"whole\nunfinished")
    assert tail(path, 5) == [b"whole"]
    assert tail(path, 0) == []
    path.write_bytes(b"".join(b"%d %s\n" % (number, b"x" * 1000) for number in range(300)))
    assert [line.split()[0] for line in tail(path, 200)] == [b"%d" % number for number in range(100, 300)]


def stored(number: int, lines: int) -> bytes:
    """Return so many lines of a child below their record, as they are stored."""
    block = b"".join(b'{"message":"%d of %d"}\n' % (line, number) for line in range(lines))
    return fold_block(f"at {number}", "web", "cloudflared", block)[0]


def test_lines_below_a_record_stay_with_it(path: Path) -> None:
    """Rotation never parts the lines of a flood from the record above them, and their order is kept."""
    log = RotatingFile(path, max_bytes=400, backups=5)
    pieces = [stored(number, 3) for number in range(12)]
    assert log.write(pieces) == 12
    log.close()
    files = [rotated(path, number).read_bytes() for number in range(5, -1, -1)]
    assert all(file.startswith(b"{") for file in files)
    kept = b"".join(files)
    assert (b"\n".join(pieces) + b"\n").endswith(kept)


def test_tail_has_the_record_above_the_first_line(path: Path) -> None:
    """The last lines of a flood come with the record that says when and whose they are, however far up it stands."""
    log = RotatingFile(path)
    log.write([b'{"first":1}', stored(1, 3), stored(2, 20_000), b'{"last":1}'])
    log.close()
    head, *lines = tail(path, 3)
    assert is_head(head)
    assert b'"at":"at 2"' in head
    assert lines == [b' {"message":"19998 of 2"}', b' {"message":"19999 of 2"}', b'{"last":1}']
    assert tail(path, 1) == [b'{"last":1}']


def test_full_disk_inside_a_flood(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk fills up inside lines that belong together, none of them stays, and the number of the others is right."""
    log, real = RotatingFile(path), os.write
    first, second = stored(1, 3), stored(2, 50)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda fd, data: real(fd, data[: len(first) + 1 + len(second) // 2]))
        assert log.write([first, second]) == 1
    assert path.read_bytes() == first + b"\n"
    assert log.write([second]) == 1
    log.close()
    assert path.read_bytes() == first + b"\n" + second + b"\n"


class Script:
    """Do the next step of a story each time the reader has nothing to read."""

    def __init__(self, *steps: object) -> None:
        self.steps = list(steps)

    async def __call__(self) -> None:
        """Do it."""
        step = self.steps.pop(0)
        assert callable(step)
        step()


class StoryEnds(Exception):  # noqa: N818 - it is no error
    """Nothing is left to tell."""


def stop() -> None:
    """End the story."""
    raise StoryEnds


async def collect(lines: AsyncIterator[bytes]) -> list[bytes]:
    """Return all lines up to the end of the story."""
    found = []
    try:
        async for line in lines:
            found.append(line)  # noqa: PERF401 - the story ends by an exception
    except StoryEnds:
        return found
    raise AssertionError


async def test_follow_through_rotations(path: Path) -> None:
    """Every line after the start arrives once and in order, through several rotations between two looks."""
    log = RotatingFile(path, max_bytes=20, backups=5)
    log.write([b"old"])
    story = Script(
        lambda: log.write([b"one"]),
        lambda: log.write([b"two" * 3, b"three" * 3, b"four" * 4, b"five"]),
        lambda: log.write([b"six"]),
        stop,
    )
    found = await collect(follow(path, pause=story))
    log.close()
    assert found == [b"one", b"two" * 3, b"three" * 3, b"four" * 4, b"five", b"six"]


async def test_follow_sees_the_last_line_before_a_rotation(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that is written between the reader's last look and the rotation is not lost."""
    log, real = RotatingFile(path, max_bytes=20), reader._successor
    log.write([b"first"])
    late = iter([b"last of the old", b"first of the new"])

    def rotate_first(*arguments: Any) -> Any:
        if (line := next(late, None)) is not None:
            with path.open("ab") as file:
                file.write(line + b"\n")
            log.write([b"rotated here, surely"])
        return real(*arguments)

    monkeypatch.setattr(reader, "_successor", rotate_first)
    found = await collect(follow(path, from_start=True, pause=Script(stop)))
    log.close()
    assert found[:3] == [b"first", b"last of the old", b"rotated here, surely"]


async def test_follow_waits_for_file_and_line(path: Path) -> None:
    """A file that is not there yet is waited for, and so is the rest of a line."""
    path.parent.mkdir()

    def append(data: bytes) -> None:
        with path.open("ab") as file:
            file.write(data)

    story = Script(lambda: None, lambda: append(b"be"), lambda: append(b"gun\nnext"), lambda: append(b"\n"), stop)
    assert await collect(follow(path, pause=story)) == [b"begun", b"next"]


async def test_follow_after_truncation_and_removal(path: Path) -> None:
    """A log cut short, or replaced by a new one, is read from its start."""
    path.parent.mkdir()
    path.write_bytes(b"long old line\nhalf")

    def replace() -> None:
        path.unlink()
        path.write_bytes(b"new file\n")

    story = Script(lambda: path.write_bytes(b"short\n"), replace, stop)
    assert await collect(follow(path, pause=story)) == [b"short", b"new file"]


async def test_follow_from_the_start_of_a_line(path: Path) -> None:
    """Following begins with a whole line, also when one is just being written."""
    path.parent.mkdir()
    path.write_bytes(b"done\nhal")

    def finish() -> None:
        with path.open("ab") as file:
            file.write(b"f\n")

    assert await collect(follow(path, pause=Script(finish, stop))) == [b"half"]
    assert await collect(follow(path, from_start=True, pause=Script(stop))) == [b"done", b"half"]


async def test_follow_from_the_middle_of_a_flood(path: Path) -> None:
    """Who begins to follow while lines are being written below a record gets that record first, and no line twice."""
    path.parent.mkdir()
    head, *below = stored(1, 9_000).split(b"\n")
    path.write_bytes(b"\n".join([b'{"before":1}', head, *below[:8_000]]) + b"\n" + below[8_000][:5])

    def finish() -> None:
        with path.open("ab") as file:
            file.write(below[8_000][5:] + b"\n" + b"\n".join(below[8_001:]) + b"\n")

    assert await collect(follow(path, pause=Script(finish, stop))) == [head, *below[8_000:]]
    path.write_bytes(b'{"plain":1}\n')
    assert await collect(follow(path, pause=Script(stop))) == []


@pytest.mark.parametrize("wanted", [0, 1, 5, 999])
@pytest.mark.parametrize("written", ["a line", "a rotation", "many rotations", "half a line before", "a new log"])
async def test_nothing_between_the_last_lines_and_those_that_follow_is_lost(path: Path, wanted: int, written: str) -> None:
    """To show the last lines takes time: what is written meanwhile comes next, once and in order, through every rotation."""
    log = RotatingFile(path, max_bytes=40, backups=9)
    before = [b"line %02d" % number for number in range(12)]
    if written != "a new log":
        log.write(before)
    if written == "half a line before":
        with path.open("ab") as file:
            file.write(b"new ")
    found, rest = tail_and_rest(path, wanted)
    assert found == ([] if written == "a new log" or not wanted else before[-wanted:])
    new = [b"new line %02d" % number for number in range({"a rotation": 4, "many rotations": 20}.get(written, 1))]
    if written == "half a line before":
        with path.open("ab") as file:
            file.write(b"line 00\n")
    else:
        log.write(new)
    more = [b"and more"]
    story = Script(lambda: log.write(more), stop)
    assert await collect(follow(rest, pause=story)) == new + more
    log.close()


async def test_the_rest_of_a_flood_goes_on_below_the_record_that_was_shown(path: Path) -> None:
    """Lines that are written below a record are no others because the last lines were shown meanwhile."""
    path.parent.mkdir()
    head, *below = stored(1, 100).split(b"\n")
    path.write_bytes(b"\n".join([b'{"before":1}', head, *below[:50]]) + b"\n")
    found, rest = tail_and_rest(path, 10)
    assert found == [head, *below[40:50]]

    def finish() -> None:
        with path.open("ab") as file:
            file.write(b"\n".join(below[50:]) + b"\n")

    assert await collect(follow(rest, pause=Script(finish, stop))) == below[50:]


def test_a_log_that_is_rotated_while_it_is_read_gives_no_line_twice(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the newest file and the older ones the newest may become an older one."""
    log, real = RotatingFile(path, max_bytes=40, backups=9), reader._last_lines
    lines = [b"line %02d" % number for number in range(12)]
    log.write(lines)

    def rotate_after(*arguments: Any) -> Any:
        found = real(*arguments)
        monkeypatch.setattr(reader, "_last_lines", real)
        log.write([b"x" * 39])
        return found

    monkeypatch.setattr(reader, "_last_lines", rotate_after)
    assert tail(path, 99) == lines
    log.close()
