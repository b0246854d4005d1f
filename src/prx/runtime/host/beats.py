"""Do a small thing again and again as a plain callback: no task is woken for it.

To wake a task, and to have it sleep again, costs as much as a quick check of a healthy child (`prx.runtime.run`), and a second
turn of the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from prx.runtime.host.clock import Clock, TimerHandle


async def call_again(clock: Clock, act: Callable[[], float | None], first: float) -> None:
    """Call `act` in `first` seconds, and again in as many seconds as it returns, until that is None; raise what it raises.

    It should take less than a millisecond.
    """
    done = asyncio.get_running_loop().create_future()
    timer: TimerHandle

    def call() -> None:
        nonlocal timer
        try:
            delay = act()
        except Exception as error:  # noqa: BLE001 - it is raised where the end is awaited
            if not done.done():
                done.set_exception(error)
            return
        if delay is not None:
            timer = clock.call_later(delay, call)
        elif not done.done():
            done.set_result(None)

    timer = clock.call_later(first, call)
    try:
        await done
    finally:
        timer.cancel()
