"""Judge what the public URL answered: Cloudflare, the way to the connector, or the service behind it.

Theory of operation. A status number says little: 502 may come from the service, from cloudflared or from the edge. The
connector's counters decide. If it passed on a request while the URL was asked, then edge and connector have done their work:
the service said it (`origin_error`), or did not answer well (`origin_down`), and no restart helps. If its counters stood still,
the request ended before: at Cloudflare's own rules (`edge_refused`), at a record that leads elsewhere (`route_mismatch`), or at
an edge that does not know the connector (`unreachable`). If they could not be read, nothing of this is known, and nothing is
restarted.
"""

from __future__ import annotations

from dataclasses import replace

from prx.core.causes import Cause
from prx.core.evidence import Evidence, Origin, Public, Reach, Unasked
from prx.core.judge_shortage import judge_shortage
from prx.core.judge_unusable import SLOW_HINT, is_broken_off, judge_unusable, redirect_to_nowhere, service_down, service_hint
from prx.core.policy import Policy
from prx.core.status_codes import CONNECTORS_OWN, EDGE_ERRORS, RULE_STATUSES
from prx.core.verdicts import Action, Diagnosis, Verdict

# Cloudflare's edge answers with these in its own name when it cannot get an answer through the tunnel:

# "The edge has no connector for this tunnel" (Cloudflare's documentation of 1xxx errors).
NO_CONNECTOR = 1033

# The record, not a rule, is at fault: 1000 (prohibited address), 1001 (name not found), 1004 (not set up), 1014 (CNAME of
# another account), 1016 (origin's name not found), 1018 (not on this account), 1023 (not found) (same source).
RECORD_ERRORS = frozenset({1000, 1001, 1004, 1014, 1016, 1018, 1023})

# An edge that answers 1033 knows no connection of this connector, which believes that it has some. cloudflared notices a dead
# connection within 150 s over TCP (keep-alive of its runtime: 10 probes of 15 s) and 5 s over QUIC; a restart helps after that.
STALE_NAMED = 180.0  # seconds
STALE_IN_NETWORK = 2.0  # seconds since the network is back: the connections of before are known to be dead
STALE_QUICK = 600.0  # seconds; its URL is lost with the restart, and Cloudflare may route the name again at any moment

_WORKER_ERRORS = range(1100, 1106)
_WORKER_HINT = "a Worker in front of the name fails: see its logs in the dashboard"
_REFUSED_HINT = "Cloudflare's bot or firewall rules stop prx's probe: Security, Events in the dashboard names the rule"
_TWIN_HINT = "stop the connector that runs with the same token on another machine, or give each machine a tunnel of its own"
_RECORD_HINT = "make its DNS record a proxied CNAME (orange cloud) to TUNNEL-ID.cfargotunnel.com"


def judge_answer(evidence: Evidence, policy: Policy) -> Diagnosis:
    """Return what the answer of the public URL means; total."""
    public = evidence.public
    if public is None:
        return Diagnosis(Verdict.STARTING, "the public URL was not asked yet")
    diagnosis = (
        _judge_stray(public, evidence)
        or _judge_crowd(public, evidence, policy)
        or _judge_refusal(public, evidence)
        or _judge_expected(public, evidence, policy)
        or judge_shortage(public, evidence)
        or _judge_absence(public, evidence, policy)
        or _judge_service(public, evidence, policy)
        or _judge_way(public, evidence, policy)
    )
    return _with_pause(diagnosis, public)


def _with_pause(diagnosis: Diagnosis, public: Public) -> Diagnosis:
    """Take over for how long Cloudflare asks prx to stay away.

    An edge that only fails has no reason to be spared, and a service says that to its visitors: prx's checks go on, as
    nothing would be noticed meanwhile.
    """
    refused = diagnosis.verdict is Verdict.EDGE_REFUSED
    crowded = public.status == 429 and diagnosis.verdict not in {Verdict.HEALTHY, Verdict.ORIGIN_ERROR}
    if public.retry_after is None or not (refused or crowded):
        return diagnosis
    return replace(diagnosis, retry_after=float(public.retry_after))


# ---------------------------------------------------------------------- the record


def _judge_stray(public: Public, evidence: Evidence) -> Diagnosis | None:
    """Judge a name whose addresses are not Cloudflare's, if nothing that came back says otherwise."""
    if not evidence.strays or evidence.delivery.reached or (public.status is not None and public.by_cloudflare):
        return None
    if public.status is not None and evidence.delivery.reached is None:
        return None
    return Diagnosis(Verdict.ROUTE_MISMATCH, evidence.strays, _RECORD_HINT, because=Cause.RECORD)


# ---------------------------------------------------------------------- Cloudflare itself


def _judge_crowd(public: Public, evidence: Evidence, policy: Policy) -> Diagnosis | None:
    """Judge a 429 that is an effect: so many requests are under way that Cloudflare refuses more (a quick tunnel: 200).

    Either the service does not answer them, or they do not come through. A quick tunnel has no rules that could limit a rate.
    """
    origin = evidence.origin
    if public.status != 429 or public.edge_error not in {None, 429} or public.mitigated or not _is_anothers(public, evidence):
        return None
    if origin is not None and origin.gives_no_answer:
        reason = f"{origin.error}; so many requests wait for it that Cloudflare refuses more (429)"
        return Diagnosis(Verdict.ORIGIN_DOWN, reason, service_hint(origin))
    if not policy.quick or not public.by_cloudflare or origin is None:
        return None
    reason = "the public URL answers 429: too many requests are under way through this quick tunnel"
    hint = "Cloudflare allows 200 at a time; a named tunnel has no such limit"
    if evidence.delivery.reached is False:
        return Diagnosis(Verdict.UNREACHABLE, f"{reason}, and none comes through", hint)
    return Diagnosis(Verdict.EDGE_REFUSED, reason, hint, remedy=Action.REPORT)  # checked again soon: it may be over


def _is_anothers(public: Public, evidence: Evidence) -> bool:
    """Return whether the service is known not to have given this answer, though visitors' requests may have come through."""
    return not evidence.delivery.reached or public.status not in evidence.delivery.said


def _judge_refusal(public: Public, evidence: Evidence) -> Diagnosis | None:
    """Judge an answer that Cloudflare sends of its own accord: a challenge, a firewall rule, a limit, a Worker that fails."""
    if _came_through(public, evidence) or not public.by_cloudflare:
        return None
    status, number = public.status, public.edge_error
    if public.mitigated:
        words = f"Cloudflare answers prx's probe with a {public.mitigated} ({status})"
    elif number is not None and number != NO_CONNECTOR and number not in RECORD_ERRORS:
        words = f"Cloudflare refuses prx's probe ({status}, error {number})"
    elif _refuses_by_status(evidence, public):
        words = f"Cloudflare refuses prx's probe ({status}); it did not reach the connector"
    else:
        return None
    hint = _WORKER_HINT if number in _WORKER_ERRORS else _REFUSED_HINT
    return Diagnosis(Verdict.EDGE_REFUSED, words, hint, publish_unproven=True)


def _came_through(public: Public, evidence: Evidence) -> bool:
    """Return whether this answer may have come through the connector: something has, and the service is not known to differ."""
    said = evidence.delivery.said
    return bool(evidence.delivery.reached) and (not said or public.status in said)


def _refuses_by_status(evidence: Evidence, public: Public) -> bool:
    """Return whether a rule of Cloudflare's must have answered: 403 or 429, and no connector saw the request."""
    origin = evidence.origin
    said = evidence.delivery.said
    through = evidence.delivery.reached is not False and (not said or public.status in said)
    if through or public.access or public.host_blocked:
        return False
    alike = origin is not None and origin.status == public.status
    return public.status in RULE_STATUSES and not alike


# ---------------------------------------------------------------------- as it should be


def _judge_expected(public: Public, evidence: Evidence, policy: Policy) -> Diagnosis | None:
    origin = evidence.origin
    if public.host_blocked or _wants_tls(public, origin) or is_broken_off(public, evidence):
        return None  # old webpack refuses a host name with status 200
    if public.status in policy.expect:
        return Diagnosis(Verdict.HEALTHY, f"the public URL answers {public.status}")
    if not policy.expect.as_the_service or origin is None or public.status is None or origin.error:
        return None
    if public.status != origin.status or public.status >= 500 or redirect_to_nowhere(public, evidence, policy):
        return None
    return Diagnosis(Verdict.HEALTHY, f"answers {public.status} to GET {policy.path}, as the service itself does")


def _wants_tls(public: Public, origin: Origin | None) -> bool:
    """Return whether the service answers plain HTTP only to say that it speaks TLS, and does."""
    return public.wants_tls and origin is not None and bool(origin.error)


# ---------------------------------------------------------------------- the service


def _judge_absence(public: Public, evidence: Evidence, policy: Policy) -> Diagnosis | None:
    """Judge a service that does not even take a connection here.

    What keeps prx itself from asking may keep the connector from it as well, if that answers in its own name; else it says
    nothing of the service.
    """
    origin = evidence.origin
    if origin is None or origin.listening:
        return None
    if origin.unasked and not _is_connectors_own(public, evidence):
        return None
    reason = origin.error or f"no answer from {origin.address}"
    nameless = "does not know the name" in origin.error
    hint = origin.hint or (f"is {origin.address} the right address?" if nameless else f"start the service on {origin.address}")
    if evidence.delivery.reached is False and public.status != 502:
        seen = _answer_words(public)
        return Diagnosis(Verdict.ORIGIN_DOWN, f"{reason}; besides, visitors do not reach the connector ({seen})", hint)
    return service_down(reason, hint, policy)


def _is_connectors_own(public: Public, evidence: Evidence) -> bool:
    """Return whether the connector may have answered in its own name that it gets no connection to the service."""
    delivery = evidence.delivery
    return public.status == CONNECTORS_OWN and delivery.reached is not False and public.status not in delivery.said


def _judge_service(public: Public, evidence: Evidence, policy: Policy) -> Diagnosis | None:
    """Judge an answer, or a silence, that is the service's own."""
    origin, delivery = evidence.origin, evidence.delivery
    if (unusable := judge_unusable(public, evidence, policy)) is not None:
        return unusable
    if public.host_blocked:
        return Diagnosis(
            Verdict.ORIGIN_ERROR,
            f"the service refuses the public host name: {public.host_blocked}",
            "allow the host name in the framework's settings (Vite: server.allowedHosts, Django: ALLOWED_HOSTS)",
        )
    if public.status is None:
        return _judge_silence(public, evidence, policy)
    alike = origin is not None and public.status == origin.status
    if alike and not (delivery.reached is False and public.status in EDGE_ERRORS and public.edge_error):
        assert origin is not None
        if origin.error:  # what it answers is not its real answer
            return Diagnosis(Verdict.ORIGIN_ERROR, f"{origin.error} (the tunnel is fine)", "set local_addr to that")
        return Diagnosis(
            Verdict.ORIGIN_ERROR,
            f"{origin.address} itself answers {origin.status}, {policy.expect.text} is expected (the tunnel is fine)",
            "if that answer is right, set health_check_path or health_check_expect",
        )
    if _went_past(public, evidence):
        return None
    if _connector_failed(public, evidence):
        return _bad_answer(public, origin, policy)
    if delivery.reached or public.status not in EDGE_ERRORS:
        return _differs(public, origin, policy)
    return None


def _went_past(public: Public, evidence: Evidence) -> bool:
    """Return whether the service is known not to have given this answer: nothing came, or all that came got others."""
    delivery = evidence.delivery
    return delivery.reached is False or (delivery.answered and public.status not in delivery.said)


def _connector_failed(public: Public, evidence: Evidence) -> bool:
    """Return whether cloudflared itself answered 502, because the service did not answer it well."""
    delivery, origin = evidence.delivery, evidence.origin
    if delivery.reached and public.status in {502, 504} and public.status not in delivery.said:
        return True
    return public.status == 502 and origin is not None and origin.gives_no_answer


def _bad_answer(public: Public, origin: Origin | None, policy: Policy) -> Diagnosis:
    if origin is not None and origin.gives_no_answer:
        return service_down(origin.error, service_hint(origin), policy)
    address = origin.address if origin is not None else "the service"
    here = f", and answers {origin.status} here" if origin is not None and origin.status else ""
    if origin is not None and origin.broken_off:
        here += " and breaks off"
    return service_down(
        f"{address} does not answer the connector well: visitors get {public.status}{here}",
        "the service breaks off, or answers something that is not HTTP; `prx logs` has the connector's own words",
        policy,
    )


def _differs(public: Public, origin: Origin | None, policy: Policy) -> Diagnosis:
    expected = "the same answer" if policy.expect.as_the_service else policy.expect.text
    if origin is not None and origin.unasked:
        reason = f"the service answers {public.status} to visitors; {expected} is expected, and prx itself cannot ask it"
        return Diagnosis(Verdict.ORIGIN_ERROR, f"{reason}: {origin.error}", origin.hint)
    here = f"{origin.status} here" if origin is not None and origin.status else "differently here"
    return Diagnosis(
        Verdict.ORIGIN_ERROR,
        f"the service answers {public.status} to visitors and {here}; {expected} is expected",
        "the service treats the public host name or a visitor's address differently",
    )


def _judge_silence(public: Public, evidence: Evidence, policy: Policy) -> Diagnosis | None:
    """Judge a request that got no answer at all, as far as the service may be the reason."""
    origin, delivery = evidence.origin, evidence.delivery
    if origin is not None and origin.event_stream and delivery.reached is not False and not public.unasked:
        return Diagnosis(
            Verdict.ORIGIN_ERROR,
            "the service answers with a stream of events, which a quick tunnel holds back to its end",
            "set health_check_path to a page that ends; for streams use a named tunnel, or POST",
        )
    if delivery.reached is False and not (origin is not None and origin.silent):
        return None
    if origin is not None and origin.gives_no_answer:
        return service_down(origin.error, service_hint(origin, slow=True), policy)
    if public.unasked or not delivery.reached or delivery.answered:
        return None
    here = f", and answers {origin.status} here" if origin is not None and origin.status else ""
    waited = f" within {public.waited:.2g} s" if public.waited else ""
    return service_down(f"the service does not answer visitors of {evidence.url}{waited}{here}", SLOW_HINT, policy)


# ---------------------------------------------------------------------- the way to the connector


def _past_the_connector(policy: Policy, *, by_edge: bool) -> tuple[str, str]:
    """Return who may have answered a request that did not come through the connector, and what helps against it.

    by_edge: the edge makes such an answer by itself, as it does when it has lost the connector in mid-request. A quick tunnel
    has one connector, and no other program has its credentials.
    """
    if policy.quick:
        return "the request did not come through the connector, so the edge answers by itself", ""
    edge = "the edge answers by itself, or " if by_edge else ""
    words = f"the request did not come through this connector, so {edge}another one with the same token answers"
    return words, _TWIN_HINT


def _judge_way(public: Public, evidence: Evidence, policy: Policy) -> Diagnosis:
    """Judge a request that did not come through, or of which nothing is known."""
    delivery = evidence.delivery
    if _went_past(public, evidence) and _record_is_wrong(public):
        return Diagnosis(Verdict.ROUTE_MISMATCH, _record_words(public), _RECORD_HINT, because=Cause.RECORD)
    if public.status is not None and public.status not in EDGE_ERRORS and _went_past(public, evidence):
        past, hint = _past_the_connector(policy, by_edge=False)
        return Diagnosis(Verdict.ORIGIN_ERROR, f"the public URL answers {public.status}; {past}", hint)
    reason = _answer_words(public)
    if delivery.reached is False and public.status == 502:
        past, hint = _past_the_connector(policy, by_edge=True)
        return Diagnosis(Verdict.UNREACHABLE, f"{reason}; {past}", hint)
    if evidence.edge is not None and evidence.edge.tcp is Reach.CLOSED:
        reason += "; prx cannot reach the edge either"
    if delivery.reached is False and _is_stale(public, evidence):
        if not policy.quick and _is_of_former_network(evidence):
            return Diagnosis(
                Verdict.UNREACHABLE,
                f"{reason}: the edge knows no connector of this tunnel; the connector's connections are those of before the"
                " network went",
                "prx starts another one, which connects at once",
                because=Cause.CONNECTION_STALE,
                remedy=Action.REPLACE_NOW,
                connected=False,
            )
        return Diagnosis(
            Verdict.UNREACHABLE,
            f"{reason}: the edge knows no connector of this tunnel, and the connector believes that it is connected",
            because=Cause.CONNECTION_STALE,
            remedy=Action.COUNT,
            patience=STALE_QUICK if policy.quick else STALE_NAMED,
        )
    if not public.unasked:
        return Diagnosis(Verdict.UNREACHABLE, reason)
    unproven = public.unasked is Unasked.AS_SET_UP and evidence.goes_unproven
    return Diagnosis(Verdict.UNREACHABLE, reason, because=Cause.SETTING, publish_unproven=unproven)


def _record_is_wrong(public: Public) -> bool:
    return public.edge_error in RECORD_ERRORS or (public.status is not None and not public.by_cloudflare)


def _record_words(public: Public) -> str:
    if public.edge_error:
        return f"Cloudflare cannot use the name's DNS record ({public.status}, error {public.edge_error})"
    return f"the name does not lead to Cloudflare: what answers {public.status} there is not its edge"


def _is_stale(public: Public, evidence: Evidence) -> bool:
    edge_open = evidence.edge is None or evidence.edge.tcp is not Reach.CLOSED
    return evidence.connector is not None and public.status == 530 and public.edge_error in {None, NO_CONNECTOR} and edge_open


def _is_of_former_network(evidence: Evidence) -> bool:
    """Return whether no connection was made in the network that this machine has now, and cloudflared may not know it yet.

    What has outlived the change for longer than a dead connection can is alive: the edge has other reasons not to know it.
    """
    known_for = None if evidence.connector is None else evidence.connector.network_for
    return known_for is not None and STALE_IN_NETWORK <= known_for < STALE_NAMED


def _answer_words(public: Public) -> str:
    if public.unasked:
        return f"prx itself cannot ask the public URL: {public.error}"
    if public.status is None:
        return f"the public URL does not answer: {public.error or 'no reason given'}"
    number = f" (error {public.edge_error})" if public.edge_error else ""
    return f"the public URL answers {public.status}{number}"
