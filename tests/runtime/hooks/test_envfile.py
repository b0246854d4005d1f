"""The dotenv file: one variable is kept up to date, and nothing else is touched."""

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prx.runtime.hooks.envfile import _changed, set_variable

NEW = "https://new-name.trycloudflare.com"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"", b"PRX_URL=%b\n"),
        (b"A=1\n", b"A=1\nPRX_URL=%b\n"),
        (b"A=1", b"A=1\nPRX_URL=%b\n"),
        (b"A=1\r\nB=2\r\n", b"A=1\r\nB=2\r\nPRX_URL=%b\r\n"),
        (b"A=1\nPRX_URL=https://old\nB=2\n", b"A=1\nPRX_URL=%b\nB=2\n"),
        (b"export PRX_URL='https://old' # comment\n", b"export PRX_URL=%b\n"),
        (b"PRX_URL=1\r\nPRX_URL=2\r\n", b"PRX_URL=%b\r\nPRX_URL=%b\r\n"),
        (b"#PRX_URL=x\nMY_PRX_URL=y\nPRX_URL_OLD=z\n", b"#PRX_URL=x\nMY_PRX_URL=y\nPRX_URL_OLD=z\nPRX_URL=%b\n"),
        (b"\xff\xfe=\x00\n", b"\xff\xfe=\x00\nPRX_URL=%b\n"),
    ],
)
def test_only_the_variable_changes(tmp_path: Path, before: bytes, after: bytes) -> None:
    """Other lines, comments, line ends and odd bytes stay as they are."""
    path = tmp_path / ".env"
    path.write_bytes(before)
    set_variable(path, "PRX_URL", NEW)
    assert path.read_bytes() == after.replace(b"%b", NEW.encode())
    assert [file.name for file in tmp_path.iterdir()] == [".env"]


@given(st.binary(max_size=300))
def test_second_writing_changes_nothing(before: bytes) -> None:
    """Whatever is in the file, writing the same value again leaves it alone, and the lines of others are all there."""
    once = _changed(before, "PRX_URL", NEW)
    assert _changed(once, "PRX_URL", NEW) == once
    if b"PRX_URL" not in before:
        assert once.startswith(before)


def test_new_file_is_private(tmp_path: Path) -> None:
    """A file that did not exist is for its owner only."""
    set_variable(tmp_path / ".env", "PRX_URL", NEW)
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600


def test_mode_and_link_stay(tmp_path: Path) -> None:
    """The mode stays, a symbolic link stays one, and the file behind it gets the value."""
    real = tmp_path / "real.env"
    real.write_bytes(b"A=1\n")
    real.chmod(0o644)
    link = tmp_path / ".env"
    link.symlink_to(real)
    set_variable(link, "PRX_URL", NEW)
    assert link.is_symlink()
    assert real.read_text() == f"A=1\nPRX_URL={NEW}\n"
    assert stat.S_IMODE(real.stat().st_mode) == 0o644


def test_unchanged_file_is_not_written(tmp_path: Path) -> None:
    """A file that has the value already is left alone: who watches it is not woken."""
    path = tmp_path / ".env"
    set_variable(path, "PRX_URL", NEW)
    before = path.stat().st_ino
    set_variable(path, "PRX_URL", NEW)
    assert path.stat().st_ino == before


def test_reader_never_sees_half_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk is full, the old file stays whole and nothing is left beside it."""
    path = tmp_path / ".env"
    path.write_bytes(b"A=1\n")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        set_variable(path, "PRX_URL", NEW)
    assert path.read_bytes() == b"A=1\n"
    assert [file.name for file in tmp_path.iterdir()] == [".env"]


@pytest.mark.parametrize("value", ["https://x\nEVIL=1", "https://x y", 'https://"x"', "https://$HOME", ""])
def test_value_that_needs_quotes_is_refused(tmp_path: Path, value: str) -> None:
    """A value cannot add lines or be read as something else."""
    with pytest.raises(ValueError, match="without quotes"):
        set_variable(tmp_path / ".env", "PRX_URL", value)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    """A folder is not replaced, and a FIFO is not waited for."""
    os.mkfifo(tmp_path / "fifo")
    for name in ("fifo", "."):
        with pytest.raises(ValueError, match="expected a file"):
            set_variable(tmp_path / name, "PRX_URL", NEW)
