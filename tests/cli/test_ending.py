"""Commands whose work is done end, though a thread of theirs hangs. The look-ups of these tests hang without end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.home import PRX, Home
from tests.client.program import running

_NEVER_FOUND = """
import socket, sys, threading
asked = socket.getaddrinfo
def look_up(host, *more, **named):
    if host == "hangs.invalid":
        print("looking up", file=sys.stderr, flush=True)
        threading.Event().wait()
    return asked(host, *more, **named)
if "prx.lab.connector" not in sys.orig_argv:
    socket.getaddrinfo = look_up
"""


@pytest.fixture
def path(home: Home) -> str:
    """The PYTHONPATH with which prx itself never hears what `hangs.invalid` is."""
    folder = home.folder / "first"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(_NEVER_FOUND)
    return os.pathsep.join([str(folder), *[path for path in sys.path if Path(path).name in {"src", "site-packages"}]])


def test_a_stop_does_not_wait_for_dns(home: Home, path: str) -> None:
    """A prx whose service has a name that DNS does not answer ends when it says so, with exit code 0."""
    prx = home.start("--lab", "http://hangs.invalid:8080", PYTHONPATH=path)
    prx.wait_for("looking up")
    prx.wait_for("connected")
    prx.send(signal.SIGTERM)
    assert prx.end() == 0
    assert prx.talk[-1] == "stopped"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("command", "first"),
    [("logs -f", "hello"), ("logs --follow --json", "hello"), ("status --watch", "not running"), ("lab", "the lab listens")],
)
def test_what_goes_on_is_stopped_as_asked(home: Home, command: str, first: str, number: int) -> None:
    """A command that goes on until it is stopped ends with 0 then, without a word, whichever signal stops it."""
    log = home.folder / "data" / "logs" / "one.log"
    log.parent.mkdir(parents=True)
    log.write_text(
        '{"at":"2026-11-29T12:00:00.000Z","level":"info","source":"prx","tunnel":"","message":"hello","fields":{}}\n'
    )
    with running([*PRX, *command.split()], env=home.environ, cwd=home.folder) as program:
        while first not in program.line():
            pass
        program.process.send_signal(number)
        assert program.end() == 0
        assert "Traceback" not in program.story()


_PROGRAM = """
import asyncio, sys, threading, time
from prx.cli.ending import leave_threads, run

def write():
    started.set()
    go.wait()
    print("written")

started, go = threading.Event(), threading.Event()

async def work():
    loop = asyncio.get_running_loop()
    loop.run_in_executor(None, threading.Event().wait)
    loop.run_in_executor(None, write)
    started.wait()
    threading.Timer(0.05, go.set).start()
    print("done", end="")
    return 7

code = run(work())
leave_threads(code)
"""


def test_the_end_of_a_command() -> None:
    """What is nearly done is finished, what hangs is not waited for, and a pipe gets everything that was printed."""
    done = subprocess.run([sys.executable, "-c", _PROGRAM], text=True, capture_output=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (7, "donewritten\n", "")


def test_no_thread_is_left_as_a_rule() -> None:
    """Without a thread that hangs the interpreter ends as ever, and so does what it runs at its end."""
    program = "import atexit; from prx.cli.ending import *; atexit.register(print, 'ever'); leave_threads(7); print('as')"
    done = subprocess.run([sys.executable, "-c", program], text=True, capture_output=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (0, "as\never\n")
