"""Turn facts into events: numbered, stamped, folded into the status, and handed to every listener.

A listener that is too slow loses events and gets their number: it never slows the tunnel down.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import fields, replace
from types import TracebackType
from typing import Any, Self, TypeVar

from prx.core.events import Dropped, Event, Fact, Log, StateChanged, UrlChanged, VerdictChanged
from prx.core.status import TunnelStatus, fold
from prx.logs.redact import Redactor
from prx.runtime.bulkhead import words_of
from prx.runtime.host.clock import Clock
from prx.runtime.host.wall_jumps import WallJumps

TEXT_LIMIT = 8 * 1024 * 1024
"""Characters of log that wait for one subscriber: 16 Ki events of usual length, but only 128 of the longest."""

_FIELD = 16  # characters that stand for what a field costs besides its text: one line of a child may have thousands of fields
_STANDING = (StateChanged, VerdictChanged, UrlChanged)
_Fact = TypeVar("_Fact", bound=Fact)


class Subscription:
    """An asynchronous iterator over events; later ones than `limit` that wait are dropped and counted.

    So are those beyond `TEXT_LIMIT` characters of log, because one line of a child may have 64 KiB.
    Of what says where a tunnel stands (its state, verdict and URL) the latest is never dropped: it comes after their number.
    """

    def __init__(self, bus: Bus, limit: int) -> None:
        self._bus = bus
        self._limit = limit
        self._waiting: deque[Event] = deque()
        self._text = 0  # characters of those that wait
        self._dropped = 0
        self._latest: dict[tuple[str, str], Event] = {}  # of those that would have been dropped, by tunnel and name
        self._closed = False
        self._wakeup = asyncio.Event()

    def put(self, event: Event) -> None:
        """Hand over an event; never blocks."""
        if len(self._waiting) >= self._limit or self._text >= TEXT_LIMIT or self._latest:
            self._fold(event)
        else:
            self._waiting.append(event)
            self._text += _text_of(event)
        self._wakeup.set()

    def _fold(self, event: Event) -> None:
        """Keep an event as the latest of its kind, or count it."""
        key = (event.fact.tunnel, event.fact.name)
        kept = isinstance(event.fact, _STANDING)
        if not kept or key in self._latest:
            self._dropped += 1
            self._bus.dropped += 1
        if kept:
            self._latest.pop(key, None)
            self._latest[key] = event

    def take(self, most: int) -> list[Event]:
        """Return those of the next events that wait already, at most so many."""
        return [self._next() for _ in range(min(most, len(self._waiting)))]

    def _next(self) -> Event:
        event = self._waiting.popleft()
        self._text -= _text_of(event)
        return event

    def close(self) -> None:
        """End the iteration once what waits has been taken; harmless when done twice."""
        self._closed = True
        self._bus.forget(self)
        self._wakeup.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        while not self._waiting:
            if self._dropped:
                count, self._dropped = self._dropped, 0
                event = self._bus.stamp(Dropped(tunnel="", count=count))
                first = next(iter(self._latest.values()), None)
                return event if first is None else replace(event, seq=first.seq - 1)  # numbers count up: those come after it
            if self._latest:
                self._waiting.extend(self._latest.values())
                self._latest.clear()
                continue
            if self._closed:
                raise StopAsyncIteration
            self._wakeup.clear()
            await self._wakeup.wait()
        return self._next()


def _text_of(event: Event) -> int:
    """Return how many characters of log an event holds, names of fields too; 0 if it is of another kind: those are short."""
    fact = event.fact
    if not isinstance(fact, Log):
        return 0
    text = len(fact.message)
    for name, value in fact.fields.items():
        text += _FIELD + len(name) + (len(value) if isinstance(value, str) else 0)
    return text


class Bus:
    """Publishes facts about tunnels to subscribers and keeps the status of each tunnel.

    Every text of a fact goes through `redactor` on its way, so that no sink has to think of it: what it knows is seen in no
    event, and in nothing that is made of events.
    """

    def __init__(self, clock: Clock, redactor: Redactor | None = None) -> None:
        self.redactor = redactor or Redactor()
        self.dropped = 0  # events that subscribers have missed
        self._clock = clock
        self._seq = 0
        self._subscriptions: list[Subscription] = []
        self._listeners: list[Callable[[Event], None]] = []
        self._keeper: Callable[[str, str, bytes], int] | None = None
        self._is_behind: Callable[[], bool] = lambda: False
        self._failed: list[Callable[[Event], None]] = []  # those that it was said of
        self._statuses: dict[str, TunnelStatus] = {}
        self._jumps = WallJumps(clock)

    def publish(self, fact: Fact) -> Event:
        """Publish `fact` with a number and a time, update the status, and hand the event to every subscriber."""
        self._seq += 1
        self._follow_the_clock()
        event = Event(self._seq, self._clock.wall(), _without_secrets(fact, self.redactor))
        if fact.tunnel in self._statuses:
            self._statuses[fact.tunnel] = fold(self._statuses[fact.tunnel], event)
        failures = [words for listener in self._listeners if (words := self._hand(listener, event))]
        for subscription in self._subscriptions:
            subscription.put(event)
        for words in failures:
            self.publish(Log(tunnel="", level="error", message=f"a part of prx that follows the events failed: {words}"))
        return event

    def _hand(self, listener: Callable[[Event], None], event: Event) -> str:
        """Hand an event to a listener; return what went wrong, once for each listener: it must not cost the tunnel."""
        try:
            listener(event)
        except Exception as error:  # noqa: BLE001 - see above
            if listener not in self._failed:
                self._failed.append(listener)
                return words_of(error)
        return ""

    def stamp(self, fact: Fact) -> Event:
        """Return `fact` as an event for one subscriber alone; it takes the number of the last event that all have seen."""
        return Event(self._seq, self._clock.wall(), fact)

    def listen(self, listener: Callable[[Event], None]) -> None:
        """Call `listener` with every event, at once, on the loop: for what is quick and must not miss any."""
        self._listeners.append(listener)

    def keep_with(self, keeper: Callable[[str, str, bytes], int], is_behind: Callable[[], bool] = lambda: False) -> None:
        """Hand lines that nothing follows to `keeper(tunnel, source, block)`, which keeps them and counts them; see `keep`.

        `is_behind()` returns whether it would rather have them a moment later.
        """
        self._keeper, self._is_behind = keeper, is_behind

    def is_behind(self) -> bool:
        """Return whether lines that are to be kept should come a moment later."""
        return self._is_behind()

    def keep(self, tunnel: str, source: str, block: bytes) -> int:
        """Have lines kept that are too many to be events, each with its newline, redacted already.

        Return their number; 0 if there is no place for them.
        """
        return 0 if self._keeper is None else self._keeper(tunnel, source, block)

    def subscribe(self, limit: int = 16 * 1024) -> Subscription:
        """Return an iterator over all events from now on."""
        subscription = Subscription(self, limit)
        self._subscriptions.append(subscription)
        return subscription

    def forget(self, subscription: Subscription) -> None:
        """Hand nothing more to `subscription`."""
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)

    def close(self) -> None:
        """End every subscription."""
        for subscription in list(self._subscriptions):
            subscription.close()

    def track(self, status: TunnelStatus) -> None:
        """Begin to keep the status of a tunnel, from `status` on; what was counted of it before goes on."""
        before = self._statuses.get(status.name)
        self._statuses[status.name] = (
            status if before is None else replace(status, restarts=before.restarts, flaps=before.flaps)
        )

    def track_changes(self, name: str, **changes: Any) -> None:
        """Change what a tracked status says of the configuration."""
        if name in self._statuses:
            self._statuses[name] = replace(self._statuses[name], **changes)

    def untrack(self, name: str) -> None:
        """Forget a tunnel that the configuration no longer has."""
        self._statuses.pop(name, None)

    def status(self, name: str) -> TunnelStatus | None:
        """Return the present status of a tunnel, None if it is not tracked; from any thread."""
        return self._statuses.get(name)

    def statuses(self) -> tuple[TunnelStatus, ...]:
        """Return the present status of every tunnel, in the order in which they were tracked."""
        self._follow_the_clock()
        return tuple(self._statuses.values())

    def _follow_the_clock(self) -> None:
        if jump := self._jumps.since_last():
            self._statuses = {name: status.moved(jump) for name, status in self._statuses.items()}


def _without_secrets(fact: _Fact, redactor: Redactor) -> _Fact:
    """Return `fact` with every text redacted, except the tunnel's name and the public URL: they are what prx is for."""
    if isinstance(fact, UrlChanged):
        return fact
    old = {item.name: getattr(fact, item.name) for item in fields(fact) if item.name != "tunnel"}
    if redactor.are_clean(_texts(old.values())):
        return fact
    changed = {name: new for name, value in old.items() if (new := redacted(value, redactor)) is not value}
    return replace(fact, **changed) if changed else fact


def _texts(values: Iterable[Any]) -> list[str]:
    """Return the texts that `redacted` would redact."""
    found = []
    for value in values:
        if type(value) is str:
            found.append(value)
        elif isinstance(value, Mapping):
            found += _texts(value.values())
        elif isinstance(value, list):
            found += _texts(value)
    return found


def redacted(value: Any, redactor: Redactor) -> Any:
    """Return `value` without secrets, the same object if it holds none."""
    if type(value) is str:  # not those of an enum: they are prx's own words
        new = redactor.text(value)
        return value if new == value else new
    if isinstance(value, Mapping):
        clean = {key: redacted(item, redactor) for key, item in value.items()}
        return clean if any(clean[key] is not item for key, item in value.items()) else value
    if isinstance(value, list):
        items = [redacted(item, redactor) for item in value]
        return items if any(new is not item for new, item in zip(items, value, strict=True)) else value
    return value
