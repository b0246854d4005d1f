"""When hooks of `on_change` are run: for each piece of news, in order, each hook on its own.

Theory of operation. `see` takes every event and only thinks; what is to be reported goes into the line of each hook of the
tunnel, so that nothing that a hook does can hold up a tunnel or another hook. A line holds `LINE` notices: a receiver that is
away for long misses the oldest, never the newest. A delivery that fails is repeated as one of `on_url` is; its end is
published as a `HookRan`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from prx.config.schema import TunnelSettings
from prx.core.events import Event, Fact, HookRan
from prx.runtime.hooks.kinds import MessageHook
from prx.runtime.hooks.runner import deliver_repeatedly
from prx.runtime.host.clock import Clock, TimerHandle
from prx.runtime.host.wall_jumps import WallJumps

if TYPE_CHECKING:
    from prx.core.incidents import Incidents, Notice

LINE: Final = 32
FAREWELL_SECONDS: Final = 10.0
"""How long prx waits, before it ends because nothing can run, for the news of that to be delivered."""

_Key = tuple[str, MessageHook]


class NoticeRunner:
    """Follows the events with `see`, and tells the hooks while `run` runs.

    `settings_of` returns the present settings of a tunnel, None for one that is gone. `publish`, `folder`, `environ` and
    `redact` are as for `HookRunner`.
    """

    def __init__(
        self,
        publish: Callable[[Fact], object],
        clock: Clock,
        settings_of: Callable[[str], TunnelSettings | None],
        *,
        folder: Path,
        environ: Mapping[str, str],
        redact: Callable[[str], str],
    ) -> None:
        self._publish = publish
        self._clock = clock
        self._jumps = WallJumps(clock)
        self._settings_of = settings_of
        self._folder = folder
        self._environ = environ
        self._redact = redact
        self._incidents: dict[str, Incidents] = {}
        self._timers: dict[str, TimerHandle] = {}
        self._lines: dict[_Key, deque[Notice]] = {}
        self._fired = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def see(self, event: Event) -> None:
        """Take in an event; returns at once."""
        name = event.fact.tunnel
        settings = self._settings_of(name)
        if settings is None or not settings.on_change:
            return
        from prx.core.incidents import Incidents  # noqa: PLC0415 - see prx.runtime.hooks.chosen

        self._follow_the_clock()
        incidents = self._incidents.setdefault(name, Incidents(name))
        self._queue(name, incidents.take(event.at, event.fact))
        self._wait(name, incidents)

    def _wait(self, name: str, incidents: Incidents) -> None:
        if timer := self._timers.pop(name, None):
            timer.cancel()
        if incidents.due is not None:
            delay = max(0.0, incidents.due - self._clock.wall())
            self._timers[name] = self._clock.call_later(delay, lambda: self._elapse(name, incidents))

    def _elapse(self, name: str, incidents: Incidents) -> None:
        self._follow_the_clock()
        # the timer may be a moment early by the wall clock: what was waited for is due all the same
        self._queue(name, incidents.elapse(max(self._clock.wall(), incidents.due or 0.0)))
        self._wait(name, incidents)

    def _follow_the_clock(self) -> None:
        if jump := self._jumps.since_last():
            for incidents in self._incidents.values():
                incidents.move(jump)

    def _queue(self, name: str, notices: list[Notice]) -> None:
        settings = self._settings_of(name)
        if settings is None or not notices:
            return
        for hook in self.hooks(settings):
            line = self._lines.setdefault((name, hook), deque(maxlen=LINE))
            line.extend(notices)
        self._fired.set()
        self._idle.clear()

    def hooks(self, settings: TunnelSettings) -> list[MessageHook]:
        """Return the hooks of these settings."""
        if not settings.on_change:
            return []
        from prx.runtime.hooks.chosen import notice_hooks  # noqa: PLC0415 - see there

        return notice_hooks(settings, self._folder, self._environ)

    def waiting(self, address: str) -> tuple[Notice, ...]:
        """Return what waits for the hooks with this text."""
        return tuple(item for (_, hook), line in self._lines.items() if hook.text == address for item in line)

    async def run(self) -> None:
        """Deliver until cancelled; then nothing is left running."""
        busy: dict[_Key, asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as group:
            while True:
                await self._fired.wait()
                self._fired.clear()
                for key, line in list(self._lines.items()):
                    if line and key not in busy:
                        busy[key] = group.create_task(self._work(key, line), name=f"notices to {key[1].label} of {key[0]}")
                        busy[key].add_done_callback(partial(self._rest, busy, key))

    def _rest(self, busy: dict[_Key, asyncio.Task[None]], key: _Key, _: asyncio.Task[None]) -> None:
        busy.pop(key, None)
        if self._lines.get(key):
            self._fired.set()
        else:
            self._lines.pop(key, None)
        if not busy and not self._lines:
            self._idle.set()

    async def _work(self, key: _Key, line: deque[Notice]) -> None:
        name, hook = key
        while line:
            tries, trouble = await deliver_repeatedly(hook, line.popleft(), self._clock)
            detail = "\n".join(self._redact(text) for text in trouble.split("\n"))
            self._publish(HookRan(tunnel=name, hook=hook.label, ok=not trouble, tries=tries, detail=detail))

    async def farewell(self) -> None:
        """Wait until everything is delivered, `FAREWELL_SECONDS` at most."""
        try:
            async with asyncio.timeout(FAREWELL_SECONDS):
                await self._idle.wait()
        except TimeoutError:
            return
