"""`prx secret` with a real keyring: GNOME's, on a session bus of its own, unlocked, locked, hanging and gone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
MISSING = [name for name in ("dbus-run-session", "gnome-keyring-daemon") if shutil.which(name) is None]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"no {' and no '.join(MISSING)} here")


class Desktop:
    """A session with a keyring; `prx` runs `prx secret …` in it."""

    def __init__(self, folder: Path, value: str) -> None:
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "XDG_RUNTIME_DIR": str(folder),
            "PRX_DATA_DIR": str(folder / "data"),
            "VALUE": value,
            "LANG": "C.UTF-8",
        }
        self.process = subprocess.Popen(
            ["dbus-run-session", "--", sys.executable, "-m", "tests.secrets.desktop"],
            env=environ,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )

    def do(self, what: list[str] | str) -> Any:
        """Do one thing in the session."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, "the session has ended"
        return json.loads(line)

    def prx(self, *words: str) -> str:
        """Run a command that must work; return its stdout."""
        code, out, err = self.do(list(words))
        assert code == 0, err
        return str(out)

    def fails(self, *words: str) -> str:
        """Run a command that must fail; return its stderr."""
        code, out, err = self.do(list(words))
        assert (code, out) == (1, "")
        assert "Traceback" not in err
        return str(err)

    def close(self) -> None:
        """End the session."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(30)


@pytest.fixture
def desktop(tmp_path: Path) -> Iterator[Desktop]:
    """Yield a session whose keyring is unlocked, and that knows one secret."""
    made = Desktop(tmp_path, "val-canary")
    yield made
    made.close()


def test_a_key_in_the_keyring_opens_the_file(desktop: Desktop, tmp_path: Path) -> None:
    """No password is asked for; a rotation leaves one entry in the keyring, moving to a password none."""
    desktop.prx("set", "tok")
    assert desktop.prx("get", "tok") == "val-canary\n"
    assert desktop.do("entries") == 1
    before = (tmp_path / "data" / "secrets.enc").read_bytes()
    assert json.loads(desktop.prx("rotate", "--json"))["key"] == "keyring"
    assert (tmp_path / "data" / "secrets.enc").read_bytes() != before
    assert desktop.prx("get", "tok") == "val-canary\n"
    assert desktop.do("entries") == 1
    (tmp_path / "password").write_text("a long new password")
    (tmp_path / "password").chmod(0o600)
    assert json.loads(desktop.prx("rotate", "--new-key-file", str(tmp_path / "password"), "--json"))["key"] == "password"
    assert desktop.do("entries") == 0
    assert "needs its master password" in desktop.fails("get", "tok")


def test_a_locked_keyring_is_told_and_loses_nothing(desktop: Desktop, tmp_path: Path) -> None:
    """If no user can be asked to unlock it, that is what the error says; a new file is not made either."""
    desktop.prx("set", "tok")
    before = (tmp_path / "data" / "secrets.enc").read_bytes()
    assert desktop.do("lock") is True
    for words in (["get", "tok"], ["set", "other"], ["rotate"], ["list"]):
        told = desktop.fails(*words)
        assert "its key is in the keyring, and the keyring is locked" in told
        assert "hint: unlock the keyring" in told
        assert "val-canary" not in told
    assert (tmp_path / "data" / "secrets.enc").read_bytes() == before
    (tmp_path / "data" / "secrets.enc").unlink()
    assert "needs a master password, as the keyring is locked" in desktop.fails("set", "tok")
    assert not (tmp_path / "data" / "secrets.enc").exists()


def test_a_keyring_that_vanishes_is_told_and_loses_nothing(desktop: Desktop, tmp_path: Path) -> None:
    """A daemon that was killed has taken the way to the key with it; the file stays as it is."""
    desktop.prx("set", "tok")
    before = (tmp_path / "data" / "secrets.enc").read_bytes()
    desktop.do("vanish")
    told = desktop.fails("get", "tok")
    assert "its key is in the keyring, and " in told
    assert "hint: unlock the keyring" in told
    assert (tmp_path / "data" / "secrets.enc").read_bytes() == before
