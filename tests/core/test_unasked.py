"""What prx itself could not ask, and what is known not to be the service's: neither is ever called the service's fault."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.core.test_diagnosis import AUTO, GONE, ORIGIN, PAST, POLICY, QUICK, REACHED, UNKNOWN, UP, at_public
from tests.core.test_words_of_backends import WATCHED, watched

from prx.core.causes import Cause
from prx.core.damping import FailureCounter
from prx.core.diagnosis import diagnose
from prx.core.evidence import Delivery, Origin, Public, Unasked
from prx.core.policy import Policy
from prx.core.remedies import RemedyChoice
from prx.core.sightings import describe
from prx.core.states import MachineSettings
from prx.core.verdicts import BLUNT, Action, Diagnosis, Verdict

MINE = Origin("127.0.0.1:8443", False, error="origin_ca: no PEM", hint="set origin_ca", unasked=Unasked.AS_SET_UP)
BLIND = Public(None, "the CA file cannot be used", by_cloudflare=False, unasked=Unasked.AS_SET_UP)
OTHERS = Delivery(reached=True, said=frozenset({200}), answered=True)


def said(status: int) -> Delivery:
    """Return the passage of a request that the service has answered with `status`."""
    return Delivery(reached=True, said=frozenset({status}), answered=True)


# ---------------------------------------------------------------------- the service was not asked

NOT_DOWN = {
    "it answers visitors": (Public(404), said(404), Verdict.ORIGIN_ERROR),
    "it answers visitors 500": (Public(500), said(500), Verdict.ORIGIN_ERROR),
    "it says 502 itself": (Public(502), said(502), Verdict.ORIGIN_ERROR),
    "it refuses the host name": (Public(403, host_blocked="no"), said(403), Verdict.ORIGIN_ERROR),
    "nothing is known": (Public(None, "timeout"), UNKNOWN, Verdict.UNREACHABLE),
    "nothing came": (Public(None, "timeout"), PAST, Verdict.UNREACHABLE),
    "the edge knows no connector": (Public(530, edge_error=1033), PAST, Verdict.UNREACHABLE),
    "502 past the connector": (Public(502), PAST, Verdict.UNREACHABLE),
    "a limit": (Public(429), PAST, Verdict.EDGE_REFUSED),
    "prx is blind": (BLIND, UNKNOWN, Verdict.UNREACHABLE),
}


@pytest.mark.parametrize(("public", "delivery", "verdict"), NOT_DOWN.values(), ids=NOT_DOWN)
def test_a_service_that_prx_cannot_ask_is_not_called_down(public: Public, delivery: Delivery, verdict: Verdict) -> None:
    """That a setting keeps prx from asking is no silence of the service's, least of all of one that visitors get answers of."""
    assert diagnose(at_public(public, MINE, delivery), POLICY).verdict is verdict


def test_what_keeps_prx_from_asking_is_told_beside_what_visitors_get() -> None:
    """The reason claims no other answer here, and the hint is about prx's own trouble."""
    found = diagnose(at_public(Public(404), MINE, said(404)), AUTO)
    assert found.reason == (
        "the service answers 404 to visitors; the same answer is expected, and prx itself cannot ask it: origin_ca: no PEM"
    )
    assert found.hint == MINE.hint


@pytest.mark.parametrize("delivery", [UNKNOWN, REACHED], ids=["counters not read", "came through"])
def test_what_keeps_prx_from_asking_explains_the_connectors_own_error(delivery: Delivery) -> None:
    """The connector reads the same file: that it gets no connection either is what visitors see."""
    found = diagnose(at_public(Public(502), MINE, delivery), POLICY)
    assert (found.verdict, found.hint) == (Verdict.ORIGIN_DOWN, MINE.hint)
    assert found.reason.startswith(MINE.error)


def test_a_connector_that_says_what_it_lacks_is_believed_though_prx_cannot_ask() -> None:
    """Its own words are about this very request; a setting of prx's is not."""
    evidence = replace(at_public(Public(502), MINE, REACHED), connector=replace(UP, lacks="too many open files"))
    found = diagnose(evidence, POLICY)
    assert (found.verdict, found.cause) == (Verdict.UNREACHABLE, Cause.MACHINE)
    assert "prx itself cannot ask it (origin_ca: no PEM)" in found.reason


# ---------------------------------------------------------------------- the URL was not asked

BLINDS = {
    "the service is well": (ORIGIN, Verdict.UNREACHABLE),
    "the service was not asked either": (MINE, Verdict.UNREACHABLE),
    "a stream of events": (replace(ORIGIN, event_stream=True), Verdict.UNREACHABLE),
    "the service fails": (replace(ORIGIN, status=503), Verdict.UNREACHABLE),
    "the service is down": (GONE, Verdict.ORIGIN_DOWN),
    "the service hangs": (replace(ORIGIN, status=None, error="no answer", silent=True), Verdict.ORIGIN_DOWN),
}


@pytest.mark.parametrize(("origin", "verdict"), BLINDS.values(), ids=BLINDS)
@pytest.mark.parametrize("policy", [POLICY, QUICK, AUTO], ids=["named", "quick", "auto"])
def test_a_url_that_prx_cannot_ask_is_no_silence(origin: Origin, verdict: Verdict, policy: Policy) -> None:
    """What was never sent is no question that the other side has not answered, and nothing is restarted for it."""
    evidence = at_public(BLIND, origin)
    found = diagnose(evidence, policy)
    assert (found.verdict, found.action) == (verdict, Action.REPORT)
    if verdict is Verdict.UNREACHABLE:
        assert found.reason == "prx itself cannot ask the public URL: the CA file cannot be used"
        assert found.cause is Cause.SETTING
    assert dict(describe(evidence))["public URL"] == "could not be asked: the CA file cannot be used"


# ---------------------------------------------------------------------- another has answered

ANOTHERS = {
    "a Worker that fails": (Public(500, edge_error=1101), Verdict.EDGE_REFUSED, "error 1101"),
    "a Worker over its limit": (Public(503, edge_error=1102), Verdict.EDGE_REFUSED, "error 1102"),
    "a challenge with 503": (Public(503, mitigated="challenge"), Verdict.EDGE_REFUSED, "challenge"),
    "an address that is banned": (Public(409, edge_error=1006), Verdict.EDGE_REFUSED, "error 1006"),
    "another connector": (Public(410), Verdict.ORIGIN_ERROR, "another one with the same token answers"),
    "another connector that fails": (Public(500), Verdict.ORIGIN_ERROR, "did not come through this connector"),
    "the record": (Public(530, edge_error=1016), Verdict.ROUTE_MISMATCH, "DNS record"),
    "another server": (Public(404, by_cloudflare=False), Verdict.ROUTE_MISMATCH, "does not lead to Cloudflare"),
}


@pytest.mark.parametrize(("public", "verdict", "words"), ANOTHERS.values(), ids=ANOTHERS)
@pytest.mark.parametrize("delivery", [PAST, OTHERS], ids=["nobody else comes", "others are answered"])
def test_what_the_service_has_not_said_is_not_laid_upon_it(
    public: Public, verdict: Verdict, words: str, delivery: Delivery
) -> None:
    """That visitors come through meanwhile, and all get another answer, makes this one no more the service's than silence."""
    found = diagnose(at_public(public, ORIGIN, delivery), POLICY)
    assert found.verdict is verdict
    assert words in found.reason
    assert "the service answers" not in found.reason


@pytest.mark.parametrize("public", [case[0] for case in ANOTHERS.values()], ids=ANOTHERS)
def test_what_the_service_has_said_is_its_own(public: Public) -> None:
    """An answer that the connector has counted came from behind it, whatever is written on the page."""
    assert public.status is not None
    found = diagnose(at_public(public, ORIGIN, said(public.status)), POLICY)
    assert found.verdict is Verdict.ORIGIN_ERROR
    assert "the service answers" in found.reason


# ---------------------------------------------------------------------- nothing is known of another program's tunnel


def test_the_tunnel_of_another_program_is_never_called_fine_for_a_service_that_is_down() -> None:
    """Of prx's own it is said in the same words otherwise."""
    own = replace(WATCHED, watched=False)
    reasons = {}
    for evidence in watched():
        found = diagnose(evidence, WATCHED)
        if found.verdict is Verdict.ORIGIN_DOWN:
            reasons[found.reason] = diagnose(evidence, own).reason
    fine = " (the tunnel is fine)"
    assert sum(told.endswith(fine) for told in reasons.values()) >= 4
    assert {reason: told.removesuffix(fine) for reason, told in reasons.items()} == {reason: reason for reason in reasons}


@pytest.mark.parametrize(("age", "told"), [(59, False), (61, True)])
def test_a_url_that_a_setting_keeps_prx_from_is_given_out_unproven_after_a_minute(age: float, told: bool) -> None:
    """A tunnel that may well work is reported, and that it is not proven."""
    found = diagnose(replace(at_public(BLIND), connector=replace(UP, age=age)), POLICY)
    assert (found.verdict, found.publish_unproven) == (Verdict.UNREACHABLE, told)


@pytest.mark.parametrize("cause", [Cause.SETTING, Cause.MACHINE])
@pytest.mark.parametrize("verdict", sorted(BLUNT))
@pytest.mark.parametrize("remedy", [None, Action.WAIT])
def test_what_prx_could_not_ask_restarts_nothing_even_with_any(cause: Cause, verdict: Verdict, remedy: Action | None) -> None:
    """With health_check_restart = "any" wrong answers count, not what was never asked."""
    found = Diagnosis(verdict, "why", because=cause, remedy=remedy)
    choice = RemedyChoice(FailureCounter())
    settings = MachineSettings(restart_on_any=True, max_failures=1)
    assert choice.choose(0.0, found, settings, other_protocol=True) is found.action
