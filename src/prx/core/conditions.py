"""How a verdict is shown to people: one record for terminal, log and the state of the tunnel.

`visible_after` keeps a condition that comes and goes off the screen: while the tunnel is ready, another verdict is shown, and
changes the state, only when it has lasted for that many seconds. It is counted as a failure from its first moment all the same.
"""

from __future__ import annotations

from types import MappingProxyType

from prx.core.value import Value, value_class
from prx.core.verdicts import Verdict


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Condition(Value):
    """How to show a verdict: the level of its line (debug, info or warn), what it means, and `visible_after` in seconds."""

    level: str
    title: str
    visible_after: float = 0.0


CONDITIONS = MappingProxyType(
    {
        Verdict.STARTING: Condition("debug", "on its way up", 2.0),  # the phases say more
        Verdict.DNS_PENDING: Condition("info", "waiting for public DNS", 10.0),
        Verdict.HEALTHY: Condition("info", "the public URL answers"),
        Verdict.PROTECTED: Condition("info", "Cloudflare Access guards the public URL"),
        Verdict.EDGE_REFUSED: Condition("info", "Cloudflare refuses prx's probe"),
        Verdict.ACCESS_REJECTED: Condition("warn", "Cloudflare Access rejects the service token", 2.0),
        Verdict.ORIGIN_DOWN: Condition("warn", "the local service does not answer", 2.0),
        Verdict.ORIGIN_ERROR: Condition("warn", "the local service answers with an error", 2.0),
        Verdict.ROUTE_MISMATCH: Condition("warn", "the tunnel leads somewhere else"),
        # cloudflared comes back by itself after 0.1 to 20 s (observed with 2026.8.2); two seconds hide the fast reconnects.
        Verdict.EDGE_LOST: Condition("warn", "no connection to Cloudflare's edge", 2.0),
        Verdict.UNREACHABLE: Condition("warn", "the public URL does not answer", 2.0),
        Verdict.UDP_BLOCKED: Condition("warn", "QUIC does not get through"),
        Verdict.OFFLINE: Condition("warn", "this machine has no network", 2.0),
        Verdict.CRASHED: Condition("warn", "the connector ended by itself"),
        Verdict.RATE_LIMITED: Condition("warn", "the quick-tunnel service refuses more tunnels for now"),
        Verdict.AUTH_REJECTED: Condition("warn", "the token is not accepted"),
        Verdict.MISCONFIGURED: Condition("warn", "a setting cannot work"),
    }
)
