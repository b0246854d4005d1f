"""Keep the connections of a tunnel up: the ramp at the start, the waits between attempts, the end.

Theory of operation. Connection 0 goes first; when it is registered, connection 1 follows at once and the others one
second apart. Each connection has a loop: serve, and after a failure wait for its own backoff. Then

* connection 0, before any registration: causes that may pass (dialling, a duplicate, "Unauthorized", and over QUIC any)
  are tried again forever; any other ends the connector, for it will not get better by itself;
* later: the connection joins the lost ones, who share a second, longer backoff and start again together.

A duplicate or a failed dial moves the connection to another edge address; `prx.lab.connector.edge.fallback` says when it takes
another protocol. When a stop is asked for, connections that are
not registered are given up at once; registered ones unregister themselves and end when the edge closes them. Observed
with cloudflared 2026.8.2, except that it goes on with its ramp after a stop was asked for.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from random import SystemRandom
from typing import Final

from prx.core.durations import format_duration
from prx.lab.connector.edge.addresses import EdgeAddresses
from prx.lab.connector.edge.backoff import Backoff
from prx.lab.connector.edge.control import CONNECTION_EVENT
from prx.lab.connector.edge.fallback import Choice, Protocols
from prx.lab.connector.edge.transport import (
    DialError,
    DuplicateError,
    EdgeConnectionError,
    Link,
    QuicDialError,
    ReconnectError,
    RejectedError,
    ServeError,
    Shared,
    Transport,
)
from prx.lab.connector.log import Field, Level

_RANDOM: Final = SystemRandom()


@dataclass(frozen=True, slots=True)
class Timing:
    """Time and chance: bases and the ramp in seconds, a clock that only goes forward, numbers from 0 to 1."""

    connection_base: float = 1.0
    shared_base: float = 10.0
    ramp: float = 1.0
    now: Callable[[], float] = time.monotonic
    random: Callable[[], float] = _RANDOM.random
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


@dataclass(slots=True)
class _Slot:
    """One connection's part of the state: its backoff, protocol, task, whether it ever was registered, and is now."""

    index: int
    backoff: Backoff
    choice: Choice
    task: asyncio.Task[None] | None = None
    registered: asyncio.Event = field(default_factory=asyncio.Event)
    up: bool = False
    restart: asyncio.Queue[float] | None = None  # while it is served: takes the delay of a restart, in seconds


class Supervisor:
    """The connections of one tunnel, run until a stop is asked for and obeyed; `transports` go by their protocol."""

    def __init__(
        self,
        shared: Shared,
        transports: Mapping[str, Transport],
        addresses: EdgeAddresses,
        timing: Timing,
        *,
        protocols: Protocols,
        on_first: Callable[[], None] = lambda: None,
    ) -> None:
        self._shared = shared
        self._transports = transports
        self._protocols = protocols
        self._addresses = addresses
        self._timing = timing
        self._on_first = on_first
        self._shared_backoff = self._backoff(timing.shared_base)
        self._lost: list[_Slot] = []
        self._any_lost = asyncio.Event()
        self._slots: list[_Slot] = []
        self._fatal: EdgeConnectionError | None = None

    async def run(self) -> None:
        """Return after a stop; raise EdgeConnectionError when the first connection cannot be made for good."""
        wanted = self._shared.settings.ha_connections
        if wanted > len(self._addresses):
            self._shared.log.info(f"You requested {wanted} HA connections but I can give you at most {len(self._addresses)}.")
            wanted = len(self._addresses)
        proven: set[str] = set()
        for index in range(wanted):
            choice = Choice(self._protocols, proven, self._protocols.first)
            self._slots.append(_Slot(index, self._backoff(self._timing.connection_base), choice))
        async with asyncio.TaskGroup() as tasks:  # an error that left it would come out wrapped in a group
            ramp = tasks.create_task(self._ramp(tasks), name="ramp")
            revive = tasks.create_task(self._revive(tasks), name="revive lost connections")
            stop = tasks.create_task(self._shared.stopping.wait(), name="stop asked for")
            await asyncio.wait({ramp, stop}, return_when=asyncio.FIRST_COMPLETED)
            if self._fatal is None:
                await stop
            ramp.cancel()
            revive.cancel()
            stop.cancel()
            self._give_up_unregistered()
        if self._fatal is not None:
            raise self._fatal
        if any(slot.registered.is_set() for slot in self._slots):
            self._shared.state.log_trouble(self._shared.log, "no more connections active and exiting")

    async def _ramp(self, tasks: asyncio.TaskGroup) -> None:
        """Start connection 0, then the others."""
        first = self._slots[0]
        first.task = tasks.create_task(self._keep_first(first), name="connection 0")
        registered = tasks.create_task(first.registered.wait(), name="connection 0: registered")
        try:
            await asyncio.wait({first.task, registered}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            registered.cancel()
        if self._fatal is not None:
            return
        self._on_first()
        for slot in self._slots[1:]:
            slot.choice.current = first.choice.current
            slot.task = tasks.create_task(self._keep(slot), name=f"connection {slot.index}")
            await self._timing.sleep(self._timing.ramp)

    async def _keep_first(self, slot: _Slot) -> None:
        """Serve connection 0 again and again while the causes may pass; later it is one like the others."""
        while (failure := await self._serve(slot)) is not None:
            if isinstance(failure, ReconnectError):
                continue
            if isinstance(failure, DialError | DuplicateError | ServeError) or "Unauthorized" in str(failure):
                continue
            if slot.registered.is_set():
                self._note_lost(slot, failure)
                return
            self._shared.log.error("initial tunnel connection failed", error=str(failure))
            self._fatal = failure
            return
        self._note_end(slot)

    async def _keep(self, slot: _Slot) -> None:
        """Serve a connection once, and hand it over when it is lost."""
        while isinstance(failure := await self._serve(slot), ReconnectError):
            pass
        if failure is None:
            self._note_end(slot)
        else:
            self._note_lost(slot, failure)

    async def _serve(self, slot: _Slot) -> EdgeConnectionError | None:
        """Serve once and wait for the connection's own backoff; return why it ended, None for a stop."""
        metrics = self._shared.state.metrics
        metrics.add("tunnel_ha_connections")
        address = self._addresses.slot(slot.index)
        fields: dict[str, Field] = {"connIndex": slot.index, "event": CONNECTION_EVENT, "ip": address.ip}
        try:
            failure = await self._attempt(slot, Link(slot.index, address, slot.backoff.attempts, self._registered(slot)))
            if isinstance(failure, ReconnectError):
                slot.up = False
                words = f"Restarting connection due to reconnect signal in {format_duration(failure.delay)}"
                self._shared.log.info(words, **fields)
                await self._timing.sleep(failure.delay)
                return failure
            if failure is not None:
                self._log_failure(failure, fields, was_up=slot.up)
            slot.up = False
            reconsider = failure is not None and slot.choice.failed(failure)
            if isinstance(failure, DialError | DuplicateError):
                self._addresses.move(slot.index)
            announced = format_duration(slot.backoff.announced())
            self._shared.log.info(f"Retrying connection in up to {announced}", **fields)
            if self._shared.stopping.is_set():
                return None
            await self._timing.sleep(slot.backoff.next_wait())
            if failure is not None and reconsider:
                slot.choice.reconsider(failure, slot.backoff, self._shared.log, **fields)
        finally:
            metrics.add("tunnel_ha_connections", -1)
        return failure

    async def _attempt(self, slot: _Slot, link: Link) -> EdgeConnectionError | None:
        failure: EdgeConnectionError | None = None

        async def serve() -> None:
            nonlocal failure
            try:
                await self._transports[slot.choice.current].serve(link)
            except EdgeConnectionError as error:
                failure = error

        restart: asyncio.Queue[float] = asyncio.Queue(1)
        slot.restart = restart
        try:
            async with asyncio.TaskGroup() as tasks:  # an error that left it would come out wrapped in a group
                serving = tasks.create_task(serve(), name=f"connection {slot.index}: serve")
                asked = tasks.create_task(restart.get(), name=f"connection {slot.index}: restart asked for")
                await asyncio.wait({serving, asked}, return_when=asyncio.FIRST_COMPLETED)
                if not serving.done():
                    failure = ReconnectError(asked.result())
                serving.cancel()
                asked.cancel()
        finally:
            slot.restart = None
            self._shared.state.gone(slot.index)
        return failure

    def reconnect(self, delay: float) -> None:
        """Restart one of the connections that are up, chosen by chance, after so many seconds."""
        waiting = [slot.restart for slot in self._slots if slot.up and slot.restart is not None and slot.restart.empty()]
        if waiting:
            waiting[min(int(self._timing.random() * len(waiting)), len(waiting) - 1)].put_nowait(delay)

    def _registered(self, slot: _Slot) -> Callable[[], None]:
        def note() -> None:
            slot.up = True
            slot.registered.set()
            slot.backoff.succeeded()
            slot.choice.registered()
            if not self._lost and all(other.index in self._shared.state.connections for other in self._slots):
                self._shared_backoff.forget_later()

        return note

    def _log_failure(self, failure: EdgeConnectionError, fields: dict[str, Field], *, was_up: bool) -> None:
        """Log why an attempt ended; one that was up over HTTP/2 is only warned about, even if it was the last."""
        if isinstance(failure, QuicDialError):
            return
        warn = bool(self._shared.state.connections) or (was_up and not isinstance(failure, ServeError))
        if isinstance(failure, DuplicateError):
            message = "Unable to establish connection."
        elif isinstance(failure, RejectedError):
            message = "Register tunnel error from server side"
        else:
            message = "Serve tunnel error"
        self._shared.log.write(Level.WARN if warn else Level.ERROR, message, error=str(failure), **fields)

    def _note_end(self, slot: _Slot) -> None:
        if not slot.registered.is_set():
            return
        self._shared.state.log_trouble(self._shared.log, "Connection terminated", connIndex=slot.index)

    def _note_lost(self, slot: _Slot, failure: EdgeConnectionError) -> None:
        self._shared.state.log_trouble(self._shared.log, "Connection terminated", connIndex=slot.index, error=str(failure))
        self._lost.append(slot)
        self._any_lost.set()

    async def _revive(self, tasks: asyncio.TaskGroup) -> None:
        """Start the lost connections again, together, after the shared backoff."""
        while True:
            await self._any_lost.wait()
            await self._timing.sleep(self._shared_backoff.next_wait())
            self._any_lost.clear()
            lost, self._lost = self._lost, []
            for slot in lost:
                slot.task = tasks.create_task(self._keep(slot), name=f"connection {slot.index}")

    def _give_up_unregistered(self) -> None:
        """End the attempts of connections that are not up; the others end when the edge closes them."""
        for slot in self._slots:
            if slot.task is not None and not slot.up:
                slot.task.cancel()

    def _backoff(self, base: float) -> Backoff:
        return Backoff(self._shared.settings.retries, base, now=self._timing.now, random=self._timing.random)
