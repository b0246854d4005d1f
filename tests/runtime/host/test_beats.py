"""Callbacks that follow each other, and wake-ups that are gathered."""

from __future__ import annotations

import asyncio

import pytest

from prx.runtime.host.beats import call_again
from prx.runtime.host.clock import GATHERED_EVERY, MANY, gathered
from prx.testing.clock import ManualClock


async def test_it_is_called_again_when_it_says_until_it_has_enough() -> None:
    """Each call says when the next one is due; the wait is over with the one that wants none."""
    clock, at = ManualClock(10.0), list[float]()
    delays = iter([1.0, 0.5, None])

    def act() -> float | None:
        at.append(clock.monotonic())
        return next(delays)

    async with asyncio.TaskGroup() as group:
        calling = group.create_task(call_again(clock, act, 2.0), name="calling")
        await asyncio.sleep(0)
        for _ in range(40):
            clock.advance(0.1)
    assert calling.done()
    assert at == pytest.approx([12.0, 13.0, 13.5])


async def test_what_it_raises_is_raised_where_the_end_is_awaited() -> None:
    """A defect is not lost in the event loop."""
    clock = ManualClock()

    def act() -> float | None:
        raise ValueError("a defect")

    async def wait() -> str:
        with pytest.raises(ValueError, match="a defect") as raised:
            await call_again(clock, act, 1.0)
        return str(raised.value)

    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(wait(), name="waiting")
        await asyncio.sleep(0)
        clock.advance(1.0)
    assert waiting.result() == "a defect"


async def test_nothing_is_called_once_the_wait_is_abandoned() -> None:
    """The timer is taken back."""
    clock, called = ManualClock(), list[int]()
    async with asyncio.TaskGroup() as group:
        calling = group.create_task(call_again(clock, lambda: called.append(1), 1.0), name="calling")
        await asyncio.sleep(0)
        calling.cancel()
    clock.advance(5.0)
    assert not called


def test_many_wake_together_and_a_few_when_they_are_due() -> None:
    """None wakes early, or late by more than the grid; what is due at once, and what is alone, is not late at all."""
    for delay in (1.0, 1.01, 3.7, 5.0, 30.0):
        assert gathered(100.03, delay, MANY - 1) == delay
        late = gathered(100.03, delay, MANY) - delay
        assert 0 <= late < GATHERED_EVERY
        assert (100.03 + delay + late) % GATHERED_EVERY == pytest.approx(0.0, abs=1e-6) or late == 0.0
    assert gathered(100.03, 0.3, MANY) == 0.3
    assert len({round(7.0 + wait + gathered(7.0 + wait, 5.0, MANY), 6) for wait in (0.01, 0.05, 0.1, 0.2)}) == 1
