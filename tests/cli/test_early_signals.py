"""A signal in the first tenths of a second, while modules are imported: no traceback, and no death by a wish to reload."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

# runs the command line with a signal in the middle of an import, which the argument names
SIGNALLED = """
import importlib.abc, os, signal, sys
number, name = int(sys.argv[1]), sys.argv[2]
class During(importlib.abc.MetaPathFinder):
    def find_spec(self, wanted, path, target=None):
        if wanted == name:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), number)
sys.meta_path.insert(0, During())
from prx.cli import main
sys.exit(main(sys.argv[3:]))
"""


@pytest.mark.parametrize("during", ["prx.cli.root", "prx.ui.errors", "click", "prx.cli.status"])
@pytest.mark.parametrize(
    ("number", "command", "code"), [(2, "status", 130), (2, "start", 0), (15, "start", 0), (1, "start", 2)]
)
def test_a_signal_during_an_import(tmp_path: Path, during: str, number: int, command: str, code: int) -> None:
    """Ctrl-C ends a command with 130 and a start with 0, SIGTERM a start with 0; SIGHUP goes by: nothing is read yet."""
    if command == "start" and during == "prx.cli.status":
        during = "prx.cli.start"
    words = [command, "--no-such-option"] if code == 2 else [command]
    ended = subprocess.run(
        [sys.executable, "-P", "-c", SIGNALLED, str(number), during, *words],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)}, cwd=tmp_path, stdin=subprocess.DEVNULL, start_new_session=True,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ended.returncode == code, ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_window_that_is_closed_at_once(tmp_path: Path) -> None:
    """If the terminal goes while modules are imported, the start ends: it would make a machine public that no one watches."""
    pid, terminal = pty.fork()
    if not pid:
        source = SIGNALLED.replace("os.kill(os.getpid(), number)", "print('here', flush=True); signal.pause()")
        environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
        os.execve(sys.executable, [sys.executable, "-P", "-c", source, "0", "prx.cli.start", "start"], environ)
    assert os.read(terminal, 100).startswith(b"here")
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
