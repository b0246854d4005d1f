"""A `prx` in which every call that can fail does fail, once at each place of prx that makes it.

The failures begin when the file named by FAILING_FROM is there. Each is written as a line, FUNCTION PLACE, to the file named by
FAILING_LOG. Time goes `SPEED` times faster for what prx waits for. Only prx itself is hit, not the local edge that runs in
the same process.
"""

from __future__ import annotations

import asyncio
import builtins
import errno
import fcntl
import io
import os
import resource
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import psutil

import prx
from prx.runtime.host import clock

SPEED = 8.0
_HOME = str(Path(prx.__file__).parent) + os.sep
_NOT_HIT = tuple(_HOME + name for name in ("edge", "connector", "protocol", "testing"))
_real_open, _real_stat, _real_write = os.open, os.stat, os.write

hit: set[tuple[str, str]] = set()
busy = threading.local()


def place() -> str:
    """Return the place in prx that makes the call, "" if none does, or the local edge."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(_HOME):
            return "" if file.startswith(_NOT_HIT) else f"{file.removeprefix(_HOME)}:{frame.f_lineno}"
        frame = frame.f_back
    return ""


def armed() -> bool:
    """Return whether the failures have started."""
    try:
        _real_stat(os.environ["FAILING_FROM"])
    except OSError:
        return False
    return True


def failing(name: str, real: Callable[..., Any], error: Callable[[], BaseException]) -> Callable[..., Any]:
    """Return `real`, which fails once at each place."""

    def call(*args: Any, **kwargs: Any) -> Any:
        if not getattr(busy, "now", False):
            busy.now = True
            try:
                where = place()
                fails = bool(where) and (name, where) not in hit and armed()
                if fails:
                    hit.add((name, where))
                    fd = _real_open(os.environ["FAILING_LOG"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
                    _real_write(fd, f"{name} {where}\n".encode())
                    os.close(fd)
            finally:
                busy.now = False
            if fails:
                raise error()
        return real(*args, **kwargs)

    return call


def os_error(number: int) -> Callable[[], OSError]:
    """Return what makes the error with this number."""
    return lambda: OSError(number, os.strerror(number))


def no_thread() -> RuntimeError:
    """Return what Python raises where no thread can be started."""
    return RuntimeError("can't start new thread")


TARGETS: tuple[tuple[Any, str, Callable[[], BaseException]], ...] = (
    (socket.socket, "__init__", os_error(errno.EMFILE)),
    (socket, "getaddrinfo", os_error(errno.EMFILE)),
    (io, "open", os_error(errno.ENFILE)),
    (builtins, "open", os_error(errno.EMFILE)),
    (os, "open", os_error(errno.ENFILE)),
    (os, "pipe", os_error(errno.EMFILE)),
    (os, "write", os_error(errno.ENOSPC)),
    (os, "mkdir", os_error(errno.ENOSPC)),
    (os, "replace", os_error(errno.ENOSPC)),
    (os, "rename", os_error(errno.ENOSPC)),
    (os, "unlink", os_error(errno.EIO)),
    (os, "fsync", os_error(errno.EIO)),
    (os, "fstat", os_error(errno.EIO)),
    (os, "stat", os_error(errno.EIO)),
    (os, "lstat", os_error(errno.EIO)),
    (os, "listdir", os_error(errno.EMFILE)),
    (os, "readlink", os_error(errno.EACCES)),
    (os, "kill", os_error(errno.EPERM)),
    (os, "killpg", os_error(errno.EPERM)),
    (os, "pidfd_open", os_error(errno.EMFILE)),
    (signal, "pidfd_send_signal", os_error(errno.EPERM)),
    (fcntl, "fcntl", os_error(errno.EPERM)),
    (resource, "setrlimit", os_error(errno.EPERM)),
    (subprocess.Popen, "__init__", os_error(errno.EAGAIN)),
    (threading.Thread, "start", no_thread),
    (selectors.EpollSelector, "register", os_error(errno.ENOSPC)),
    (psutil, "net_if_addrs", os_error(errno.EMFILE)),
)


class FastClock(clock.SystemClock):
    """Time that goes faster."""

    def monotonic(self) -> float:
        return time.monotonic() * SPEED

    def boottime(self) -> float:
        return self.monotonic()

    def call_later(self, delay: float, callback: Callable[[], None]) -> clock.TimerHandle:
        return super().call_later(delay / SPEED, callback)

    async def sleep(self, delay: float) -> None:
        await asyncio.sleep(delay / SPEED)


if __name__ == "__main__":
    clock.SystemClock = FastClock  # type: ignore[misc]
    from prx.cli import main

    for owner, name, error in TARGETS:
        label = name if owner not in {socket.socket, subprocess.Popen} else owner.__name__
        setattr(owner, name, failing(f"{getattr(owner, '__name__', owner)}.{label}", getattr(owner, name), error))
    sys.exit(main(sys.argv[1:]))
