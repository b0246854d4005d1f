"""Threads in the caller's program: one for as long as a blocking call lasts on an asyncio loop, whose own pool would stay."""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

from prx.core.errors import PrxError
from prx.core.shortage import FOR_NOW

_T = TypeVar("_T")


def start(thread: threading.Thread) -> None:
    """Start a thread; raise PrxError if this program may have no more of them."""
    try:
        thread.start()
    except RuntimeError as error:
        lack = FOR_NOW[errno.EAGAIN]
        raise PrxError("this program cannot start a thread", hint=lack.hint) from error


async def in_thread(work: Callable[[], _T], give_up: Callable[[], None]) -> _T:
    """Return what `work()` returns, or raise what it raises; if the wait is cancelled `give_up()` is called, from the loop."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[_T] = loop.create_future()

    def settle(result: Callable[[], None]) -> None:
        if not done.done():
            result()

    def run() -> None:
        try:
            report = partial(done.set_result, work())
        except BaseException as error:  # noqa: BLE001 - handed to the one that waits
            report = partial(done.set_exception, error)
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, report)

    thread = threading.Thread(target=run, name="prx open or close", daemon=True)
    start(thread)
    try:
        result = await done
    except asyncio.CancelledError:
        give_up()
        raise
    thread.join()
    return result
