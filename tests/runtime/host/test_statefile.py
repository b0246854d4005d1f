"""A state file is whole or absent, and never an error."""

import errno
import logging
import os
from pathlib import Path

import pytest

from prx.runtime.host import statefile
from prx.runtime.host.statefile import StateFile


def test_round_trip(tmp_path: Path) -> None:
    """What was saved is loaded; file and folder are private; no temporary file stays."""
    path = tmp_path / "state" / "state.json"
    assert StateFile(path).save({"a": [1, "ü"]})
    assert StateFile(path).load() == {"a": [1, "ü"]}
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [file.name for file in path.parent.iterdir()] == ["state.json"]


@pytest.mark.parametrize("content", [b"", b'{"a": ', b"[1]", b"\xff\xff", b"[" * 100_000, b" " * 2_000_000])
def test_unusable_content(tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """Anything that is not a whole JSON object counts as empty, with one warning that names the file."""
    path = tmp_path / "state.json"
    path.write_bytes(content)
    assert StateFile(path).load() == {}
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert str(path) in record.getMessage()


def test_missing_is_normal(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The first start warns of nothing."""
    assert StateFile(tmp_path / "none.json").load() == {}
    assert not caplog.records


@pytest.mark.parametrize("kind", ["symlink", "fifo", "folder"])
def test_not_a_regular_file(tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """A link, a FIFO or a folder is refused without waiting; saving never writes through a link."""
    path, target = tmp_path / "state.json", tmp_path / "target"
    target.write_text('{"a": 1}')
    if kind == "symlink":
        path.symlink_to(target)
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()
    file = StateFile(path)
    assert file.load() == {}
    assert len(caplog.records) == 1
    assert file.save({"b": 2}) is (kind != "folder")
    assert target.read_text() == '{"a": 1}'


def test_full_disk_is_kept_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """While the disk is full the old file stays whole and the new content waits; one warning, not one per try."""
    path = tmp_path / "state.json"
    file = StateFile(path)
    file.save({"a": 1})

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert not file.save({"a": 2})
        assert not file.save({"a": 3})
        assert not file.retry()
    assert (file.data, file.pending, file.problem) == ({"a": 3}, True, "No space left on device")
    assert StateFile(path).load() == {"a": 1}
    assert len(caplog.records) == 1
    assert file.retry()
    assert StateFile(path).load() == {"a": 3}
    assert not file.pending
    assert [each.name for each in tmp_path.iterdir()] == ["state.json"]


def test_a_file_that_is_the_same_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of tunnels that ask for the same facts read them once; another's change, of any kind, is seen."""
    file, other = StateFile(tmp_path / "state.json"), StateFile(tmp_path / "state.json")
    reads: list[Path] = []
    read = statefile._read_private

    def counted(path: Path) -> bytes:
        reads.append(path)
        return read(path)

    monkeypatch.setattr(statefile, "_read_private", counted)
    other.save({"a": 1})
    assert [file.load() for _ in range(5)] == [{"a": 1}] * 5
    assert len(reads) == 1
    other.save({"a": 2})
    assert file.load() == {"a": 2}
    (tmp_path / "state.json").write_text('{"a": 3}')
    assert file.load() == {"a": 3}
    (tmp_path / "state.json").unlink()
    assert file.load() == {}
