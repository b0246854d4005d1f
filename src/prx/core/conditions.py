"""How a verdict is shown to people: one record for terminal, status, dashboard and documentation.

`visible_after` keeps a condition that comes and goes off the screen: while the tunnel is ready, another verdict is shown, and
changes the state, only when it has lasted for that many seconds. It is counted as a failure from its first moment all the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from prx.core.verdicts import Verdict


@dataclass(frozen=True, slots=True)
class Condition:
    """What to show for a verdict. `severity` is ok, wait, warning or error; `visible_after` is in seconds."""

    severity: str
    title: str
    visible_after: float = 0.0


CONDITIONS = MappingProxyType(
    {
        Verdict.STARTING: Condition("wait", "on its way up", 2.0),
        Verdict.DNS_PENDING: Condition("wait", "waiting for public DNS", 10.0),
        Verdict.HEALTHY: Condition("ok", "the public URL answers"),
        Verdict.PROTECTED: Condition("ok", "Cloudflare Access guards the public URL"),
        Verdict.EDGE_REFUSED: Condition("ok", "Cloudflare refuses prx's probe"),
        Verdict.ACCESS_REJECTED: Condition("warning", "Cloudflare Access rejects the service token", 2.0),
        Verdict.ORIGIN_DOWN: Condition("warning", "the local service does not answer", 2.0),
        Verdict.ORIGIN_ERROR: Condition("warning", "the local service answers with an error", 2.0),
        Verdict.ROUTE_MISMATCH: Condition("warning", "the tunnel leads somewhere else"),
        # cloudflared comes back by itself after 0.1 to 20 s (observed with 2026.8.2); two seconds hide the fast reconnects.
        Verdict.EDGE_LOST: Condition("error", "no connection to Cloudflare's edge", 2.0),
        Verdict.UNREACHABLE: Condition("error", "the public URL does not answer", 2.0),
        Verdict.UDP_BLOCKED: Condition("warning", "QUIC does not get through"),
        Verdict.OFFLINE: Condition("wait", "this machine has no network", 2.0),
        Verdict.CRASHED: Condition("error", "the connector ended by itself"),
        Verdict.RATE_LIMITED: Condition("error", "the quick-tunnel service refuses more tunnels for now"),
        Verdict.AUTH_REJECTED: Condition("error", "the token is not accepted"),
        Verdict.MISCONFIGURED: Condition("error", "a setting cannot work"),
    }
)
