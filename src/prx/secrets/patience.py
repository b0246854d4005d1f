"""Bound a call that may never come back, such as one to a keyring whose daemon hangs or waits for somebody to unlock it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def within(seconds: float, call: Callable[[], T]) -> T:
    """Return what `call` returns, or raise what it raises; TimeoutError where it is not done after `seconds`.

    A call that is given up goes on in a thread of its own, which does not keep the program from ending.
    """
    outcome: queue.Queue[tuple[T | None, Exception | None]] = queue.Queue(1)

    def run() -> None:
        try:
            outcome.put((call(), None))
        except Exception as error:  # noqa: BLE001 - handed over, whatever it is
            outcome.put((None, error))

    threading.Thread(target=run, name="bounded call", daemon=True).start()
    try:
        result, error = outcome.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"no answer within {seconds:g} seconds") from None
    if error is not None:
        raise error
    return result  # type: ignore[return-value]  # None only where `call` returned None
