"""Evidence to verdict: one line for each row of the documented table, and the order of causes."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prx.core.diagnosis import Policy, diagnose
from prx.core.evidence import ChildExit, Connector, Dns, DnsState, Evidence, ExitCause, Origin, Public
from prx.core.expect import StatusSet
from prx.core.verdicts import ACTIONS, Action, Verdict

POLICY = Policy(StatusSet.parse("2xx"))
UP = Connector(age=100, answers=True, ready=4, ever_ready=True, protocol="quic")
DOWN = replace(UP, ready=0)
KNOWN = Dns(DnsState.RESOLVED, ("192.0.2.1",))
ORIGIN = Origin("127.0.0.1:8080", listening=True, status=200)
GONE = Origin("127.0.0.1:8080", listening=False, error="connection refused by 127.0.0.1:8080")
FINE = Evidence(at=0, url="https://x", connector=UP, network_up=True, dns=KNOWN, public=Public(200))


def ended(cause: ExitCause) -> ChildExit:
    """Return an exit with code 1."""
    return ChildExit(code=1, signal=None, cause=cause, detail="its last words")


ROWS: list[tuple[str, Evidence, Verdict]] = [
    ("starting", replace(FINE, connector=replace(DOWN, age=59, ever_ready=False)), Verdict.STARTING),
    ("no url yet", replace(FINE, url="", dns=None, public=None), Verdict.STARTING),
    ("name missing", replace(FINE, dns=Dns(DnsState.MISSING), public=None), Verdict.DNS_PENDING),
    ("no resolver", replace(FINE, dns=Dns(DnsState.UNKNOWN), public=None), Verdict.DNS_PENDING),
    ("healthy", FINE, Verdict.HEALTHY),
    ("watched only", replace(FINE, connector=None), Verdict.HEALTHY),
    ("protected", replace(FINE, public=Public(302, access=True)), Verdict.PROTECTED),
    ("protected by 403", replace(FINE, public=Public(403, access=True)), Verdict.PROTECTED),
    ("token refused", replace(FINE, public=Public(302, access=True, sent_token=True)), Verdict.ACCESS_REJECTED),
    ("origin down", replace(FINE, public=Public(502), origin=GONE), Verdict.ORIGIN_DOWN),
    ("origin down, no answer", replace(FINE, public=Public(None, "timeout"), origin=GONE), Verdict.ORIGIN_DOWN),
    ("origin 404", replace(FINE, public=Public(404), origin=replace(ORIGIN, status=404)), Verdict.ORIGIN_ERROR),
    ("origin 502 itself", replace(FINE, public=Public(502), origin=replace(ORIGIN, status=502)), Verdict.ORIGIN_ERROR),
    ("strangers get 401", replace(FINE, public=Public(401), origin=ORIGIN), Verdict.ORIGIN_ERROR),
    ("host blocked", replace(FINE, public=Public(403, host_blocked="no"), origin=ORIGIN), Verdict.ORIGIN_ERROR),
    (
        "origin silent",
        replace(FINE, public=Public(502), origin=replace(ORIGIN, status=None, error="slow")),
        Verdict.ORIGIN_DOWN,
    ),
    (
        "events held back",
        replace(FINE, public=Public(None, "timeout"), origin=replace(ORIGIN, event_stream=True)),
        Verdict.ORIGIN_ERROR,
    ),
    ("host blocked with 200", replace(FINE, public=Public(200, host_blocked="no"), origin=ORIGIN), Verdict.ORIGIN_ERROR),
    ("routed elsewhere", replace(FINE, route_mismatch="routes to :3000"), Verdict.ROUTE_MISMATCH),
    ("edge lost", replace(FINE, connector=DOWN), Verdict.EDGE_LOST),
    ("never connected", replace(FINE, connector=replace(DOWN, age=60, ever_ready=False)), Verdict.EDGE_LOST),
    ("metrics dead", replace(FINE, connector=replace(DOWN, answers=False)), Verdict.EDGE_LOST),
    ("530", replace(FINE, public=Public(530, edge_error=1033), origin=ORIGIN), Verdict.UNREACHABLE),
    ("502, origin fine", replace(FINE, public=Public(502), origin=ORIGIN), Verdict.UNREACHABLE),
    ("time-out", replace(FINE, public=Public(None, "timeout"), origin=ORIGIN), Verdict.UNREACHABLE),
    ("udp blocked", replace(FINE, connector=replace(DOWN, quic_dial_failures=2, ever_ready=False)), Verdict.UDP_BLOCKED),
    ("udp blocked later", replace(FINE, connector=replace(DOWN, quic_dial_failures=9)), Verdict.UDP_BLOCKED),
    (
        "all dials fail",
        replace(FINE, connector=replace(DOWN, quic_dial_failures=2, other_dial_failures=1)),
        Verdict.EDGE_LOST,
    ),
    ("rejected over quic", replace(FINE, connector=replace(DOWN, rejected=2, ever_ready=False)), Verdict.STARTING),
    ("rejected later", replace(FINE, connector=replace(DOWN, rejected=2)), Verdict.EDGE_LOST),
    ("offline", replace(FINE, connector=DOWN, network_up=False), Verdict.OFFLINE),
    ("crashed", replace(FINE, exit=ended(ExitCause.CRASH)), Verdict.CRASHED),
    ("crashed offline", replace(FINE, exit=ended(ExitCause.CRASH), network_up=False), Verdict.OFFLINE),
    ("rate limited", replace(FINE, exit=ended(ExitCause.RATE_LIMITED)), Verdict.RATE_LIMITED),
    ("bad token", replace(FINE, exit=ended(ExitCause.AUTH)), Verdict.AUTH_REJECTED),
    ("unauthorized", replace(FINE, connector=replace(DOWN, unauthorized_for=60)), Verdict.AUTH_REJECTED),
    ("unauthorized, young", replace(FINE, connector=replace(DOWN, unauthorized_for=59)), Verdict.EDGE_LOST),
    ("exposed", replace(FINE, exposed="strangers get in"), Verdict.MISCONFIGURED),
    ("bad flag", replace(FINE, exit=ended(ExitCause.CONFIG)), Verdict.MISCONFIGURED),
]


@pytest.mark.parametrize(("evidence", "verdict"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_every_row_of_the_table(evidence: Evidence, verdict: Verdict) -> None:
    """Each kind of evidence leads to its verdict, with a reason in words."""
    diagnosis = diagnose(evidence, POLICY)
    assert diagnosis.verdict is verdict
    assert diagnosis.reason


def test_every_verdict_is_reachable_and_has_an_action() -> None:
    """The table above covers every verdict, and every verdict has exactly one action."""
    assert {row[2] for row in ROWS} == set(Verdict) == set(ACTIONS)


def test_only_faults_of_the_tunnel_can_lead_to_a_restart() -> None:
    """What a restart cannot help is never answered with one."""
    restarting = {Action.COUNT, Action.RESTART, Action.RESTART_LATE, Action.SWITCH_PROTOCOL}
    assert {verdict for verdict, action in ACTIONS.items() if action in restarting} == {
        Verdict.EDGE_LOST,
        Verdict.UNREACHABLE,
        Verdict.UDP_BLOCKED,
        Verdict.CRASHED,
        Verdict.RATE_LIMITED,
    }


def test_the_culprit_is_named() -> None:
    """An origin that is down is named with its address, and the tunnel is cleared."""
    diagnosis = diagnose(replace(FINE, public=Public(502), origin=GONE), POLICY)
    assert diagnosis.reason == "connection refused by 127.0.0.1:8080 (the tunnel is fine)"


@pytest.mark.parametrize(
    ("status", "verdict"), [(410, Verdict.ORIGIN_ERROR), (502, Verdict.UNREACHABLE)], ids=["its own answer", "nobody there"]
)
def test_another_connector_with_the_same_token_is_blamed(status: int, verdict: Verdict) -> None:
    """A bad answer that did not come through this connector is told as what it is: somebody else's."""
    evidence = replace(FINE, public=Public(status), origin=ORIGIN)
    ours, theirs = diagnose(evidence, POLICY), diagnose(replace(evidence, elsewhere=True), POLICY)
    assert ours.verdict is theirs.verdict is verdict
    assert "another" not in ours.reason
    assert theirs.reason.startswith(f"{ours.reason}; ")
    assert theirs.reason.endswith("did not come through this connector, so another one with the same token answers")
    assert theirs.hint.startswith("stop the connector that runs with the same token on another machine")


def test_the_same_answer_as_the_origins_is_not_blamed_on_another() -> None:
    """Replicas of one service answer alike: that is no reason to speak of them."""
    evidence = replace(FINE, public=Public(404), origin=replace(ORIGIN, status=404), elsewhere=True)
    assert "another" not in diagnose(evidence, POLICY).reason


CONNECTORS = st.builds(
    Connector,
    age=st.floats(0, 1e6),
    answers=st.booleans(),
    ready=st.integers(0, 4),
    ever_ready=st.booleans(),
    protocol=st.sampled_from(["", "quic", "http2"]),
    quic_dial_failures=st.integers(0, 5),
    other_dial_failures=st.integers(0, 5),
    unauthorized_for=st.none() | st.floats(0, 1e4),
    rejected=st.integers(0, 3),
    last_error=st.text(max_size=5),
)
EVIDENCE = st.builds(
    Evidence,
    at=st.just(0.0),
    url=st.sampled_from(["", "https://x"]),
    exit=st.none() | st.builds(ended, st.sampled_from(ExitCause)),
    connector=st.none() | CONNECTORS,
    network_up=st.none() | st.booleans(),
    route_mismatch=st.sampled_from(["", "elsewhere"]),
    exposed=st.sampled_from(["", "strangers get in"]),
    elsewhere=st.booleans(),
    origin=st.none() | st.builds(Origin, st.just("a:1"), st.booleans(), st.none() | st.integers(100, 599), st.text(max_size=3)),
    dns=st.none() | st.builds(Dns, st.sampled_from(DnsState)),
    public=st.none()
    | st.builds(Public, st.none() | st.integers(100, 599), access=st.booleans(), host_blocked=st.text(max_size=2)),
)


@given(EVIDENCE, st.booleans())
def test_any_evidence_gets_one_verdict(evidence: Evidence, free: bool) -> None:
    """The function is total: odd combinations of facts never raise, and always give a reason."""
    diagnosis = diagnose(evidence, replace(POLICY, protocol_is_free=free))
    assert diagnosis.verdict in ACTIONS
    assert diagnosis.reason
