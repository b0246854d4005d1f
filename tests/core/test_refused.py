"""Registrations that the edge refuses although the tunnel has worked: what is proven, and what a restart changes."""

from dataclasses import replace

import pytest

from prx.core.backoff import REFUSED
from prx.core.causes import Cause
from prx.core.diagnosis import diagnose
from prx.core.evidence import ChildExit, Connector, Edge, Evidence, ExitCause, Reach
from prx.core.policy import Policy
from prx.core.status_codes import StatusSet
from prx.core.verdicts import Action, Diagnosis, Verdict

NAMED = Policy(StatusSet.parse("2xx"))
QUICK = replace(NAMED, quick=True)
WAITS = Connector(
    age=30,
    answers=True,
    ready=0,
    worked=True,
    protocol="http2",
    lost_for=30,
    quiet_for=26,
    next_try_within=10,
    turned_away=True,
    rejected_for=20,
)
OPEN = Edge(tcp=Reach.OPEN, tcp_open_for=30.0)


def judged(connector: Connector, policy: Policy = NAMED, edge: Edge = OPEN, ended: ChildExit | None = None) -> Diagnosis:
    """Judge a connector without a connection."""
    return diagnose(Evidence(at=100, connector=connector, network_up=True, edge=edge, exit=ended), policy)


@pytest.mark.parametrize(
    "refusal",
    [
        {"rejected_for": 20},
        {},
        {"unauthorized_for": 20},
        {"tunnel_gone_for": 20},
        {"unauthorized_for": 20, "age": 29, "lost_for": 29},
    ],
    ids=["retryable", "a duplicate", "unauthorized", "tunnel not found", "one that was never up itself"],
)
def test_a_refused_connector_that_does_not_try_any_more_is_replaced(refusal: dict[str, float | str]) -> None:
    """A client tries again by itself after a refusal; one that has stopped trying is replaced, and it is said."""
    connector = replace(WAITS, **{"rejected_for": 0, **refusal})  # type: ignore[arg-type]
    edge = Edge(quic=Reach.OPEN, quic_open_for=30, tcp=Reach.OPEN, tcp_open_for=30)
    found = judged(connector, edge=edge)
    assert (found.verdict, found.cause, found.action) == (Verdict.EDGE_LOST, Cause.REFUSED, Action.REPLACE)
    while_it_tries = judged(replace(connector, quiet_for=24), edge=edge)
    assert (while_it_tries.verdict, while_it_tries.action) == (Verdict.EDGE_LOST, Action.WAIT)


@pytest.mark.parametrize(
    ("change", "policy", "edge"),
    [
        ({"worked": False}, NAMED, OPEN),
        ({}, NAMED, Edge(tcp=Reach.CLOSED)),
        ({}, NAMED, Edge()),
        ({"quiet_for": 3}, NAMED, OPEN),
    ],
    ids=[
        "it has never worked",
        "the edge is away",
        "nothing is known of the edge",
        "it tries",
    ],
)
def test_otherwise_it_is_waited_for(change: dict[str, float], policy: Policy, edge: Edge) -> None:
    """No restart if that costs something, or if nothing shows that a fresh connector would get further."""
    assert judged(replace(WAITS, **change), policy, edge).action is Action.WAIT  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("quiet_for", "seconds", "action"),
    [(26, 60, Action.REPLACE), (3, 60, Action.REPORT), (3, 599, Action.REPORT), (3, 600, Action.FAIL)],
)
def test_a_token_that_has_worked_is_shown_as_rejected_and_tried(quiet_for: float, seconds: float, action: Action) -> None:
    """From 60 s to 10 minutes the verdict is the token's, and tries go on; then the tunnel is given up."""
    found = judged(replace(WAITS, quiet_for=quiet_for, unauthorized_for=seconds))
    assert (found.verdict, found.action) == (Verdict.AUTH_REJECTED, action)


@pytest.mark.parametrize(
    ("refused", "worked", "policy", "verdict", "cause"),
    [
        (True, True, NAMED, Verdict.EDGE_LOST, Cause.REFUSED),
        (True, False, NAMED, Verdict.CRASHED, Cause.CHILD_GONE),
        (True, True, QUICK, Verdict.CRASHED, Cause.CHILD_GONE),
        (False, True, NAMED, Verdict.CRASHED, Cause.CHILD_GONE),
    ],
    ids=["refused", "refused at first", "quick", "crashed"],
)
def test_a_child_that_ends_because_it_is_refused_has_not_crashed(
    refused: bool, worked: bool, policy: Policy, verdict: Verdict, cause: Cause
) -> None:
    """Cloudflared over HTTP/2 ends when its first connection is refused: that is the edge's doing."""
    ended = ChildExit(1, None, ExitCause.CRASH, "the edge did not accept its first connection: try later", refused=refused)
    found = judged(replace(WAITS, worked=worked), policy, ended=ended)
    assert (found.verdict, found.cause, found.action) == (verdict, cause, Action.RESTART)


def test_the_tries_are_dense_for_ten_minutes_and_then_as_rare_as_any() -> None:
    """An incident of minutes is over soon after the edge takes connectors again; nothing is tried forever at that pace."""
    waits = [REFUSED.delay(attempt) for attempt in range(1, 46)]
    assert (sum(waits[:10]), sum(waits[:20]), sum(waits[:40])) == (50, 150, 550)
    assert waits[40:] == [40, 80, 160, 300, 300]


@pytest.mark.parametrize("quic", [Reach.UNKNOWN, Reach.CLOSED])
@pytest.mark.parametrize("policy", [NAMED, QUICK], ids=["named", "quick"])
@pytest.mark.parametrize("ever_ready", [True, False])
def test_an_edge_that_cannot_be_reached_is_not_said_to_refuse(policy: Policy, ever_ready: bool, quic: Reach) -> None:
    """It refused the connector, and then it went: the reason is what is so now."""
    connector = replace(WAITS, ever_ready=ever_ready, age=900)
    found = judged(connector, policy, Edge(tcp=Reach.CLOSED, quic=quic))
    assert (found.verdict, found.action) == (Verdict.EDGE_LOST, Action.WAIT)
    assert found.reason.endswith(", and prx cannot reach it either")
    there = judged(replace(connector, quiet_for=1.0), policy)
    assert there.reason == "the edge rejects the connector"
