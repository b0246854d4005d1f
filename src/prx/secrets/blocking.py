"""Call what may never come back, such as a program, or a keyring whose daemon hangs or waits for a person to unlock it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def start_in_thread(call: Callable[[], T]) -> Future[T]:
    """Start a blocking `call` in a thread of its own and return what it will return or raise.

    If no caller waits for it any more it is left to itself; it does not keep the program from ending.
    """
    outcome: Future[T] = Future()
    outcome.set_running_or_notify_cancel()

    def run() -> None:
        try:
            outcome.set_result(call())
        except Exception as error:  # noqa: BLE001 - handed over, whatever it is
            outcome.set_exception(error)

    threading.Thread(target=run, name="slow call", daemon=True).start()
    return outcome


def call_with_timeout(seconds: float, call: Callable[[], T]) -> T:
    """Return what `call` returns, or raise what it raises; TimeoutError if it is not done after `seconds`."""
    try:
        return start_in_thread(call).result(seconds)
    except TimeoutError:
        raise TimeoutError(f"no answer within {seconds:g} seconds") from None
