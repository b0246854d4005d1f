"""Commands whose work is done end, though a thread of theirs hangs. The look-ups of these tests hang without end."""

from __future__ import annotations

import asyncio
import linecache
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest
from tests.cli.home import PRX, Home
from tests.client.program import running

from prx.cli.ending import run


@pytest.fixture(autouse=True)
def usual_interrupt() -> Iterator[None]:
    """Have Ctrl-C handled as where a program begins: what a test before has left could end the whole run."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGQUIT])
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


@contextmanager
def interrupted_before(line: str, *functions: Callable[..., Any]) -> Iterator[list[str]]:
    """Send SIGINT once, just before a line of one of `functions` that holds `line`; yield where it came."""
    codes: set[CodeType] = {function.__code__ for function in functions}
    came: list[str] = []

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code not in codes:
            return None
        if event == "line" and not came and line in linecache.getline(frame.f_code.co_filename, frame.f_lineno):
            came.append(frame.f_code.co_name)
            signal.raise_signal(signal.SIGINT)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield came
    finally:
        sys.settrace(before)


def wakes() -> list[tuple[str, Callable[[], tuple[Any, Callable[[], object]]], Callable[..., Any]]]:
    """Return the ways in which a task is woken: what it waits for, what wakes it, and the function that does so."""

    def event() -> tuple[Any, Callable[[], object]]:
        found = asyncio.Event()
        return found.wait(), found.set

    def queue() -> tuple[Any, Callable[[], object]]:
        found: asyncio.Queue[int] = asyncio.Queue()
        return found.get(), lambda: found.put_nowait(1)

    def semaphore() -> tuple[Any, Callable[[], object]]:
        found = asyncio.Semaphore(0)
        return found.acquire(), found.release

    def stream() -> tuple[Any, Callable[[], object]]:
        found = asyncio.StreamReader()
        return found.read(1), lambda: found.feed_data(b"x")

    return [
        ("event", event, asyncio.Event.set),
        ("queue", queue, asyncio.Queue._wakeup_next),  # type: ignore[attr-defined]  # that is where it is woken
        ("semaphore", semaphore, asyncio.Semaphore._wake_up_next),
        ("stream", stream, asyncio.StreamReader._wakeup_waiter),  # type: ignore[attr-defined]
    ]


@pytest.mark.parametrize(("make", "function"), [item[1:] for item in wakes()], ids=[item[0] for item in wakes()])
def test_ctrl_c_between_two_bytecodes_breaks_nothing(
    caplog: pytest.LogCaptureFixture, make: Callable[[], tuple[Any, Callable[[], object]]], function: Callable[..., Any]
) -> None:
    """It comes just as the loop wakes the command, which is not cancelled in the middle of that: it ends, and that is all."""

    async def work() -> None:
        waits, wake = make()
        asyncio.get_running_loop().call_later(0.01, wake)
        await waits
        await asyncio.sleep(30)

    with interrupted_before("set_result", function) as came, pytest.raises(KeyboardInterrupt):
        run(work())
    assert len(came) == 1
    assert caplog.messages == []
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def is_pending(pid: int, number: int) -> bool:
    """Return whether a signal has not reached the process yet: a second one of the same number would be none."""
    fields = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return bool((int(fields["ShdPnd"], 16) | int(fields["SigPnd"], 16)) >> (number - 1) & 1)


@pytest.mark.parametrize("blocks", ["the loop", "its end"])
def test_a_second_ctrl_c_ends_a_command_at_once(blocks: str) -> None:
    """Whatever it does: a call that blocks the event loop, or a task that takes no notice of the first one."""
    script = f"""
import asyncio, sys, time
from prx.cli.ending import run
async def work():
    try:
        print("begun", flush=True)
        time.sleep(30) if {blocks == "the loop"} else await asyncio.sleep(30)
    except asyncio.CancelledError:
        print("cancelled", flush=True)
        await asyncio.sleep(30)
try:
    run(work())
except KeyboardInterrupt:
    sys.exit(130)
"""
    began = time.monotonic()
    with subprocess.Popen([sys.executable, "-c", script], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "begun\n"
        child.send_signal(signal.SIGINT)
        if blocks == "its end":
            assert child.stdout.readline() == "cancelled\n"
        while is_pending(child.pid, signal.SIGINT):
            child.poll()
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=20)
    assert (child.returncode, err) == (130, "")
    assert time.monotonic() - began < 20


def test_what_is_done_all_the_same_is_returned() -> None:
    """A command that finishes its work when it is interrupted returns it, as under asyncio.run."""

    async def work() -> int:
        try:
            signal.raise_signal(signal.SIGINT)
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            return 7
        return 1

    assert run(work()) == 7


def test_ctrl_c_at_the_very_end_is_not_lost() -> None:
    """It comes when there is nothing left that could be cancelled: the command still ends as one that was interrupted."""

    async def work() -> None:
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(work())


def test_an_error_of_the_command_is_not_hidden_by_ctrl_c() -> None:
    """What went wrong as it was interrupted is what the command ends with."""

    async def work() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            raise OSError(28, "No space left on device") from None

    with pytest.raises(OSError, match="No space left"):
        run(work())
