"""Threads in the caller's program: one for as long as a blocking call lasts on an asyncio loop, whose own pool would stay."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

from prx.core.errors import PrxError, UsageError
from prx.core.shortage import lack_of

_T = TypeVar("_T")


def start(thread: threading.Thread) -> None:
    """Start a thread; raise PrxError if this program may have no more of them, or ends just now."""
    try:
        thread.start()
    except RuntimeError as error:
        if lack := lack_of(error):
            raise PrxError("this program cannot start a thread", hint=lack.hint) from error
        raise PrxError(f"this program cannot start a thread: {error}") from error


def running_loop() -> asyncio.AbstractEventLoop:
    """Return the running asyncio loop; raise UsageError if there is none, as under another library such as trio."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise UsageError(
            "prx.open_tunnel needs asyncio, and no asyncio loop runs here",
            hint="prx.tunnel needs no loop; under trio its calls go to a thread: await trio.to_thread.run_sync(t.open)",
        ) from None


async def in_thread(work: Callable[[], _T], give_up: Callable[[], None]) -> _T:
    """Return what `work()` returns, or raise what it raises; if the wait is cancelled `give_up()` is called, from the loop."""
    loop = running_loop()
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
