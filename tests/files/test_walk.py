"""The way to a real file: folders, links, kinds, and nothing that waits or can be exchanged."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from prx.files import Claim, FileRefusedError
from prx.files.reading import read_plain, read_trusted
from prx.files.walk import file_system_of, walked


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a file in a folder of ours."""
    path = tmp_path / "file"
    path.write_bytes(b"content")
    return path


def reached(path: Path) -> tuple[str, list[str]]:
    """Return where a path leads, and the names of the links on the way."""
    with walked(path) as found:
        assert found.way.file is not None
        return found.way.file.path, [Path(link.path).name for link, _ in found.way.links]


def test_links_are_followed_one_by_one(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Absolute and relative links, links to folders, `..`, and relative paths lead where the kernel goes."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "up").symlink_to("../file")
    (tmp_path / "folder").symlink_to(tmp_path / "a")
    assert reached(tmp_path / "folder" / "up") == (str(file), ["folder", "up"])
    assert reached(tmp_path / "a" / ".." / "file") == (str(file), [])
    monkeypatch.chdir(tmp_path / "a")
    assert reached(Path("up")) == (str(file), ["up"])
    assert reached(Path("../folder/./up")) == (str(file), ["folder", "up"])


def test_the_folders_that_a_link_was_found_in_stay_on_the_list(file: Path, tmp_path: Path) -> None:
    """Who can write the folder of a link can turn it: both ends count."""
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "link").symlink_to(file)
    with walked(tmp_path / "here" / "link") as found:
        assert str(tmp_path / "here") in [folder.path for folder in found.way.folders]
        assert [folder.path for folder in found.way.folders].count("/") == 2


def test_loops_and_gaps_are_told_as_the_kernel_tells_them(file: Path, tmp_path: Path) -> None:
    """A loop of links, a missing folder, a file where a folder should be: an OSError with its number."""
    (tmp_path / "loop").symlink_to("loop")
    for path, kind in (
        (tmp_path / "loop", OSError),
        (tmp_path / "none" / "x", FileNotFoundError),
        (file / "x", NotADirectoryError),
        (tmp_path / "none", FileNotFoundError),
    ):
        with pytest.raises(kind):
            read_plain(path, limit=10)


def test_every_other_kind_is_named_at_once(tmp_path: Path) -> None:
    """A FIFO, a socket, a folder, a device is refused with its kind, and nothing is waited for."""
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        (tmp_path / "link").symlink_to("fifo")
        for path, kind in {
            tmp_path / "fifo": "a FIFO",
            tmp_path / "link": "a FIFO",
            tmp_path / "socket": "a socket",
            tmp_path: "a directory",
            Path("/dev/zero"): "a character device",
            Path("/dev/null"): "a character device",
        }.items():
            with pytest.raises(FileRefusedError, match=f"found {kind}, expected a file"):
                read_trusted(path, Claim.NAMED, limit=10)


def test_a_pipe_that_the_shell_hands_over_is_named_too() -> None:
    """`-c <(command)` is a FIFO behind /dev/fd."""
    reading, writing = os.pipe()
    try:
        with pytest.raises(FileRefusedError, match="found a FIFO"):
            read_trusted(f"/dev/fd/{reading}", Claim.NAMED, limit=10)
    finally:
        os.close(reading)
        os.close(writing)


def test_an_open_file_that_is_handed_over_is_read(file: Path) -> None:
    """`-c /dev/stdin < FILE` is a file, wherever it lies."""
    with file.open("rb") as opened:
        assert read_trusted(f"/dev/fd/{opened.fileno()}", Claim.NAMED, limit=10).data == b"content"


def test_too_much_is_refused_without_reading_it(file: Path) -> None:
    """One byte more than the limit, a sparse terabyte, and a file that claims to be empty and is not."""
    assert read_plain(file, limit=7) == b"content"
    with pytest.raises(FileRefusedError, match="has 7 bytes, expected at most 6"):
        read_plain(file, limit=6)
    os.truncate(file, 1 << 40)
    with pytest.raises(FileRefusedError, match="expected at most"):
        read_plain(file, limit=1 << 20)
    with pytest.raises(FileRefusedError, match="gives more than 3 bytes"):
        read_plain("/proc/self/stat", limit=3)


@pytest.mark.parametrize("by", ["rename", "unlink"])
def test_what_is_exchanged_before_it_is_opened_is_not_read(file: Path, tmp_path: Path, by: str) -> None:
    """The file that is read is the one that was judged, whatever bears its name by then: none is refused for that."""
    other = tmp_path / "other"
    other.write_bytes(b"planted")
    with walked(file) as found:
        other.replace(file) if by == "rename" else file.unlink()
        descriptor = found.open()
    try:
        assert os.read(descriptor, 100) == b"content"
    finally:
        os.close(descriptor)


def test_without_proc_what_was_exchanged_is_refused(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that can be opened by its name only is compared with the one that was judged."""
    other = tmp_path / "other"
    other.write_bytes(b"planted")
    opened = os.open

    def without_proc(path: str, *args: int, **places: int) -> int:
        if path.startswith("/proc/"):
            raise FileNotFoundError(path)
        return opened(path, *args, **places)

    monkeypatch.setattr(os, "open", without_proc)
    with walked(file) as found:
        os.close(found.open())
        other.replace(file)
        with pytest.raises(FileRefusedError, match="was exchanged"):
            found.open()


def test_a_link_that_is_turned_while_it_is_followed_is_followed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kubernetes turns the link of a Secret and removes the folder that it led to: a reader finds one of the two."""
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "token").write_text(name)
    (tmp_path / "..data").symlink_to("old")
    (tmp_path / "token").symlink_to("..data/token")
    follow = os.readlink

    def turned(name: str, **places: int) -> str:
        target = follow(name, **places)
        if target == "old":
            (tmp_path / "next").symlink_to("new")
            (tmp_path / "next").replace(tmp_path / "..data")
            (tmp_path / "old" / "token").unlink()
            (tmp_path / "old").rmdir()
        return target

    monkeypatch.setattr(os, "readlink", turned)
    with same_descriptors():
        assert read_plain(tmp_path / "token", limit=10) == b"new"
        (tmp_path / "new" / "token").unlink()
        with pytest.raises(FileNotFoundError):
            read_plain(tmp_path / "token", limit=10)


def test_a_folder_that_is_exchanged_for_a_link_is_not_followed(file: Path, tmp_path: Path) -> None:
    """The walk holds its folders open: what takes the name of one meanwhile changes nothing."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_bytes(b"judged")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "file").write_bytes(b"planted")
    with walked(tmp_path / "a" / "file") as found:
        (tmp_path / "a").rename(tmp_path / "c")
        (tmp_path / "a").symlink_to("b")
        descriptor = found.open()
    try:
        assert os.read(descriptor, 100) == b"judged"
    finally:
        os.close(descriptor)


def test_nothing_stays_open(file: Path, tmp_path: Path) -> None:
    """Good and bad ways leave no descriptor behind."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop")
    with same_descriptors():
        for path in (file, tmp_path / "fifo", tmp_path / "loop", tmp_path / "none" / "x", tmp_path, Path("/dev/zero")):
            try:
                read_plain(path, limit=3)
            except (OSError, FileRefusedError):
                continue


@contextmanager
def same_descriptors() -> Iterator[None]:
    """Compare the open descriptors before and after."""
    before = set(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names are wanted
    yield
    assert set(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


MOUNTS = r"""
21 1 254:0 / / rw,relatime - ext4 /dev/root rw
40 21 0:40 / /mnt/c rw,noatime - 9p C:\134 rw,dirsync,aname=drvfs;path=C:\;uid=1000
41 21 0:41 / /mnt/my\040stick rw - vfat /dev/sdb1 rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/mnt/c/Users/x", "9p"), ("/mnt/cc", "ext4"), ("/mnt/my stick/f", "vfat"), ("/mnt/c", "9p"), ("/home", "ext4")],
)
def test_the_file_system_is_known(path: str, kind: str) -> None:
    """The mount with the longest matching path counts; names with spaces are written in octal there."""
    assert file_system_of(path, MOUNTS) == kind
