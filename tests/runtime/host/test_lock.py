"""One prx at a time, and the second one learns who is first."""

import fcntl
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from prx.runtime.host.lock import InstanceLock, LockHeld


def test_second_taker_learns_who_holds_it(tmp_path: Path) -> None:
    """The second one gets pid, time and what, at once."""
    path = tmp_path / "run" / "prx.lock"
    with InstanceLock.acquire(path, what="/etc/prx.toml", since="2026-11-22T17:00:00Z"):
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700
        with pytest.raises(LockHeld, match=f"pid {os.getpid()} is already running /etc/prx.toml, since 2026") as caught:
            InstanceLock.acquire(path, what="other", since="later")
        assert (caught.value.pid, caught.value.what) == (os.getpid(), "/etc/prx.toml")
        assert "prx stop" in caught.value.hint
    InstanceLock.acquire(path, what="again", since="now").release()


def test_holder_that_has_not_said_who_it_is(tmp_path: Path) -> None:
    """A lock taken but not yet signed is still a lock."""
    path = tmp_path / "prx.lock"
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        with pytest.raises(LockHeld, match="another prx") as caught:
            InstanceLock.acquire(path, what="x", since="now")
        assert caught.value.pid is None
    finally:
        os.close(fd)


def test_release_twice_and_removed_file(tmp_path: Path) -> None:
    """Releasing twice is harmless, and a lock file that was removed does not confuse the next one."""
    path = tmp_path / "prx.lock"
    lock = InstanceLock.acquire(path, what="x", since="now")
    path.unlink()
    with InstanceLock.acquire(path, what="x", since="now"):
        lock.release()
        lock.release()
        with pytest.raises(LockHeld):
            InstanceLock.acquire(path, what="x", since="now")


def test_file_removed_in_the_race(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock on a file that was removed between opening and locking counts for nothing: the next file is locked."""
    path, real, calls = tmp_path / "prx.lock", fcntl.flock, list[int]()

    def late(fd: int, operation: int) -> None:
        calls.append(fd)
        if len(calls) == 1:
            path.unlink()
        real(fd, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with InstanceLock.acquire(path, what="x", since="now"):
        assert len(calls) == 2
        with pytest.raises(LockHeld):
            InstanceLock.acquire(path, what="x", since="now")


def test_child_does_not_hold_it(tmp_path: Path) -> None:
    """A child that outlives prx does not keep the lock, even one that inherits every descriptor it can."""
    path = tmp_path / "prx.lock"
    lock = InstanceLock.acquire(path, what="x", since="now")
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", "input()"], stdin=subprocess.PIPE, close_fds=False) as child:
        lock.release()
        InstanceLock.acquire(path, what="x", since="now").release()
        child.communicate(b"\n")


def test_symlink_is_refused(tmp_path: Path) -> None:
    """A lock file that is a symbolic link is never written through."""
    target = tmp_path / "target"
    target.write_text("keep")
    (tmp_path / "prx.lock").symlink_to(target)
    with pytest.raises(OSError, match="symbolic"):
        InstanceLock.acquire(tmp_path / "prx.lock", what="x", since="now")
    assert target.read_text() == "keep"


def test_holder_killed_frees_it(tmp_path: Path) -> None:
    """The lock of a prx that was killed is free at once: no stale lock exists."""
    path = tmp_path / "prx.lock"
    code = (
        "import sys; from pathlib import Path; from prx.runtime.host.lock import InstanceLock\n"
        "lock = InstanceLock.acquire(Path(sys.argv[1]), what='x', since='now'); print('held', flush=True); input()"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(LockHeld) as caught:
            InstanceLock.acquire(path, what="x", since="now")
        assert caught.value.pid == holder.pid
        holder.kill()
        holder.wait()
        InstanceLock.acquire(path, what="x", since="now").release()


@pytest.mark.parametrize("kind", ["fifo", "socket", "deep"])
def test_what_is_no_lock_file(tmp_path: Path, kind: str) -> None:
    """Something else in its place is refused by its name; one whose text nests without end is held by an unknown prx."""
    path = tmp_path / "x.lock"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(path))
    else:
        path.write_text("[" * 4096)
        holder = os.open(path, os.O_RDWR)
        fcntl.flock(holder, fcntl.LOCK_EX)
    with pytest.raises((OSError, LockHeld)) as refused:
        InstanceLock.acquire(path, what="", since="")
    if kind == "deep":
        os.close(holder)
        assert isinstance(refused.value, LockHeld)
    else:
        assert isinstance(refused.value, OSError)
        assert refused.value.filename == str(path)
