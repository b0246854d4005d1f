"""End a command when its work is done.

`asyncio.run` and the interpreter join every thread of the event loop, and a thread that asks a DNS server which does not answer
comes back after 10 to 30 s, or never. `run` waits a moment for such threads, and `leave_threads` ends the process without them.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, suppress
from typing import Any, Final, ParamSpec, TypeVar

_T = TypeVar("_T")
_P = ParamSpec("_P")
_FILES_OF_A_LOOP: Final = 3  # epoll, and a pair of sockets that wakes it
TIDY_SECONDS: Final = 1.0  # what a thread that writes a file needs, on a busy machine


class _Workers(ThreadPoolExecutor):
    """The threads of an event loop, whose end is not waited for without a limit."""

    def __init__(self) -> None:
        super().__init__(thread_name_prefix="asyncio")
        self._running: set[Future[Any]] = set()

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Start a piece of work, and remember it while it is under way."""
        future = super().submit(fn, *args, **kwargs)
        self._running.add(future)
        future.add_done_callback(self._running.discard)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Wait a moment for what is under way, and start nothing more."""
        super().shutdown(wait=False, cancel_futures=True)
        if wait:
            _wait_for(self._running.copy())


def _wait_for(running: set[Future[Any]]) -> None:
    wait(running, timeout=TIDY_SECONDS)


def require_room() -> None:
    """Raise OSError if an event loop cannot be had: one that is half made complains on stderr when it is collected."""
    with ExitStack() as stack:
        for _ in range(_FILES_OF_A_LOOP):
            stack.callback(os.close, os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))


def run(work: Coroutine[Any, Any, _T]) -> _T:
    """Run `work` on an event loop as `asyncio.run` does; its threads have `TIDY_SECONDS` to end."""
    try:
        require_room()
    except OSError:
        work.close()
        raise

    async def with_workers() -> _T:
        asyncio.get_running_loop().set_default_executor(_Workers())
        return await work

    return asyncio.run(with_workers())


def leave_threads(code: int) -> None:
    """End the process with `code` if a thread is left that the interpreter would wait for; return otherwise."""
    import threading

    if all(thread.daemon or thread is threading.main_thread() for thread in threading.enumerate()):
        return
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # closed, or its reader is gone: nothing can be reported there
            stream.flush()
    os._exit(code)
