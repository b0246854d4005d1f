"""Wait for a blocking call on an asyncio loop, in a thread that ends with it: the loop's own pool would stay."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

_T = TypeVar("_T")


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
    thread.start()
    try:
        result = await done
    except asyncio.CancelledError:
        give_up()
        raise
    thread.join()
    return result
