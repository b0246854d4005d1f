"""Which protocols a tunnel may speak with the edge on this network, and when it may go back to the best one."""

from __future__ import annotations

from prx.core.evidence import Reach
from prx.core.protocols import PROTOCOL_NAMES
from prx.runtime.context import TunnelContext
from prx.runtime.host.clock import Clock
from prx.runtime.persistent_state import Learnt
from prx.runtime.quic_return import QuicReturn


class ProtocolChoice:
    """The choice of one tunnel, by its settings and by what this prx has learnt about the network."""

    def __init__(self, clock: Clock) -> None:
        self._quic = QuicReturn(clock)
        self._told_of: float | None = None  # when the fact last reported to the user was learnt

    def protocols(self, context: TunnelContext) -> tuple[str, ...]:
        """Return the protocols to speak, best first; the one alone that was learnt for this network, if one was."""
        known = context.protocols
        if len(known) == 1:
            return known
        learnt = context.shared.state.protocol(context.shared.network.fingerprint())
        if learnt is None or learnt.protocol not in known or learnt.protocol == known[0]:
            return known
        if self._told_of != learnt.at:
            self._told_of = learnt.at
            self._log_learnt(context, learnt)
        return (learnt.protocol,)

    def _log_learnt(self, context: TunnelContext, learnt: Learnt) -> None:
        hours = max(0.0, context.clock.wall() - learnt.at) / 3600
        when = f"{hours:.0f} h ago" if hours >= 1 else "less than an hour ago"
        name = PROTOCOL_NAMES.get(learnt.protocol, learnt.protocol)
        message = f"{name} is spoken with the edge: on this network QUIC did not get through, {when} (`prx forget` clears that)"
        context.log("info", message)

    def has_fallen_back(self, context: TunnelContext, protocol: str) -> bool:
        """Return whether a tunnel that speaks `protocol` could speak a better one, and loses no URL by a new start."""
        return not context.backend.url_is_temporary and protocol != context.protocols[0]

    def interrupt(self) -> None:
        """Take in that the tunnel is not up over the lesser protocol just now."""
        self._quic.interrupt()

    async def may_return(self, context: TunnelContext, visitors: int | None) -> bool:
        """Return whether to go back to the best protocol now, and forget what was learnt if so.

        `visitors`: requests of visitors so far, None if that is not known.
        """
        if not self._quic.is_due(visitors) or (await context.shared.edge.dial(quic=True)).quic is not Reach.OPEN:
            return False
        context.shared.state.forget_protocol(context.shared.network.fingerprint())
        return True
