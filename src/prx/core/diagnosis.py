"""From evidence to exactly one verdict, which says who is at fault.

Theory of operation. `diagnose` asks judges in a fixed order and takes the first verdict: the child's end, the connector, the
name, exposure, Access, the route, the public answer. The order is the order of causes: a dead child explains an unready
connector, an unready connector explains a public error, and so effects are never reported while their cause is known. The
function is total: any combination of facts, however odd, gets a verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from prx.core.evidence import Connector, DnsState, Evidence, ExitCause, Origin, Public
from prx.core.expect import StatusSet
from prx.core.verdicts import Diagnosis, Verdict

# cloudflared retries "Unauthorized" for ever, because a new tunnel's secret takes a while to reach every edge.
UNAUTHORIZED_PATIENCE = 60.0  # seconds

# A QUIC dial into a void takes 5 s to fail, so the second failure comes after 10 s or more: chance is ruled out.
QUIC_DIALS_THAT_CONVINCE = 2

REJECTIONS_THAT_CONVINCE = 2

# Cloudflare's edge answers with these in its own name when it cannot get an answer through the tunnel:
# 502 and 504 from cloudflared or the edge, 520-527 and 530 from the edge alone; 503 comes from an ingress without rules.
EDGE_ERRORS = frozenset({502, 503, 504, *range(520, 528), 530})

_EXIT_VERDICTS = {
    ExitCause.RATE_LIMITED: Verdict.RATE_LIMITED,
    ExitCause.AUTH: Verdict.AUTH_REJECTED,
    ExitCause.CONFIG: Verdict.MISCONFIGURED,
}


@dataclass(frozen=True, slots=True)
class Policy:
    """What the user expects, as far as judging needs it. `startup_timeout` is in seconds."""

    expect: StatusSet
    startup_timeout: float = 60.0
    protocol_is_free: bool = True  # protocol = "auto"


def diagnose(evidence: Evidence, policy: Policy) -> Diagnosis:
    """Return the one verdict that the evidence supports, with its grounds."""
    judges: tuple[Callable[[Evidence, Policy], Diagnosis | None], ...] = (
        _judge_exit,
        _judge_connector,
        _judge_name,
        _judge_exposure,
        _judge_access,
        _judge_route,
    )
    verdicts: Iterable[Diagnosis | None] = (judge(evidence, policy) for judge in judges)
    return next(filter(None, verdicts), None) or _judge_answer(evidence, policy)


def _judge_exit(evidence: Evidence, _: Policy) -> Diagnosis | None:
    child_exit = evidence.exit
    if child_exit is None:
        return None
    words = child_exit.words()
    if verdict := _EXIT_VERDICTS.get(child_exit.cause):
        return Diagnosis(verdict, child_exit.detail or words, child_exit.hint)
    if evidence.network_up is False:
        return Diagnosis(Verdict.OFFLINE, f"this machine has no network ({words})")
    return Diagnosis(Verdict.CRASHED, words, child_exit.hint)


def _judge_connector(evidence: Evidence, policy: Policy) -> Diagnosis | None:
    connector = evidence.connector
    if connector is None or connector.ready > 0:
        return None
    if evidence.network_up is False:
        return Diagnosis(Verdict.OFFLINE, "this machine has no network", "prx goes on by itself when it is back")
    if (connector.unauthorized_for or 0) >= UNAUTHORIZED_PATIENCE:
        return Diagnosis(
            Verdict.AUTH_REJECTED,
            f"the edge has rejected the token for {connector.unauthorized_for:.0f} s: {connector.last_error or 'Unauthorized'}",
            "take a new token from the Cloudflare dashboard: the tunnel was deleted or its secret was rotated",
        )
    if connector.protocol == "quic" and connector.rejected >= REJECTIONS_THAT_CONVINCE and policy.protocol_is_free:
        # over QUIC cloudflared keeps to itself why it was rejected (observed with 2026.8.2), over HTTP/2 it says so
        reason = "the edge rejects the connector over QUIC, without a reason; asking over HTTP/2"
        verdict = Verdict.EDGE_LOST if connector.ever_ready else Verdict.STARTING
        return Diagnosis(verdict, reason, ask_over_http2=True)
    if _only_quic_fails(connector):
        return _udp_blocked(connector, policy)
    if not connector.ever_ready and connector.age < policy.startup_timeout:
        return Diagnosis(Verdict.STARTING, _with_error("no connection to the edge yet", connector))
    return Diagnosis(Verdict.EDGE_LOST, _with_error(_lost_words(connector), connector))


def _only_quic_fails(connector: Connector) -> bool:
    return (
        connector.protocol == "quic"
        and connector.quic_dial_failures >= QUIC_DIALS_THAT_CONVINCE
        and not connector.other_dial_failures
        and not connector.rejected
    )


def _udp_blocked(connector: Connector, policy: Policy) -> Diagnosis:
    reason = f"no answer over QUIC after {connector.quic_dial_failures} tries: UDP port 7844 seems to be blocked"
    if policy.protocol_is_free:
        return Diagnosis(Verdict.UDP_BLOCKED, reason, "prx goes on with HTTP/2")
    return Diagnosis(Verdict.UDP_BLOCKED, reason, 'set protocol = "auto" or "http2", or open UDP port 7844')


def _lost_words(connector: Connector) -> str:
    if connector.rejected:
        return f"the edge rejects the connector ({connector.rejected} times)"
    if not connector.answers:
        return "the connector does not answer on its own metrics port"
    if not connector.ever_ready:
        return f"no connection to the edge within {connector.age:.0f} s"
    return "all connections to the edge are lost"


def _with_error(words: str, connector: Connector) -> str:
    return f"{words}: {connector.last_error}" if connector.last_error else words


def _judge_route(evidence: Evidence, _: Policy) -> Diagnosis | None:
    if not evidence.route_mismatch:
        return None
    hint = "change the public hostname's service in the Cloudflare dashboard, or local_addr and hostname in prx's configuration"
    return Diagnosis(Verdict.ROUTE_MISMATCH, evidence.route_mismatch, hint)


def _judge_name(evidence: Evidence, _: Policy) -> Diagnosis | None:
    dns = evidence.dns
    if dns is not None and dns.state is DnsState.RESOLVED:
        return None
    if evidence.network_up is False:
        return Diagnosis(Verdict.OFFLINE, "this machine has no network", "prx goes on by itself when it is back")
    if dns is None:  # then the URL was not looked at either, or needs no look-up
        return None if evidence.public else Diagnosis(Verdict.STARTING, "the public URL is not known yet")
    if dns.state is DnsState.MISSING:
        return Diagnosis(
            Verdict.DNS_PENDING,
            f"public DNS does not know the name yet ({dns.detail})" if dns.detail else "public DNS does not know the name yet",
            "do not open the URL before it is verified: your own resolver would remember the failure for 30 minutes",
        )
    return Diagnosis(
        Verdict.DNS_PENDING,
        f"no public DNS service could be asked ({dns.detail})" if dns.detail else "no public DNS service could be asked",
        "allow HTTPS to 1.1.1.1 or 8.8.8.8",
    )


def _judge_exposure(evidence: Evidence, _: Policy) -> Diagnosis | None:
    if not evidence.exposed:
        return None
    hint = "add an Access application for this host name (Zero Trust, Access, Applications), or drop require_access"
    return Diagnosis(Verdict.MISCONFIGURED, evidence.exposed, hint)


def _judge_access(evidence: Evidence, _: Policy) -> Diagnosis | None:
    public = evidence.public
    if public is None or not public.access or evidence.route_mismatch:
        return None
    if not public.sent_token:
        return Diagnosis(Verdict.PROTECTED, f"Cloudflare Access answers ({public.status}), as it should for strangers")
    return Diagnosis(
        Verdict.ACCESS_REJECTED,
        f"Cloudflare Access rejects the service token (it answers {public.status})",
        "check CF_ACCESS_CLIENT_ID, CF_ACCESS_CLIENT_SECRET, their expiry, and the application's Service Auth policy",
    )


def _judge_answer(evidence: Evidence, policy: Policy) -> Diagnosis:
    public, origin = evidence.public, evidence.origin
    if public is None:
        return Diagnosis(Verdict.STARTING, "the public URL was not asked yet")
    if public.status in policy.expect and not public.host_blocked:  # old webpack refuses a host name with status 200
        return Diagnosis(Verdict.HEALTHY, f"the public URL answers {public.status}")
    if origin is not None and not origin.listening:
        return Diagnosis(
            Verdict.ORIGIN_DOWN,
            f"{origin.error or f'no answer from {origin.address}'} (the tunnel is fine)",
            f"start the service on {origin.address}",
        )
    diagnosis = _judge_error(public, origin, policy)
    return _blame_another(diagnosis) if evidence.elsewhere and _is_odd(public, origin) else diagnosis


def _is_odd(public: Public, origin: Origin | None) -> bool:
    """Tell whether the answer is none that this machine's origin would have given."""
    return origin is not None and origin.status != public.status


def _blame_another(diagnosis: Diagnosis) -> Diagnosis:
    reason = f"{diagnosis.reason}; the request did not come through this connector, so another one with the same token answers"
    return replace(
        diagnosis,
        reason=reason,
        hint="stop the connector that runs with the same token on another machine, or give each machine a tunnel of its own",
    )


def _judge_error(public: Public, origin: Origin | None, policy: Policy) -> Diagnosis:
    """Judge a public answer that is not the expected one, while the origin is there."""
    if public.status is not None and origin is not None and public.status == origin.status:
        return Diagnosis(
            Verdict.ORIGIN_ERROR,
            f"{origin.address} itself answers {origin.status}, {policy.expect.text} is expected (the tunnel is fine)",
            "if that answer is right, set health_check_path or health_check_expect",
        )
    if public.host_blocked:
        return Diagnosis(
            Verdict.ORIGIN_ERROR,
            f"the service refuses the public host name: {public.host_blocked}",
            "allow the host name in the framework's settings (Vite: server.allowedHosts, Django: ALLOWED_HOSTS)",
        )
    if public.status is not None and public.status not in EDGE_ERRORS:
        locally = f"{origin.status} locally" if origin is not None and origin.status else "differently locally"
        return Diagnosis(
            Verdict.ORIGIN_ERROR,
            f"the service answers {public.status} through the tunnel and {locally}; {policy.expect.text} is expected",
            "the service treats the public host name or a visitor's address differently",
        )
    if public.status is None and origin is not None and origin.event_stream:
        return Diagnosis(
            Verdict.ORIGIN_ERROR,
            "the service answers with a stream of events, which a quick tunnel holds back to its end",
            "set health_check_path to a page that ends; for streams use a named tunnel, or POST",
        )
    if origin is not None and origin.listening and origin.status is None and origin.error:
        return Diagnosis(
            Verdict.ORIGIN_DOWN,
            f"{origin.error} (the tunnel is fine)",
            f"look at the service on {origin.address}",
        )
    return Diagnosis(Verdict.UNREACHABLE, _public_words(public))


def _public_words(public: Public) -> str:
    if public.status is None:
        return f"the public URL does not answer: {public.error or 'no reason given'}"
    number = f" (error {public.edge_error})" if public.edge_error else ""
    return f"the public URL answers {public.status}{number} although the service is fine"
