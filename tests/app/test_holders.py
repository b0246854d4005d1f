"""Who needs a prx that another program started: it ends once, with the last, however that goes."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import weakref
from collections.abc import AsyncIterator

import pytest
from tests.support.waits import PATIENCE

from prx.app.holders import Holders
from prx.core.errors import PrxError


class Ends:
    """Counts how often it ended."""

    def __init__(self) -> None:
        self.count = 0
        self.ended = asyncio.Event()

    def __call__(self) -> None:
        self.count += 1
        self.ended.set()

    async def wait(self) -> None:
        """Wait for the first end."""
        async with asyncio.timeout(PATIENCE):
            await self.ended.wait()


@pytest.fixture
async def ends() -> Ends:
    """Return a counter of ends."""
    return Ends()


@pytest.fixture
async def holders(ends: Ends) -> AsyncIterator[Holders]:
    """Yield holders with a first hold, as that of stdin."""
    found = Holders(ends)
    yield found
    found.close()


async def test_it_ends_once_with_the_last(holders: Holders, ends: Ends) -> None:
    """Only the last release ends it, a repeated one does nothing, and after the end no hold is accepted."""
    first, second = holders.hold(), holders.hold()
    assert not first.release()
    assert not first.release()
    assert ends.count == 0
    assert second.release()
    assert not second.release()
    assert ends.count == 1
    with pytest.raises(PrxError) as refused:
        holders.hold()
    assert refused.value.code == "stopping"


async def test_a_process_holds_until_it_ends(holders: Holders, ends: Ends) -> None:
    """A process in `also` keeps it after the release, up to its own end by `kill -9`; named twice, it counts once."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)  # noqa: ASYNC220
    try:
        first = holders.hold(also=[process.pid])
        second = holders.hold(also=[process.pid])
        assert not first.release()
        assert not second.release()
        process.kill()
        await ends.wait()
        assert ends.count == 1
    finally:
        process.communicate()


async def test_a_process_that_is_gone_holds_nothing(holders: Holders, ends: Ends) -> None:
    """A dead process in `also` is no reason to stay."""
    process = subprocess.Popen([sys.executable, "-c", ""])  # noqa: ASYNC220
    process.wait()
    assert holders.hold(also=[process.pid]).release()
    assert ends.count == 1


async def test_a_hold_may_linger(holders: Holders, ends: Ends) -> None:
    """With `keep` the end comes later, or not at all if another hold comes meanwhile."""
    assert not holders.hold(keep=3600).release()
    assert ends.count == 0
    other = holders.hold()
    assert not other.release()
    assert ends.count == 0
    assert not Holders(ends).hold(keep=0.01).release()
    await ends.wait()


async def test_a_hold_that_is_over_is_forgotten(holders: Holders) -> None:
    """A prx that is held for months keeps nothing of the many programs that have used it for a moment."""
    first, over = holders.hold(), []
    for _ in range(4):
        held = holders.hold(keep=0.001)
        over.append(weakref.ref(held))
        assert not held.release()
    del held
    async with asyncio.timeout(PATIENCE):
        while any(item() is not None for item in over):  # noqa: ASYNC110 - nothing reports that an object is freed
            await asyncio.sleep(0.001)
    assert first.release()


async def test_stdin_holds_until_it_is_closed(ends: Ends) -> None:
    """The pipe on stdin is a hold: what is written changes nothing, its end does."""
    reading, writing = os.pipe()
    saved = os.dup(0)
    os.dup2(reading, 0)
    holders = Holders(ends)
    try:
        holders.watch_stdin()
        os.write(writing, b"hello")
        assert not holders.hold().release()
        os.close(writing)
        await ends.wait()
    finally:
        holders.close()
        os.dup2(saved, 0)
        for fd in (reading, saved):
            os.close(fd)


async def test_a_stdin_that_cannot_be_waited_for_holds_nothing(ends: Ends) -> None:
    """With /dev/null for stdin there is no program to wait for."""
    saved, null = os.dup(0), os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    holders = Holders(ends)
    try:
        holders.watch_stdin()
        await ends.wait()
    finally:
        holders.close()
        os.dup2(saved, 0)
        for fd in (null, saved):
            os.close(fd)
