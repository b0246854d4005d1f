"""Run a credential helper and take what it prints.

The helper runs without a shell, without a terminal, in a session of its own. Time and output are bounded, and when either bound
is passed its whole process group is killed, so that a helper's own children cannot keep prx waiting. So it is when prx ends
while one runs, in a daemon thread.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Final

from prx.core.deadline import Deadline
from prx.core.shortage import lack_in
from prx.files import FileRefusedError
from prx.files.programs import require_command, require_program
from prx.files.search import which
from prx.secrets.errors import SecretError, SecretShortageError, secret_error
from prx.secrets.files import MAX_SECRET_BYTES

_SHOWN_STDERR: Final = 300  # characters: a few lines of complaint
_CHUNK: Final = 16 * 1024
_HERE: Final = Path()

_running: set[subprocess.Popen[bytes]] = set()
_starting = threading.Lock()  # no helper is started, and not yet known as running, while prx ends


def run_for_secret(argv: Sequence[str], environment: Mapping[str, str], *, timeout: float, folder: Path = _HERE) -> bytes:
    """Return the stdout of a program that must end with 0 within `timeout` seconds.

    It runs in `folder`, where a relative path of a program begins, too. What others could have put in its place is not run
    (`prx.files.rule`). SecretError names the program, says what happened and shows the end of its stderr, never its stdout or
    its arguments. SecretShortageError if this machine has too little for it now, also by its own words.
    """
    place = f"cmd:{argv[0]}"
    try:
        process = _start(_found(argv, environment, folder), environment, folder)
    except FileRefusedError as error:
        raise SecretError(f"{place}: {error.message}", hint=error.hint) from None
    except (OSError, ValueError) as error:
        reason = (error.strerror or "cannot be started").lower() if isinstance(error, OSError) else "holds a zero byte"
        raise secret_error(f"{place}: {reason}", error, hint="the program is looked up in PATH") from None
    with process:
        try:
            output, complaint, code = _collect(process, place, timeout)
        finally:
            _kill_group(process)
            _running.discard(process)
    if code:
        words, lack = f"{place}: ended with {_words(code)}{_shown(complaint)}", lack_in(complaint.decode(errors="replace"))
        raise SecretError(words) if lack is None else SecretShortageError(words, hint=lack.hint)
    return output


def _found(argv: Sequence[str], environment: Mapping[str, str], folder: Path) -> list[str]:
    """Return the command line with the path of its program, which has passed the rule, as has a script that it is given."""
    name = argv[0]
    path = name if "/" in name else which(name, path=environment.get("PATH", os.defpath))
    if path is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
    require_program(path, folder=folder if "/" in name else None, environ=environment)
    require_command(argv, folder, environ=environment)
    whole = path if path.startswith("/") else os.fspath((folder if "/" in name else _HERE).absolute() / path)
    return [whole, *argv[1:]]


def _start(argv: Sequence[str], environment: Mapping[str, str], folder: Path) -> subprocess.Popen[bytes]:
    with _starting:
        process = subprocess.Popen(
            argv,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(environment),
            start_new_session=True,
        )
        _running.add(process)
    return process


def _collect(process: subprocess.Popen[bytes], place: str, timeout: float) -> tuple[bytes, bytes, int]:
    assert process.stdout is not None
    assert process.stderr is not None
    deadline = Deadline(time.monotonic, timeout)
    pipes: dict[IO[bytes], bytearray] = {process.stdout: bytearray(), process.stderr: bytearray()}
    with selectors.DefaultSelector() as selector:
        for pipe, collected in pipes.items():
            selector.register(pipe, selectors.EVENT_READ, collected)
        while selector.get_map():
            ready = selector.select(deadline.left)
            if not ready or deadline.is_over:  # also of one that complains without a pause
                raise SecretError(f"{place}: gave no answer within {timeout:g} seconds{_shown(pipes[process.stderr])}")
            for key, _ in ready:
                _read_some(selector, key, keep_all=key.fileobj is process.stdout)
            if len(pipes[process.stdout]) > MAX_SECRET_BYTES:
                raise SecretError(f"{place}: printed more than {MAX_SECRET_BYTES} bytes")
    try:
        code = process.wait(max(0.05, deadline.left))
    except subprocess.TimeoutExpired:
        raise SecretError(f"{place}: closed its output, but did not end within {timeout:g} seconds") from None
    return bytes(pipes[process.stdout]), bytes(pipes[process.stderr]), code


def _read_some(selector: selectors.BaseSelector, key: selectors.SelectorKey, *, keep_all: bool) -> None:
    chunk = os.read(key.fd, _CHUNK)
    if not chunk:
        selector.unregister(key.fileobj)
        return
    key.data.extend(chunk)
    if not keep_all:
        del key.data[:-_CHUNK]  # of a complaint, the end says most


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of the helper's process group; its number is safe to use as long as the helper is not reaped."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)


@atexit.register
def _kill_running() -> None:
    with _starting:
        for process in list(_running):
            _kill_group(process)


def _words(code: int) -> str:
    return f"exit code {code}" if code > 0 else f"signal {-code}"


def _shown(complaint: bytes | bytearray) -> str:
    """Render the end of stderr on one line, without control characters (a terminal would obey them)."""
    text = " ".join(complaint.decode(errors="replace").split())[-_SHOWN_STDERR:]
    text = "".join(character if character.isprintable() else "?" for character in text)
    return f": {text}" if text else ""
