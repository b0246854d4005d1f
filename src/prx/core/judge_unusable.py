"""Judge answers of the service that come to visitors and are of no use to them: redirects in a circle, bodies that break off.

Also answers that Cloudflare's edge had in hand and gave to no visitor. The way is proven by each of them, so that the service
is to blame, and no restart helps; all of it has to be seen on this machine, too, or follow from the answer alone.
"""

from __future__ import annotations

from prx.core.evidence import Evidence, Origin, Public
from prx.core.policy import Policy
from prx.core.redirects import REDIRECTS, DeadEnd, circle_end, dead_end
from prx.core.verdicts import Diagnosis, Verdict

SLOW_HINT = "if it is only slow, set health_check_path to a faster path, or health_check_timeout_secs"
_CUT_HINT = "see the service's own log; a Content-Length that is too large, or chunks without an end, do it too"
# developers.cloudflare.com, "Cloudflare 5xx errors"
_NOT_UNDERSTOOD = 520  # among others: headers of more than 128 KB, or against HTTP
_WAITED_IN_VAIN = 524  # no answer for 100 s and more


def service_hint(origin: Origin, *, slow: bool = False) -> str:
    """Return what to do about a service that does not answer here; `slow`: visitors wait for it in vain, too."""
    words = f"check the service on {origin.address}"
    return f"{words}; {origin.hint or SLOW_HINT}" if slow or origin.silent else words


def service_down(reason: str, hint: str, policy: Policy) -> Diagnosis:
    """Return that the service does not answer, or not well, and that the tunnel is fine, unless it is another program's."""
    return Diagnosis(Verdict.ORIGIN_DOWN, reason if policy.watched else f"{reason} (the tunnel is fine)", hint)


def judge_unusable(public: Public, evidence: Evidence, policy: Policy) -> Diagnosis | None:
    """Return what is wrong with an answer of the service that reaches visitors, or should; None if it is none of these."""
    origin = evidence.origin
    if (end := redirect_to_nowhere(public, evidence, policy)) is not None:
        return Diagnosis(Verdict.ORIGIN_ERROR, f"the service sends visitors {end.words}", end.hint)
    if origin is None:
        return None
    if is_broken_off(public, evidence):
        reason = f"{origin.address} answers {origin.status} and breaks off: visitors get a part of it (the tunnel is fine)"
        return Diagnosis(Verdict.ORIGIN_ERROR, reason, _CUT_HINT)
    return _judge_refused(public, evidence, policy, origin)


def redirect_to_nowhere(public: Public, evidence: Evidence, policy: Policy) -> DeadEnd | None:
    """Return why the redirect with which the public URL answers leads nowhere; None if it is none, or may lead somewhere."""
    if public.status not in REDIRECTS or evidence.delivery.reached is False:
        return None
    end = dead_end(evidence.url + policy.path, public.location, sets_cookie=public.sets_cookie)
    circle = () if evidence.origin is None else evidence.origin.circle
    return circle_end(circle) if end is None and circle else end


def is_broken_off(public: Public, evidence: Evidence) -> bool:
    """Return whether the service breaks its answers off, here and for visitors: neither alone is its fault for certain."""
    origin = evidence.origin
    alike = origin is not None and origin.broken_off and not origin.error
    return public.broken_off and alike and evidence.delivery.reached is not False


def _judge_refused(public: Public, evidence: Evidence, policy: Policy, origin: Origin) -> Diagnosis | None:
    """Judge an error of the edge's own that says something about the service's answer.

    The edge may have other reasons for a 520: what is wrong with the answer must be seen here, too.
    """
    delivery = evidence.delivery
    if delivery.reached is False or public.status in {origin.status, *delivery.said}:
        return None
    if public.status not in {_NOT_UNDERSTOOD, _WAITED_IN_VAIN}:
        return None
    slow = public.status == _WAITED_IN_VAIN
    if origin.listening and origin.gives_no_answer:
        return service_down(f"{origin.error}; visitors get {public.status}", service_hint(origin, slow=slow), policy)
    if not slow or not delivery.reached or delivery.answered:
        return None
    here = f", and answers {origin.status} here" if origin.status else ""
    reason = f"the service does not answer visitors of {evidence.url} for as long as Cloudflare waits (524){here}"
    return service_down(reason, SLOW_HINT, policy)
