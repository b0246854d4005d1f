"""When hooks are run: for every verified URL, each on its own, the newest URL only.

Theory of operation. `fire` only puts the change into a queue, so that nothing that a hook does can hold up a tunnel. Each
hook of each tunnel has at most one delivery at a time. A newer URL ends the delivery of an older one, and begins when that
has ended: so the last thing that a hook hears is always the newest URL, even when an older delivery hung. A delivery that
fails is repeated as `prx.runtime.hooks.attempts` says, as long as the URL is that of the tunnel; what comes of it is published
as a `HookRan`.
"""

from __future__ import annotations

import asyncio
import os
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from prx.config.schema import TunnelSettings
from prx.core.events import Fact, HookRan, UrlChanged
from prx.runtime.alarm import Alarm
from prx.runtime.hooks.kinds import Change, Hook
from prx.runtime.host.clock import Clock

if TYPE_CHECKING:
    from prx.runtime.hooks.attempts import Outcome

_Key = tuple[str, Hook]


def _unchanged(text: str) -> str:
    return text


class HookRunner:
    """Runs hooks while `run` runs.

    `publish` gets the results. Commands run in `folder`, where relative paths begin, too; `environ` is what they inherit from.
    `redact` takes secrets out of what a hook says. `settings_for` returns the present settings of a tunnel, None if it has
    another URL by now or is gone; without it whatever was fired is delivered.
    """

    def __init__(
        self,
        publish: Callable[[Fact], object],
        clock: Clock,
        *,
        folder: Path | None = None,
        environ: Mapping[str, str] = os.environ,
        redact: Callable[[str], str] = _unchanged,
        settings_for: Callable[[UrlChanged], TunnelSettings | None] | None = None,
    ) -> None:
        self._publish = publish
        self._clock = clock
        self._folder = folder or Path.cwd()
        self._environ = environ
        self._redact = redact
        self._settings_for = settings_for
        self._fired: asyncio.Queue[tuple[UrlChanged, TunnelSettings]] = asyncio.Queue()
        self._deliveries: dict[_Key, asyncio.Task[None]] = {}
        self._turns: defaultdict[_Key, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._announced: dict[_Key, str] = {}
        self._waiting: set[Alarm] = set()  # of the deliveries that are under way, or kept

    def fire(self, fact: UrlChanged, settings: TunnelSettings) -> None:
        """Take note of a verified URL; returns at once."""
        if settings.on_url or settings.url_env_file:
            self._fired.put_nowait((fact, settings))

    def wake(self) -> None:
        """Try again at once what is kept: the network, or the whole machine, is back."""
        for alarm in self._waiting:
            alarm.set()

    async def run(self) -> None:
        """Run hooks until cancelled; then none is left running."""
        async with asyncio.TaskGroup() as group:
            while True:
                fact, settings = await self._fired.get()
                for hook in self._hooks(settings):
                    self._begin(group, (fact.tunnel, hook), fact)

    def _hooks(self, settings: TunnelSettings) -> list[Hook]:
        from prx.runtime.hooks.chosen import hooks_of  # noqa: PLC0415 - see there

        return hooks_of(settings, self._folder, self._environ)

    def _begin(self, group: asyncio.TaskGroup, key: _Key, fact: UrlChanged) -> None:
        if key in self._deliveries:
            self._deliveries[key].cancel()
        self._announced.setdefault(key, fact.old)  # here: a task that is cancelled before its first step does nothing
        task = group.create_task(self._deliver(key, fact), name=f"hook {key[1].label} of {fact.tunnel}")
        self._deliveries[key] = task

    async def _deliver(self, key: _Key, fact: UrlChanged) -> None:
        from prx.runtime.hooks.attempts import deliver_in_the_end  # noqa: PLC0415 - see prx.runtime.hooks.chosen

        tunnel, hook = key
        change = Change(tunnel, fact.url, self._announced[key])

        def report(outcome: Outcome) -> None:
            ok = not outcome.trouble
            if ok:
                self._announced[key] = change.url
            detail = self._redact_lines(outcome.trouble)
            self._publish(HookRan(tunnel=tunnel, hook=hook.label, ok=ok, tries=outcome.tries, detail=detail, kept=outcome.kept))

        def is_wanted() -> bool:
            if self._settings_for is None:
                return True
            settings = self._settings_for(fact)
            return settings is not None and hook in self._hooks(settings)

        woken = Alarm()
        self._waiting.add(woken)
        try:
            async with self._turns[key]:  # an older delivery may still be on its way out
                await deliver_in_the_end(lambda _: hook.deliver(change), self._clock, woken, report=report, is_wanted=is_wanted)
        finally:
            self._waiting.discard(woken)

    def _redact_lines(self, text: str) -> str:
        return "\n".join(self._redact(line) for line in text.split("\n"))
