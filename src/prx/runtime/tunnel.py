"""One tunnel: its connectors, and the one verdict about them.

Each connector is supervised by itself (`prx.runtime.connector`) and keeps its number when its child is started again.
One of them leads: it asks the public URL for all. Of what the connectors say, states, verdicts and URLs are folded into the
tunnel's own (`prx.core.replicas`); everything else is published as it is, with the number of the connector.

How connectors are replaced without a loss to visitors is in `prx.runtime.succession`, how they become fewer in
`prx.runtime.surplus`, and how they return to QUIC in `prx.runtime.fallen_back`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from prx.backends.base import Counters
from prx.config.schema import TunnelSettings
from prx.core import inputs
from prx.core.events import (
    ChildExited,
    ChildStarted,
    ConfigReloaded,
    Fact,
    RestartScheduled,
    StateChanged,
    UrlChanged,
    VerdictChanged,
)
from prx.core.evidence import Evidence
from prx.core.replicas import Standing, TunnelStanding, choose_leader, fold
from prx.core.states import State
from prx.core.status import TunnelStatus
from prx.core.story import beside
from prx.core.unnoticed import Unnoticed
from prx.runtime.bulkhead import contained
from prx.runtime.connector import Connector
from prx.runtime.context import Shared, TunnelContext
from prx.runtime.errands import Errands
from prx.runtime.fallen_back import FallenBack
from prx.runtime.formers import Formers
from prx.runtime.outdated import Outdated
from prx.runtime.protocol_choice import ProtocolChoice
from prx.runtime.succession import Succession
from prx.runtime.surplus import Surplus
from prx.runtime.visitor_count import VisitorCount
from prx.runtime.waiting import Flag


class Tunnel:
    """One tunnel, supervised; `run` returns when it is down for good, which `send(Stop())` causes.

    is_wanted: it has not been asked to stop. places: its connectors by number; a successor is there once it has taken over.
    leaving: connectors that only serve on for another tunnel, and say nothing of this one. standings: how all connectors stand,
    those that come and go included; leader: the one that asks the public URL. formers: other tunnels that serve for this one.
    started: the numbers that had a child. errands: what is done now and then. outdated: sees what is to be renewed.
    """

    def __init__(self, name: str, settings: TunnelSettings, shared: Shared) -> None:
        self.name = name
        self.context = TunnelContext.create(name, settings, shared)
        self._protocol = ProtocolChoice(shared.clock)
        self._shown = TunnelStanding()
        self._visitor_count = VisitorCount()
        self._told = 0  # how many serve, as far as that was published
        self._unnoticed = Unnoticed[Connector]()
        self._url = ""  # the one that was proven last
        self.standings: dict[Connector, Standing] = {}
        self.places: dict[int, Connector] = {}
        self.started: set[int] = set()
        self.leaving: set[Connector] = set()
        self.formers = Formers(self)
        self.leader: Connector | None = None
        self.errands = Errands(name, shared.clock, lambda message: self.context.log("error", message))
        self._succession = Succession(self)
        self.outdated = Outdated(self, self._succession)
        self._surplus = Surplus(self, dismiss=self._dismiss)
        self._fallen_back = FallenBack(
            self._protocol,
            self._succession,
            self.errands,
            places=self.places.values,
            standing=lambda: (self.context, self.state),
        )
        self._ended = Flag()
        self.is_wanted = True
        backend = self.context.backend
        shared.bus.track(TunnelStatus(name, mode=backend.mode, backend=backend.name, **self._configured()))
        for number in range(self.replicas):
            self.places[number] = self._new(number)
        self._elect()

    @property
    def state(self) -> State:
        """The observed state."""
        return self._shown.state

    def verdict_details(self) -> dict[str, Any]:
        """Return what the supervision knows of the present verdict: what the leader does, and those that do not serve."""
        assert self.leader is not None
        missing = [item for item in self.connectors if item is not self.leader and not self.standings[item].serves]
        return beside(self.leader.verdict_details(), [(item.index, item.verdict_details()) for item in missing])

    async def counters(self, *, max_age: float) -> dict[int, Counters | None]:
        """Return what each child counts, by pid and `max_age` seconds old at most, or None, and at 0 those that have ended."""
        asked = {pid: connector for connector in self.connectors if (pid := connector.pid)}
        found = await asyncio.gather(*(connector.counters(max_age=max_age) for connector in asked.values()))
        running = {pid: counters for (pid, one), counters in zip(asked.items(), found, strict=True) if one.pid == pid}
        return {0: self.context.shared.counted.get(self.name, Counters()), **running}  # at once: each child counts once

    @property
    def at_rest(self) -> bool:
        """Return whether nothing is being done just now: only time, or the world, can change something."""
        return all(connector.at_rest for connector in self.standings)

    @property
    def connectors(self) -> tuple[Connector, ...]:
        """All connectors that live, a successor beside the one whose place it is about to take."""
        return tuple(self.standings)

    @property
    def takes_inputs(self) -> bool:
        """Return whether a connector is left that does; else the supervision has failed or ended, or is about to end."""
        return bool(self.standings) and not self.errands.have_failed

    @property
    def replicas(self) -> int:
        """How many connectors there are to be."""
        return self.context.backend.replicas

    def send(self, event: inputs.Input) -> None:
        """Hand an input to all connectors; a restart replaces them, one after another if they may overlap."""
        match event:
            case inputs.Restart(reason=reason):
                self.is_wanted = True
                self._succession.replace(self.places.values(), reason, asked=True)
                self._resize()
            case inputs.Start():
                if not self.is_wanted:
                    self._succession.keep_none()
                self.is_wanted = True
                self._send((item for item in self.places.values() if item.index < self.replicas), event)
                self._resize()
            case inputs.Stop() | inputs.Kill():
                again, self.is_wanted = not self.is_wanted, False
                self._succession.stop(event, at_once=again or isinstance(event, inputs.Kill))
            case _:
                self._send(self.connectors, event)

    async def run(self) -> None:
        """Supervise until the tunnel has been stopped."""
        async with asyncio.TaskGroup() as tasks:
            self.errands.begin(tasks)
            for connector in self.connectors:
                self._launch(connector)
            while self.standings:
                await self._ended.wait()
                self._ended.clear()
            self.errands.end()
        self.formers.close()

    def loses_url_with(self, settings: TunnelSettings | None) -> bool:
        """Return whether a URL that lasts no longer than its child would be lost by `settings`, or by the end (None)."""
        backend = self.context.backend
        if not (self._url and backend.url_is_temporary and any(connector.has_child for connector in self.connectors)):
            return False
        return settings is None or self.context.successor(settings).backend.needs_new_child(backend)

    def reload(self, settings: TunnelSettings, *, asked: bool = True) -> None:
        """Take new settings, which end a wait if they are `asked` for or others; a child is replaced if they concern it."""
        changed = settings != self.context.settings
        successor = self.context.successor(settings)
        renewed = successor.backend.needs_new_child(self.context.backend)
        if renewed:
            self.context = successor
        else:
            self.context.take(settings)
            for connector in self.connectors:
                outdated = successor.backend.needs_new_child(connector.context.backend)  # it goes on as it is, and is replaced
                if not outdated and (connector.index < self.replicas or connector.ready > 0):
                    connector.take(settings, asked=asked, changed=changed)
        self.context.shared.bus.track_changes(self.name, **self._configured())
        restarted = renewed and self._succession.take_settings(settings, asked=asked)
        self.context.publish(ConfigReloaded(tunnel=self.name, restarted=restarted))
        self._resize()

    async def abandon(self) -> None:
        """End all children at once: the supervision of this tunnel has failed."""
        self.errands.attempt("what it has served for others", self.formers.close)
        for connector in self.connectors:
            await contained(f"the end of connector {connector.index}", connector.abandon(), self.errands.say)

    # ------------------------------------------------------------------ connectors

    @staticmethod
    def _send(connectors: Iterable[Connector], event: inputs.Input) -> None:
        for connector in list(connectors):
            connector.send(event)

    def _new(self, number: int, *, takes_over: Connector | None = None) -> Connector:
        connector = Connector(self.context.of_connector(number), self, self._protocol, takes_over=takes_over)
        connector.role.leads = False
        connector.role.visitors = self._visitor_count
        connector.role.on_failures = lambda: self._check_elsewhere(connector)
        self.standings[connector] = Standing(number)
        return connector

    def start_beside(self, old: Connector) -> Connector:
        """Start another connector with the number of `old`, and return it."""
        new = self._new(old.index, takes_over=old)
        self._launch(new)  # first: whatever fails then, it runs, and comes to an end
        self._elect()
        return new

    def leave(self, old: Connector) -> None:
        """Take in that a connector serves on for another tunnel alone."""
        self.leaving.add(old)
        if self.places.get(old.index) is old:
            del self.places[old.index]
        self._elect()
        self.show("" if self.is_wanted else "asked to stop")

    def _staying(self) -> dict[Connector, Standing]:
        """Return how the connectors stand that are this tunnel's own; all if there is no other."""
        return {item: standing for item, standing in self.standings.items() if item not in self.leaving} or self.standings

    def _check_elsewhere(self, connector: Connector) -> None:
        """Have the leader check, as visitors of another connector have met failures."""
        if self.leader is not None and self.leader is not connector:
            self.leader.check_now()

    def _launch(self, connector: Connector) -> None:
        self.errands.start(self._supervise(connector), f"connector {connector.index}")

    async def _supervise(self, connector: Connector) -> None:
        await connector.run()
        del self.standings[connector]
        self.leaving.discard(connector)
        if self.places.get(connector.index) is connector:
            del self.places[connector.index]
        if self.standings:  # else this supervision is over, also if the tunnel is wanted again (`prx.runtime.keeper`)
            self._elect()
            self.show("")
            self._fill()  # it may be wanted again since it was asked to end
        self._ended.set()

    def _resize(self) -> None:
        """Start or end connectors until there are as many as the settings say; those with the highest numbers go."""
        if self.is_wanted and self.errands.have_begun:
            self._fill()
            self.errands.attempt("surplus", self._surplus.end_soon)
            self._succession.go_on()  # one that was to go with former settings may be wanted again
            self.show("the configuration changed")

    def _fill(self) -> None:
        """Start the connectors that are missing; one that was to take over from another that has ended takes the place now."""
        missing = [number for number in range(self.replicas) if number not in self.places]
        for number in missing if self.is_wanted and self.takes_inputs else ():
            heirs = (item for item in self.connectors if item.index == number and item.is_wanted)
            if heir := next((item for item in heirs if item not in self.leaving), None):
                self.places[number] = heir
            else:
                self.places[number] = self._new(number)
                self._launch(self.places[number])

    def _dismiss(self, connector: Connector) -> None:
        self.started.discard(connector.index)  # another of its number, later, takes no place of an earlier one
        self._succession.dismiss(connector)

    # ------------------------------------------------------------------ one story of all

    def take_fact(self, connector: Connector, fact: Fact) -> None:
        """Fold states, verdicts and URLs of a connector into the tunnel's; publish everything else."""
        old = self.standings.get(connector)
        if old is None:
            return
        match fact:
            case StateChanged(new=new, reason=reason):
                self.standings[connector] = Standing(old.connector, new, old.diagnosis)
                self.show(reason)
            case VerdictChanged():
                state = connector.state if len(self.standings) > 1 else old.state  # a change of both is one
                self.standings[connector] = standing = Standing(old.connector, state, connector.shown)
                if old.serves and not standing.serves:
                    self._check_elsewhere(connector)
                if standing.is_silent:
                    self._unnoticed.take(connector, self.context.clock.monotonic())
                self.show(fact.reason)
            case UrlChanged():
                self._take_url(connector, fact)
            case ChildStarted():
                connector.context.publish(replace(fact, restart=connector.index in self.started and not connector.completes))
                self.started.add(connector.index)
                connector.completes = False
            case RestartScheduled():
                connector.context.publish(replace(fact, verdict=old.verdict))
            case _:
                if isinstance(fact, ChildExited) and (old.is_silent or fact.result in {"signal", "crash", "timeout"}):
                    self._unnoticed.take(connector, self.context.clock.monotonic())
                connector.context.publish(fact)

    def take_input(self, connector: Connector) -> None:
        """See whether another connector has to lead now, and whether this one has fallen back to a lesser protocol."""
        if len(self.standings) > 1:
            self._elect()
        self.errands.attempt("return to QUIC", lambda: self._fallen_back.check(connector))

    def is_covered(self, connector: Connector) -> bool:
        """Return whether another connector serves."""
        return any(item.ready > 0 for item in self._staying() if item is not connector)

    def is_edge_unaware(self, connector: Connector, evidence: Evidence) -> bool:
        """Return whether the edge may have given the request behind `evidence` to a connector that had gone without a word.

        If that is `connector` itself, only if another serves: the tunnel would be called well without a proof.
        """
        others = self.is_covered(connector) or (bool(self._url) and connector is not self._unnoticed.last)
        return others and self._unnoticed.may_have_met(evidence.at if evidence.began is None else evidence.began)

    def _take_url(self, connector: Connector, fact: UrlChanged) -> None:
        is_said = self.is_wanted and connector is self.leader and connector not in self.leaving
        if not is_said or (fact.proven and fact.url == self._url):
            return
        fact = UrlChanged(tunnel=self.name, url=fact.url, old=self._url, proven=fact.proven)
        if fact.proven:
            self._url = fact.url
            self.context.phases.reached("verified", fact.url)
        self.context.publish(fact)

    def _elect(self) -> None:
        """Have one connector ask the public URL; a new leader goes on with what the old one knew, and checks at once."""
        staying = self._staying()
        lasting = [item for item in staying if item.state is not State.STOPPING] or list(staying)
        leader = choose_leader([item for item in lasting if item.ready > 0], lasting, self.leader)
        before, self.leader = self.leader, leader
        for connector in self.standings:
            connector.role.leads = connector is leader or self._asks_for_itself(connector)
            connector.role.proven = self._shown.seen is not None and self._same_url(connector, before)
        if leader is not None and before is not None and leader is not before:
            leader.inherit(before.checker)
            if url := leader.machine.url:  # which it has proven before it led
                self._take_url(leader, UrlChanged(tunnel=self.name, url=url, old=self._url))
            self.show("")
            leader.check_now()

    def _asks_for_itself(self, connector: Connector) -> bool:
        """Return whether a connector serves another URL than the leader, so that nothing is known of it from what that asks."""
        if self.leader is None or connector in self.leaving:
            return False
        both, site = (self.leader, connector), self.context.shared.site
        of_leader, own = (item.child_context.backend.fixed_url(site) for item in both)
        return own not in {"", of_leader}

    def _same_url(self, connector: Connector, other: Connector | None) -> bool:
        """Return whether the next child of `connector` serves the URL that the checks of `other` have asked."""
        if other is None or other.checker is None:
            return False
        return connector.context.backend.fixed_url(self.context.shared.site) == other.checker.url

    def show(self, reason: str) -> None:
        """Publish how the tunnel stands if that is news. `reason`: why, if the diagnosis does not say it.

        That connectors end one after another because the tunnel was asked to stop is no news of how well it serves.
        """
        standings = [self._shown_as(*item) for item in (self._staying() if self.is_wanted else self.standings).items()]
        standings += self.formers.standings(standings)
        old = self._shown
        new = fold(standings, old, replicas=self.replicas, least=self.context.backend.replicas_min)
        if not self.is_wanted and old.diagnosis is not None:
            new = replace(new, diagnosis=old.diagnosis, state=old.state if new.serving else new.state)
        self._shown = new
        serving = self._serving
        if news := new.news(self.name, old, count=new.state.is_up and self.is_wanted and serving != self._told):
            self._told = serving
            lasted = new.lasted(self.context.clock.monotonic()) if len(self.standings) == 1 else 0.0  # else others served on
            self.context.publish(replace(news, serving=serving, lasted=lasted))
        if new.state is not old.state:
            words = new.diagnosis.reason if len(standings) > 1 and new.diagnosis is not None and self.is_wanted else reason
            self.context.publish(StateChanged(tunnel=self.name, old=old.state, new=new.state, reason=words))
        self.formers.tell_heirs()

    def _shown_as(self, connector: Connector, item: Standing) -> Standing:
        """Return how a connector stands for this tunnel: once that was asked to stop, what serves for another one is ending."""
        own = connector not in self.leaving and (item.state.is_up or len(self.standings) == 1)
        state = item.state if self.is_wanted or own or item.state is State.IDLE else State.STOPPING
        return replace(item, leads=connector is self.leader, state=state)

    @property
    def _serving(self) -> int:
        """How many connectors serve now; the new state of an only one is folded after its verdict, which counts it."""
        if self.context.backend.client is None:
            return 0
        now = [replace(item, state=connector.state) for connector, item in self._staying().items()]
        return min(sum(item.serves for item in (*now, *self.formers.beside(now))), self.replicas)

    def _configured(self) -> dict[str, Any]:
        settings, replicas = self.context.settings, self.replicas if self.context.backend.client is not None else 0
        return {"local_addr": str(settings.origin), "inspected": settings.inspect.enabled, "replicas": replicas}
