"""Whether prx is ready, for `/readyz`: every tunnel that is wanted is up, or degraded by its service alone. And `prx_up`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from prx.core.states import State
from prx.core.status import TunnelStatus
from prx.core.verdicts import WELL, Verdict

THE_SERVICES_OWN: Final = frozenset({Verdict.ORIGIN_DOWN, Verdict.ORIGIN_ERROR})
"""The verdicts that say that the tunnel is fine and the service behind it is not."""


def not_ready(statuses: Iterable[TunnelStatus]) -> list[str]:
    """Return what is not ready, one text for each tunnel: its name, state and verdict; nothing that could be a secret.

    A tunnel that was stopped, or taken out of the configuration, is not wanted, also while it finishes what is in flight. If
    none is wanted, because prx itself is to end, it is not ready as long as any of them goes on.
    """
    known = [status for status in statuses if status.state is not State.IDLE]
    wanted = [status for status in known if status.wanted and status.configured]
    return [
        f"{status.name}: {status.state}{f', {status.verdict}' if status.verdict else ''}"
        for status in wanted or known
        if not _is_ready(status)
    ]


def visitors_get_through(status: TunnelStatus) -> bool:
    """Return whether requests reach the service, for `prx_up`: what is wrong, if anything is, is not the tunnel.

    A degraded tunnel that is well has fewer connectors than it should; `access_rejected` is about prx's own probes.
    """
    if status.state is State.DEGRADED:
        return status.verdict in THE_SERVICES_OWN | WELL | {Verdict.ACCESS_REJECTED}
    return status.state is State.READY


def _is_ready(status: TunnelStatus) -> bool:
    return status.state is State.READY or (status.state is State.DEGRADED and status.verdict in THE_SERVICES_OWN)
