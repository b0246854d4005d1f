"""What tasks wait for by the hundred behaves as asyncio's own, and is small."""

from __future__ import annotations

import asyncio
import sys

import pytest

from prx.runtime.waiting import Flag, Inbox


async def turns(number: int = 5) -> None:
    """Wait while the other tasks go on."""
    for _ in range(number):
        await asyncio.sleep(0)


@pytest.mark.parametrize("kind", [asyncio.Event, Flag])
async def test_a_flag_wakes_all_that_wait(kind: type[asyncio.Event | Flag]) -> None:
    """Set before or after: no task waits for what is so already, all that wait are woken, also if it is taken back at once."""
    flag, woken = kind(), list[int]()

    async def wait(number: int) -> None:
        await flag.wait()
        woken.append(number)

    async with asyncio.TaskGroup() as group:
        for number in range(3):
            group.create_task(wait(number))
        left = group.create_task(wait(9))
        await turns()
        assert not woken
        left.cancel()  # one that gives up keeps none of the others from being woken
        flag.set()
        flag.clear()
        await turns()
        assert (woken, flag.is_set()) == ([0, 1, 2], False)
        group.create_task(wait(3))
        await turns()
        assert woken == [0, 1, 2]
        flag.set()
    await flag.wait()
    assert woken == [0, 1, 2, 3]


async def test_an_inbox_loses_nothing() -> None:
    """Items come in their order, whether they came before or after the reader, and stay if the reader gives up."""
    inbox = Inbox[int]()
    assert inbox.is_empty
    inbox.put(1)
    inbox.put(2)
    assert [await inbox.get(), await inbox.get()] == [1, 2]
    async with asyncio.TaskGroup() as group:
        reader = group.create_task(inbox.get())
        await turns()
        inbox.put(3)
        assert await reader == 3
        reader = group.create_task(inbox.get())
        await turns()
        inbox.put(4)
        reader.cancel()
    assert (inbox.is_empty, await inbox.get()) == (False, 4)


def test_both_are_small() -> None:
    """A tunnel has several that nothing waits for: a deque in each, as asyncio has it, would be 0.75 KiB."""

    def size(thing: object) -> int:
        names = getattr(type(thing), "__slots__", ())
        return sys.getsizeof(thing) + sum(size(getattr(thing, name)) for name in names)

    assert size(Flag()) < 200
    assert size(Inbox[int]()) < 350
