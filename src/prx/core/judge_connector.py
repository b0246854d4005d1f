"""Judge a connector that is not connected: the child, the way to the edge, or the edge, and whether a restart can help.

Theory of operation. cloudflared comes back by itself from nearly everything, and keeps its URL. A restart helps if it cannot:

- it does not answer on its own metrics port any more (frozen, hung);
- QUIC has never worked in this run and network, or not for long, and prx's own dial over TCP to the same edge works;
- prx's own dial to the edge has worked for longer than cloudflared's own longest wait between two tries, and there is still no
  connection. A named tunnel, whose restart costs nothing, does not wait for that: a fresh connector dials at once;
- the edge has deleted the quick tunnel: cloudflared then asks forever.

Everything else is waited for, with the child alive.
"""

from __future__ import annotations

from dataclasses import replace

from prx.core.causes import Cause
from prx.core.evidence import Connector, Dns, DnsState, Edge, Evidence, Reach
from prx.core.policy import Policy
from prx.core.shortage import NO_LOOPBACK, lack_in
from prx.core.verdicts import NO_CONNECTION, Action, Diagnosis, Verdict

# cloudflared retries "Unauthorized" forever, because a new tunnel's secret takes a while to reach every edge.
UNAUTHORIZED_PATIENCE = 60.0  # seconds
# A token that has worked in this run may meet an incident at the edge, which cloudflared outlives: it is shown, and waited for.
REVOKED_PATIENCE = 600.0  # seconds; longer than two minutes and the longest wait of cloudflared after them

# A QUIC dial into a void takes 5 s to fail, so the second failure comes after 10 s or more: chance is ruled out.
QUIC_DIALS_THAT_CONVINCE = 2

REJECTIONS_THAT_CONVINCE = 2

# The metrics server is next to us and answers in a millisecond; a busy machine has been seen to take two seconds. Since a
# quick tunnel's restart costs the URL, its child gets more time to be merely slow.
SILENCE_NAMED, SILENCE_QUICK = 4.0, 10.0  # seconds

# Added to cloudflared's longest wait: a dial over QUIC takes 5 s to fail, a registration 5 s to time out.
STUCK_MARGIN = 15.0  # seconds
STUCK_NAMED = 30.0  # seconds; a fresh connector is connected within a second, so there is no reason to wait for longer
WAITING_NAMED = 4.0  # seconds, the same, if the connector's own protocol is seen to work: it does nothing but wait

# Cloudflare deletes a quick tunnel that had no connection for "some minutes"; the shortest figure reported is 45 s.
GONE_AFTER = 45.0  # seconds without a connection after which a refusal without a reason means that
GONE_ANYWAY = 180.0  # seconds of refusals without a reason after which that is so, however they began

# QUIC that worked and is silent now comes back after an outage of UDP; a quick tunnel without a connection for so long is
# deleted anyway, and a named one loses nothing by a change to HTTP/2.
QUIC_LOST_NAMED, QUIC_LOST_QUICK = 30.0, GONE_ANYWAY  # seconds

# Over QUIC cloudflared does not log why it is rejected. A named tunnel that has been up asks over HTTP/2 after so long.
ASK_AFTER = 150.0  # seconds

GONE_LAB_HINT = "start one with `prx lab`, and start this prx again with its address: another lab is another edge"


def judge_connector(evidence: Evidence, policy: Policy) -> Diagnosis | None:
    """Return what is wrong between child and edge; None if a connection is ready, or if there is no connector to judge."""
    connector = evidence.connector
    if connector is None or (connector.ready > 0 and connector.answers):
        return None
    if evidence.network_up is False:
        return Diagnosis(Verdict.OFFLINE, "this machine has no network", "prx goes on by itself when it is back")
    edge = evidence.edge or Edge()
    return (
        _judge_silence(connector, policy, loopback_up=evidence.loopback_up)
        or _judge_gone_lab(connector, edge, policy)
        or _judge_rejection(connector, evidence, policy)
        or _judge_quic(connector, edge, policy)
        or _judge_loss(connector, edge, policy)
    )


def _judge_silence(connector: Connector, policy: Policy, *, loopback_up: bool | None) -> Diagnosis | None:
    patience = SILENCE_QUICK if policy.quick else SILENCE_NAMED
    if loopback_up is False and not connector.answers:
        verdict = Verdict.STARTING if _is_young(connector, policy) else Verdict.EDGE_LOST
        return Diagnosis(verdict, NO_LOOPBACK.words, NO_LOOPBACK.hint, because=Cause.MACHINE, remedy=Action.WAIT)
    if connector.answers or (not connector.ever_ready and connector.age < policy.startup_timeout):
        return None
    lacking = lack_in(connector.lacks)
    return Diagnosis(
        Verdict.EDGE_LOST,
        "the connector does not answer on its own metrics port: "
        + (f"this machine gives it too little ({connector.lacks})" if lacking else "it is stopped or stuck"),
        lacking.hint if lacking else "",
        because=Cause.CHILD_SILENT,
        remedy=Action.REPLACE if connector.silent_for >= patience else Action.WAIT,
    )


def _judge_gone_lab(connector: Connector, edge: Edge, policy: Policy) -> Diagnosis | None:
    """Judge an edge that was a lab of another process, which has ended: another one has another edge, so waiting is in vain."""
    if not edge.gone_lab or edge.tcp is Reach.OPEN or edge.quic is Reach.OPEN:
        return None
    verdict = Verdict.STARTING if _is_young(connector, policy) else Verdict.EDGE_LOST
    return Diagnosis(verdict, f"the lab at {edge.gone_lab} is gone: neither it nor its edge takes a connection", GONE_LAB_HINT)


def _is_young(connector: Connector, policy: Policy) -> bool:
    return not connector.ever_ready and connector.age < policy.startup_timeout


def _judge_rejection(connector: Connector, evidence: Evidence, policy: Policy) -> Diagnosis | None:
    """Judge registrations that the edge has refused: an incident, a token that is void, or a quick tunnel that is deleted."""
    if policy.quick:
        return _judge_gone(connector, evidence.dns)
    void_for = max(connector.unauthorized_for or 0, connector.tunnel_gone_for or 0)
    if void_for >= UNAUTHORIZED_PATIENCE:
        found = Diagnosis(
            Verdict.AUTH_REJECTED,
            f"the edge has rejected the token for {UNAUTHORIZED_PATIENCE:.0f} s: {connector.last_error or 'Unauthorized'}",
            "take a new token from the Cloudflare dashboard: the tunnel was deleted or its secret was rotated",
        )
        if not connector.worked or void_for >= REVOKED_PATIENCE:
            return found
        if _is_stuck(connector, evidence.edge or Edge(), policy):
            return replace(found, because=Cause.REFUSED, remedy=Action.REPLACE)
        return replace(found, remedy=Action.REPORT)
    if connector.protocol != "quic" or connector.rejected < REJECTIONS_THAT_CONVINCE or not policy.protocol_is_free:
        return None
    if connector.worked and connector.rejected_for < ASK_AFTER:
        return None
    # over QUIC cloudflared keeps to itself why it was rejected (observed with 2026.8.2), over HTTP/2 it says so
    verdict = Verdict.EDGE_LOST if connector.worked else Verdict.STARTING
    reason = "the edge rejects the connector over QUIC, without a reason; asking over HTTP/2"
    return Diagnosis(verdict, reason, because=Cause.REASON_UNKNOWN, remedy=Action.SWITCH_PROTOCOL)


def _judge_gone(connector: Connector, dns: Dns | None) -> Diagnosis | None:
    """Judge whether Cloudflare has deleted the quick tunnel. A fresh one may meet the same and work at its next try.

    Over QUIC cloudflared does not log the reason of a refusal; that public DNS does not know the name any more means it too.
    """
    if connector.tunnel_gone_for is not None:
        gone = connector.ever_ready or connector.tunnel_gone_for >= UNAUTHORIZED_PATIENCE
        words = "Cloudflare does not know this quick tunnel any more"
    else:
        refused = connector.rejected >= REJECTIONS_THAT_CONVINCE
        long_enough = connector.rejected_after >= GONE_AFTER or connector.rejected_for >= GONE_ANYWAY
        nameless = dns is not None and dns.state is DnsState.MISSING and connector.ever_ready
        gone = refused and (long_enough or nameless)
        words = "the edge refuses this quick tunnel, and " + (
            "public DNS does not know its name any more: it is deleted"
            if nameless
            else "it was without a connection for long: it is deleted"
        )
    if not gone:
        return None
    if not connector.ever_ready:
        return Diagnosis(
            Verdict.EDGE_LOST, words, "prx asks for a new one", because=Cause.QUICK_TUNNEL_GONE, remedy=Action.REPLACE
        )
    hint = "its URL is dead; prx asks for a new tunnel, with a new URL, at once"
    return Diagnosis(Verdict.EDGE_LOST, words, hint, because=Cause.QUICK_TUNNEL_GONE, remedy=Action.REPLACE_NOW)


def _judge_quic(connector: Connector, edge: Edge, policy: Policy) -> Diagnosis | None:
    """Judge whether it is QUIC alone that fails. A silence over UDP proves nothing until TCP to the same edge has worked."""
    fails = connector.protocol == "quic" and connector.quic_dial_failures >= QUIC_DIALS_THAT_CONVINCE
    if lack_in(connector.last_error) is not None:  # the machine fails, over either protocol
        return None
    if not fails or connector.rejected or edge.tcp is not Reach.OPEN or edge.quic is Reach.OPEN:
        return None
    if connector.ever_ready:
        return _judge_quic_lost(connector, edge, policy)
    if connector.quic_blocked:
        reason = "QUIC gets no answer from the edge and TCP does: UDP port 7844 seems to be blocked"
        remedy = ", or open UDP port 7844"
    else:
        reason = f"QUIC cannot be used: {connector.last_error or 'the connector does not say why'}"
        remedy = ""
    if policy.protocol_is_free:
        hint = "prx goes on with HTTP/2"
        return Diagnosis(Verdict.UDP_BLOCKED, reason, hint, because=Cause.UDP_BLOCKED, remedy=Action.SWITCH_PROTOCOL)
    return Diagnosis(Verdict.UDP_BLOCKED, reason, f'set protocol = "auto" or "http2"{remedy}')


def _judge_quic_lost(connector: Connector, edge: Edge, policy: Policy) -> Diagnosis | None:
    """Judge QUIC that has worked in this run and does not any more, while TCP does: an outage at first, then a block."""
    patience = QUIC_LOST_QUICK if policy.quick else QUIC_LOST_NAMED
    if not policy.protocol_is_free or min(connector.lost_for, edge.tcp_open_for) < patience:
        return None
    return Diagnosis(
        Verdict.EDGE_LOST,
        "QUIC (UDP port 7844) does not get through any more, and TCP does",
        "prx goes on with HTTP/2",
        because=Cause.UDP_BLOCKED,
        remedy=Action.REPLACE,
    )


def _judge_loss(connector: Connector, edge: Edge, policy: Policy) -> Diagnosis:
    """Judge a connector that lives and has no connection; the loss is waited for unless a restart can help."""
    if _is_young(connector, policy) and not (connector.turned_away and connector.worked):
        rejected = max(connector.unauthorized_for or 0, connector.tunnel_gone_for or 0) > 0 and not policy.quick
        hint = f"the edge rejects the token: prx gives up if it does so for {UNAUTHORIZED_PATIENCE:.0f} s" if rejected else ""
        return Diagnosis(Verdict.STARTING, _with_error(NO_CONNECTION, connector), hint)
    if _is_stuck(connector, edge, policy):
        if connector.turned_away and not policy.quick:
            return Diagnosis(
                Verdict.EDGE_LOST,
                _with_error("the edge rejects the connector, which does not try any more", connector),
                "prx tries with another one",
                because=Cause.REFUSED,
                remedy=Action.REPLACE,
            )
        return Diagnosis(
            Verdict.EDGE_LOST,
            _with_error("the edge answers prx, and the connector does not try to connect to it", connector),
            because=Cause.CONNECTOR_STUCK,
            remedy=Action.REPLACE,
        )
    return Diagnosis(Verdict.EDGE_LOST, _with_error(_lost_words(connector, edge), connector), _lost_hint(connector, edge))


def _is_stuck(connector: Connector, edge: Edge, policy: Policy) -> bool:
    """Return whether a connection has been possible for so long, without a try, that a fresh connector is the better one."""
    idle = min(connector.quiet_for, connector.lost_for)
    own = edge.quic if connector.protocol == "quic" else edge.tcp
    if not policy.quick and not connector.turned_away and own is Reach.OPEN:
        return idle >= WAITING_NAMED
    return min(idle, _possible_for(connector, edge, policy)) > _stuck_after(connector, policy)


def _possible_for(connector: Connector, edge: Edge, policy: Policy) -> float:
    """Return for how many seconds prx's own dial has worked, over the connector's own protocol or one to change to."""
    if connector.protocol != "quic" or edge.quic is Reach.UNKNOWN:
        return edge.tcp_open_for if edge.tcp is Reach.OPEN else 0.0
    if edge.quic is Reach.OPEN:
        return edge.quic_open_for
    return edge.tcp_open_for if policy.protocol_is_free and edge.tcp is Reach.OPEN else 0.0


def _stuck_after(connector: Connector, policy: Policy) -> float:
    """Return after how many seconds without a connection, while one was possible, the connector counts as stuck."""
    longest = connector.next_try_within + STUCK_MARGIN
    costs = policy.quick and connector.ever_ready
    return longest if costs or connector.turned_away else min(longest, STUCK_NAMED)


def _lost_words(connector: Connector, edge: Edge) -> str:
    words = "all connections to the edge are lost" if connector.ever_ready else "no connection to the edge"
    if edge.is_away:  # also if it has refused the connector before
        return f"{words}, and prx cannot reach it either"
    if connector.turned_away:
        return "the edge rejects the connector"
    if connector.protocol == "quic" and edge.tcp is Reach.OPEN and edge.quic is Reach.CLOSED:
        return f"{words}: TCP reaches it, and QUIC (UDP port 7844) does not any more"
    return words


def _lost_hint(connector: Connector, edge: Edge) -> str:
    if (lacking := lack_in(connector.last_error)) is not None and lacking.hint:
        return lacking.hint
    if connector.turned_away or edge.tcp is Reach.OPEN:
        return "the connector tries again by itself"
    if not connector.ever_ready and edge.tcp is Reach.CLOSED:
        return "a firewall may block port 7844 (TCP and UDP); `prx doctor` tries it; the connector tries again by itself"
    return "the connector tries again by itself, and keeps the URL"


def _with_error(words: str, connector: Connector) -> str:
    return f"{words}: {connector.last_error}" if connector.last_error else words
