"""When hooks are run: for every verified URL, each on its own, the newest URL only.

Theory of operation. `fire` only puts the change into a queue, so that nothing that a hook does can hold up a tunnel. Each
hook of each tunnel has at most one delivery at a time. A newer URL ends the delivery of an older one, and begins when that
has ended: so the last thing that a hook hears is always the newest URL, even when an older delivery hung. A delivery that
fails is repeated after the waits of `RETRIES`; its end, good or bad, is published as a `HookRan`.
"""

from __future__ import annotations

import asyncio
import os
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol, TypeVar

from prx.config.schema import TunnelSettings
from prx.core.backoff import Schedule
from prx.core.events import Fact, HookRan, UrlChanged
from prx.runtime.hooks.kinds import Change, Hook, HookError
from prx.runtime.host.clock import Clock

RETRIES = Schedule((1.0, 5.0, 15.0))
_Key = tuple[str, Hook]


def _unchanged(text: str) -> str:
    return text


class HookRunner:
    """Runs hooks while `run` runs.

    `publish` gets the results. Commands run in `folder`, where relative paths begin, too; `environ` is what they inherit from.
    `redact` takes secrets out of what a hook says.
    """

    def __init__(
        self,
        publish: Callable[[Fact], object],
        clock: Clock,
        *,
        folder: Path | None = None,
        environ: Mapping[str, str] = os.environ,
        redact: Callable[[str], str] = _unchanged,
    ) -> None:
        self._publish = publish
        self._clock = clock
        self._folder = folder or Path.cwd()
        self._environ = environ
        self._redact = redact
        self._fired: asyncio.Queue[tuple[UrlChanged, TunnelSettings]] = asyncio.Queue()
        self._deliveries: dict[_Key, asyncio.Task[None]] = {}
        self._turns: defaultdict[_Key, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._announced: dict[_Key, str] = {}

    def fire(self, fact: UrlChanged, settings: TunnelSettings) -> None:
        """Take note of a verified URL; returns at once."""
        if settings.on_url or settings.url_env_file:
            self._fired.put_nowait((fact, settings))

    async def run(self) -> None:
        """Run hooks until cancelled; then none is left running."""
        async with asyncio.TaskGroup() as group:
            while True:
                fact, settings = await self._fired.get()
                from prx.runtime.hooks.chosen import hooks_of  # noqa: PLC0415 - see there

                for hook in hooks_of(settings, self._folder, self._environ):
                    self._begin(group, (fact.tunnel, hook), fact)

    def _begin(self, group: asyncio.TaskGroup, key: _Key, fact: UrlChanged) -> None:
        if key in self._deliveries:
            self._deliveries[key].cancel()
        change = Change(fact.tunnel, fact.url, self._announced.setdefault(key, fact.old))
        task = group.create_task(self._deliver(key, change), name=f"hook {key[1].label} of {fact.tunnel}")
        self._deliveries[key] = task

    async def _deliver(self, key: _Key, change: Change) -> None:
        hook = key[1]
        async with self._turns[key]:  # an older delivery may still be on its way out
            tries, trouble = await deliver_repeatedly(hook, change, self._clock)
        if not trouble:
            self._announced[key] = change.url
        detail = self._redact_lines(trouble)
        self._publish(HookRan(tunnel=change.tunnel, hook=hook.label, ok=not trouble, tries=tries, detail=detail))

    def _redact_lines(self, text: str) -> str:
        return "\n".join(self._redact(line) for line in text.split("\n"))


_News_contra = TypeVar("_News_contra", contravariant=True)


class _Deliverer(Protocol[_News_contra]):
    async def deliver(self, change: _News_contra) -> None: ...


async def deliver_repeatedly(hook: _Deliverer[_News_contra], change: _News_contra, clock: Clock) -> tuple[int, str]:
    """Deliver until it works or the tries are used up; return their number and what went wrong in the last one."""
    tries = 1
    while True:
        trouble, again = await _try(hook, change)
        if not again or tries > len(RETRIES.delays):
            return tries, trouble
        await clock.sleep(RETRIES.delay(tries))
        tries += 1


async def _try(hook: _Deliverer[_News_contra], change: _News_contra) -> tuple[str, bool]:
    """Deliver once; return what went wrong, empty when nothing did, and whether another try may help."""
    try:
        await hook.deliver(change)
    except HookError as error:
        return str(error), not error.permanent
    except Exception as error:  # noqa: BLE001 - a defect in a hook must not end the supervision of all tunnels
        return f"{type(error).__name__}: {error}", True
    return "", False
