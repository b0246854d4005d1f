"""A scene: a lab, a service, one or two subjects on that lab, and visitors of each."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Final

from bench.room import subject as subjects
from bench.room.lab import RunningLab, running_lab
from bench.room.namespace import OUTSIDE, Network
from bench.room.origin import Origin, running_origin
from bench.room.subject import Setup, Subject
from bench.room.timeline import Sample
from bench.room.visitor import Visitors, visiting

Maker = Callable[[RunningLab, int, Setup, Path, str], AbstractAsyncContextManager[Subject]]
MAKERS: Final[dict[str, Maker]] = {"bare": subjects.bare, "prx": subjects.prx}
AT_ONCE: Final = {"bare": 1, "prx": 3}  # how many of a kind start side by side


@dataclass
class Watched:
    """A subject, its visitors, and what it said."""

    subject: Subject
    visitors: Visitors
    samples: list[Sample] = field(default_factory=list)

    async def sample_every(self, seconds: float) -> None:
        """Write down what it says, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            self.samples.append(await self.subject.sample())
            await asyncio.sleep(max(0.0, began + seconds - loop.time()))


@dataclass
class Scene:
    """Everything that a fault can act on. `network` is None if the scene has no namespace of its own."""

    lab: RunningLab
    origin: Origin
    setup: Setup
    network: Network | None
    watched: list[Watched] = field(default_factory=list)

    @property
    def need_network(self) -> Network:
        """The network, for faults that cannot be without one."""
        assert self.network is not None
        return self.network


@asynccontextmanager
async def staged(setup: Setup, names: Sequence[str], *, rate: float, every: float) -> AsyncIterator[Scene]:
    """Set a scene with the subjects `names` (`prx`, `bare`), visited `rate` times a second, asked every `every` seconds.

    A name may stand there several times: such copies meet the same at the same time. They begin in the order of the names.
    """
    network = Network() if setup.namespace else None
    if network is not None:
        network.prepare()
    outside = OUTSIDE if setup.namespace else ""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(ignore_cleanup_errors=True)))
        if keep := os.environ.get("PRX_BENCH_KEEP"):  # to read the logs afterwards
            folder = Path(mkdtemp(dir=keep))
        origin = await stack.enter_async_context(running_origin(folder))
        lab = await stack.enter_async_context(running_lab(folder, outside=outside))
        scene = Scene(lab, origin, setup, network)
        group = await stack.enter_async_context(asyncio.TaskGroup())
        over = asyncio.Event()
        stack.callback(over.set)
        chosen: list[Subject] = []
        for name, copies in groupby(names):
            makers = [MAKERS[name](lab, origin.port, setup, folder, _seat(number)) for number, _ in enumerate(copies)]
            chosen += await _started(makers, group, AT_ONCE[name], over)
        tasks = []
        for one in chosen:
            visitors = await stack.enter_async_context(visiting(_newest(one), rate=rate, source=outside))
            watched = Watched(one, visitors)
            scene.watched.append(watched)
            tasks.append(group.create_task(watched.sample_every(every), name=f"samples of {one.name}"))
        try:
            yield scene
        finally:
            for task in tasks:
                task.cancel()


async def _started(
    makers: Sequence[AbstractAsyncContextManager[Subject]], group: asyncio.TaskGroup, at_once: int, over: asyncio.Event
) -> list[Subject]:
    """Start subjects, some side by side, each kept by a task of `group` until it is `over`."""
    places = asyncio.Semaphore(at_once)
    ready: list[asyncio.Future[Subject]] = [asyncio.get_running_loop().create_future() for _ in makers]

    async def keep(maker: AbstractAsyncContextManager[Subject], future: asyncio.Future[Subject]) -> None:
        async with AsyncExitStack() as stack:
            async with places:
                future.set_result(await stack.enter_async_context(maker))
            await over.wait()

    for maker, future in zip(makers, ready, strict=True):
        group.create_task(keep(maker, future), name="subject")
    return [await future for future in ready]


def _seat(number: int) -> str:
    return f"{number + 1}" if number else ""


def _newest(subject: Subject) -> Callable[[], str]:
    return lambda: subject.url
