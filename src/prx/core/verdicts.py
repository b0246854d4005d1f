"""The verdicts that prx gives and the one action that each leads to, as a table.

The codes are public: they stand in events, in `prx status --json` and in the documentation.
"""

from __future__ import annotations

import enum
from dataclasses import field
from typing import Literal

from prx.core.causes import Cause
from prx.core.value import Value, value_class


class Verdict(enum.StrEnum):
    """Who is at fault."""

    STARTING = "starting"
    DNS_PENDING = "dns_pending"
    HEALTHY = "healthy"
    PROTECTED = "protected"
    EDGE_REFUSED = "edge_refused"
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

    @property
    def is_final(self) -> bool:
        """Return whether the operator must change something before another try can help."""
        return ACTIONS[self] is Action.FAIL


NoVerdict = Literal[""]
"""What stands in the place of a verdict before the first one."""


NO_CONNECTION = "no connection to the edge yet"
FIRST_REQUEST = "connected to the edge; no request has come back yet"
"""What a tunnel on its way up waits for."""


def summary(verdict: str, reason: str) -> str:
    """Return "verdict: reason" for people, without the part that is empty."""
    return ": ".join(part for part in (verdict, reason) if part)


def standing(state: str, verdict: str, reason: str) -> str:
    """Return "state, verdict: reason" for people, without what is empty or would be said twice ("starting, starting: …")."""
    if verdict == state:
        return summary(state, reason)
    return ", ".join(part for part in (state, summary(verdict, reason)) if part)


class Action(enum.Enum):
    """What is done about a verdict."""

    WAIT = enum.auto()  # it will come by itself; nothing is counted
    NONE = enum.auto()  # the tunnel is up
    REPORT = enum.auto()  # the tunnel is fine and something else is not: degraded, say so
    COUNT = enum.auto()  # a failure; `max_failures` of them, and the connector is replaced if that can help
    REPLACE = enum.auto()  # schedule a replacement; a connector that comes back during the wait is kept
    REPLACE_NOW = enum.auto()  # replace the connector at once: there is nothing to wait for
    SWITCH_PROTOCOL = enum.auto()  # replace it at once with one that speaks HTTP/2, if the user left the choice to prx
    RESTART = enum.auto()  # the child has ended: start it again with backoff
    RESTART_RATE_LIMITED = enum.auto()  # the same with the long backoff of the quick-tunnel service
    FAIL = enum.auto()  # stop for good: the operator must change something first


RESTARTING = frozenset(
    {Action.COUNT, Action.REPLACE, Action.REPLACE_NOW, Action.SWITCH_PROTOCOL, Action.RESTART, Action.RESTART_RATE_LIMITED}
)
"""The actions that may end in another child."""

ACTIONS: dict[Verdict, Action] = {
    Verdict.STARTING: Action.WAIT,
    Verdict.DNS_PENDING: Action.WAIT,
    Verdict.HEALTHY: Action.NONE,
    Verdict.PROTECTED: Action.NONE,
    Verdict.EDGE_REFUSED: Action.NONE,
    Verdict.ACCESS_REJECTED: Action.REPORT,
    Verdict.ORIGIN_DOWN: Action.REPORT,
    Verdict.ORIGIN_ERROR: Action.REPORT,
    Verdict.ROUTE_MISMATCH: Action.REPORT,
    Verdict.EDGE_LOST: Action.WAIT,
    Verdict.UNREACHABLE: Action.REPORT,
    Verdict.UDP_BLOCKED: Action.REPORT,
    Verdict.OFFLINE: Action.WAIT,
    Verdict.CRASHED: Action.RESTART,
    Verdict.RATE_LIMITED: Action.RESTART_RATE_LIMITED,
    Verdict.AUTH_REJECTED: Action.FAIL,
    Verdict.MISCONFIGURED: Action.FAIL,
}
"""What each verdict leads to unless its diagnosis knows a cause that a restart changes something about."""

WELL = frozenset(verdict for verdict, action in ACTIONS.items() if action is Action.NONE)
"""The verdicts with which all is well, also for what comes as text (JSON of another process): `text in WELL`."""

CAUSES: dict[Verdict, Cause] = {
    Verdict.STARTING: Cause.NOT_YET,
    Verdict.DNS_PENDING: Cause.NAME,
    Verdict.HEALTHY: Cause.NONE,
    Verdict.PROTECTED: Cause.NONE,
    Verdict.EDGE_REFUSED: Cause.FIREWALL,
    Verdict.ACCESS_REJECTED: Cause.ACCESS,
    Verdict.ORIGIN_DOWN: Cause.SERVICE,
    Verdict.ORIGIN_ERROR: Cause.SERVICE,
    Verdict.ROUTE_MISMATCH: Cause.ROUTE,
    Verdict.EDGE_LOST: Cause.EDGE,
    Verdict.UNREACHABLE: Cause.EDGE,
    Verdict.UDP_BLOCKED: Cause.NETWORK,
    Verdict.OFFLINE: Cause.NETWORK,
    Verdict.CRASHED: Cause.CHILD_GONE,
    Verdict.RATE_LIMITED: Cause.QUICK_SERVICE,
    Verdict.AUTH_REJECTED: Cause.TOKEN,
    Verdict.MISCONFIGURED: Cause.SETTING,
}
"""The cause behind each verdict unless its diagnosis names another."""

# The public URL answered, and what answered was what lies behind the tunnel: these prove the URL.
PROVES_URL = frozenset({Verdict.HEALTHY, Verdict.PROTECTED, Verdict.ORIGIN_ERROR})

# With health_check_restart = "any" these count too: every answer that is not the expected one.
BLUNT = frozenset(
    {
        Verdict.ACCESS_REJECTED,
        Verdict.ORIGIN_DOWN,
        Verdict.ORIGIN_ERROR,
        Verdict.ROUTE_MISMATCH,
        Verdict.UNREACHABLE,
        Verdict.EDGE_LOST,
    }
)


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Diagnosis(Value):
    """A verdict with its grounds: `reason` is one line for people, `hint` what they can do (may be empty).

    because, remedy: the cause and the action, if they are not the verdict's usual ones. since: the monotonic second from which
    on the fault was seen, None if it was just now. retry_after: seconds for which the public URL asks not to be asked again.
    patience: seconds that the fault must have lasted before a COUNT is acted on. connected: the connector had a connection to
    the edge, so that requests may be in flight through it. publish_unproven: the URL is known and cannot be proven from here,
    so it is published as such. judge: who gave the verdict, in words; two diagnoses that differ in it alone are equal.
    second_hand: it is about the connector alone; another connector of the tunnel asks the public URL.
    """

    verdict: Verdict
    reason: str
    hint: str = ""
    because: Cause | None = None
    remedy: Action | None = None
    since: float | None = None
    retry_after: float | None = None
    patience: float = 0.0
    connected: bool = True
    publish_unproven: bool = False
    judge: str = field(default="", compare=False)
    second_hand: bool = False

    @property
    def cause(self) -> Cause:
        """What is behind the verdict."""
        return self.because or CAUSES[self.verdict]

    @property
    def action(self) -> Action:
        """What is to be done about it."""
        return self.remedy or ACTIONS[self.verdict]
