"""An asynchronous context manager that lives in a thread of its own, with an event loop of its own, for synchronous tests."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any, Generic, TypeVar

from prx.core.errors import PrxError, UsageError

_T = TypeVar("_T")
_R = TypeVar("_R")


class Hosted(Generic[_T]):
    """What the thread has entered (`value`), and a way to run coroutines beside it; made by `hosted`."""

    def __init__(self, value: _T, loop: asyncio.AbstractEventLoop) -> None:
        self.value = value
        self._loop = loop

    def run(self, coroutine: Coroutine[Any, Any, _R], *, within: float | None = None) -> _R:
        """Run a coroutine on the thread's loop and return its result; TimeoutError after `within` seconds."""
        return self.start(_bounded(coroutine, within)).result()

    def start(self, coroutine: Coroutine[Any, Any, _R]) -> Future[_R]:
        """Start a coroutine on the thread's loop and return at once."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def call(self, function: Callable[[_T], _R]) -> _R:
        """Call `function(value)` on the thread's loop, between two of its steps."""

        async def call() -> _R:
            return function(self.value)

        return self.run(call())


async def _bounded(coroutine: Coroutine[Any, Any, _R], seconds: float | None) -> _R:
    async with asyncio.timeout(seconds):
        return await coroutine


@contextmanager
def hosted(make: Callable[[], AbstractAsyncContextManager[_T]], name: str) -> Iterator[Hosted[_T]]:
    """Enter `make()` in a new thread called `name`; leave it, and wait for the thread's end, with the block."""
    entered: Future[tuple[_T, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def live() -> None:
        over = asyncio.Event()
        async with make() as value:
            entered.set_result((value, asyncio.get_running_loop(), over))
            await over.wait()

    def main() -> None:
        try:
            asyncio.run(live())
        except BaseException as error:
            if entered.done():
                raise
            entered.set_exception(error)

    thread = threading.Thread(target=main, name=name, daemon=True)  # a run that breaks off leaves no block, and must end
    thread.start()
    try:
        value, loop, over = entered.result()
    except BaseException:
        thread.join()
        raise
    try:
        yield Hosted(value, loop)
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()


def refuse_on_loop(what: str) -> None:
    """Raise UsageError if the caller runs on an event loop, which `what` would hold up, possibly forever."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    message = f"{what} waits, and here it would hold up the event loop of the test"
    raise noted(UsageError(message, hint=f"hand it to a thread: await asyncio.to_thread({what}, …)"))


def noted(error: PrxError) -> PrxError:
    """Have pytest show the hint of an error too."""
    if error.hint:
        error.add_note(f"hint: {error.hint}")
    return error
