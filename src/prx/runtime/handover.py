"""A tunnel that goes on under another name: the former one serves until the new one does.

A named tunnel is what its token says, whatever the configuration calls it. A connector is therefore kept until another one with
its token serves if a reload takes its tunnel out of the configuration, or gives it another token, while another tunnel has its
token or gets it: one that is renamed, two that exchange their tokens, several that pass them on in a circle.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from prx.backends import create
from prx.backends.base import Backend
from prx.config.schema import Config
from prx.core import inputs
from prx.core.replicas import MOST
from prx.runtime.context import TunnelContext, group_of
from prx.runtime.host.clock import Clock
from prx.runtime.keeper import Keeper
from prx.runtime.tunnel import Tunnel

ASK_EVERY = 0.1  # seconds between two questions whether an heir serves


class Heirs:
    """Which of the tunnels that are kept are to serve what others still serve, by the configuration in force (`take`)."""

    def __init__(self, keepers: Mapping[str, Keeper]) -> None:
        self._keepers = keepers
        self._names: dict[str, list[str]] = {}
        self._backends: dict[str, Backend] = {}

    def take(self, config: Config) -> None:
        """Go by another configuration."""
        self._names.clear()
        self._backends = {name: create(settings) for name, settings in config.tunnels.items()}
        for name, backend in self._backends.items():
            self._names.setdefault(group_of(name, backend), []).append(name)

    def moves(self, name: str, group: str) -> bool:
        """Return whether another tunnel than `name` is to serve `group`."""
        return any(other != name for other in self._names.get(group, ()))

    def of(self, name: str, group: str) -> list[Keeper]:
        """Return the tunnels that are to serve `group` in place of the tunnel `name`: they are wanted."""
        others = [self._keepers.get(other) for other in self._names.get(group, ()) if other != name]
        return [heir for heir in others if heir is not None and heir.is_wanted]

    def awaited(self, name: str, child: TunnelContext) -> str:
        """Return the name of a tunnel that is to serve what a child of the tunnel `name` serves, and does not yet.

        Empty if there is none, or if it cannot come up while that child is there.
        """
        heirs = self.of(name, child.group)
        if any(_serves(heir.tunnel, child.group) for heir in heirs):
            return ""
        return next((heir.name for heir in heirs if self._comes_up_beside(heir, child)), "")

    def tell(self, heir: Tunnel) -> None:
        """Tell a tunnel whose connectors serve what it is to serve: those of tunnels that are not to serve it any more."""
        group = heir.context.group
        if not heir.is_wanted or heir.name not in self._names.get(group, ()):
            return
        for former in self._keepers.values():
            if former.name != heir.name and any(
                item.ready > 0 and item.child_context.group == group for item in former.tunnel.connectors
            ):
                heir.formers.add(former.tunnel.formers)

    def awaited_by(self, former: Keeper) -> str:
        """Return the same for all connectors of a tunnel that is to go."""
        serving = [item for item in former.tunnel.connectors if item.comes_back]
        return next((heir for item in serving if (heir := self.awaited(former.name, item.child_context))), "")

    def have_room(self, former: Keeper) -> bool:
        """Return whether Cloudflare takes the connectors of a tunnel and those of its heirs at once."""
        group = former.tunnel.context.group
        heirs = sum(self._backends[heir.name].replicas for heir in self.of(former.name, group))
        return len(former.tunnel.connectors) + heirs <= MOST

    def _comes_up_beside(self, heir: Keeper, child: TunnelContext) -> bool:
        """Return whether the next children of `heir` wait for no end: neither for that of `child`, nor for one of its own.

        Its own that cannot overlap with what comes wait, in their turn, for the tunnel that is to serve what they do.
        """
        own = [item.child_context for item in heir.tunnel.connectors if item.has_child]
        waiting = [context for context in own if self.moves(heir.name, context.group)]
        backend = self._backends[heir.name]
        return all(backend.can_overlap_with(context.backend) for context in (child, *waiting))


async def hand_over(former: Keeper, heirs: Heirs, is_gone: Callable[[], bool], clock: Clock) -> None:
    """End `former` once one of its heirs serves, none is left or it no longer serves itself; not if it is back (`is_gone`)."""
    while is_gone() and heirs.awaited_by(former):
        await clock.sleep(ASK_EVERY)
    if is_gone():
        former.send(inputs.Stop())


def _serves(tunnel: Tunnel, group: str) -> bool:
    """Return whether a connector of the tunnel serves `group`, and was seen to do so well."""
    serving = [connector for connector in tunnel.connectors if connector.child_context.group == group]
    return any(connector.ready > 0 and connector.state.is_up for connector in serving)
