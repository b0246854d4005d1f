"""Evidence to verdict: one line for each row of the documented table, and the order of causes."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prx.core.causes import restart_helps
from prx.core.diagnosis import Policy, diagnose
from prx.core.evidence import (
    ChildExit,
    Connector,
    Delivery,
    Dns,
    DnsState,
    Edge,
    Evidence,
    ExitCause,
    Origin,
    Public,
    Reach,
    Unasked,
)
from prx.core.status_codes import StatusSet
from prx.core.verdicts import ACTIONS, CAUSES, RESTARTING, Action, Verdict

POLICY = Policy(StatusSet.parse("2xx"))
UP = Connector(age=100, answers=True, ready=4, ever_ready=True, worked=True, protocol="quic")
DOWN = replace(UP, ready=0)
DIALS = replace(DOWN, quic_dial_failures=2)
UNKNOWN = Delivery()
KNOWN = Dns(DnsState.RESOLVED, ("192.0.2.1",))
ORIGIN = Origin("127.0.0.1:8080", listening=True, status=200)
GONE = Origin("127.0.0.1:8080", listening=False, error="connection refused by 127.0.0.1:8080")
FINE = Evidence(at=0, url="https://x", connector=UP, network_up=True, dns=KNOWN, public=Public(200))


def ended(cause: ExitCause) -> ChildExit:
    """Return an exit with code 1."""
    return ChildExit(code=1, signal=None, cause=cause, detail="its last words")


REACHED = Delivery(reached=True)
PAST = Delivery(reached=False)
OPEN = Edge(tcp=Reach.OPEN, tcp_open_for=1000.0)
SHUT = Edge(tcp=Reach.CLOSED, error="connection refused by 192.0.2.1:7844")


def at_public(public: Public, origin: Origin | None = ORIGIN, delivery: Delivery = UNKNOWN) -> Evidence:
    """Return the evidence of a connected tunnel whose public URL gives `public`."""
    return replace(FINE, public=public, origin=origin, delivery=delivery)


ROWS: list[tuple[str, Evidence, Verdict]] = [
    ("starting", replace(FINE, connector=replace(DOWN, age=59, ever_ready=False)), Verdict.STARTING),
    ("no url yet", replace(FINE, connector=replace(UP, age=59), url="", dns=None, public=None), Verdict.STARTING),
    ("no url for long", replace(FINE, url="", dns=None, public=None), Verdict.UNREACHABLE),
    ("name missing", replace(FINE, dns=Dns(DnsState.MISSING), public=None), Verdict.DNS_PENDING),
    ("no resolver", replace(FINE, dns=Dns(DnsState.UNKNOWN), public=None), Verdict.DNS_PENDING),
    ("no resolver any more", replace(FINE, dns=Dns(DnsState.UNKNOWN, ("192.0.2.1",), known=True)), Verdict.HEALTHY),
    ("name gone", replace(FINE, dns=Dns(DnsState.MISSING, ("192.0.2.1",), known=True)), Verdict.DNS_PENDING),
    ("healthy", FINE, Verdict.HEALTHY),
    ("watched only", replace(FINE, connector=None), Verdict.HEALTHY),
    ("protected", at_public(Public(302, access=True)), Verdict.PROTECTED),
    ("protected by 403", at_public(Public(403, access=True)), Verdict.PROTECTED),
    ("token refused", at_public(Public(302, access=True, sent_token=True)), Verdict.ACCESS_REJECTED),
    ("challenge", at_public(Public(403, mitigated="challenge")), Verdict.EDGE_REFUSED),
    ("origin down", at_public(Public(502), GONE), Verdict.ORIGIN_DOWN),
    ("origin down, no answer", at_public(Public(None, "timeout"), GONE), Verdict.ORIGIN_DOWN),
    ("origin 404, 2xx wanted", at_public(Public(404), replace(ORIGIN, status=404)), Verdict.ORIGIN_ERROR),
    ("origin 502 itself", at_public(Public(502), replace(ORIGIN, status=502)), Verdict.ORIGIN_ERROR),
    ("strangers get 401", at_public(Public(401)), Verdict.ORIGIN_ERROR),
    ("host blocked", at_public(Public(403, host_blocked="no")), Verdict.ORIGIN_ERROR),
    ("origin silent", at_public(Public(502), replace(ORIGIN, status=None, error="slow")), Verdict.ORIGIN_DOWN),
    ("events held back", at_public(Public(None, "timeout"), replace(ORIGIN, event_stream=True)), Verdict.ORIGIN_ERROR),
    ("host blocked with 200", at_public(Public(200, host_blocked="no")), Verdict.ORIGIN_ERROR),
    ("routed elsewhere", replace(FINE, route_mismatch="routes to :3000"), Verdict.ROUTE_MISMATCH),
    ("edge lost", replace(FINE, connector=DOWN), Verdict.EDGE_LOST),
    ("never connected", replace(FINE, connector=replace(DOWN, age=60, ever_ready=False)), Verdict.EDGE_LOST),
    ("metrics dead", replace(FINE, connector=replace(DOWN, answers=False)), Verdict.EDGE_LOST),
    ("530", at_public(Public(530, edge_error=1033)), Verdict.UNREACHABLE),
    ("502, nothing known", at_public(Public(502)), Verdict.UNREACHABLE),
    ("time-out", at_public(Public(None, "timeout")), Verdict.UNREACHABLE),
    ("udp blocked", replace(FINE, connector=replace(DIALS, ever_ready=False), edge=OPEN), Verdict.UDP_BLOCKED),
    ("udp and tcp blocked", replace(FINE, connector=replace(DIALS, ever_ready=False), edge=SHUT), Verdict.EDGE_LOST),
    ("tcp not tried", replace(FINE, connector=replace(DIALS, ever_ready=False)), Verdict.EDGE_LOST),
    ("quic has worked", replace(FINE, connector=DIALS, edge=OPEN), Verdict.EDGE_LOST),
    (
        "rejected over quic",
        replace(FINE, connector=replace(DOWN, rejected=2, ever_ready=False, worked=False)),
        Verdict.STARTING,
    ),
    ("rejected later", replace(FINE, connector=replace(DOWN, rejected=2)), Verdict.EDGE_LOST),
    ("offline", replace(FINE, connector=DOWN, network_up=False), Verdict.OFFLINE),
    ("no loopback", replace(FINE, connector=replace(DOWN, answers=False), loopback_up=False), Verdict.EDGE_LOST),
    ("crashed", replace(FINE, exit=ended(ExitCause.CRASH)), Verdict.CRASHED),
    ("crashed offline", replace(FINE, exit=ended(ExitCause.CRASH), network_up=False), Verdict.OFFLINE),
    ("gave up for want of a network", replace(FINE, exit=ended(ExitCause.NETWORK)), Verdict.OFFLINE),
    ("rate limited", replace(FINE, exit=ended(ExitCause.RATE_LIMITED)), Verdict.RATE_LIMITED),
    ("no quick tunnels here", replace(FINE, exit=ended(ExitCause.REFUSED_QUICK)), Verdict.RATE_LIMITED),
    ("bad token", replace(FINE, exit=ended(ExitCause.AUTH)), Verdict.AUTH_REJECTED),
    ("unauthorized", replace(FINE, connector=replace(DOWN, unauthorized_for=60)), Verdict.AUTH_REJECTED),
    ("unauthorized, young", replace(FINE, connector=replace(DOWN, unauthorized_for=59)), Verdict.EDGE_LOST),
    ("tunnel gone", replace(FINE, connector=replace(DOWN, tunnel_gone_for=60)), Verdict.AUTH_REJECTED),
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


def test_what_a_verdict_leads_to_is_a_restart_only_if_that_helps() -> None:
    """The tables of verdicts, causes and restarts agree: what a restart changes nothing about is never answered with one."""
    assert set(CAUSES) == set(Verdict)
    restarting = {verdict for verdict, action in ACTIONS.items() if action in RESTARTING}
    assert restarting == {Verdict.CRASHED, Verdict.RATE_LIMITED}
    assert all(restart_helps(CAUSES[verdict]) for verdict in restarting)


def test_the_culprit_is_named() -> None:
    """An origin that is down is named with its address, and the tunnel is cleared."""
    diagnosis = diagnose(at_public(Public(502), GONE), POLICY)
    assert diagnosis.reason == "connection refused by 127.0.0.1:8080 (the tunnel is fine)"


# ---------------------------------------------------------------------- blame by proof, not by number


@pytest.mark.parametrize("policy", [POLICY, replace(POLICY, quick=True)], ids=["named", "quick"])
@pytest.mark.parametrize("said", [frozenset({200}), frozenset({200, 404})], ids=["all well", "some not found"])
def test_a_probe_that_waits_in_vain_while_everybody_is_answered_has_not_come(policy: Policy, said: frozenset[int]) -> None:
    """One of the edge's connections is dead and visitors come over the others: the service is not to blame."""
    silent = Public(None, "no answer within 4 s", silent=True)
    others = Delivery(reached=True, said=said, answered=True)
    assert diagnose(at_public(silent, ORIGIN, others), policy).verdict is Verdict.UNREACHABLE
    assert diagnose(at_public(silent, ORIGIN, replace(others, answered=False)), policy).verdict is Verdict.ORIGIN_DOWN


@pytest.mark.parametrize("status", [502, 504, 522, 530])
def test_an_error_of_the_edges_is_not_the_services_because_others_come_through(status: int) -> None:
    """The counters moved, and the service gave everyone another answer: this one is the edge's."""
    others = Delivery(reached=True, said=frozenset({200}), answered=True)
    assert diagnose(at_public(Public(status), ORIGIN, others), POLICY).verdict is Verdict.UNREACHABLE


HUNG = replace(ORIGIN, status=None, silent=True, error="it hangs")
SLOW = Public(None, "late", silent=True, waited=10.0)


def said(status: int) -> Delivery:
    """Return the passage of a request that the service has answered with `status`."""
    return Delivery(reached=True, said=frozenset({status}))


FAILED = Delivery(reached=True, failed=True)

CAME_THROUGH = {
    "maintenance mode for visitors": (Public(503), ORIGIN, said(503), "origin_error", "answers 503 to visitors and 200 here"),
    "rate limit by address": (Public(429), ORIGIN, said(429), "origin_error", "answers 429 to visitors and 200 here"),
    "hangs up on strangers": (Public(502), ORIGIN, FAILED, "origin_down", "does not answer the connector well"),
    "502 of its own": (Public(502), ORIGIN, said(502), "origin_error", "answers 502 to visitors"),
    "slow for strangers": (SLOW, ORIGIN, REACHED, "origin_down", "does not answer visitors of https://x within 10 s"),
    "hangs for all": (Public(None, "late"), HUNG, REACHED, "origin_down", "it hangs"),
    "530 of its own": (Public(530), ORIGIN, said(530), "origin_error", "answers 530 to visitors"),
    "a challenge of its own": (Public(403, mitigated="challenge"), ORIGIN, said(403), "origin_error", "answers 403 to"),
    "an answer that cannot be read": (Public(502), ORIGIN, FAILED, "origin_down", "answers 200 here"),
}


@pytest.mark.parametrize(("public", "origin", "delivery", "verdict", "words"), CAME_THROUGH.values(), ids=CAME_THROUGH)
@pytest.mark.parametrize("quick", [True, False], ids=["quick", "named"])
def test_what_came_through_the_connector_is_the_services_own(
    public: Public, origin: Origin, delivery: Delivery, verdict: str, words: str, quick: bool
) -> None:
    """A probe that the connector passed on clears the tunnel, whatever the status: it is reported, and never counts."""
    diagnosis = diagnose(at_public(public, origin, delivery), replace(POLICY, quick=quick))
    assert diagnosis.verdict == verdict
    assert words in diagnosis.reason
    assert diagnosis.action is Action.REPORT


BY_CLOUDFLARE = {
    "challenge": Public(403, mitigated="challenge"),
    "challenge with 503": Public(503, mitigated="challenge"),
    "country": Public(403, edge_error=1009),
    "browser": Public(403, edge_error=1010),
    "rate": Public(429, edge_error=1015, retry_after=120),
    "firewall": Public(403, edge_error=1020),
    "worker": Public(503, edge_error=1102),
    "own block page": Public(403),
    "limit without a number": Public(429),
}


@pytest.mark.parametrize("public", BY_CLOUDFLARE.values(), ids=BY_CLOUDFLARE)
def test_cloudflares_own_refusals_are_told_and_nothing_is_learned_from_them(public: Public) -> None:
    """What Cloudflare answers of its own accord is no fault of the service, and no restart changes it."""
    diagnosis = diagnose(at_public(public, ORIGIN, PAST), POLICY)
    assert (diagnosis.verdict, diagnosis.action) == (Verdict.EDGE_REFUSED, Action.NONE)
    assert "Cloudflare" in diagnosis.reason
    assert diagnosis.retry_after == public.retry_after


@pytest.mark.parametrize("quick", [True, False], ids=["quick", "named"])
@pytest.mark.parametrize("asked", [1, 120, 10**9])
@pytest.mark.parametrize("origin", [ORIGIN, replace(ORIGIN, status=429)], ids=["only to visitors", "here too"])
def test_a_services_own_retry_after_holds_up_no_check(origin: Origin, asked: int, quick: bool) -> None:
    """What a service asks of its visitors is no reason to notice its next fault an hour late."""
    said = Delivery(reached=True, answered=True, said=frozenset({429}))
    diagnosis = diagnose(at_public(Public(429, retry_after=asked), origin, said), replace(POLICY, quick=quick))
    assert diagnosis.verdict is Verdict.ORIGIN_ERROR
    assert diagnosis.retry_after is None


NOT_CLOUDFLARE = {
    "grey cloud": (("fd10:aec2:5dae::1",), Public(None, "no route", by_cloudflare=False)),
    "old server refuses": (("203.0.113.9",), Public(None, "connection refused", by_cloudflare=False)),
    "old server answers 200": (("203.0.113.9",), Public(200, by_cloudflare=False)),
    "old server answers 404": (("203.0.113.9",), Public(404, by_cloudflare=False)),
    "its certificate is for another name": (
        ("203.0.113.9",),
        Public(None, "TLS failed", by_cloudflare=False),
    ),
}


@pytest.mark.parametrize(("addresses", "public"), NOT_CLOUDFLARE.values(), ids=NOT_CLOUDFLARE)
def test_a_record_that_leads_elsewhere_is_named(addresses: tuple[str, ...], public: Public) -> None:
    """A name whose addresses are not Cloudflare's is the record's fault, with the remedy, and never restarts anything."""
    where = f"app.example.com resolves to {addresses[0]}, which is not Cloudflare's: its DNS record leads elsewhere"
    evidence = replace(at_public(public, ORIGIN, PAST), dns=Dns(DnsState.RESOLVED, addresses), strays=where)
    diagnosis = diagnose(evidence, POLICY)
    assert (diagnosis.verdict, diagnosis.action) == (Verdict.ROUTE_MISMATCH, Action.REPORT)
    assert addresses[0] in diagnosis.reason
    assert "orange cloud" in diagnosis.hint


@pytest.mark.parametrize("number", [1000, 1001, 1014, 1016, 1018])
def test_cloudflares_words_about_the_record_are_the_records_fault(number: int) -> None:
    """An error number that means "the DNS record cannot be used" is neither the service's nor the connector's fault."""
    diagnosis = diagnose(at_public(Public(530, edge_error=number), ORIGIN, PAST), POLICY)
    assert (diagnosis.verdict, diagnosis.action) == (Verdict.ROUTE_MISMATCH, Action.REPORT)


@pytest.mark.parametrize(("quick", "patience"), [(False, 180.0), (True, 600.0)], ids=["named", "quick"])
def test_only_an_edge_that_does_not_know_the_connector_can_be_helped_by_a_fresh_one(quick: bool, patience: float) -> None:
    """530 and 1033 past a connector that believes to be connected count, after more than cloudflared itself takes to notice."""
    diagnosis = diagnose(at_public(Public(530, edge_error=1033), ORIGIN, PAST), replace(POLICY, quick=quick))
    assert (diagnosis.verdict, diagnosis.action, diagnosis.patience) == (Verdict.UNREACHABLE, Action.COUNT, patience)
    for unknown in (UNKNOWN, REACHED):
        assert diagnose(at_public(Public(530, edge_error=1033), ORIGIN, unknown), POLICY).action is Action.REPORT
    closed = replace(at_public(Public(530, edge_error=1033), ORIGIN, PAST), edge=SHUT)
    assert diagnose(closed, POLICY).action is Action.REPORT


def test_a_dead_origin_is_not_blamed_for_what_it_cannot_cause() -> None:
    """Beside a 530 "the tunnel is fine" would be wrong: both faults are reported."""
    reason = diagnose(at_public(Public(530, edge_error=1033), GONE, PAST), POLICY).reason
    assert "the tunnel is fine" not in reason
    assert "530" in reason


def test_what_prx_itself_cannot_ask_is_no_advice_to_start_the_service() -> None:
    """If this machine or a setting keeps prx from asking, the hint says what helps against that."""
    mine = replace(GONE, error="origin_ca: ca.pem holds no certificate", hint="name a PEM file")
    assert diagnose(at_public(Public(502), mine), POLICY).hint == "name a PEM file"
    assert "start the service" in diagnose(at_public(Public(502), GONE), POLICY).hint


@pytest.mark.parametrize("status", [502, 410, 404, 200])
def test_a_quick_tunnel_has_no_other_connector(status: int) -> None:
    """What did not come through its only connector is the edge's: no token of it exists that another machine could have."""
    diagnosis = diagnose(at_public(Public(status), ORIGIN, PAST), replace(POLICY, quick=True))
    assert "same token" not in diagnosis.reason + diagnosis.hint


def test_a_502_past_a_named_connector_may_be_the_edges_own() -> None:
    """The edge says 502 by itself when it loses a connector in mid-request, so another connector is not blamed alone."""
    diagnosis = diagnose(at_public(Public(502), ORIGIN, PAST), POLICY)
    assert diagnosis.verdict is Verdict.UNREACHABLE
    assert diagnosis.reason.endswith("so the edge answers by itself, or another one with the same token answers")


def test_another_connector_with_the_same_token_is_blamed() -> None:
    """A bad answer that did not come through this connector is reported as what it is: another one's."""
    diagnosis = diagnose(at_public(Public(410), ORIGIN, PAST), POLICY)
    assert diagnosis.verdict is Verdict.ORIGIN_ERROR
    assert diagnosis.reason.endswith("did not come through this connector, so another one with the same token answers")
    assert diagnosis.hint.startswith("stop the connector that runs with the same token on another machine")


def test_the_same_answer_as_the_origins_is_not_blamed_on_another() -> None:
    """Replicas of one service answer alike: that is no reason to speak of them."""
    assert "another" not in diagnose(at_public(Public(404), replace(ORIGIN, status=404), PAST), POLICY).reason


HUNG = replace(ORIGIN, status=None, error="127.0.0.1:8080 accepts the connection but does not answer", silent=True)
CROWDED = {
    "hung": (HUNG, PAST, Verdict.ORIGIN_DOWN),
    "hung, counters not read": (HUNG, UNKNOWN, Verdict.ORIGIN_DOWN),
    "gone": (replace(GONE, listening=False), PAST, Verdict.ORIGIN_DOWN),
    "hangs up": (replace(HUNG, silent=False, error="127.0.0.1:8080 closed the connection"), PAST, Verdict.ORIGIN_DOWN),
    "hung, while others come through": (HUNG, Delivery(reached=True, said=frozenset({200})), Verdict.ORIGIN_DOWN),
    "hung, and others gave up": (HUNG, Delivery(reached=True, failed=True), Verdict.ORIGIN_DOWN),
    "well": (ORIGIN, PAST, Verdict.EDGE_REFUSED),
    "well, and others come through": (ORIGIN, Delivery(reached=True, said=frozenset({200})), Verdict.EDGE_REFUSED),
    "says it itself": (ORIGIN, Delivery(reached=True, said=frozenset({429})), Verdict.ORIGIN_ERROR),
    "not asked": (None, PAST, Verdict.EDGE_REFUSED),
}


@pytest.mark.parametrize(("origin", "delivery", "verdict"), CROWDED.values(), ids=CROWDED)
def test_too_many_requests_in_front_of_a_service_that_does_not_answer_are_its_doing(
    origin: Origin | None, delivery: Delivery, verdict: Verdict
) -> None:
    """Cloudflare lets 200 requests of a quick tunnel wait and refuses the next: it is the service that is to be repaired."""
    for number in (None, 429):
        assert diagnose(at_public(Public(429, edge_error=number), origin, delivery), POLICY).verdict is verdict


FRONTS = {
    "login of Access": Public(302, access=True),
    "refusal of Access": Public(403, access=True),
    "challenge": Public(403, mitigated="challenge"),
    "firewall": Public(403, edge_error=1020),
    "rate limit": Public(429, edge_error=1015, retry_after=120),
    "worker": Public(500, edge_error=1101),
    "block page": Public(403),
}
HANGS_UP = replace(HUNG, silent=False, error="127.0.0.1:8080 closed the connection")


@pytest.mark.parametrize("origin", [GONE, HUNG, HANGS_UP], ids=["gone", "hung", "hangs up"])
@pytest.mark.parametrize("public", FRONTS.values(), ids=FRONTS)
@pytest.mark.parametrize("quick", [True, False], ids=["quick", "named"])
def test_what_stands_in_front_of_a_service_hides_no_fault_of_it(public: Public, origin: Origin, quick: bool) -> None:
    """Access and Cloudflare's rules answer whether the service runs or not; those they let through get an error without it."""
    well = diagnose(at_public(public, ORIGIN, PAST), replace(POLICY, quick=quick))
    assert well.action is Action.NONE
    found = diagnose(at_public(public, origin, PAST), replace(POLICY, quick=quick))
    assert (found.verdict, found.action) == (Verdict.ORIGIN_DOWN, Action.REPORT)
    assert not restart_helps(found.cause)
    assert found.reason == f"{origin.error}; in front of it {well.reason}"
    assert origin.address in found.hint
    assert found.retry_after == well.retry_after, "Cloudflare still asks not to be asked"


@pytest.mark.parametrize(
    "origin",
    [None, ORIGIN, replace(ORIGIN, status=401), replace(ORIGIN, status=503), replace(GONE, unasked=Unasked.AS_SET_UP)],
    ids=["not asked", "well", "wants a login", "fails", "could not be asked"],
)
@pytest.mark.parametrize("public", FRONTS.values(), ids=FRONTS)
def test_a_service_that_answers_or_is_unknown_takes_nothing_from_what_stands_in_front(
    public: Public, origin: Origin | None
) -> None:
    """What the service answers here may be right for one who comes without a login; what is unknown is no fault."""
    assert diagnose(at_public(public, origin, PAST), POLICY).action is Action.NONE


@pytest.mark.parametrize("origin", [GONE, HUNG, HANGS_UP], ids=["gone", "hung", "hangs up"])
def test_a_rejected_service_token_is_told_beside_a_service_that_is_down(origin: Origin) -> None:
    """Both are to be put right: the verdict keeps the setting, the reason names the service, too."""
    found = diagnose(at_public(Public(403, access=True, sent_token=True), origin, PAST), POLICY)
    assert found.verdict is Verdict.ACCESS_REJECTED
    assert found.reason.endswith(f"; besides, {origin.error}")
    assert "CF_ACCESS_CLIENT_ID" in found.hint


def test_too_many_requests_of_which_none_comes_through_are_no_rule_of_a_quick_tunnels() -> None:
    """It has no rules: the requests that wait are an effect of what holds them up, and none is served."""
    assert diagnose(at_public(Public(429), ORIGIN, PAST), replace(POLICY, quick=True)).verdict is Verdict.UNREACHABLE
    others = Delivery(reached=True, said=frozenset({200}))
    some = diagnose(at_public(Public(429), ORIGIN, others), replace(POLICY, quick=True))
    assert (some.verdict, some.action) == (Verdict.EDGE_REFUSED, Action.REPORT), "degraded, and soon looked at again"
    named = Public(429, edge_error=1015)
    assert diagnose(at_public(named, ORIGIN, PAST), replace(POLICY, quick=True)).verdict is Verdict.EDGE_REFUSED


@pytest.mark.parametrize("status", [403, 429])
def test_a_refusal_is_cloudflares_although_other_visitors_come_through(status: int) -> None:
    """The counters move for everyone: a status that the service did not give meanwhile is not the service's."""
    others = Delivery(reached=True, said=frozenset({200, 404}))
    assert diagnose(at_public(Public(status), ORIGIN, others), POLICY).verdict is Verdict.EDGE_REFUSED
    itself = Delivery(reached=True, said=frozenset({200, status}))
    assert diagnose(at_public(Public(status), ORIGIN, itself), POLICY).verdict is Verdict.ORIGIN_ERROR


# ---------------------------------------------------------------------- no network, and connections that seem alive

SILENT = Public(None, "no answer within 1.5 s", silent=True)
OFFLINE = {
    "nothing answers": at_public(SILENT),
    "no way out": at_public(Public(None, "network is unreachable")),
    "the counters stood still": at_public(SILENT, delivery=PAST),
    "the service is down too": at_public(Public(None, "network is unreachable"), GONE),
    "the service is silent too": at_public(SILENT, replace(ORIGIN, status=None, error="no answer", silent=True), REACHED),
}


@pytest.mark.parametrize("evidence", OFFLINE.values(), ids=OFFLINE)
def test_a_url_that_does_not_answer_without_a_network_is_offline(evidence: Evidence) -> None:
    """Cloudflared calls its connections ready for minutes after the cable is out: the network is the cause to tell."""
    assert diagnose(replace(evidence, network_up=False), POLICY).verdict is Verdict.OFFLINE
    for network in (True, None):  # that it cannot be seen is no sign that it is gone
        assert diagnose(replace(evidence, network_up=network), POLICY).verdict is not Verdict.OFFLINE


def test_a_url_that_answers_proves_a_network() -> None:
    """What an answer says counts more than what the table of routes does not show."""
    for public in (Public(200), Public(404), Public(500)):
        assert diagnose(replace(at_public(public), network_up=False), POLICY).verdict is not Verdict.OFFLINE


# ---------------------------------------------------------------------- what the service itself answers

AUTO = replace(POLICY, expect=StatusSet.parse("auto"))


@pytest.mark.parametrize("status", [301, 302, 401, 403, 404, 405, 418])
def test_an_answer_below_500_that_is_the_services_own_is_healthy(status: int) -> None:
    """A webhook receiver's 404 to GET /, a login's redirect, a 401: alike here and in public, so all is well."""
    diagnosis = diagnose(at_public(Public(status), replace(ORIGIN, status=status), REACHED), AUTO)
    assert diagnosis.verdict is Verdict.HEALTHY
    assert diagnosis.reason == f"answers {status} to GET /, as the service itself does"


def test_auto_takes_no_error_no_difference_and_no_way_back_to_loopback_for_health() -> None:
    """500, a status that differs, and a redirect to the visitor's own machine are reported."""
    assert diagnose(at_public(Public(500), replace(ORIGIN, status=500), REACHED), AUTO).verdict is Verdict.ORIGIN_ERROR
    assert diagnose(at_public(Public(404), ORIGIN, REACHED), AUTO).verdict is Verdict.ORIGIN_ERROR
    back = Public(302, location="http://localhost:8080/login")
    diagnosis = diagnose(at_public(back, replace(ORIGIN, status=302), REACHED), AUTO)
    assert diagnosis.verdict is Verdict.ORIGIN_ERROR
    assert "http://localhost:8080/login" in diagnosis.reason
    assert diagnose(at_public(Public(404), replace(ORIGIN, status=404), REACHED), POLICY).verdict is Verdict.ORIGIN_ERROR


# ---------------------------------------------------------------------- a restart must be able to help

QUICK = replace(POLICY, quick=True)
STUCK = replace(DOWN, lost_for=400.0, quiet_for=400.0, next_try_within=320.0, protocol="http2")

WAITED_FOR = {
    "edge away": (STUCK, SHUT),
    "edge not tried": (STUCK, Edge()),
    "still trying": (replace(STUCK, quiet_for=3.0), OPEN),
    "just lost": (replace(STUCK, lost_for=3.0), OPEN),
    "udp away, tcp fine, protocol fixed": (replace(STUCK, protocol="quic"), replace(OPEN, quic=Reach.CLOSED)),
    "refused": (replace(STUCK, turned_away=True, quiet_for=7.0), OPEN),
    "refused, its next try may be minutes away": (replace(STUCK, turned_away=True, quiet_for=200.0, lost_for=200.0), OPEN),
}


@pytest.mark.parametrize(("connector", "edge"), WAITED_FOR.values(), ids=WAITED_FOR)
@pytest.mark.parametrize("quick", [True, False], ids=["quick", "named"])
def test_a_connector_that_can_come_back_is_waited_for(connector: Connector, edge: Edge, quick: bool) -> None:
    """While the edge is away, or cloudflared still tries, the child is kept, and with it the URL."""
    policy = replace(POLICY, quick=quick, protocol_is_free=False)
    diagnosis = diagnose(replace(FINE, connector=connector, edge=edge), policy)
    assert (diagnosis.verdict, diagnosis.action) == (Verdict.EDGE_LOST, Action.WAIT)


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize("protocol", ["quic", "http2"])
def test_a_joined_lab_that_is_gone_is_named(quick: bool, protocol: str) -> None:
    """Of an edge that was another process's lab the words are that the lab is gone, on the way up, too; no restart helps."""
    gone = replace(SHUT, gone_lab="http://127.0.0.1:4")
    for connector, verdict in (
        (replace(STUCK, protocol=protocol), Verdict.EDGE_LOST),
        (replace(STUCK, protocol=protocol, ever_ready=False, age=5), Verdict.STARTING),
        (replace(STUCK, protocol=protocol, turned_away=True, rejected=9), Verdict.EDGE_LOST),
    ):
        found = diagnose(replace(FINE, connector=connector, edge=gone), replace(POLICY, quick=quick))
        assert (found.verdict, found.action) == (verdict, Action.WAIT)
        assert found.reason.startswith("the lab at http://127.0.0.1:4 is gone")
        assert "prx lab" in found.hint


def test_a_stuck_connector_is_replaced_after_its_own_longest_wait() -> None:
    """A quick tunnel's child is replaced once prx's own dial works for longer than cloudflared waits between two tries."""
    for wait, patience in ((320.0, 335), (20.0, 35), (10.0, 25)):
        connector = replace(STUCK, next_try_within=wait)
        for seconds, action in ((patience - 1, Action.WAIT), (patience + 1, Action.REPLACE)):
            edge = replace(OPEN, tcp_open_for=float(seconds))
            assert diagnose(replace(FINE, connector=connector, edge=edge), QUICK).action is action


OVER_QUIC = replace(STUCK, protocol="quic")
REACHED_AGAIN = {
    "http2": (STUCK, replace(OPEN, tcp_open_for=0.0)),
    "http2, on its way up": (replace(STUCK, ever_ready=False), replace(OPEN, tcp_open_for=0.0)),
    "quic": (OVER_QUIC, replace(OPEN, quic=Reach.OPEN, quic_open_for=0.0)),
    "quic, tcp away": (OVER_QUIC, replace(SHUT, quic=Reach.OPEN, quic_open_for=0.0)),
    "waits for 4 s": (replace(STUCK, quiet_for=4.0, lost_for=4.0), OPEN),
}


@pytest.mark.parametrize("age", [10.0, 59.0, 61.0, 9999.0])
@pytest.mark.parametrize("quick", [True, False], ids=["quick", "named"])
def test_without_loopback_no_connector_is_replaced(quick: bool, age: float) -> None:
    """A connector that cannot be asked, because 127.0.0.1 is away, is waited for; the next one could not be asked either."""
    silent = replace(DOWN, answers=False, age=age, silent_for=age, lost_for=age, ever_ready=age > 9000)
    found = diagnose(replace(FINE, connector=silent, edge=OPEN, loopback_up=False), replace(POLICY, quick=quick))
    young = not silent.ever_ready and age < POLICY.startup_timeout
    assert (found.verdict, found.action) == (Verdict.STARTING if young else Verdict.EDGE_LOST, Action.WAIT)
    assert "loopback interface is down" in found.reason
    assert "ip link set lo up" in found.hint


@pytest.mark.parametrize(("connector", "edge"), REACHED_AGAIN.values(), ids=REACHED_AGAIN)
def test_a_named_tunnel_does_not_wait_for_a_connector_that_only_waits(connector: Connector, edge: Edge) -> None:
    """The edge answers over its own protocol and cloudflared waits for its next try: a fresh one costs no URL and dials now."""
    found = diagnose(replace(FINE, connector=connector, edge=edge), POLICY)
    assert (found.verdict, found.action) == (Verdict.EDGE_LOST, Action.REPLACE)
    if connector.ever_ready:
        assert diagnose(replace(FINE, connector=connector, edge=edge), QUICK).action is Action.WAIT


def test_over_quic_tcp_alone_is_no_reason_to_hurry() -> None:
    """An edge that has not answered QUIC packets may be away over UDP: a named tunnel's connector gets half a minute."""
    for quic in (Reach.UNKNOWN, Reach.CLOSED):
        for seconds, action in ((29.0, Action.WAIT), (31.0, Action.REPLACE)):
            edge = replace(OPEN, quic=quic, tcp_open_for=seconds)
            assert diagnose(replace(FINE, connector=OVER_QUIC, edge=edge), POLICY).action is action


@pytest.mark.parametrize(("quick", "patience"), [(False, 4), (True, 10)], ids=["named", "quick"])
def test_a_child_that_is_silent_on_its_own_port_is_replaced(quick: bool, patience: int) -> None:
    """A frozen child cannot come back; since a quick tunnel's restart costs the URL, it may be slow for longer."""
    policy = replace(POLICY, quick=quick)
    for silence, action in ((patience - 1, Action.WAIT), (patience, Action.REPLACE)):
        connector = replace(DOWN, answers=False, silent_for=float(silence))
        diagnosis = diagnose(replace(FINE, connector=connector), policy)
        assert (diagnosis.verdict, diagnosis.action) == (Verdict.EDGE_LOST, action)


GONE_OR_NOT = {
    "told": (replace(DOWN, tunnel_gone_for=0.0), Action.REPLACE_NOW),
    "told a fresh one": (replace(DOWN, ever_ready=False, age=70, tunnel_gone_for=5.0), Action.WAIT),
    "told a fresh one for a minute": (replace(DOWN, ever_ready=False, tunnel_gone_for=60.0), Action.REPLACE),
    "refused after a long outage": (replace(DOWN, rejected=2, rejected_after=50.0), Action.REPLACE_NOW),
    "refused from the start": (replace(DOWN, rejected=2, rejected_for=120.0), Action.WAIT),
    "refused for very long": (replace(DOWN, rejected=9, rejected_for=180.0), Action.REPLACE_NOW),
    "refused once": (replace(DOWN, rejected=1, rejected_after=50.0), Action.WAIT),
    "unauthorized": (replace(DOWN, rejected=9, unauthorized_for=120.0, rejected_for=120.0), Action.WAIT),
}


@pytest.mark.parametrize(("connector", "action"), GONE_OR_NOT.values(), ids=GONE_OR_NOT)
@pytest.mark.parametrize("protocol", ["quic", "http2"])
def test_a_quick_tunnel_that_is_deleted_is_replaced_and_one_that_is_refused_is_not(
    connector: Connector, action: Action, protocol: str
) -> None:
    """Cloudflare forgets quick tunnels: then a new one is asked for. An incident is waited for; no token is blamed."""
    diagnosis = diagnose(replace(FINE, connector=replace(connector, protocol=protocol)), QUICK)
    assert (diagnosis.verdict, diagnosis.action) == (Verdict.EDGE_LOST, action)


@pytest.mark.parametrize(
    ("dns", "action"),
    [
        (Dns(DnsState.MISSING), Action.REPLACE_NOW),
        (Dns(DnsState.UNKNOWN), Action.WAIT),
        (KNOWN, Action.WAIT),
        (None, Action.WAIT),
    ],
    ids=["gone", "not known", "there", "not asked"],
)
def test_a_refused_quick_tunnel_whose_name_is_gone_is_deleted(dns: Dns | None, action: Action) -> None:
    """Over QUIC no reason is logged; public DNS tells what the edge does not. A resolver that does not answer tells nothing."""
    refused = replace(DOWN, rejected=2, protocol="quic")
    assert diagnose(replace(FINE, connector=refused, dns=dns), QUICK).action is action
    assert diagnose(replace(FINE, connector=replace(refused, rejected=0), dns=dns), QUICK).action is Action.WAIT


@pytest.mark.parametrize(("quick", "patience"), [(False, 30), (True, 180)], ids=["named", "quick"])
def test_quic_that_is_blocked_later_is_given_up_after_a_while(quick: bool, patience: int) -> None:
    """UDP that worked may come back; a quick tunnel waits until its URL is dead anyway, a named one changes to HTTP/2 soon."""
    policy = replace(POLICY, quick=quick)
    for seconds, action in ((patience - 1, Action.WAIT), (patience, Action.REPLACE)):
        lost = replace(DIALS, lost_for=float(seconds), quiet_for=1.0)
        for quic in (Reach.CLOSED, Reach.UNKNOWN):
            edge = replace(OPEN, tcp_open_for=float(seconds), quic=quic)
            diagnosis = diagnose(replace(FINE, connector=lost, edge=edge), policy)
            assert (diagnosis.verdict, diagnosis.action) == (Verdict.EDGE_LOST, action)
        both = replace(OPEN, quic=Reach.OPEN, tcp_open_for=float(seconds), quic_open_for=1.0)
        assert diagnose(replace(FINE, connector=lost, edge=both), policy).action is Action.WAIT
        fixed = replace(policy, protocol_is_free=False)
        assert diagnose(replace(FINE, connector=lost, edge=replace(OPEN, quic=Reach.CLOSED)), fixed).action is Action.WAIT


def test_quic_that_fails_for_another_reason_is_told_with_it() -> None:
    """A build that cannot speak QUIC is not called a blocked port; HTTP/2 helps it all the same."""
    connector = replace(DIALS, ever_ready=False, quic_blocked=False, last_error="unsupported curve")
    diagnosis = diagnose(replace(FINE, connector=connector, edge=OPEN), POLICY)
    assert (diagnosis.verdict, diagnosis.action) == (Verdict.UDP_BLOCKED, Action.SWITCH_PROTOCOL)
    assert diagnosis.reason == "QUIC cannot be used: unsupported curve"
    fixed = replace(POLICY, protocol_is_free=False)
    assert diagnose(replace(FINE, connector=connector, edge=OPEN), fixed).action is Action.REPORT


def test_a_url_that_cannot_be_proven_from_here_is_told_as_such_after_a_minute() -> None:
    """If no resolver answers, a working tunnel is reported, and that it is not proven."""
    for age, told in ((59, False), (61, True)):
        evidence = replace(FINE, connector=replace(UP, age=age), dns=Dns(DnsState.UNKNOWN), public=None)
        diagnosis = diagnose(evidence, POLICY)
        assert (diagnosis.verdict, diagnosis.publish_unproven) == (Verdict.DNS_PENDING, told)
        assert "key doh" in diagnosis.hint


CONNECTORS = st.builds(
    Connector,
    age=st.floats(0, 1e6),
    answers=st.booleans(),
    ready=st.integers(0, 4),
    ever_ready=st.booleans(),
    protocol=st.sampled_from(["", "quic", "http2"]),
    quic_dial_failures=st.integers(0, 5),
    quic_blocked=st.booleans(),
    silent_for=st.floats(0, 1e4),
    lost_for=st.floats(0, 1e4),
    quiet_for=st.floats(0, 1e4),
    unauthorized_for=st.none() | st.floats(0, 1e4),
    tunnel_gone_for=st.none() | st.floats(0, 1e4),
    rejected=st.integers(0, 3),
    rejected_for=st.floats(0, 1e4),
    rejected_after=st.floats(0, 1e4),
    last_error=st.text(max_size=5),
)
WHY_NOT = st.sampled_from([Unasked.FOR_NOW, Unasked.AS_SET_UP])
EVIDENCE = st.builds(
    Evidence,
    at=st.just(0.0),
    url=st.sampled_from(["", "https://x"]),
    exit=st.none() | st.builds(ended, st.sampled_from(ExitCause)),
    connector=st.none() | CONNECTORS,
    network_up=st.none() | st.booleans(),
    route_mismatch=st.sampled_from(["", "elsewhere"]),
    exposed=st.sampled_from(["", "strangers get in"]),
    delivery=st.builds(Delivery, st.none() | st.booleans(), st.frozensets(st.integers(100, 599), max_size=2), st.booleans()),
    strays=st.sampled_from(["", "leads elsewhere"]),
    edge=st.none() | st.builds(Edge, st.sampled_from(Reach), st.sampled_from(Reach), st.floats(0, 1e4), st.floats(0, 1e4)),
    origin=st.none()
    | st.builds(Origin, st.just("a:1"), st.booleans(), st.none() | st.integers(100, 599), st.text(max_size=3))
    | st.builds(Origin, st.just("a:1"), st.just(False), error=st.just("not asked"), unasked=WHY_NOT),
    dns=st.none() | st.builds(Dns, st.sampled_from(DnsState)) | st.builds(Dns, st.just(DnsState.UNKNOWN), unasked=WHY_NOT),
    public=st.none()
    | st.builds(Public, st.none(), error=st.just("not asked"), unasked=WHY_NOT)
    | st.builds(
        Public,
        st.none() | st.integers(100, 599),
        access=st.booleans(),
        host_blocked=st.text(max_size=2),
        edge_error=st.none() | st.integers(1000, 1110),
        mitigated=st.sampled_from(["", "challenge"]),
        by_cloudflare=st.booleans(),
        location=st.sampled_from(["", "http://localhost/", "http://[", "/x"]),
    ),
)


@given(EVIDENCE, st.booleans(), st.booleans(), st.sampled_from(["2xx", "auto", "404"]))
def test_any_evidence_gets_one_verdict(evidence: Evidence, free: bool, quick: bool, expect: str) -> None:
    """The function is total: odd combinations of facts never raise, and always give a reason; no restart without a cause."""
    policy = replace(POLICY, protocol_is_free=free, quick=quick, expect=StatusSet.parse(expect))
    diagnosis = diagnose(evidence, policy)
    assert diagnosis.verdict in ACTIONS
    assert diagnosis.reason
    assert diagnosis.action not in RESTARTING or restart_helps(diagnosis.cause)
    assert evidence.delivery.reached is not True or diagnosis.action is not Action.COUNT
    public, origin = evidence.public, evidence.origin
    if public is not None and public.unasked and (origin is None or origin.unasked):  # nothing was seen of either
        assert diagnosis.verdict not in {Verdict.ORIGIN_DOWN, Verdict.ORIGIN_ERROR, Verdict.HEALTHY}


@pytest.mark.parametrize(
    ("rejected", "quick", "said"),
    [
        (replace(DOWN, unauthorized_for=12.0), False, True),
        (replace(DOWN, tunnel_gone_for=1.0), False, True),
        (DOWN, False, False),
        (replace(DOWN, unauthorized_for=12.0), True, False),
    ],
)
def test_a_rejected_token_is_said_before_it_is_given_up(rejected: Connector, quick: bool, said: bool) -> None:
    """While the edge rejects the token of a start, the operator reads that, and when prx gives up."""
    connector = replace(rejected, age=20, ever_ready=False, worked=False, last_error="Unauthorized")
    diagnosis = diagnose(replace(FINE, connector=connector, url="", dns=None, public=None), replace(POLICY, quick=quick))
    assert diagnosis.verdict is Verdict.STARTING
    assert ("prx gives up if it does so for 60 s" in diagnosis.hint) is said


@pytest.mark.parametrize(
    ("seconds", "worked", "action"),
    [(60.0, True, Action.REPORT), (599.0, True, Action.REPORT), (600.0, True, Action.FAIL), (60.0, False, Action.FAIL)],
)
def test_a_token_that_has_worked_is_told_and_waited_for(seconds: float, worked: bool, action: Action) -> None:
    """An incident at the edge of two minutes is outlived by cloudflared: the verdict stands after 60 s, the end comes later."""
    connector = replace(DOWN, unauthorized_for=seconds, ever_ready=worked, worked=worked, age=900)
    diagnosis = diagnose(replace(FINE, connector=connector), POLICY)
    assert (diagnosis.verdict, diagnosis.action) == (Verdict.AUTH_REJECTED, action)


@pytest.mark.parametrize(
    ("public", "delivery", "verdict"),
    [
        (Public(None, "timeout"), UNKNOWN, Verdict.OFFLINE),
        (Public(502), PAST, Verdict.OFFLINE),
        (Public(530, edge_error=1033), PAST, Verdict.OFFLINE),
        (Public(530, edge_error=1033), UNKNOWN, Verdict.OFFLINE),
        (Public(504), UNKNOWN, Verdict.OFFLINE),
        (Public(200), REACHED, Verdict.HEALTHY),
        (Public(200), UNKNOWN, Verdict.HEALTHY),
        (Public(502), REACHED, Verdict.ORIGIN_DOWN),
    ],
)
def test_without_a_network_the_edges_own_errors_are_no_news(public: Public, delivery: Delivery, verdict: Verdict) -> None:
    """An edge that can still be asked says that the connector is gone; nothing but the network is to blame."""
    seen = replace(at_public(public, replace(ORIGIN, status=None, error="closed"), delivery), network_up=False)
    assert diagnose(seen, POLICY).verdict is verdict


@pytest.mark.parametrize(
    ("network_for", "policy", "public", "delivery", "action"),
    [
        (2.0, POLICY, Public(530, edge_error=1033), PAST, Action.REPLACE_NOW),
        (60.0, POLICY, Public(530), PAST, Action.REPLACE_NOW),
        (179.9, POLICY, Public(530, edge_error=1033), PAST, Action.REPLACE_NOW),
        (180.0, POLICY, Public(530, edge_error=1033), PAST, Action.COUNT),
        (1.9, POLICY, Public(530, edge_error=1033), PAST, Action.COUNT),
        (None, POLICY, Public(530, edge_error=1033), PAST, Action.COUNT),
        (60.0, QUICK, Public(530, edge_error=1033), PAST, Action.COUNT),
        (60.0, POLICY, Public(530, edge_error=1016), PAST, Action.REPORT),
        (60.0, POLICY, Public(530, edge_error=1033), UNKNOWN, Action.REPORT),
    ],
    ids=[
        "back",
        "for a minute",
        "for long",
        "outlived",
        "just back",
        "never away",
        "the price is a URL",
        "the record",
        "not known",
    ],
)
def test_connections_of_a_former_network_are_not_waited_for(
    network_for: float | None, policy: Policy, public: Public, delivery: Delivery, action: Action
) -> None:
    """A client notices a dead connection after up to 150 s; the edge knows it before, and a fresh one costs no URL."""
    evidence = replace(
        at_public(replace(public, by_cloudflare=True), ORIGIN, delivery), connector=replace(UP, network_for=network_for)
    )
    assert diagnose(evidence, policy).action is action


HANGS = Origin(
    "127.0.0.1:8080",
    listening=True,
    error="127.0.0.1:8080 does not answer within 10 s",
    hint="if /report is slow, set health_check_path to a faster one, or health_check_timeout_secs higher",
    silent=True,
)


@pytest.mark.parametrize(
    "public",
    [Public(None, "timeout", silent=True), Public(502), Public(504), Public(524), Public(520), Public(429)],
    ids=["no answer", "502", "504", "524", "520", "429"],
)
@pytest.mark.parametrize("origin", [HANGS, replace(HANGS, hint="")], ids=["with its path", "without"])
def test_what_helps_a_slow_service_is_said_once(public: Public, origin: Origin) -> None:
    """Whatever visitors get: the reason says what was seen, the hint what to do, and neither repeats the other."""
    found = diagnose(at_public(public, origin, replace(REACHED, said=frozenset())), POLICY)
    assert found.verdict is Verdict.ORIGIN_DOWN
    assert "slow" not in found.reason
    assert (found.hint.count("slow"), found.hint.count("health_check_timeout_secs")) == (1, 1)
    assert ("/report" in found.hint) is bool(origin.hint)
