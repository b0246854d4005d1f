"""From evidence to exactly one verdict, which says who is at fault, and to the action that helps.

Theory of operation. `diagnose` asks judges in a fixed order and takes the first verdict: the child's end, the connector, the
network, the name, exposure, Access, the route, the public answer. The order is the order of causes: a dead child explains an
unready connector, an unready connector explains a public error, and so effects are never reported while their cause is known.
The function is total: any combination of facts, however odd, gets a verdict. A restart is asked for only with a cause that it
changes something about (`prx.core.causes`); a status, a silence or an unknown alone is no cause.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from prx.core.causes import Cause
from prx.core.evidence import Dns, DnsState, Evidence, ExitCause, Public
from prx.core.judge_answer import judge_answer
from prx.core.judge_connector import judge_connector
from prx.core.judge_unusable import service_hint
from prx.core.policy import Policy
from prx.core.status_codes import EDGE_ERRORS
from prx.core.verdicts import Action, Diagnosis, Verdict

__all__ = ["Policy", "diagnose"]

_OFFLINE_HINT = "prx goes on by itself when it is back"
_NO_DOH_HINT = "allow HTTPS to 1.1.1.1 or 8.8.8.8, or name another DNS-over-HTTPS server with the key doh"
_OWN_FAULT_HINT = "prx itself could not ask, which says nothing of a DNS service: put right what the reason names"

_EXIT_VERDICTS = {
    ExitCause.RATE_LIMITED: Verdict.RATE_LIMITED,
    ExitCause.REFUSED_QUICK: Verdict.RATE_LIMITED,
    ExitCause.AUTH: Verdict.AUTH_REJECTED,
    ExitCause.CONFIG: Verdict.MISCONFIGURED,
}

# What stands in front of the service answers these, whether the service runs or not.
_IN_FRONT = frozenset({Verdict.PROTECTED, Verdict.EDGE_REFUSED, Verdict.ACCESS_REJECTED})

_Judge = Callable[[Evidence, Policy], Diagnosis | None]


def diagnose(evidence: Evidence, policy: Policy) -> Diagnosis:
    """Return the one verdict that the evidence supports, with its grounds."""
    judges: tuple[tuple[str, _Judge], ...] = (
        ("the end of the connector", _judge_exit),
        ("the connector and its way to the edge", judge_connector),
        ("the network of this machine", _judge_offline),
        ("the public name", _judge_name),
        ("what strangers reach", _judge_exposure),
        ("Cloudflare Access", _judge_access),
        ("the route to the service", _judge_route),
        ("the public answer", judge_answer),
    )
    verdicts = ((name, judge(evidence, policy)) for name, judge in judges)
    diagnosis = _look_behind(next(replace(found, judge=name) for name, found in verdicts if found is not None), evidence)
    connector = evidence.connector
    if connector is None or connector.ready > 0:
        return replace(diagnosis, since=evidence.began)
    return replace(diagnosis, connected=False, since=evidence.at - max(connector.lost_for, connector.silent_for))


def _judge_exit(evidence: Evidence, policy: Policy) -> Diagnosis | None:
    child_exit = evidence.exit
    if child_exit is None:
        return None
    words = child_exit.words()
    if verdict := _EXIT_VERDICTS.get(child_exit.cause):
        return Diagnosis(verdict, child_exit.detail or words, child_exit.hint)
    if evidence.network_up is False:
        return Diagnosis(Verdict.OFFLINE, f"this machine has no network ({words})", _OFFLINE_HINT)
    if child_exit.cause is ExitCause.NETWORK:
        detail = child_exit.detail or words
        hint = child_exit.hint or "`prx doctor` says what of the network works; prx tries again by itself"
        return Diagnosis(Verdict.OFFLINE, detail, hint, because=Cause.CHILD_GONE, remedy=Action.RESTART)
    connector = evidence.connector
    if child_exit.refused and connector is not None and connector.worked and not policy.quick:
        hint = "prx starts another connector until the edge takes it"
        return Diagnosis(Verdict.EDGE_LOST, words, hint, because=Cause.REFUSED, remedy=Action.RESTART)
    return Diagnosis(Verdict.CRASHED, words, child_exit.hint)


def _judge_offline(evidence: Evidence, _: Policy) -> Diagnosis | None:
    """Judge a URL that is not served while this machine has no network: cloudflared may not have noticed for minutes.

    An edge on this machine, or behind a proxy, can still be asked, and says that it has lost the connector: that is no news of
    the edge, the record or another connector. What has come through this connector is judged as always.
    """
    public = evidence.public
    if evidence.network_up is not False or public is None:
        return None
    if public.status is not None and (public.status not in EDGE_ERRORS or evidence.delivery.reached is True):
        return None
    return Diagnosis(Verdict.OFFLINE, "this machine has no network", _OFFLINE_HINT)


def _judge_name(evidence: Evidence, policy: Policy) -> Diagnosis | None:
    dns = evidence.dns
    if dns is not None and (dns.state is DnsState.RESOLVED or (dns.known and dns.state is DnsState.UNKNOWN)):
        return None
    if evidence.network_up is False:
        return Diagnosis(Verdict.OFFLINE, "this machine has no network", _OFFLINE_HINT)
    if dns is None:  # then the URL was not checked either, or needs no look-up
        return None if evidence.public else _judge_missing_url(evidence, policy)
    return _judge_missing_name(dns, policy) if dns.state is DnsState.MISSING else _judge_no_resolver(evidence, dns, policy)


def _judge_missing_url(evidence: Evidence, policy: Policy) -> Diagnosis:
    connector = evidence.connector
    if evidence.url or connector is None or connector.age < policy.startup_timeout:
        return Diagnosis(Verdict.STARTING, "the public URL is not known yet")
    return Diagnosis(
        Verdict.UNREACHABLE,
        "the connector is connected to the edge and reports no public name",
        because=Cause.NO_NAME_TOLD,
        remedy=Action.REPLACE,
    )


def _judge_missing_name(dns: Dns, policy: Policy) -> Diagnosis:
    detail = f" ({dns.detail})" if dns.detail else ""
    if dns.known:
        return Diagnosis(
            Verdict.DNS_PENDING,
            f"public DNS does not know the name any more{detail}",
            "visitors cannot find it" + ("" if policy.watched else "; a connector cannot change that"),
            because=Cause.RECORD,
        )
    if policy.watched:
        hint = "check public_url: its host needs a DNS record"
    elif policy.quick:
        hint = "do not open the URL before it is verified: your own resolver would remember the failure for 30 minutes"
    else:
        hint = "the host name needs a DNS record that leads to the tunnel: add it as a public hostname of the tunnel"
    return Diagnosis(Verdict.DNS_PENDING, f"public DNS does not know the name yet{detail}", hint)


def _judge_no_resolver(evidence: Evidence, dns: Dns, policy: Policy) -> Diagnosis:
    detail = f" ({dns.detail})" if dns.detail else ""
    hint = _OWN_FAULT_HINT if dns.unasked else _NO_DOH_HINT
    late = evidence.goes_unproven
    connected = "" if policy.watched else "connected, "
    words = f"{connected}not proven: no" if late else "no"
    reason = f"{words} public DNS service could be asked{detail}"
    return Diagnosis(Verdict.DNS_PENDING, reason, hint, publish_unproven=late)


def _judge_exposure(evidence: Evidence, _: Policy) -> Diagnosis | None:
    if not evidence.exposed:
        return None
    hint = "add an Access application for this host name (Zero Trust, Access controls, Applications), or drop require_access"
    return Diagnosis(Verdict.MISCONFIGURED, evidence.exposed, hint)


def _judge_access(evidence: Evidence, _: Policy) -> Diagnosis | None:
    public = evidence.public
    if public is None or not public.access or evidence.route_mismatch or _is_the_services(public, evidence):
        return None
    if not public.sent_token:
        detail = f": {public.access_detail}" if public.access_detail else ""
        return Diagnosis(Verdict.PROTECTED, f"Cloudflare Access answers ({public.status}), as it should for strangers{detail}")
    detail = public.access_detail or f"it answers {public.status}"
    return Diagnosis(
        Verdict.ACCESS_REJECTED,
        f"Cloudflare Access rejects the service token ({detail})",
        "check CF_ACCESS_CLIENT_ID, CF_ACCESS_CLIENT_SECRET, their expiry, and the application's Service Auth policy",
    )


def _look_behind(found: Diagnosis, evidence: Evidence) -> Diagnosis:
    """Add to a verdict about what stands in front of the service that the service behind it is seen not to answer.

    The visitors who are let through get an error, so the tunnel is not up, however rightly prx itself is stopped.
    """
    origin = evidence.origin
    if found.verdict not in _IN_FRONT or origin is None or not origin.gives_no_answer:
        return found
    if found.action is not Action.NONE:
        return replace(found, reason=f"{found.reason}; besides, {origin.error}")
    return replace(
        found, verdict=Verdict.ORIGIN_DOWN, reason=f"{origin.error}; in front of it {found.reason}", hint=service_hint(origin)
    )


def _is_the_services(public: Public, evidence: Evidence) -> bool:
    """Return whether the service itself sends visitors to a login of Access: to the same one here, which Access never does."""
    origin = evidence.origin
    return bool(public.location) and origin is not None and origin.location == public.location


def _judge_route(evidence: Evidence, _: Policy) -> Diagnosis | None:
    if not evidence.route_mismatch:
        return None
    hint = "change the public hostname's service in the Cloudflare dashboard, or local_addr and hostname in prx's configuration"
    return Diagnosis(Verdict.ROUTE_MISMATCH, evidence.route_mismatch, hint)
