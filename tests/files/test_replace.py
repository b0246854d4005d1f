"""Every file that prx replaces is replaced by the same code, with the same durability."""

import ast
import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

import prx
from prx.files.replace import sync_folder, write_whole

SOURCE = Path(prx.__file__).parent
# What moves a file or a link that is not made of given content: the log's rotation, the download and its links.
OTHERS = {"lab/connector/log_file.py", "install/programs.py", "files/replace.py"}


def failing(code: int, *, folders: bool) -> Callable[[int], None]:
    """Return an fsync that fails with `code`, of folders or of files only."""
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").is_dir() == folders:
            raise OSError(code, os.strerror(code))
        real(descriptor)

    return fsync


def test_a_name_left_by_a_kill_is_used_again(tmp_path: Path) -> None:
    """A caller with a lock names the new file, so that one which a kill has left goes with the next write."""
    (tmp_path / ".f.new").write_bytes(b"half")
    write_whole(tmp_path / "f", b"whole", beside=".f.new")
    assert [path.name for path in tmp_path.iterdir()] == ["f"]
    assert (tmp_path / "f").read_bytes() == b"whole"


def test_a_disk_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the new content cannot be synced, the old one stays, and nothing else is left."""
    write_whole(tmp_path / "f", b"old")
    monkeypatch.setattr(os, "fsync", failing(errno.EIO, folders=False))
    with pytest.raises(OSError, match="Input/output"):
        write_whole(tmp_path / "f", b"new")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EOPNOTSUPP, errno.EACCES])
def test_a_folder_that_cannot_be_synced_is_no_failure(code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """File systems that cannot sync a folder (9p, vfat, some network ones) are written to all the same."""
    monkeypatch.setattr(os, "fsync", failing(code, folders=True))
    write_whole(tmp_path / "f", b"new")
    assert (tmp_path / "f").read_bytes() == b"new"


def test_a_folder_whose_sync_fails_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fails under the rename is an error: the caller must not take the content for safe."""
    monkeypatch.setattr(os, "fsync", failing(errno.EIO, folders=True))
    with pytest.raises(OSError, match="Input/output"):
        write_whole(tmp_path / "f", b"new")
    with pytest.raises(OSError, match="Input/output"):
        sync_folder(tmp_path)


def test_what_need_not_last_waits_for_no_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Content that may be lost with the power costs no sync, of the file or of the folder."""
    monkeypatch.setattr(os, "fsync", lambda _: pytest.fail("synced"))
    write_whole(tmp_path / "f", b"new", durable=False)
    assert (tmp_path / "f").read_bytes() == b"new"


def test_the_owner_is_kept(tmp_path: Path) -> None:
    """A file that replaces another takes its owner if this process may give it, and is written if not."""
    write_whole(tmp_path / "f", b"new", owner=(os.geteuid(), os.getegid()))
    facts = (tmp_path / "f").stat()
    assert (facts.st_uid, facts.st_gid) == (os.geteuid(), os.getegid())


def test_nothing_else_replaces_files() -> None:
    """No other module syncs a file or makes one to rename: content goes through `prx.files.replace`."""
    found = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in {"mkstemp", "fsync"}:
                found.add(path.relative_to(SOURCE).as_posix())
    # the one writes in place what cannot be replaced, the other keeps each request in a file of its own
    assert found - OTHERS <= {"runtime/hooks/envfile.py", "traffic/spool.py"}
