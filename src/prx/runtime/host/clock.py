"""Time as an argument: the only place that reads a clock, and the only one that waits on it."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from typing import Protocol


class TimerHandle(Protocol):
    """A timer that can be taken back."""

    def cancel(self) -> None:
        """Take it back; harmless when it has fired."""


class Clock(Protocol):
    """Three readings, all in seconds, and one way to be called later."""

    def monotonic(self) -> float:
        """Return the time that all delays are measured in; it stands still while the machine sleeps."""

    def boottime(self) -> float:
        """Return the same, but going on while the machine sleeps: the difference shows that it slept."""

    def wall(self) -> float:
        """Return seconds since 1970, for people and for what outlives this process; it may jump."""

    def call_later(self, delay: float, callback: Callable[[], None]) -> TimerHandle:
        """Call `callback` on the event loop after `delay` seconds."""

    async def sleep(self, delay: float) -> None:
        """Wait for `delay` seconds."""


# Only Linux has it; a constant of the same name elsewhere would not count sleep.
_BOOTTIME = time.CLOCK_BOOTTIME if sys.platform == "linux" else time.CLOCK_MONOTONIC


MANY = 32  # that wait
GATHERED_FROM = 1.0  # seconds; what is due sooner is not late
GATHERED_EVERY = 0.25  # seconds


def until_beat(now: float, every: float, phase: float = 0.0) -> float:
    """Return the seconds until the next beat that all share: multiples of `every`, late by `phase`.

    What is done at the same beat is done in one turn of the event loop, which costs more than most of it. A beat that is nearer
    than a tenth of `every` is left out: it is the one that is just over.
    """
    left = every - (now - phase) % every
    return left if left >= every / 10 else left + every


async def on_each_beat(clock: Clock, every: float, work: Callable[[], object]) -> None:
    """Call `work` at each of those beats until it raises; the event loop calls it itself, which costs less than a task."""
    over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    timer: TimerHandle

    def wait() -> None:
        nonlocal timer
        timer = clock.call_later(until_beat(clock.monotonic(), every), beat)

    def beat() -> None:
        try:
            work()
            wait()
        except Exception as error:  # noqa: BLE001 - raised below
            over.set_exception(error)

    wait()
    try:
        await over
    finally:
        timer.cancel()


def gathered(now: float, delay: float, waiting: int) -> float:
    """Return the seconds after which one of so many that are `waiting` is to wake: `delay`, and a little more if they are many.

    Those that are due at about the same time wake in the same turn of the event loop, which costs as much as what one of them
    does in it.
    """
    late = -(now + delay) % GATHERED_EVERY if waiting >= MANY and delay >= GATHERED_FROM else 0.0
    return delay + late


class SystemClock:
    """The machine's own clocks."""

    monotonic = staticmethod(time.monotonic)  # itself: it is read some ten times at each beat

    def boottime(self) -> float:
        """Return CLOCK_BOOTTIME on Linux; elsewhere sleep cannot be detected, and this equals `monotonic`."""
        return time.clock_gettime(_BOOTTIME)

    def wall(self) -> float:
        """Return the wall clock."""
        return time.time()  # noqa: TID251 - the only place that reads it

    def call_later(self, delay: float, callback: Callable[[], None]) -> TimerHandle:
        """Call `callback` on the running loop after `delay` seconds."""
        return asyncio.get_running_loop().call_later(delay, callback)

    async def sleep(self, delay: float) -> None:
        """Wait for `delay` seconds."""
        await asyncio.sleep(delay)
