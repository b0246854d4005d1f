"""`prx start --detach`: the same in the background.

The command starts itself again, in a session of its own, and waits for one line on a pipe: the URLs once every tunnel is
verified, or the error that ended it. A pipe that closes without a line means that it died. Every few seconds the command asks
the one in the background how it stands: once every tunnel that is not up has a culprit, more waiting does not help. Ctrl-C ends
the wait, and not what was started: that has a session of its own, and says how to end it. The child
shows nothing (its story is in the log); should it crash, the traceback is in a file beside the logs.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import click

from prx.app.log_file import log_folder
from prx.cli.find_running import all_running
from prx.config.paths import data_dir, ensure_private_dir
from prx.control.messages import decode, encode, raised, refusal
from prx.control.ready import wait_readable
from prx.core.deadline import Deadline
from prx.core.errors import NotReadyError, PrxError
from prx.core.signal_table import ENDING, is_free
from prx.core.states import UP, State
from prx.core.verdicts import standing
from prx.ui.errors import print_note
from prx.ui.say import be_quiet, complain

if TYPE_CHECKING:
    from prx.app.options import StartOptions
    from prx.app.outcome import Outcome

WAIT_SECONDS = 90.0  # the default start-up time, and a half more for everything around it
PATIENCE_SECONDS = 5.0  # for a service that comes up just now, before its absence is the answer
_OUTPUT = "detached.err"


class Report:
    """The child's side: report to the waiting command, through the pipe `fd`, how it went; once."""

    def __init__(self, fd: int) -> None:
        os.set_inheritable(fd, False)
        self._fd = fd

    def settled(self, outcome: Outcome) -> None:
        """Report that every tunnel is verified or has failed; if all failed the end will report it."""
        if outcome.urls:
            failures = [f"{error.message}" for error in outcome.failures.values()]
            self._send({"ok": True, "urls": outcome.urls, "failures": failures})

    def __enter__(self) -> Report:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if isinstance(error, PrxError):
            self._send(refusal(error))
        elif self._fd >= 0:
            os.close(self._fd)

    def _send(self, message: dict[str, object]) -> None:
        if self._fd >= 0:
            with suppress(BrokenPipeError):  # the command did not wait so long
                os.write(self._fd, encode(message))
            os.close(self._fd)
            self._fd = -1


class _Interrupted(BaseException):
    """A signal has ended the wait."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def _interruptible() -> Iterator[None]:
    """Make what asks for an end raise _Interrupted in the block; until now it has ended prx without a word."""

    def interrupt(number: int, _frame: object) -> None:
        raise _Interrupted(number)

    wanted = [number for number in ENDING if is_free(number)]
    before = {number: signal.signal(number, interrupt) for number in wanted}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def start_detached(options: StartOptions) -> int:
    """Start prx in the background; print the URLs when they are verified. Raises what ended it, or NotReadyError.

    If Ctrl-C (or another signal that asks for an end) ends the wait it says that prx goes on, and returns 128 + n.
    """
    if options.plain:  # -q: the URL alone, warnings and errors
        be_quiet()
    folder = ensure_private_dir(log_folder(ensure_private_dir(data_dir())))
    child, reading = _spawn(options, folder / _OUTPUT)
    began = time.monotonic()
    try:
        with _interruptible():
            print_note(f"prx runs in the background (pid {child.pid}) …")
            line = _first_line(reading, child.pid)
    except _Interrupted as interrupted:
        _let_go(child)
        print_note(_goes_on(child.pid))
        return 128 + interrupted.number
    if line is None:
        _let_go(child)
        raise _not_ready(child.pid, time.monotonic() - began)
    if not line:
        raise PrxError(f"prx ended at once (exit code {child.wait()})", hint=f"its last words are in {folder / _OUTPUT}")
    answer = decode(line)
    if not answer.get("ok"):
        child.wait()
        raise raised(answer)
    _let_go(child)
    return _report(answer, child.pid)


def _short(tunnel: dict[str, Any]) -> str:
    return f"{tunnel['name']}: {standing(tunnel['state'], tunnel['verdict'], tunnel['reason'])}"


def _spawn(options: StartOptions, output: Path) -> tuple[subprocess.Popen[bytes], int]:
    """Start the one in the background, its stderr in the file `output`; return it and the pipe that it reports to."""
    reading, writing = os.pipe()
    stderr = os.open(
        output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, 0o600
    )
    try:
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "prx", "start", "--report-to", str(writing), *_arguments(options)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            pass_fds=(writing,),
            start_new_session=True,
        )
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)
        os.close(stderr)
    return child, reading


def _first_line(reading: int, pid: int) -> bytes | None:
    """Return what the one in the background reports, empty if it died.

    None if nothing came in time, or if nothing will come by waiting: each tunnel is up, or something else is at fault.
    """
    deadline = Deadline(time.monotonic, WAIT_SECONDS)
    with os.fdopen(reading, "rb", buffering=0) as pipe:
        while not deadline.is_over:
            if wait_readable(pipe.fileno(), min(deadline.left, PATIENCE_SECONDS)):
                return pipe.read()
            tunnels = _tunnels_of(pid)
            if tunnels and all(tunnel["state"] in {*UP, State.FAILED} for tunnel in tunnels):
                return None
        return None


def _not_ready(pid: int, seconds: float) -> NotReadyError:
    """Print the URLs that are verified all the same; return the error that says why the others are not."""
    tunnels = _tunnels_of(pid)
    for tunnel in tunnels:
        if tunnel["proven"]:
            click.echo(tunnel["url"])
    waiting = [tunnel for tunnel in tunnels if not tunnel["proven"]]
    return NotReadyError(
        f"not verified after {seconds:.0f} s: {'; '.join(_short(item) for item in waiting) or 'it does not answer'}",
        hint=f"prx goes on in the background (pid {pid}); prx url --wait 60 waits on, prx stop ends it",
    )


def _let_go(child: subprocess.Popen[bytes]) -> None:
    """Report to the library that `child` is never waited for: it outlives this command."""
    child.returncode = 0


def _report(answer: dict[str, object], pid: int) -> int:
    urls, failures = answer["urls"], answer["failures"]
    assert isinstance(urls, dict)
    assert isinstance(failures, list)
    for failure in failures:
        complain(f"error: {failure}")
    for url in urls.values():
        click.echo(url)
    print_note(_goes_on(pid))
    return 0


def _goes_on(pid: int) -> str:
    return f"prx goes on in the background (pid {pid}); prx stop ends it"


def _tunnels_of(pid: int) -> list[dict[str, Any]]:
    """Return what the prx in the background says of its tunnels; nothing if it cannot be asked (yet)."""
    try:
        with all_running(None) as found:
            mine = [running for running in found if running.about["pid"] == pid]
            return [tunnel for running in mine for tunnel in running.client.ask("status")["tunnels"]]
    except PrxError:
        return []


def _arguments(options: StartOptions) -> list[str]:
    """Return the command line that asks for `options` again."""
    from prx.app.options import WISHES, words_of
    from prx.core.durations import format_duration

    words = [f"--{name}" for name in ("hello", "lab") if getattr(options, name)]
    words += ["--lab-control", options.lab_control] if options.lab_control else []
    words += [] if options.config is None else ["--config", str(options.config)]
    words += [] if options.ttl is None else ["--ttl", format_duration(options.ttl)]
    for flag, key in WISHES.items():
        words += words_of(flag, options.overrides.get(key, ()))
    words += ["--name", options.name] if options.name else []
    words += {"warn": ["-q"], "debug": ["-v"]}.get(options.overrides.get("log_level", ""), [])
    words += [options.local_addr] if options.local_addr else list(options.only)
    return [*words, "--", *options.command] if options.command else words
