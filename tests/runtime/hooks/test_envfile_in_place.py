"""Dotenv files that cannot be replaced, only written: mounts, folders that may not be changed, files with two names."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

import pytest

from prx.runtime.hooks import envfile
from prx.runtime.hooks.envfile import set_variable

NEW = "https://new-name.trycloudflare.com"
STRANGER = 4242  # a uid that owns nothing here
WITH = f"A=1\nPRX_URL={NEW}\n"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts and other users' files need root")

# Run in a mount namespace of its own: FOLDER, then what to mount, then the file to write.
MOUNTED = """
import subprocess, sys
from pathlib import Path
from prx.runtime.hooks.envfile import set_variable
folder, kind, url = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
def mount(*words): subprocess.run(["mount", *map(str, words)], check=True)
file, source = folder / "app" / ".env", folder / "source.env"
if kind == "read-only folder":
    mount("--bind", folder / "app", folder / "app")
    mount("--bind", source, file)
    mount("-o", "remount,ro,bind", folder / "app")
elif kind == "another file system":
    mount("-t", "tmpfs", "none", folder / "other")
    (folder / "other" / ".env").write_text("A=1\\n")
    source = folder / "other" / ".env"
    mount("--bind", source, file)
elif kind == "link to a mount":
    mount("--bind", source, file)
    file = folder / "link.env"
    file.symlink_to(folder / "app" / ".env")
elif kind == "read-only file":
    mount("--bind", source, file)
    mount("-o", "remount,ro,bind", file)
else:
    mount("--bind", source, file)
try:
    set_variable(file, "PRX_URL", url)
except OSError as error:
    print("refused", error.errno)
print(source.read_text(), end="")
"""


def mounted(folder: Path, kind: str) -> str:
    """Write a dotenv file that is a mount; return what its source holds then, or skip if nothing can be mounted."""
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this system lets nobody mount")
    for name in ("app", "other"):
        (folder / name).mkdir()
    (folder / "app" / ".env").touch()
    (folder / "source.env").write_text("A=1\n")
    command = ["unshare", "-m", sys.executable, "-c", MOUNTED, str(folder), kind, NEW]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@as_root
@pytest.mark.parametrize("kind", ["file", "read-only folder", "another file system", "link to a mount"])
def test_a_mounted_file_is_written(tmp_path: Path, kind: str) -> None:
    """A file that is a mount, as in a container, gets the variable, in whatever folder it is mounted."""
    assert mounted(tmp_path, kind) == WITH


@as_root
def test_a_read_only_mount_is_refused(tmp_path: Path) -> None:
    """What cannot be written stays as it is, and is an error."""
    assert mounted(tmp_path, "read-only file") == f"refused {errno.EROFS}\nA=1\n"


@contextmanager
def a_stranger() -> Iterator[None]:
    """Be another user for a while."""
    os.seteuid(STRANGER)
    try:
        yield
    finally:
        os.seteuid(0)


@as_root
@pytest.mark.parametrize("mode", [0o755, 0o1777])
def test_a_folder_that_may_not_be_changed(tmp_path: Path, mode: int) -> None:
    """A file that we may write, in a folder of another user or a sticky one, is written, and keeps owner and mode."""
    for folder in (tmp_path, *list(tmp_path.parents)[:3]):
        folder.chmod(0o755)
    folder = tmp_path / "theirs"
    folder.mkdir()
    folder.chmod(mode)
    path = folder / ".env"
    path.write_text("A=1\n")
    path.chmod(0o666)
    with a_stranger():
        set_variable(path, "PRX_URL", NEW)
    assert path.read_text() == WITH
    assert (path.stat().st_uid, stat.S_IMODE(path.stat().st_mode)) == (0, 0o666)
    assert [file.name for file in folder.iterdir()] == [".env"]
    path.chmod(0o644)
    with a_stranger(), pytest.raises(PermissionError):
        set_variable(path, "OTHER", "https://x")
    assert path.read_text() == WITH


def test_a_file_with_two_names_keeps_both(tmp_path: Path) -> None:
    """A hard link stays one: the other name sees the new URL, too."""
    path, other = tmp_path / ".env", tmp_path / "other.env"
    path.write_text("A=1\n")
    other.hardlink_to(path)
    set_variable(path, "PRX_URL", NEW)
    assert other.read_text() == WITH


def test_a_long_name_leaves_no_room_beside_it(tmp_path: Path) -> None:
    """A name of 255 bytes, beside which no longer one can stand, is no obstacle."""
    path = tmp_path / ("e" * 255)
    path.write_text("A=1\n")
    set_variable(path, "PRX_URL", NEW)
    assert path.read_text() == WITH


@pytest.mark.parametrize("number", [errno.EBUSY, errno.EXDEV, errno.EACCES, errno.EPERM, errno.EROFS])
def test_every_refusal_of_the_folder_leads_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Whatever the folder says against another file in it, the file itself is tried; a shorter URL leaves nothing behind."""
    path = tmp_path / ".env"
    path.write_text("PRX_URL=https://a-very-much-longer-name-than-the-new-one.trycloudflare.com/and/more\nB=2\n")

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(envfile, "_replace", refuse)
    set_variable(path, "PRX_URL", NEW)
    assert path.read_text() == f"PRX_URL={NEW}\nB=2\n"


@pytest.mark.parametrize("fails_after", [0, 1, 20])
def test_a_full_disk_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_after: int) -> None:
    """Writing in place that fails half-way puts the old content back, byte for byte, and is an error."""
    path, other = tmp_path / ".env", tmp_path / "other.env"
    path.write_text("A=1\n")
    other.hardlink_to(path)
    write = envfile._write_whole

    def full(file: FileIO, content: bytes) -> None:
        if NEW.encode() in content:
            file.write(content[:fails_after])
            raise OSError(errno.ENOSPC, "No space left on device")
        write(file, content)

    monkeypatch.setattr(envfile, "_write_whole", full)
    with pytest.raises(OSError, match="No space"):
        set_variable(path, "PRX_URL", NEW)
    assert path.read_bytes() == other.read_bytes() == b"A=1\n"
