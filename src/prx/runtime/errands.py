"""What a tunnel has to do now and then, and most tunnels never: a task each, as long as it is under way.

Hundreds of tasks that wait for what may never come are a megabyte.

None of it is what serves. One that fails, by a defect or because the machine is short of something, is reported and begins
again after a pause (`prx.runtime.bulkhead`); the connectors of the tunnel, which are tasks of the same group, go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from prx.runtime.bulkhead import keep_running, words_of
from prx.runtime.host.clock import Clock


class Errands:
    """The errands of the tunnel `name`. say: reports a failure of one.

    have_begun: tasks can be, or could be, started. have_failed: a task that was started with them has, so that all end.
    """

    def __init__(self, name: str, clock: Clock, say: Callable[[str], None]) -> None:
        self._name = name
        self._clock = clock
        self.say = say
        self.have_begun = self.have_failed = False
        self._group: asyncio.TaskGroup | None = None
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._said: dict[str, str] = {}  # of what was attempted, why it failed last

    def begin(self, group: asyncio.TaskGroup) -> None:
        """Do from now on what is asked for, in tasks of `group`; before, and after `end`, nothing is done."""
        self._group = group
        self.have_begun = True

    def start(self, work: Coroutine[Any, Any, None], what: str) -> asyncio.Task[None]:
        """Do `work` in a task of the group, which fails if it does: the tunnel is nothing without it."""
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
        """Do `work()` in a task of its own, unless the one before with that name is still under way; again if it fails."""
        before = self._tasks.get(what)
        if self._group is not None and (before is None or before.done()):
            self._tasks[what] = self.start(keep_running(what, work, self._clock, self.say), what)

    def attempt(self, what: str, step: Callable[[], None]) -> bool:
        """Do `step()` at once; return whether it worked: a failure is reported, once until it is another, and that is all."""
        try:
            step()
        except Exception as error:  # noqa: BLE001 - see above
            words = words_of(error)
            if self._said.get(what) != words:
                self._said[what] = words
                self.say(f"{what} failed: {words}")
            return False
        return True

    def end(self) -> None:
        """Abandon what is under way."""
        self._group = None
        for task in self._tasks.values():
            task.cancel()
