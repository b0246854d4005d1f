"""A signal in the first tenths of a second, while modules are imported: no traceback, and no death by a wish to reload."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from prx.cli.early import LAB_COMMANDS, goes_on
from prx.cli.lab import subcommands

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


@pytest.mark.parametrize(
    "during", ["prx.cli.early", "prx.cli.held", "prx.cli.root", "prx.ui.errors", "click", "prx.cli.status"]
)
@pytest.mark.parametrize(
    ("number", "command", "code"),
    [
        (signal.SIGINT, "status", 130),
        (signal.SIGINT, "start", 0),
        (signal.SIGTERM, "start", 0),
        (signal.SIGHUP, "start", 2),
        (signal.SIGQUIT, "start", 0),
        (signal.SIGALRM, "start", 0),
        (signal.SIGUSR1, "start", 2),
    ],
)
def test_a_signal_during_an_import(tmp_path: Path, during: str, number: int, command: str, code: int) -> None:
    """Ctrl-C ends a command with 130 and a start with 0, as SIGTERM, SIGQUIT and a time limit do; SIGHUP and SIGUSR1 go by."""
    if command == "start" and during == "prx.cli.status":
        during = "prx.cli.start"
    if during in {"prx.cli.early", "prx.cli.held"} and number != signal.SIGINT:
        pytest.skip("no handler is there yet: the signal ends the process, as it ends any other")
    words = [command, "--no-such-option"] if code == 2 else [command]
    ended = subprocess.run(
        [sys.executable, "-P", "-c", SIGNALLED, str(int(number)), during, *words],
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


def test_little_is_imported_before_prx_has_a_say() -> None:
    """Until `main` runs, Ctrl-C is a traceback of the interpreter's: nothing that takes time is imported before it."""
    program = "import sys; before = set(sys.modules); import prx.cli; print(*sorted(set(sys.modules) - before))"
    said = subprocess.run([sys.executable, "-I", "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}; {program}"],
                          capture_output=True, text=True, timeout=60, check=True)  # fmt: skip
    ours = {"prx", "prx.cli", "prx.front_door"}
    assert set(said.stdout.split()) <= ours | {
        "__future__",
        "warnings",
        "importlib",
        "importlib._bootstrap",
        "importlib._bootstrap_external",
    }


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("start 8080", True), ("-q start", True), ("lab", True), ("lab --json --limits none", True), ("web", True),
        ("mcp", True), ("logs -f", True), ("logs web --follow", True), ("logs -fn5", True), ("requests -f", True),
        ("status --watch", True),
        ("", False), ("--help", False), ("status", False), ("logs", False), ("logs --level info", False), ("lab token", False),
        ("lab fault drop", False), ("web --url", False), ("url --wait 5", False), ("requests --wait POST", False),
        ("requests show 1", False), ("doctor", False), ("stop", False),
    ],
)  # fmt: skip
def test_what_goes_on_until_it_is_stopped(line: str, wanted: bool) -> None:
    """A command that goes on until it is stopped is known before it is imported, so that a stop is its end and no failure."""
    assert goes_on(line.split()) is wanted


def test_the_commands_of_the_lab_that_end_by_themselves() -> None:
    """What is known of them beforehand is what there is."""
    assert {command.name for command in subcommands.ALL} == LAB_COMMANDS
