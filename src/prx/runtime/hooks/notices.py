"""When hooks of `on_change` are run: for each piece of news, in order, each hook on its own.

Theory of operation. `see` takes every event and only thinks; what is to be reported goes into the line of each hook of the
tunnel, so that nothing that a hook does can hold up a tunnel or another hook. What cannot be delivered is kept at the head of
its line (`prx.runtime.hooks.attempts`), and what comes meanwhile waits behind it (`prx.runtime.hooks.line`): a receiver that
comes back hears of trouble and of its end, in this order. A line is bounded, and what had to go is said in the log and in the
next notice. What comes of each delivery is published as a `HookRan`.

What is open when prx ends is kept on disk (`prx.runtime.hooks.open_incidents`); what waits in a line is not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from prx.config.schema import TunnelSettings
from prx.core.events import Event, Fact, HookRan, Log
from prx.core.numbers import counted
from prx.runtime.hooks.kinds import MessageHook
from prx.runtime.host.clock import Clock, TimerHandle
from prx.runtime.host.wall_jumps import WallJumps

if TYPE_CHECKING:
    from prx.core.incidents import Incidents, Notice
    from prx.runtime.hooks.attempts import Outcome
    from prx.runtime.hooks.line import Line
    from prx.runtime.hooks.open_incidents import OpenIncidents

FAREWELL_SECONDS: Final = 10.0
"""How long prx waits, before it ends because nothing can run, for the news of that to be delivered."""

_Key = tuple[str, str]  # a tunnel, and a hook of it as the configuration says it


class NoticeRunner:
    """Follows the events with `see`, and tells the hooks while `run` runs.

    `settings_of` returns the present settings of a tunnel, None for one that is gone. `publish`, `folder`, `environ` and
    `redact` are as for `HookRunner`. `kept`: the file of the open incidents; None keeps none.
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
        kept: Path | None = None,
    ) -> None:
        self._publish = publish
        self._clock = clock
        self._jumps = WallJumps(clock)
        self._settings_of = settings_of
        self._folder = folder
        self._environ = environ
        self._redact = redact
        self._kept = kept
        self._open: OpenIncidents | None = None
        self._incidents: dict[str, Incidents] = {}
        self._timers: dict[str, TimerHandle] = {}
        self._lines: dict[_Key, Line] = {}
        self._is_ending = False
        self._fired = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def see(self, event: Event) -> None:
        """Take in an event; returns at once."""
        name = event.fact.tunnel
        settings = self._settings_of(name)
        if settings is None or not settings.on_change or self._is_ending:
            return
        from prx.core.incidents import Incidents  # noqa: PLC0415 - see prx.runtime.hooks.chosen

        self._follow_the_clock()
        incidents = self._incidents.get(name)
        if incidents is None:
            incidents = self._incidents[name] = Incidents(name, self._opened().of(name))
        self._queue(name, incidents.take(event.at, event.fact))
        self._wait(name, incidents)

    def _wait(self, name: str, incidents: Incidents) -> None:
        self._opened().keep(name, incidents.open)
        if timer := self._timers.pop(name, None):
            timer.cancel()
        if incidents.due is not None:
            delay = max(0.0, incidents.due - self._clock.wall())
            self._timers[name] = self._clock.call_later(delay, lambda: self._elapse(name, incidents))

    def _opened(self) -> OpenIncidents:
        from prx.runtime.hooks.open_incidents import OpenIncidents  # noqa: PLC0415 - see prx.runtime.hooks.chosen

        if self._open is None:
            self._open = OpenIncidents(self._kept, lambda name: self._settings_of(name) is not None)
        return self._open

    def _elapse(self, name: str, incidents: Incidents) -> None:
        if self._is_ending:
            return
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
        from prx.runtime.hooks.line import LINE, Line  # noqa: PLC0415 - see prx.runtime.hooks.chosen

        for hook in self.hooks(settings):
            line = self._lines.setdefault((name, hook.text), Line())
            said = line.overflowed
            if line.add(notices) and not said:
                self._say_soon(name, f"{LINE} notices wait for {hook.label}: older ones are dropped as newer ones come")
        self._fired.set()
        self._idle.clear()

    def _say_soon(self, name: str, words: str) -> None:
        """Log a warning once the event that is being handed out has reached everyone: events keep their order."""
        asyncio.get_running_loop().call_soon(self._publish, Log(tunnel=name, level="warn", message=words))

    def hooks(self, settings: TunnelSettings) -> list[MessageHook]:
        """Return the hooks of these settings."""
        if not settings.on_change:
            return []
        from prx.runtime.hooks.chosen import notice_hooks  # noqa: PLC0415 - see there

        return notice_hooks(settings, self._folder, self._environ)

    def waiting(self, address: str) -> tuple[Notice, ...]:
        """Return what waits for the hooks with this text."""
        return tuple(item for (_, text), line in self._lines.items() if text == address for item in line.waiting)

    def wake(self) -> None:
        """Try again at once what is kept: the network, or the whole machine, is back."""
        for line in self._lines.values():
            line.woken.set()

    def retry(self) -> None:
        """Write what of the open incidents could not be written."""
        if self._open is not None:
            self._open.retry()

    def close(self) -> None:
        """Take in nothing more, as prx is to end: what is open stays so for the next prx. What waits is still delivered."""
        self._is_ending = True

    def end(self) -> None:
        """Report what will not be delivered, as prx ends now."""
        self.close()
        for (name, text), line in self._lines.items():
            if left := len(line) + (line.in_hand is not None):
                hook = self._hook(name, text)
                words = f"prx ends before it could deliver {counted(left, 'notice')}"
                self._say_soon(name, f"{words} to {hook.label}" if hook else words)

    async def run(self) -> None:
        """Deliver until cancelled; then nothing is left running."""
        busy: dict[_Key, asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as group:
            while True:
                await self._fired.wait()
                self._fired.clear()
                for key, line in list(self._lines.items()):
                    if line and key not in busy:
                        busy[key] = group.create_task(self._work(key, line), name=f"notices of {key[0]}")
                        busy[key].add_done_callback(partial(self._rest, busy, key))

    def _rest(self, busy: dict[_Key, asyncio.Task[None]], key: _Key, _: asyncio.Task[None]) -> None:
        busy.pop(key, None)
        line = self._lines.get(key)
        if line:
            self._fired.set()
        elif line is not None and (not line.missed or self._hook(*key) is None):
            self._lines.pop(key, None)
        if not busy and not any(self._lines.values()):
            self._idle.set()

    async def _work(self, key: _Key, line: Line) -> None:
        while line and (hook := self._hook(*key)) is not None:
            await self._deliver(key, line, hook)
        line.clear()

    def _hook(self, name: str, text: str) -> MessageHook | None:
        """Return a hook as it is configured now; None if it is not any more, or its tunnel is gone."""
        settings = self._settings_of(name)
        return None if settings is None else next((hook for hook in self.hooks(settings) if hook.text == text), None)

    async def _deliver(self, key: _Key, line: Line, hook: MessageHook) -> None:
        from prx.runtime.hooks.attempts import deliver_in_the_end  # noqa: PLC0415 - see prx.runtime.hooks.chosen

        told = line.missed  # as it is now: what is dropped later lies behind this notice, and the next one tells of it
        notice = line.take()

        async def deliver(late: bool) -> None:
            await (self._hook(*key) or hook).deliver(notice.sent(late=late, missed=told))

        def report(outcome: Outcome) -> None:
            detail = "\n".join(self._redact(text) for text in outcome.trouble.split("\n"))
            ok = not outcome.trouble
            self._publish(HookRan(tunnel=key[0], hook=hook.label, ok=ok, tries=outcome.tries, detail=detail, kept=outcome.kept))

        def superseded(seconds: float) -> str:
            return "dropped, as newer news waits" if line.supersedes(notice, seconds) else ""

        try:
            worked = await deliver_in_the_end(
                deliver,
                self._clock,
                line.woken,
                report=report,
                is_wanted=lambda: self._hook(*key) is not None,
                superseded=superseded,
            )
        finally:
            line.in_hand = None
        if worked:
            line.missed -= told
            line.overflowed = False
        else:
            line.missed += 1

    async def farewell(self) -> None:
        """Wait until everything is delivered, `FAREWELL_SECONDS` at most."""
        try:
            async with asyncio.timeout(FAREWELL_SECONDS):
                await self._idle.wait()
        except TimeoutError:
            return
