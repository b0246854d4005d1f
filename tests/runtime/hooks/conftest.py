"""A runner of hooks with a clock that does not wait, and servers that end with the test."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.servers import forever
from tests.support.waits import PATIENCE

from prx.config.schema import TunnelSettings
from prx.core.events import Fact, HookRan, UrlChanged
from prx.runtime.hooks import HookRunner
from prx.runtime.hooks.attempts import LATER
from prx.runtime.hooks.notices import NoticeRunner


class InstantClock:
    """A clock whose waits are over at once, and are written down; those of what is kept for later last as long as the test."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    def monotonic(self) -> float:
        """Return nothing of interest."""
        return 0.0

    boottime = wall = monotonic

    def call_later(self, delay: float, callback: Callable[[], None]) -> Any:
        """Refuse: no hook needs this."""
        raise NotImplementedError

    async def sleep(self, delay: float) -> None:
        """Have the others run, once."""
        self.waits.append(delay)
        if delay in LATER.delays:
            await forever()
        await asyncio.sleep(0)


class Bench:
    """A runner at work, and the results that it published."""

    def __init__(self, folder: Path) -> None:
        self.clock = InstantClock()
        self.results: asyncio.Queue[HookRan] = asyncio.Queue()
        environ = {"PATH": "/usr/bin:/bin", "HOME": "/somewhere", "TUNNEL_TOKEN": "secret", "AWS_SECRET": "secret"}
        self.runner = HookRunner(
            self._publish, self.clock, folder=folder, environ=environ, redact=lambda line: line.replace("hunter2", "***")
        )

    def _publish(self, fact: Fact) -> None:
        assert isinstance(fact, HookRan)
        self.results.put_nowait(fact)

    def fire(self, url: str = "https://new.example", old: str = "", *, hooks: tuple[str, ...] = (), env_file: str = "") -> None:
        """Tell the runner of a verified URL."""
        settings = TunnelSettings(on_url=hooks, url_env_file=env_file)
        self.runner.fire(UrlChanged(tunnel="web", url=url, old=old), settings)

    async def result(self) -> HookRan:
        """Wait for the next result."""
        async with asyncio.timeout(PATIENCE):
            return await self.results.get()


@contextlib.asynccontextmanager
async def running(runner: HookRunner | NoticeRunner) -> AsyncIterator[None]:
    """Have a runner run within the block."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(runner.run(), name="hooks")
        yield
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """Yield a runner that runs in an empty folder."""
    bench = Bench(tmp_path)
    async with running(bench.runner):
        yield bench
