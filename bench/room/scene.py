"""A scene: a lab, a service, one or two subjects on that lab, and visitors of each."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

from bench.room import subject as subjects
from bench.room.lab import RunningLab, running_lab
from bench.room.namespace import OUTSIDE, Network
from bench.room.origin import Origin, running_origin
from bench.room.subject import Setup, Subject
from bench.room.timeline import Sample
from bench.room.visitor import Visitors, visiting

Maker = Callable[[RunningLab, int, Setup, Path], AbstractAsyncContextManager[Subject]]


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
    """Set a scene with the subjects `names` (`prx`, `bare`), visited `rate` times a second, asked every `every` seconds."""
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
        makers: dict[str, Maker] = {"bare": subjects.bare, "prx": subjects.prx}
        chosen: list[Subject] = [
            await stack.enter_async_context(makers[name](lab, origin.port, setup, folder)) for name in names
        ]
        group = await stack.enter_async_context(asyncio.TaskGroup())
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


def _newest(subject: Subject) -> Callable[[], str]:
    return lambda: subject.url
