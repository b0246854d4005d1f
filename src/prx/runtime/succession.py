"""Replacing the connectors of a tunnel whose children are outdated, one after another, at no loss to visitors if possible.

If two connectors of the tunnel may serve at once, one that serves is succeeded: another connector is started in the same place,
and the old one is asked to end only when the new one is as connected as it was. If the new one fails, the old one goes on.
Everywhere else the old child ends first.

A change of the settings that is taken back before the old connector was replaced leaves it as it is: nothing differs any more.

A child whose token has gone to another tunnel of the same prx (`prx.runtime.handover`) is kept beyond that until that one
serves: it has no place any more, and says nothing about its tunnel (`leaving`). If its tunnel gets that token back first, it is
kept until one of the tunnel's own serves. A stop of its tunnel leaves that other one a moment to come up, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Protocol

from prx.config.schema import TunnelSettings
from prx.core import inputs
from prx.core.replicas import MOST
from prx.core.states import State
from prx.runtime.connector import Connector
from prx.runtime.context import TunnelContext
from prx.runtime.errands import Errands

CHANGED = "the configuration changed"
PORT_IS_FREE = "its metrics port is free"  # which the connector could not have: the last step of a replacement
ASK_EVERY = 0.1  # seconds between two questions whether a successor is up
HEIR_WITHIN = 10.0  # seconds after a stop of its tunnel for which a connector serves on for one that is coming up
SETTLED_AFTER = 5.0  # seconds with a connection; then a successor takes over that has fewer, or whose URL does not work yet


class Owner(Protocol):
    """The tunnel, as the succession of its connectors knows it.

    places: its connectors by number; a successor is there once it has taken over. connectors: all that live, a successor
    beside the one whose place it is about to take. leaving: those of them that only serve on for another tunnel. replicas: how
    many places there are to be. is_wanted: the tunnel has not been asked to stop. context: what the next children are started
    with. errands: does what takes time.
    """

    context: TunnelContext
    errands: Errands
    places: dict[int, Connector]
    leaving: set[Connector]
    is_wanted: bool

    @property
    def connectors(self) -> tuple[Connector, ...]: ...  # noqa: D102 - above

    @property
    def replicas(self) -> int: ...  # noqa: D102 - above

    def start_beside(self, old: Connector) -> Connector:
        """Start another connector with the number of `old`, and return it."""

    def leave(self, old: Connector) -> None:
        """Take in that a connector is `leaving`."""


class Succession:
    """Replaces the connectors of one tunnel."""

    def __init__(self, tunnel: Owner) -> None:
        self._tunnel = tunnel
        self._is_due = False  # there may be connectors to be succeeded that have not been checked
        self._stops = 0  # how often the tunnel was asked to stop
        self._stopped_at = 0.0  # when it was last, on the monotonic clock

    def take_settings(self, settings: TunnelSettings, *, asked: bool) -> bool:
        """Replace the connectors that were started with others than `settings`, which are those of the context now.

        Return whether any is. One goes on that was only to be replaced for settings in between. `asked`: see `Connector.take`.
        """
        places = list(self._tunnel.places.values())
        staying = [connector for connector in places if self._is_taken_back(connector)]
        for connector in staying:
            connector.take_back(CHANGED)
            connector.take(settings, asked=asked, changed=True)
        self.replace([connector for connector in places if connector not in staying], CHANGED)
        return not staying or len(staying) < len(places)

    def _is_taken_back(self, old: Connector) -> bool:
        """Return whether `old` was to be replaced for its settings, and those that it was started with are in force again."""
        lives = old.is_wanted and old.state not in {State.STOPPING, State.FAILED}
        return lives and CHANGED in old.kept_for and not self._tunnel.context.backend.needs_new_child(old.context.backend)

    def replace(self, connectors: Iterable[Connector], reason: str, *, asked: bool = False) -> None:
        """Replace connectors: those that serve one after another, if two may serve at once; all others at once.

        One that has lost the edge comes back by itself, which its successor may not: it is kept too, if no restart was `asked`.
        """
        context = self._tunnel.context
        for connector in list(connectors):
            serves = connector.ready > 0 or (connector.has_served and not asked)
            kept = serves and (self._overlaps(connector) or self._moves(connector))
            connector.renew(context.of_connector(connector.index), kept_for=reason if kept else "")
            if not kept and connector.index < self._tunnel.replicas:
                connector.send(inputs.Restart(reason, asked=asked))
        self.go_on()

    def keep_none(self) -> None:
        """Take in that all were asked to end, and the tunnel is wanted again: the next children go by what is in force."""
        for connector in self._tunnel.places.values():
            if connector.is_kept:
                connector.renew(self._tunnel.context.of_connector(connector.index))

    def stop(self, event: inputs.Stop | inputs.Kill, *, at_once: bool) -> None:
        """End all connectors, also a successor that comes up; if not `at_once`, one that serves for another tunnel leaves."""
        self._stops += 1
        self._stopped_at = self._tunnel.context.clock.monotonic()
        for connector in self._tunnel.connectors:
            if at_once or not self._tunnel.errands.attempt("handover", partial(self.dismiss, connector)):
                connector.send(event)

    def go_on(self) -> None:
        """Begin to replace the connectors that have to be, unless that is under way."""
        self._is_due = any(map(self._is_to_be_succeeded, self._tunnel.places.values()))
        if self._is_due:
            self._tunnel.errands.do("succession", self._succeed_outdated)

    async def _succeed_outdated(self) -> None:
        self._is_due = True  # also if this has failed, and begins again
        while self._is_due or self._strays():
            self._end_strays()
            self._is_due = False
            for number in sorted(self._tunnel.places):
                if (old := self._tunnel.places.get(number)) is not None and self._is_to_be_succeeded(old):
                    await self._succeed(old)
            self._is_due |= any(map(self._is_to_be_succeeded, self._tunnel.places.values()))  # a successor may be outdated, too
            if self._strays():
                await self._pause()

    def _strays(self) -> list[Connector]:
        """Return what a replacement has left behind that failed half-way: of two with one place, the one without it."""
        places, leaving = self._tunnel.places, self._tunnel.leaving
        found = [item for item in self._tunnel.connectors if item.is_wanted and item not in leaving]
        return [item for item in found if places.get(item.index, item) is not item]

    def _end_strays(self) -> None:
        """End those that visitors can do without: another one of this tunnel serves what they do."""
        for stray in self._strays():
            group = stray.child_context.group
            needed = stray.ready > 0 and group == self._tunnel.context.group
            others = (item for item in self._tunnel.connectors if item is not stray and item.is_wanted and item.ready > 0)
            if not needed or any(item.child_context.group == group for item in others):
                self.dismiss(stray)

    def _overlaps(self, old: Connector) -> bool:
        """Return whether a successor may come up beside `old`."""
        return self._tunnel.context.backend.can_overlap_with(old.child_context.backend)

    def _moves(self, old: Connector) -> bool:
        """Return whether what `old` serves has another token than its tunnel, and goes on in another tunnel of this prx."""
        context, group = self._tunnel.context, old.child_context.group
        return group != context.group and context.shared.moves(context.name, group)

    def _awaited(self, old: Connector) -> str:
        """Return the name of the tunnel that is to serve what `old` serves, and does not yet; empty if there is none."""
        context = self._tunnel.context
        return context.shared.awaited(context.name, old.child_context) if self._moves(old) and old.comes_back else ""

    def _is_to_be_succeeded(self, old: Connector) -> bool:
        holds = self._tunnel.places.get(old.index) is old  # one that had been asked to stop ends although it is wanted again
        kept = old.is_kept and old.state is not State.FAILED  # one that has failed for good is of no use
        return holds and self._tunnel.is_wanted and kept and old.index < self._tunnel.replicas

    async def _succeed(self, old: Connector) -> None:
        """Start a successor of `old`, and end `old` once it is up, whatever the edge does; give up if `old` ends before."""
        tunnel = self._tunnel
        if len(tunnel.connectors) >= MOST:  # Cloudflare takes no more: the others serve meanwhile
            await self._restart_in_place(old)
            return
        generation, stops = old.generation, self._stops
        if not self._overlaps(old):
            self._log_awaited(old)
            while self._is_to_be_succeeded(old) and old.generation == generation and self._awaited(old):
                await self._pause()
            if self._is_to_be_succeeded(old) and old.generation == generation:
                await self._restart_in_place(old)
            return
        new = tunnel.start_beside(old)
        new.completes = old.kept_for == {PORT_IS_FREE}
        connected_at: float | None = None
        while self._is_to_be_succeeded(old) and (old.generation, self._stops) == (generation, stops):
            await self._pause()
            now = tunnel.context.clock.monotonic()
            connected_at = (now if connected_at is None else connected_at) if _serves(new) else None
            if connected_at is not None and (_is_as_good(new, old) or now - connected_at >= SETTLED_AFTER):
                break
        if tunnel.places.get(old.index) is new:  # `old` has ended
            return
        if (old.generation, self._stops) != (generation, stops) or old.index >= tunnel.replicas:
            new.send(inputs.Stop())
            self._is_due = True
            return
        tunnel.places[old.index] = new
        self.dismiss(old)
        while old in tunnel.connectors and old not in tunnel.leaving:
            await self._pause()

    def dismiss(self, old: Connector) -> None:
        """End a connector that has no place any more; one that serves for another tunnel is leaving until that serves."""
        if not self._awaited(old):
            old.send(inputs.Stop())
            return
        self._log_awaited(old)
        self._tunnel.leave(old)
        self._tunnel.errands.do("end of those that leave", self._end_leaving)

    async def _end_leaving(self) -> None:
        """End each connector that is leaving once what it serves is served without it, or it no longer serves itself."""
        while self._tunnel.leaving:
            for old in self._tunnel.leaving:
                if old.is_wanted and not self._is_needed(old):
                    old.send(inputs.Stop())
            await self._pause()

    def _is_needed(self, old: Connector) -> bool:
        """Return whether what a connector serves that is leaving is not served without it."""
        if self._tunnel.is_wanted:
            return bool(self._awaited(old)) or self._is_back(old)
        in_time = self._tunnel.context.clock.monotonic() - self._stopped_at < HEIR_WITHIN
        return in_time and bool(self._awaited(old))

    def _is_back(self, old: Connector) -> bool:
        """Return whether the tunnel is to serve again what `old` serves, and no connector with a place does yet.

        Not if none can come up while `old` is there.
        """
        group = old.child_context.group
        if group != self._tunnel.context.group or not old.comes_back or not self._overlaps(old):
            return False
        return not any(
            item.child_context.group == group and item.ready > 0 and item.state.is_up for item in self._tunnel.places.values()
        )

    def _log_awaited(self, old: Connector) -> None:
        if heir := self._awaited(old):
            self._tunnel.context.log("info", f"its former connector serves until {heir} does, which has its former token now")

    async def _restart_in_place(self, connector: Connector) -> None:
        """Restart a connector, and wait until it serves again, or something else is wanted: the next one may not either."""
        connector.renew(self._tunnel.context.of_connector(connector.index))
        generation = connector.generation
        connector.send(inputs.Restart(CHANGED if self._moves(connector) else "it is its turn", asked=False))
        while (connector.is_outdated or connector.ready == 0) and connector.generation == generation and self._tunnel.is_wanted:
            if self._tunnel.places.get(connector.index) is not connector:  # it has ended, and will not serve again
                return
            await self._pause()

    async def _pause(self) -> None:
        await self._tunnel.context.clock.sleep(ASK_EVERY)


def _serves(connector: Connector) -> bool:
    """Return whether a successor can take visitors: it is connected, and its machine has seen so if the URL is known."""
    return connector.ready > 0 and (connector.state.is_up or not connector.role.proven)


def _is_as_good(new: Connector, old: Connector) -> bool:
    """Return whether a successor is as connected as the old one, and its URL was seen to work if it is to see that itself."""
    return new.ready >= old.ready and (new.state.is_up or not new.role.leads)
