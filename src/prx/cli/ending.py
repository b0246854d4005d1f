"""End a command when its work is done.

`asyncio.run` and the interpreter join every thread of the event loop, and a thread that asks a DNS server which does not answer
comes back after 10 to 30 s, or never. `run` waits a moment for such threads, and `leave_threads` ends the process without them.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager, suppress
from types import FrameType, TracebackType
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
    """Run `work` on an event loop as `asyncio.run` does; its threads have `TIDY_SECONDS` to end.

    Ctrl-C cancels it, and then raises KeyboardInterrupt; a second one does so wherever the program is.
    """
    try:
        require_room()
    except OSError:
        work.close()
        raise
    interrupt = _Interrupt()

    async def with_workers() -> _T:
        asyncio.get_running_loop().set_default_executor(_Workers())
        with interrupt.cancelling():
            return await work

    with interrupt:
        return asyncio.run(with_workers())


class _Interrupt:
    """Ctrl-C, which the event loop takes between two of its callbacks.

    A signal handler runs between two bytecodes, wherever they are. `asyncio` cancels the task there, which wakes what is being
    woken just then: `Event.set`, for one, fails with InvalidStateError. Here the loop is only asked to cancel it, which is safe
    anywhere (`call_soon_threadsafe`). What blocks the loop is interrupted by the second Ctrl-C, as under `asyncio`.
    """

    def __init__(self) -> None:
        self._count = 0
        self._pending = False  # nothing has been cancelled for the first one yet
        self._task: asyncio.Task[Any] | None = None

    def __enter__(self) -> None:
        main = threading.current_thread() is threading.main_thread()
        self._installed = main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if self._installed:
            signal.signal(signal.SIGINT, self._on_signal)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._installed and signal.getsignal(signal.SIGINT) == self._on_signal:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if (self._pending and error is None) or (self._count and isinstance(error, asyncio.CancelledError)):
            raise KeyboardInterrupt from None

    @contextmanager
    def cancelling(self) -> Iterator[None]:
        """Have the first Ctrl-C cancel the current task, as long as the block lasts."""
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        if self._pending:
            self._cancel()
        try:
            yield
        finally:
            self._task = None

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._count += 1
        if self._count > 1:
            raise KeyboardInterrupt
        self._pending = True
        if self._task is not None:
            self._loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        if self._pending and self._task is not None:
            self._pending = False
            self._task.cancel()


def leave_threads(code: int) -> None:
    """End the process with `code` if a thread is left that the interpreter would wait for; return otherwise."""
    if all(thread.daemon or thread is threading.main_thread() for thread in threading.enumerate()):
        return
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # closed, or its reader is gone: nothing can be reported there
            stream.flush()
    os._exit(code)
