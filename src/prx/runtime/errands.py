"""What a tunnel has to do now and then, and most tunnels never: a task each, as long as it is under way.

Hundreds of tasks that wait for what may never come are a megabyte.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


class Errands:
    """The errands of the tunnel `name`.

    have_begun: tasks can be, or could be, started. have_failed: one has, or a task that was started with them, so that all end.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self.have_begun = self.have_failed = False
        self._group: asyncio.TaskGroup | None = None
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def begin(self, group: asyncio.TaskGroup) -> None:
        """Do from now on what is asked for, in tasks of `group`; before, and after `end`, nothing is done."""
        self._group = group
        self.have_begun = True

    def start(self, work: Coroutine[Any, Any, None], what: str) -> asyncio.Task[None]:
        """Do `work` in a task of the group."""
        assert self._group is not None
        return self._group.create_task(self._to_its_end(work), name=f"{self._name}: {what}")

    async def _to_its_end(self, work: Coroutine[Any, Any, None]) -> None:
        """Do `work`; if it fails, have nothing more done: the group is about to end, and refuses it."""
        try:
            await work
        except Exception:
            self.have_failed = True
            self.end()
            raise

    def do(self, what: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do `work()` in a task of its own, unless the one before with that name is still under way."""
        before = self._tasks.get(what)
        if self._group is not None and (before is None or before.done()):
            self._tasks[what] = self.start(work(), what)

    def end(self) -> None:
        """Abandon what is under way."""
        self._group = None
        for task in self._tasks.values():
            task.cancel()
