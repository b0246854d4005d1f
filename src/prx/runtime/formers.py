"""What a tunnel stands as that goes on under another name, until a connector of its own serves.

Its URL is served meanwhile by connectors of the tunnel that had its token before (`prx.runtime.handover`). Its state is what
visitors meet, as ever: it is up as long as those serve, and what keeps its own connector from serving is named beside that.
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

_COMING = frozenset({State.IDLE, State.STARTING, State.BACKOFF})


class Owner(Protocol):
    """The tunnel, as its formers know it: see `prx.runtime.tunnel`."""

    context: TunnelContext
    is_wanted: bool
    standings: dict[Connector, Standing]
    leader: Connector | None

    def show(self, reason: str) -> None:
        """Publish how the tunnel stands if that is news."""


class Formers:
    """The tunnels that serve for one tunnel, and those that it serves for, which follow how it stands."""

    def __init__(self, tunnel: Owner) -> None:
        self._tunnel = tunnel
        self._formers: list[Formers] = []
        self._heirs: list[Formers] = []

    def add(self, former: Formers) -> None:
        """Take in that the tunnel of `former` serves what this one is to serve, until it does so itself."""
        if former in self._formers or any(item.serves for item in self._tunnel.standings.values()):
            return
        self._formers.append(former)
        former._heirs.append(self)
        self._tunnel.context.publish(UrlKnown(tunnel=self._tunnel.context.name, url=self._serves()[1]))
        self._tunnel.show("")

    def standings(self, own: Sequence[Standing]) -> list[Standing]:
        """Return how those stand that serve in place of `own`: none if those serve, or are not about to."""
        if any(item.serves for item in own) or not self._tunnel.is_wanted:
            self._forget()
        if any(item.state not in _COMING for item in own):
            return []
        return [item for former in self._formers for item in former._serving(*self._serves())]  # noqa: SLF001

    def tell_heirs(self) -> None:
        """Have those show how they stand that this tunnel serves for."""
        for heir in list(self._heirs):
            heir._tunnel.show("")  # noqa: SLF001

    def close(self) -> None:
        """Take in that the supervision of the tunnel is over: it follows none, and none stands as it did."""
        self._forget()
        heirs, self._heirs = self._heirs, []
        for heir in heirs:
            heir._formers.remove(self)  # noqa: SLF001
            heir._tunnel.show("")  # noqa: SLF001

    def _serves(self) -> tuple[str, str]:
        """Return the group that the tunnel is to serve, and its URL if that is known before."""
        context = self._tunnel.context
        return context.group, context.backend.fixed_url(context.shared.site)

    def _serving(self, group: str, url: str) -> list[Standing]:
        """Return how the connectors of this tunnel stand that serve `group` under `url`."""
        site, leader = self._tunnel.context.shared.site, self._tunnel.leader
        found = [
            (connector, connector.child_context, item) for connector, item in self._tunnel.standings.items() if item.serves
        ]
        return [
            replace(item, leads=connector is leader)
            for connector, child, item in found
            if (child.group, child.backend.fixed_url(site)) == (group, url)
        ]

    def _forget(self) -> None:
        for former in self._formers:
            former._heirs.remove(self)  # noqa: SLF001
        self._formers.clear()
