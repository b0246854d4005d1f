"""The verdicts that prx gives and the one action that each leads to, as a table.

The codes are public: they stand in events, in `prx status --json` and in the documentation.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Verdict(enum.StrEnum):
    """Who is at fault."""

    STARTING = "starting"
    DNS_PENDING = "dns_pending"
    HEALTHY = "healthy"
    PROTECTED = "protected"
    ACCESS_REJECTED = "access_rejected"
    ORIGIN_DOWN = "origin_down"
    ORIGIN_ERROR = "origin_error"
    ROUTE_MISMATCH = "route_mismatch"
    EDGE_LOST = "edge_lost"
    UNREACHABLE = "unreachable"
    UDP_BLOCKED = "udp_blocked"
    OFFLINE = "offline"
    CRASHED = "crashed"
    RATE_LIMITED = "rate_limited"
    AUTH_REJECTED = "auth_rejected"
    MISCONFIGURED = "misconfigured"


class Action(enum.Enum):
    """What is done about a verdict."""

    WAIT = enum.auto()  # it will come by itself; nothing is counted
    NONE = enum.auto()  # the tunnel is up
    TELL = enum.auto()  # the tunnel is fine and something else is not: degraded, say so
    COUNT = enum.auto()  # a failure; `max_failures` of them restart the child
    SWITCH_PROTOCOL = enum.auto()  # restart at once with HTTP/2, where the user left the choice to prx
    RESTART = enum.auto()  # restart with backoff
    RESTART_LATE = enum.auto()  # restart with the long backoff of the quick-tunnel service
    FAIL = enum.auto()  # stop for good: somebody must change something first


ACTIONS: dict[Verdict, Action] = {
    Verdict.STARTING: Action.WAIT,
    Verdict.DNS_PENDING: Action.WAIT,
    Verdict.HEALTHY: Action.NONE,
    Verdict.PROTECTED: Action.NONE,
    Verdict.ACCESS_REJECTED: Action.TELL,
    Verdict.ORIGIN_DOWN: Action.TELL,
    Verdict.ORIGIN_ERROR: Action.TELL,
    Verdict.ROUTE_MISMATCH: Action.TELL,
    Verdict.EDGE_LOST: Action.COUNT,
    Verdict.UNREACHABLE: Action.COUNT,
    Verdict.UDP_BLOCKED: Action.SWITCH_PROTOCOL,
    Verdict.OFFLINE: Action.WAIT,
    Verdict.CRASHED: Action.RESTART,
    Verdict.RATE_LIMITED: Action.RESTART_LATE,
    Verdict.AUTH_REJECTED: Action.FAIL,
    Verdict.MISCONFIGURED: Action.FAIL,
}

# The public URL answered, and what answered was what lies behind the tunnel: these prove the URL.
PROVING = frozenset({Verdict.HEALTHY, Verdict.PROTECTED, Verdict.ORIGIN_ERROR})

# With health_check_restart = "any" these count too: every answer that is not the expected one.
BLUNT = frozenset({Verdict.ACCESS_REJECTED, Verdict.ORIGIN_DOWN, Verdict.ORIGIN_ERROR, Verdict.ROUTE_MISMATCH})


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """A verdict with its grounds: `reason` is one line for people, `hint` what they can do (may be empty).

    ask_over_http2: the same question over HTTP/2 would tell more than QUIC does.
    """

    verdict: Verdict
    reason: str
    hint: str = ""
    ask_over_http2: bool = False
