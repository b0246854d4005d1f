"""Reading the configuration again: in a thread, one after the other, and with nothing changed by a mistake."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import pytest

from prx.app.reload import Reloader
from prx.config.load import Loaded
from prx.core.errors import ConfigError, PrxError


class Scripted:
    """What a reloader works with: readings that wait to be let go, and a record of everything."""

    def __init__(self) -> None:
        self.story: list[str] = []
        self.reading: list[threading.Thread] = []
        self.problem: PrxError | None = None
        self.may_read = threading.Semaphore(0)
        self.taken = asyncio.Event()
        self.told = asyncio.Event()
        self.reloader = Reloader(read=self.read, take=self.take, around=self.around, refused=self.refused)

    def read(self) -> Loaded:
        """Wait until the test lets it, in a thread that is not the loop's."""
        self.reading.append(threading.current_thread())
        assert threading.current_thread() is not threading.main_thread()
        assert self.may_read.acquire(timeout=20)
        if self.problem is not None:
            raise self.problem
        return cast("Loaded", object())

    def take(self, _: Loaded) -> None:
        """Note it."""
        self.story.append("taken")
        self.taken.set()

    def refused(self, why: str) -> None:
        """Note it."""
        self.story.append(why)
        self.told.set()

    @contextmanager
    def around(self) -> Iterator[None]:
        """Note both ends."""
        self.story.append("(")
        try:
            yield
        finally:
            self.story.append(")")


async def test_a_slow_secret_holds_up_nothing() -> None:
    """While a program thinks about a secret the loop goes on, and a second reload waits for the first."""
    scripted = Scripted()
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(scripted.reloader.reload())
        for _ in range(100):
            await asyncio.sleep(0)
        assert scripted.story == ["("]
        scripted.may_read.release(2)
    assert scripted.story == ["(", "taken", ")"] * 2


async def test_mistakes_change_nothing_and_are_told() -> None:
    """A reload that was asked for is refused to whoever asked; one that nobody waits for is told with every mistake."""
    scripted = Scripted()
    scripted.problem = ConfigError(["a: bad", "b: worse"])
    scripted.may_read.release(2)
    with pytest.raises(ConfigError, match="2 problems"):
        await scripted.reloader.reload()
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        serving = group.create_task(scripted.reloader.run())
        for _ in range(5):
            scripted.reloader.reload_soon()
        await scripted.told.wait()
        assert scripted.story == ["(", ")", "(", ")", "the configuration has 2 problems; a: bad; b: worse"]
        scripted.problem = None
        scripted.may_read.release()
        scripted.reloader.reload_soon()
        await scripted.taken.wait()
        serving.cancel()


async def test_a_stop_waits_for_no_reading() -> None:
    """A reload that is given up leaves its thread to itself: it is a daemon, and its late answer changes nothing."""
    scripted = Scripted()
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(scripted.reloader.reload())
        async with asyncio.timeout(20):
            while not scripted.reading:  # noqa: ASYNC110 - the thread is about to begin
                await asyncio.sleep(0)
        waiting.cancel()
    (thread,) = scripted.reading
    assert thread.daemon
    scripted.may_read.release()
    thread.join(20)
    await asyncio.sleep(0)
    assert scripted.story == ["(", ")"]
