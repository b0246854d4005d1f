"""Work that is abandoned as soon as something happens."""

from __future__ import annotations

import asyncio

import pytest

from prx.runtime.alarm import Alarm


async def test_work_is_abandoned_as_soon_as_it_happens() -> None:
    """Wherever it waits, in a group of tasks of its own too; each time that it happens, and what was done before is over."""
    alarm, ended = Alarm(), 0

    async def work(*, grouped: bool) -> str:
        nonlocal ended
        try:
            if not grouped:
                await asyncio.Event().wait()
            async with asyncio.TaskGroup() as group:
                group.create_task(asyncio.Event().wait(), name="part")
        finally:
            ended += 1
        return "done"

    for turn, grouped in enumerate((False, True, False, True)):
        alarm.clear()
        asyncio.get_running_loop().call_soon(alarm.set)
        async with asyncio.timeout(5):
            assert await alarm.unless(work(grouped=grouped)) is None
        assert ended == turn + 1
        assert alarm.is_set()


async def test_work_that_comes_to_its_end_gives_its_result() -> None:
    """A result, an error and a time-out of the work itself are what they would be without; no task is started."""
    alarm = Alarm()
    tasks = asyncio.all_tasks()

    async def work(error: Exception | None) -> str:
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == tasks
        if error is not None:
            raise error
        return "done"

    assert await alarm.unless(work(None)) == "done"
    for error in (OSError("none left"), TimeoutError("its own"), ValueError("a defect")):
        with pytest.raises(type(error), match=str(error)):
            await alarm.unless(work(error))
    alarm.set()
    assert alarm.is_set()
    alarm.clear()
    assert await alarm.unless(work(None)) == "done", "it concerns no work that is over"


async def test_work_is_not_begun_if_it_has_happened_already() -> None:
    """None is returned at once, and nothing is left that was never awaited."""
    alarm = Alarm()
    alarm.set()
    alarm.set()
    begun = False

    async def work() -> str:
        nonlocal begun
        begun = True
        return "done"

    assert await alarm.unless(work()) is None
    assert not begun


@pytest.mark.parametrize("happens", ["outer", "inner", "both"])
async def test_one_within_another_ends_its_own_part(happens: str) -> None:
    """The inner one leaves the outer work going on; the outer one, or both at once, end all of it."""
    outer, inner = Alarm(), Alarm()

    def both() -> None:
        for alarm, name in ((inner, "inner"), (outer, "outer")):
            if happens in {name, "both"}:
                alarm.set()

    async def work() -> str:
        asyncio.get_running_loop().call_soon(both)
        assert await inner.unless(asyncio.Event().wait()) is None
        await asyncio.sleep(0)
        return "went on"

    async with asyncio.timeout(5):
        assert await outer.unless(work()) == ("went on" if happens == "inner" else None)


async def test_a_task_that_is_cancelled_is_cancelled() -> None:
    """The end of the task itself is not taken for the alarm, even if both happen at the same moment."""
    for sets in (False, True):
        alarm = Alarm()
        task = asyncio.create_task(alarm.unless(asyncio.Event().wait()), name="work")  # noqa: TID251 - ended below
        await asyncio.sleep(0)
        task.cancel()
        if sets:
            alarm.set()
        with pytest.raises(asyncio.CancelledError):
            await task
