"""What a tunnel stands as that goes on under another name, until a connector of its own serves.

Its URL is served meanwhile by connectors of the tunnel that had its token before (`prx.runtime.handover`). Its state is what
visitors meet, as always: it is up as long as those serve, and what keeps its own connector from serving is named beside that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from prx.core.events import UrlKnown
from prx.core.replicas import Standing
from prx.core.states import State
from prx.runtime.connector import Connector
from prx.runtime.context import TunnelContext
from prx.runtime.errands import Errands

_COMING = frozenset({State.IDLE, State.STARTING, State.BACKOFF})


class Owner(Protocol):
    """The tunnel, as its formers know it: see `prx.runtime.tunnel`."""

    context: TunnelContext
    errands: Errands
    is_wanted: bool
    standings: dict[Connector, Standing]
    leader: Connector | None

    def show(self, reason: str) -> None:
        """Publish how the tunnel stands if that is news."""


class Formers:
    """The tunnels that serve for `tunnel`: `formers` are theirs. `heirs` are those of the tunnels that follow how it stands."""

    def __init__(self, tunnel: Owner) -> None:
        self.tunnel = tunnel
        self.formers: list[Formers] = []
        self.heirs: list[Formers] = []
        self._is_over = False
        self._tells = False

    def add(self, former: Formers) -> None:
        """Take in that the tunnel of `former` serves what this one is to serve, until it does so itself."""
        if self._is_over or former in self.formers or any(item.serves for item in self.tunnel.standings.values()):
            return
        self.formers.append(former)
        former.heirs.append(self)
        self.tunnel.context.publish(UrlKnown(tunnel=self.tunnel.context.name, url=self._serves()[1]))
        self.tunnel.show("")

    def standings(self, own: Sequence[Standing]) -> list[Standing]:
        """Return how those stand that serve in place of `own`: none if those serve, or are not about to."""
        if any(item.serves for item in own) or not self.tunnel.is_wanted:
            self._forget()
        return self.beside(own)

    def beside(self, own: Sequence[Standing]) -> list[Standing]:
        """Return the same, and go on following those tunnels, whatever `own` are."""
        if any(item.state not in _COMING for item in own):
            return []
        return [item for former in self.formers for item in former.serving(*self._serves())]

    def tell_heirs(self) -> None:
        """Have those show how they stand that this tunnel serves for; two may serve for each other."""
        if self._tells:
            return
        self._tells = True
        for heir in list(self.heirs):
            heir.follow()
        self._tells = False

    def close(self) -> None:
        """Take in that the supervision of the tunnel is over: it follows none any more, and none stands as it did."""
        self._is_over = True
        self._forget()
        heirs, self.heirs = self.heirs, []
        for heir in heirs:  # before any of them shows how it stands, which may have another one do so
            heir.formers.remove(self)
        for heir in heirs:
            heir.follow()

    def follow(self) -> None:
        """Have the tunnel show how it stands, as one that serves for it has changed; should that fail, the other goes on."""
        self.tunnel.errands.attempt("following a former connector", lambda: self.tunnel.show(""))

    def _serves(self) -> tuple[str, str]:
        """Return the group that the tunnel is to serve, and its URL if that is known before."""
        context = self.tunnel.context
        return context.group, context.backend.fixed_url(context.shared.site)

    def serving(self, group: str, url: str) -> list[Standing]:
        """Return how the connectors of this tunnel stand that serve `group` under `url`."""
        site, leader = self.tunnel.context.shared.site, self.tunnel.leader
        found = [(connector, connector.child_context, item) for connector, item in self.tunnel.standings.items() if item.serves]
        return [
            replace(item, leads=connector is leader)
            for connector, child, item in found
            if (child.group, child.backend.fixed_url(site)) == (group, url)
        ]

    def _forget(self) -> None:
        for former in self.formers:
            former.heirs.remove(self)
        self.formers.clear()
