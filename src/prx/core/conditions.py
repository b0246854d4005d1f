"""How a verdict is shown to people: one record for terminal, log and the state of the tunnel.

`visible_after` keeps a condition that comes and goes off the screen: while the tunnel is ready, another verdict is shown, and
changes the state, only when it has lasted for that many seconds. It is counted as a failure from its first moment all the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from prx.core.verdicts import Verdict


@dataclass(frozen=True, slots=True)
class Condition:
    """How to show a verdict: the level of its line (debug, info or warn), and `visible_after` in seconds."""

    level: str
    visible_after: float = 0.0


CONDITIONS = MappingProxyType(
    {
        Verdict.STARTING: Condition("debug", 2.0),  # the phases say more
        Verdict.DNS_PENDING: Condition("info", 10.0),
        Verdict.HEALTHY: Condition("info"),
        Verdict.PROTECTED: Condition("info"),
        Verdict.EDGE_REFUSED: Condition("info"),
        Verdict.ACCESS_REJECTED: Condition("warn", 2.0),
        Verdict.ORIGIN_DOWN: Condition("warn", 2.0),
        Verdict.ORIGIN_ERROR: Condition("warn", 2.0),
        Verdict.ROUTE_MISMATCH: Condition("warn"),
        # cloudflared comes back by itself after 0.1 to 20 s (observed with 2026.8.2); two seconds hide the fast reconnects.
        Verdict.EDGE_LOST: Condition("warn", 2.0),
        Verdict.UNREACHABLE: Condition("warn", 2.0),
        Verdict.UDP_BLOCKED: Condition("warn"),
        Verdict.OFFLINE: Condition("warn", 2.0),
        Verdict.CRASHED: Condition("warn"),
        Verdict.RATE_LIMITED: Condition("warn"),
        Verdict.AUTH_REJECTED: Condition("warn"),
        Verdict.MISCONFIGURED: Condition("warn"),
    }
)
