"""Contain a failure in the part in which it occurs: it is reported, and the part is restarted.

What runs keeps running: a defect, or a machine that for a moment has no descriptor, thread or memory left, costs the part that
met it, not every tunnel of this prx.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from prx.core.errors import PermanentError, UsageError, with_hint
from prx.runtime.host.clock import Clock

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds


async def keep_running(what: str, work: Callable[[], Awaitable[None]], clock: Clock, say: Callable[[str], None]) -> None:
    """Run `work()` to its end; begin it again after a pause, which doubles each time, if it fails.

    A cause is reported once, until it is another one. A PermanentError or UsageError ends it: it would only come again.
    """
    pause, said = FIRST_PAUSE, ""
    while True:
        try:
            await work()
            return
        except (PermanentError, UsageError) as error:
            say(with_hint(f"{what} cannot run: {error.message}", error.hint))
            return
        except Exception as error:  # noqa: BLE001 - see above
            words = words_of(error)
            if words != said:
                say(f"{what} failed and is restarted in {pause:.0f} s: {words}")
            said = words
        await clock.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


async def contained(what: str, work: Awaitable[None], say: Callable[[str], None]) -> None:
    """Do `work`, without which what runs goes on; a failure of it is reported, and that is all."""
    try:
        await work
    except Exception as error:  # noqa: BLE001 - see above
        say(f"{what} failed: {words_of(error)}")


def stray_handler(log: Callable[[str, str], None]) -> Callable[[asyncio.AbstractEventLoop, dict[str, Any]], None]:
    """Return what takes errors that the event loop can hand to no task.

    A machine that is short of something is reported in a line of `log(level, message)`, a defect as the loop does it.
    """

    def on_stray(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, (OSError, MemoryError)):
            log("warn", f"{context['message']}: {words_of(error)}")
        else:
            loop.default_exception_handler(context)

    return on_stray


def words_of(error: BaseException) -> str:
    """Return an unexpected exception in one line: the first one of a group, with the place in prx that it comes from."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    words = (error.strerror or "") if isinstance(error, OSError) else str(error)
    place = ""
    trace = error.__traceback__
    while trace is not None:
        name = trace.tb_frame.f_globals.get("__name__", "")
        if name.startswith("prx."):
            place = f" ({name}:{trace.tb_lineno})"
        trace = trace.tb_next
    return f"{type(error).__name__}: {words}{place}" if words else f"{type(error).__name__}{place}"
