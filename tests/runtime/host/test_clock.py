"""Wake-ups that are gathered, and what is done at each beat."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from prx.runtime.host.clock import GATHERED_EVERY, MANY, gathered, on_each_beat
from prx.testing.clock import ManualClock


def test_many_wake_together_and_a_few_when_they_are_due() -> None:
    """None wakes early, or late by more than the grid; what is due at once, and what is alone, is not late at all."""
    for delay in (1.0, 1.01, 3.7, 5.0, 30.0):
        assert gathered(100.03, delay, MANY - 1) == delay
        late = gathered(100.03, delay, MANY) - delay
        assert 0 <= late < GATHERED_EVERY
        assert (100.03 + delay + late) % GATHERED_EVERY == pytest.approx(0.0, abs=1e-6) or late == 0.0
    assert gathered(100.03, 0.3, MANY) == 0.3
    assert len({round(7.0 + wait + gathered(7.0 + wait, 5.0, MANY), 6) for wait in (0.01, 0.05, 0.1, 0.2)}) == 1


async def test_work_is_done_at_each_beat_until_it_fails() -> None:
    """Its error is raised, so that it is reported and started again; then, and once no task waits for it, no beat follows."""
    clock = ManualClock(1000.5)
    done: list[float] = []

    def work() -> None:
        done.append(clock.monotonic())
        if len(done) == 3:
            raise OSError("no descriptor is left")

    async with asyncio.TaskGroup() as group:
        beats = group.create_task(_failure(clock, work), name="beats")
        for _ in range(20):
            await asyncio.sleep(0)
            clock.advance(0.5)
        assert await beats == "no descriptor is left"
        assert done == [1002.0, 1004.0, 1006.0]
        beats = group.create_task(_failure(clock, work), name="beats")
        await asyncio.sleep(0)
        clock.advance(2.0)
        assert len(done) == 4
        beats.cancel()
        await asyncio.wait([beats])
        clock.advance(10.0)
    assert len(done) == 4


async def _failure(clock: ManualClock, work: Callable[[], None]) -> str:
    try:
        await on_each_beat(clock, 2.0, work)
    except OSError as error:
        return str(error)
    return "it has ended by itself"


async def test_a_beat_without_a_next_one_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine has no memory left for the timer: it is raised, so that the beats are started again."""
    clock = ManualClock(1000.5)
    call_later = clock.call_later

    def short(delay: float, callback: Callable[[], None]) -> object:
        if done:
            raise MemoryError("no memory for a timer")
        return call_later(delay, callback)

    done: list[float] = []
    monkeypatch.setattr(clock, "call_later", short)
    asyncio.get_running_loop().call_soon(clock.advance, 2.0)
    async with asyncio.timeout(5):
        with pytest.raises(MemoryError, match="no memory for a timer"):
            await on_each_beat(clock, 2.0, lambda: done.append(clock.monotonic()))
