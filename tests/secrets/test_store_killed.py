"""Killed with SIGKILL at any line of a write, the secrets file holds the old content or the new, whole."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

# One process forks a child for each line of our code that the change runs through, and has the child killed at that line.
DRIVER = """
import json, os, shutil, signal, sys, types
from pathlib import Path

from prx.secrets import files, store
from prx.secrets.crypto import Cost
from prx.secrets.keys import KeyFinder
from prx.secrets.value import Secret

folder, action = Path(sys.argv[1]), sys.argv[2]
good = folder.with_name("good")

def open_store(password="old password"):
    return store.SecretStore(folder, KeyFinder(Secret(password), keyring=lambda: None, cost=Cost(8, 1, 1)))

def content(path, password):
    copy = folder.with_name("copy")
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir()
    shutil.copy(path, copy / "secrets.enc")
    finder = KeyFinder(Secret(password), keyring=lambda: None, cost=Cost(8, 1, 1))
    return {name: entry.value.reveal() for name, entry in store.SecretStore(copy, finder).entries().items()}

def readable(path):
    if not path.exists():
        return None
    for password in ("old password", "new password"):
        try:
            return content(path, password)
        except Exception as error:
            last = repr(error)
    return last

def change():
    if action == "rotate":
        open_store().rotate(want_keyring=False, password=Secret("new password"))
    else:
        open_store().set("a", Secret("new"))

if action != "create":
    open_store().set("a", Secret("older"))
    open_store().set("a", Secret("old"))
    shutil.copytree(folder, good)

ours = {files.__file__, store.__file__}

def killed_at(line):
    left = line
    def trace(frame, event, argument):
        nonlocal left
        if frame.f_code.co_filename not in ours:
            return None
        if event == "line":
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace
    pid = os.fork()
    if pid == 0:
        sys.settrace(trace)
        change()
        os._exit(0)
    return os.waitpid(pid, 0)[1]

line, status = 0, -1
while status != 0:
    line += 1
    shutil.rmtree(folder, ignore_errors=True)
    if action != "create":
        shutil.copytree(good, folder)
    status = killed_at(line)
    current, previous = readable(folder / "secrets.enc"), readable(folder / "secrets.enc.prev")
    if action != "rotate":
        change()  # neither a lock nor a half file is in the way of the next one
    print(json.dumps([status, current, previous, sorted(os.listdir(folder))]), flush=True)
"""


@pytest.mark.parametrize("action", ["create", "set", "rotate"])
def test_killed_at_any_line_nothing_is_lost(tmp_path: Path, action: str) -> None:
    """Both files always open: the current one with old or new content, never half, never missing once it was there."""
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, str(tmp_path / "data"), action], capture_output=True, text=True, timeout=80, check=False
    )
    assert done.returncode == 0, done.stderr
    rounds = [json.loads(line) for line in done.stdout.splitlines()]
    before = None if action == "create" else {"a": "old"}
    after = {"a": "old"} if action == "rotate" else {"a": "new"}
    assert len(rounds) > 60
    for status, current, previous, files in rounds[:-1]:
        assert status == 9
        assert current in (before, after)
        assert previous in ([None] if action == "create" else [{"a": "older"}, {"a": "old"}])
        assert action == "rotate" or not [name for name in files if name.startswith(".")]
    assert rounds[-1][:2] == [0, after]
    seen = [current for _, current, _, _ in rounds]
    assert before in seen
    assert after in seen
