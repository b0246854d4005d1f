"""A tunnel that goes on under another name: the former one serves until the new one does.

A named tunnel is what its token says, whatever the configuration calls it. One that is taken out while another one with its
token is there, or comes with the same reload, is therefore ended when that one serves, as an old connector is when its
successor does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from prx.core import inputs
from prx.core.replicas import MOST
from prx.runtime.host.clock import Clock
from prx.runtime.keeper import Keeper
from prx.runtime.tunnel import Tunnel

ASK_EVERY = 0.1  # seconds between two questions whether an heir serves

Heirs = Callable[[Keeper], Sequence[Keeper]]


def can_wait(former: Keeper, heirs: Sequence[Keeper]) -> bool:
    """Return whether visitors gain if `former`, which is to go, waits for one of `heirs`, and Cloudflare takes them all."""
    backends = [heir.tunnel.context.backend for heir in heirs]
    together = len(former.tunnel.connectors) + sum(backend.replicas for backend in backends)
    side_by_side = all(backend.can_overlap_with(former.tunnel.context.backend) for backend in backends)
    return together <= MOST and side_by_side and _is_needed(former, heirs)


async def hand_over(former: Keeper, heirs: Heirs, is_gone: Callable[[], bool], clock: Clock) -> None:
    """End `former` once one of its heirs serves, none is left or it serves no more itself; not if it is back (`is_gone`)."""
    while is_gone() and _is_needed(former, heirs(former)):
        await clock.sleep(ASK_EVERY)
    if is_gone():
        former.send(inputs.Stop())


def is_heir(keeper: Keeper, former: Keeper) -> bool:
    """Return whether `keeper` is to serve what `former` serves: both have the token of one tunnel."""
    return keeper is not former and keeper.is_wanted and keeper.tunnel.context.group == former.tunnel.context.group


def _is_needed(former: Keeper, heirs: Sequence[Keeper]) -> bool:
    group = former.tunnel.context.group
    served = any(heir.state.is_up and _serves(heir.tunnel, group) for heir in heirs)
    return _serves(former.tunnel, group) and bool(heirs) and not served


def _serves(tunnel: Tunnel, group: str) -> bool:
    return any(connector.ready > 0 and connector.child_context.group == group for connector in tunnel.connectors)
