"""Reading the configuration again: in a thread, one after the other, and with nothing changed by a mistake."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import cast

import pytest

from prx.app.reload import Reloader
from prx.config.load import Loaded
from prx.core.errors import ConfigError, PrxError
from prx.core.status import TunnelStatus
from prx.runtime.bulkhead import keep_running
from prx.runtime.host.sd_notify import Notifier, NotifySocket
from prx.testing.clock import ManualClock


class Scripted:
    """What a reloader works with: readings that wait to be let go, and a record of everything."""

    def __init__(self) -> None:
        self.story: list[str] = []
        self.reading: list[threading.Thread] = []
        self.problem: PrxError | None = None
        self.changed = False
        self.may_read = threading.Semaphore(0)
        self.taken = asyncio.Event()
        self.told = asyncio.Event()
        self.reloader = Reloader(self, around=self.around, refused=self.refused)

    def has_changed(self) -> bool:
        """Return what the test says."""
        return self.changed

    def read(self) -> Loaded:
        """Wait until the test lets it, in a thread that is not the loop's."""
        self.reading.append(threading.current_thread())
        assert threading.current_thread() is not threading.main_thread()
        assert self.may_read.acquire(timeout=20)
        if self.problem is not None:
            raise self.problem
        return cast("Loaded", object())

    def take(self, loaded: Loaded, *, asked: bool) -> list[str]:
        """Note it."""
        self.story.append("taken" if asked else "taken unasked")
        self.taken.set()
        return []

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
    """A reload that was asked for raises for the caller; one that no caller awaits is reported with every mistake."""
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


@pytest.mark.parametrize(
    ("wanted", "story"), [((False,), "taken unasked"), ((False, True, False), "taken"), ((True,), "taken")]
)
async def test_a_reload_that_no_user_asked_for_is_known_as_such(wanted: tuple[bool, ...], story: str) -> None:
    """It may cost no URL; one that was asked for among many is what counts, and the next one starts afresh."""
    scripted = Scripted()
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        task = group.create_task(scripted.reloader.run(), name="reloads")
        for expected, wishes in ((story, wanted), ("taken unasked", (False,))):
            for asked in wishes:
                scripted.reloader.reload_soon(asked=asked)
            scripted.may_read.release()
            await scripted.taken.wait()
            scripted.taken.clear()
            assert [entry for entry in scripted.story if entry.startswith("taken")][-1] == expected
            await asyncio.sleep(0)
        task.cancel()


async def test_a_wait_reloads_only_if_something_has_changed() -> None:
    """What a waiting tunnel has checked every few seconds is read again once it has changed, and not before; unasked."""
    scripted = Scripted()
    scripted.may_read.release(2)
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        task = group.create_task(scripted.reloader.run(), name="reloads")
        for scripted.changed in (False, True):
            scripted.reloader.reload_if_changed()
            for _ in range(10):
                await asyncio.sleep(0)
            assert bool(scripted.reading) == scripted.changed
        await scripted.taken.wait()
        task.cancel()
    assert scripted.story == ["(", "taken unasked", ")"]


@pytest.mark.parametrize("part", ["reloads", "service manager"])
async def test_an_optional_part_that_raises_is_begun_again(part: str) -> None:
    """A defect in the reloads, or in what tells the service manager, is said, and costs neither the tunnels nor the part."""
    clock, told = ManualClock(), list[str]()
    served = asyncio.Event()
    failures = [ZeroDivisionError("a defect"), ValueError("another")]

    def statuses() -> tuple[TunnelStatus, ...]:
        if failures:
            raise failures.pop()
        served.set()
        return ()

    class Defective(Scripted):
        """A configuration that cannot be put in force for a defect, at first."""

        def take(self, loaded: Loaded, *, asked: bool) -> list[str]:
            """Raise, then work."""
            assert asked
            statuses()
            return []

    source = Defective()
    source.may_read.release(1000)
    reloader = Reloader(source, around=nullcontext, refused=told.append)

    class Broken(NotifySocket):
        """A socket to the service manager with a defect."""

        def send_now(self, *_: str) -> None:
            """Raise, then work."""
            statuses()

    work = reloader.run if part == "reloads" else Notifier(Broken("@nowhere"), clock, tuple, watchdog=1.0).run
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        task = group.create_task(keep_running(part, work, clock, told.append), name=part)
        while not served.is_set():
            reloader.reload_soon()
            await asyncio.sleep(0.001)
            clock.advance(60)
        task.cancel()
    assert [f"{part} failed" in message for message in told] == [True, True]
    assert "ZeroDivisionError: a defect" in told[1]
