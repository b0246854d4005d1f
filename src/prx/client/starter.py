"""Start a prx for this program, and hear from it until it is up, or why it is not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from io import FileIO
from pathlib import Path

from prx.control.forks import close_in_children
from prx.control.messages import Message, decode, raised
from prx.control.ready import wait_readable
from prx.core.deadline import Deadline
from prx.core.errors import NotReadyError, PrxError, refused
from prx.core.shortage import lack_of

_LOOK_EVERY = 0.25  # seconds, whether the caller has given up
_WORDS = 5  # last lines that an error quotes
_CHUNK = 65536


class Starter:
    """One `prx start --held --json`, whose stdin is the first hold: closing it, or the end of this process, takes that away.

    `given_up()` ends a wait early. Raises PermanentError if Python cannot be started, PrxError if this process
    has no more files or processes.
    """

    def __init__(self, words: list[str], given_up: Callable[[], bool]) -> None:
        self._given_up = given_up
        self._unread = b""
        self._words: list[str] = []
        self._pipes: list[FileIO] = []
        close_in_children(self)  # before there are pipes: another thread may fork while a process is started
        command = [_python(), "-P", "-m", "prx", "start", "--held", "--json", *words]
        try:
            stdin, _hold = self._pipe()
            self._stdout, stdout = self._pipe()
            self._process = subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=subprocess.STDOUT)
        except OSError as error:
            self.close()
            raise _not_started(command[0], error) from error
        except BaseException:
            self.close()
            raise
        stdin.close()
        stdout.close()

    def _pipe(self) -> tuple[FileIO, FileIO]:
        reading, writing = os.pipe()
        ends = FileIO(reading, "rb"), FileIO(writing, "wb")
        self._pipes += ends
        return ends

    def wait_until_up(self, deadline: Deadline) -> None:
        """Return when prx publishes its first event: its control socket is there. Raise what has ended it, or NotReadyError."""
        self._wait_for_the_first_process(deadline)
        while (line := self._line(deadline)) is not None:
            if "event" in line:
                return
            if line.get("ok") is False:
                raise raised(line)
        raise self._ended()

    def why_it_ended(self, deadline: Deadline) -> PrxError:
        """Return the error with which prx ended, or is about to end."""
        with suppress(NotReadyError):
            while (line := self._line(deadline)) is not None:
                if line.get("ok") is False:
                    return raised(line)
        return self._ended()

    def close(self) -> None:
        """Release prx, which ends if no one else holds it."""
        for pipe in self._pipes:
            pipe.close()

    def _wait_for_the_first_process(self, deadline: Deadline) -> None:
        """Collect the process that was started: prx goes on in another one, which is no child of ours."""
        try:
            self._process.wait(deadline.left)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise NotReadyError("Python did not start prx in time") from None

    def _line(self, deadline: Deadline) -> Message | None:
        """Return the next line that is JSON; None at the end. Raises NotReadyError if time is over or the caller gives up."""
        fd = self._stdout.fileno()
        while True:
            while b"\n" in self._unread:
                line, _, self._unread = self._unread.partition(b"\n")
                try:
                    return decode(line)
                except ValueError:
                    self._words = [*self._words, line.decode(errors="replace")][-_WORDS:]
            if deadline.is_over or self._given_up():
                raise NotReadyError("prx did not start in time", hint="; ".join(self._words))
            if wait_readable(fd, min(deadline.left, _LOOK_EVERY)):
                chunk = os.read(fd, _CHUNK)
                if not chunk:
                    return None
                self._unread += chunk

    def _ended(self) -> PrxError:
        return PrxError("prx ended before its tunnel was up", hint=" / ".join(self._words) or "`prx logs` may say why")


def _not_started(program: str, error: OSError) -> PrxError:
    if lack := lack_of(error):
        return PrxError(f"this program cannot start prx: {(error.strerror or str(error)).lower()}", hint=lack.hint)
    return refused(f"cannot start {program}: {error.strerror}", error, hint="sys.executable must be a Python")


def _python() -> str:
    """Return the Python of this environment; a program that embeds it (uWSGI, mod_wsgi) is itself `sys.executable`."""
    if "python" in Path(sys.executable or "").name:
        return sys.executable
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    found = [path for name in (version, "python3", "python") if (path := Path(sys.prefix, "bin", name)).exists()]
    return str(found[0]) if found else sys.executable or "python3"
