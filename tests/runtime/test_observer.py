"""What one run of the child has shown so far, as evidence."""

import json
from collections.abc import Callable

import pytest

from prx.backends.base import Counters, LineKind, LogLine, Readiness
from prx.backends.cloudflare.classify import LANDMARKS, parse_line
from prx.core.events import ConnectionLost, ConnectionRegistered
from prx.runtime.admission import Admission
from prx.runtime.observer import ConnectorObserver


@pytest.fixture
def observer() -> ConnectorObserver:
    """Return the observer of a run that began at second 100, speaking QUIC."""
    return ConnectorObserver("web", "quic", 100.0)


def said(kind: LineKind, connection: int | None = None, **more: str) -> LogLine:
    """Make a line."""
    return LogLine("info", "…", kind, connection, **more)  # type: ignore[arg-type]


def test_connections_are_told_once(observer: ConnectorObserver) -> None:
    """A connection is registered and lost once, however many lines say so."""
    up = observer.see_line(101, said(LineKind.REGISTERED, 0, location="ams01", protocol="http2"))
    assert up == [ConnectionRegistered(tunnel="web", index=0, location="ams01", protocol="http2")]
    lost = observer.see_line(102, said(LineKind.LOST, 0))
    assert lost == [ConnectionLost(tunnel="web", index=0, reason="…")]
    assert observer.see_line(102, said(LineKind.SERVE_ERROR, 0)) == []
    assert observer.see_line(102, said(LineKind.LOST, 3)) == []


def test_only_a_change_between_up_and_down_is_news(observer: ConnectorObserver) -> None:
    """One of four connections lost is no reason to check at once; the last one is."""
    answers = [Readiness(0, ""), Readiness(1, "a"), Readiness(4, "a"), Readiness(3, "a"), Readiness(0, "a"), None]
    assert [observer.see_readiness(101, answer) for answer in answers] == [False, True, False, False, True, False]


def test_a_child_that_stops_answering_is_down_after_a_moment(observer: ConnectorObserver) -> None:
    """One answer that is late is no loss; some seconds without any are, and for how long is known."""
    observer.see_readiness(101, Readiness(4, "a"))
    assert not observer.see_readiness(102.5, None)
    assert observer.see_readiness(104, None)
    seen = observer.evidence(106, 20)
    assert (seen.ready, seen.answers, seen.silent_for, seen.lost_for) == (0, False, 5, 5)
    assert observer.see_readiness(107, Readiness(4, "a"))
    assert observer.evidence(107, 20).silent_for == 0


@pytest.mark.parametrize("first", [100.0, 101.0, 109.0, 160.0])
def test_the_silence_of_a_child_counts_while_prx_waits_for_it(observer: ConnectorObserver, first: float) -> None:
    """However long it was not asked: one question without an answer is no loss, the second is."""
    observer.see_readiness(100, Readiness(4, "a"))
    assert not observer.see_readiness(first + 1.5, None, asked=first)
    assert observer.see_readiness(first + 2.5, None, asked=first + 1.5)
    assert observer.evidence(first + 2.5, 20).silent_for == 2.5


def test_a_rejection_is_timed_and_what_was_before_it(observer: ConnectorObserver) -> None:
    """How long no connection was ready before the first rejection, and for how long rejections go on: counters or log lines."""
    observer.see_readiness(101, Readiness(1, "a"))
    observer.see_readiness(110, Readiness(0, "a"))
    observer.see_counters(170, Counters(rejected=1))
    observer.see_counters(200, Counters(rejected=2))
    seen = observer.evidence(210, 20)
    assert (seen.rejected, seen.rejected_after, seen.rejected_for, seen.quiet_for) == (2, 60, 40, 10)
    observer.see_line(215, said(LineKind.TUNNEL_GONE, 0, error="Unauthorized: Tunnel not found"))
    assert observer.evidence(220, 20).tunnel_gone_for == 5
    observer.see_readiness(221, Readiness(1, "a"))
    seen = observer.evidence(222, 20)
    assert (seen.rejected, seen.rejected_for, seen.tunnel_gone_for) == (0, 0, None)


def test_a_loss_is_not_why_the_connector_is_rejected_later(observer: ConnectorObserver) -> None:
    """Once rejections are counted, the complaint of the loss is no reason any more; one that comes with or after them is."""
    observer.see_readiness(101, Readiness(1, "a"))
    observer.see_readiness(110, Readiness(0, "a"))
    observer.see_line(110, said(LineKind.SERVE_ERROR, 0, error="the edge closed the connection"))
    assert observer.evidence(111, 20).last_error == "the edge closed the connection"
    observer.see_counters(112, Counters(rejected=1))
    assert observer.evidence(113, 20).last_error == ""
    observer.see_line(114, said(LineKind.SERVE_ERROR, 0, error="the control stream failed"))
    observer.see_counters(115, Counters(rejected=2))
    assert observer.evidence(116, 20).last_error == "the control stream failed"
    observer.see_readiness(121, Readiness(1, "a"))
    observer.see_readiness(122, Readiness(0, "a"))
    observer.see_line(123, said(LineKind.REJECTED, 0, error="duplicate connection"))
    observer.see_counters(124, Counters(rejected=3))
    assert observer.evidence(125, 20).last_error == "duplicate connection"


def test_another_network_forgets_that_quic_has_worked(observer: ConnectorObserver) -> None:
    """What was seen in one network says nothing of the next."""
    observer.see_readiness(101, Readiness(1, "a"))
    observer.see_readiness(102, Readiness(0, "a"))
    observer.forget_network(120.0)
    assert not observer.evidence(103, 20).ever_ready


@pytest.mark.parametrize("silent", [True, False])
def test_a_silence_over_quic_is_told_from_an_error(observer: ConnectorObserver, silent: bool) -> None:
    """Only a dial that waited in vain speaks of a blocked port."""
    dial = LogLine("error", "…", LineKind.DIAL_FAILED, 0, protocol="quic", error="why", fields={"silent": silent})
    observer.see_line(105, dial)
    assert observer.evidence(106, 20).quic_blocked is silent


def test_failures_count_since_the_last_readiness(observer: ConnectorObserver) -> None:
    """Dials and rejections of a bad hour are forgotten when a connection is ready."""
    for _ in range(3):
        observer.see_line(110, said(LineKind.DIAL_FAILED, 0, protocol="quic", error="no answer"))
    observer.see_counters(110, Counters(rejected=2))
    seen = observer.evidence(120, 20)
    assert (seen.quic_dial_failures, seen.rejected) == (3, 2)
    assert (seen.age, seen.ever_ready) == (20, False)
    observer.see_readiness(121, Readiness(1, "a"))
    observer.see_readiness(122, Readiness(0, "a"))
    seen = observer.evidence(130, 20)
    assert (seen.quic_dial_failures, seen.rejected, seen.last_error) == (0, 0, "")
    assert seen.ever_ready


def test_unauthorized_is_timed_from_its_first_line(observer: ConnectorObserver) -> None:
    """The minute counts from the first rejection, and a ready connection ends it."""
    observer.see_line(105, said(LineKind.UNAUTHORIZED, 0, error="Unauthorized: Invalid tunnel secret"))
    observer.see_line(140, said(LineKind.UNAUTHORIZED, 0, error="Unauthorized: Invalid tunnel secret"))
    assert observer.evidence(165, 20).unauthorized_for == 60
    assert "Invalid tunnel secret" in observer.evidence(165, 20).last_error
    observer.see_readiness(166, Readiness(1, "a"))
    assert observer.evidence(166, 20).unauthorized_for is None


REFUSED = "dial tcp 192.0.2.1:7844: connect: connection refused"


@pytest.mark.parametrize(
    ("message", "error", "quiet"),
    [
        ("Unable to establish connection with Cloudflare edge", REFUSED, 6),
        ("Retrying connection in up to 8s", "", 6),
        ("Registered tunnel connection", "", 6),
        ("Connection terminated", REFUSED, 20),
        ("Connection terminated", "connection with edge closed", 20),
        ("Updated to new configuration", "", 20),
    ],
)
def test_what_cloudflared_says_at_the_end_of_a_wait_is_no_try(
    observer: ConnectorObserver, message: str, error: str, quiet: int
) -> None:
    """It repeats why the last try has failed: with four connections it would look busy while it only waits."""
    observer.see_readiness(101, Readiness(4, "a"))
    observer.see_readiness(104, Readiness(0, "a"))
    line = {"level": "info", "connIndex": 1, "protocol": "http2", "message": message, "error": error}
    observer.see_line(118, parse_line("stderr", json.dumps(line)))
    assert observer.evidence(124, 20).quiet_for == quiet


@pytest.mark.parametrize("kind", [LineKind.UNAUTHORIZED, LineKind.TUNNEL_GONE, LineKind.REJECTED])
def test_a_refusal_outlives_the_child_that_met_it(kind: LineKind) -> None:
    """A child that is replaced meanwhile does not begin the time again; a connection that is ready ends it, for all of them."""
    admission = Admission()
    first = ConnectorObserver("web", "http2", 100.0, admission)
    first.see_readiness(101, Readiness(4, "a"))
    first.see_readiness(110, Readiness(0, "a"))
    first.see_line(112, said(kind))
    second = ConnectorObserver("web", "http2", 130.0, admission)
    seen = second.evidence(162, 20)
    assert seen.worked
    assert not seen.ever_ready
    assert max(seen.rejected_for, seen.unauthorized_for or 0, seen.tunnel_gone_for or 0) == 50
    second.see_readiness(170, Readiness(1, "b"))
    seen = ConnectorObserver("web", "http2", 180.0, admission).evidence(181, 20)
    assert (seen.rejected_for, seen.unauthorized_for, seen.tunnel_gone_for) == (0, None, None)


@pytest.mark.parametrize("kind", [LineKind.DUPLICATE, LineKind.REJECTED, LineKind.UNAUTHORIZED, LineKind.TUNNEL_GONE])
def test_that_the_edge_refuses_is_known_until_a_connection_is_ready(observer: ConnectorObserver, kind: LineKind) -> None:
    """Whatever the reason is: a connector that is turned away tries again later and later."""
    observer.see_readiness(101, Readiness(0, "a"))
    assert not observer.evidence(102, 20).turned_away
    observer.see_line(103, said(kind))
    assert observer.evidence(104, 20).turned_away
    observer.see_readiness(105, Readiness(1, "a"))
    assert not observer.evidence(106, 20).turned_away


def test_a_connection_made_since_the_network_is_back_is_no_old_one(observer: ConnectorObserver) -> None:
    """How long the network has been there counts until a connection has been registered in it."""
    observer.see_readiness(101, Readiness(4, "a"))
    assert observer.evidence(110, 20).network_for is None
    observer.forget_network(120)
    assert observer.evidence(125, 20).network_for == 5
    observer.see_line(126, said(LineKind.REGISTERED, 0))
    assert observer.evidence(127, 20).network_for is None


UNREACHABLE = (
    "Unable to reach the origin service. The service may be down or it may not be responding to traffic from cloudflared"
)


@pytest.mark.parametrize(
    ("error", "lacks"),
    [
        ("dial tcp 127.0.0.1:8080: socket: too many open files", "too many open files"),
        ("dial tcp 127.0.0.1:8080: connect: too many open files", "too many open files"),  # the builtin connector's words
        ("dial tcp: lookup box: open /etc/hosts: too many open files", "too many open files"),
        ("dial unix /run/app.sock: socket: too many open files in system", "too many open files in system"),
        ("dial tcp 127.0.0.1:8080: connect: cannot assign requested address", "cannot assign requested address"),
        ("dial tcp [::1]:8080: socket: cannot allocate memory", "cannot allocate memory"),
        ("dial tcp 127.0.0.1:8080: connect: connection refused", ""),
        ('net/http: HTTP/1.x transport connection broken: malformed HTTP response ": dial tcp: too many open files"', ""),
        ('malformed HTTP status code "x: dial tcp 1: too many open files', ""),
    ],
)
def test_what_the_connector_lacks_is_known_for_a_while(observer: ConnectorObserver, error: str, lacks: str) -> None:
    """The system's words at the end of a failed dial to the service, for ten seconds; never words of the service."""
    line = parse_line("stderr", json.dumps({"level": "error", "error": f"{UNREACHABLE}: {error}", "connIndex": 0, "event": 1}))
    assert line.kind is LineKind.ORIGIN_ERROR
    observer.see_line(101, line)
    assert observer.evidence(110, 320.0).lacks == lacks
    assert observer.evidence(112, 320.0).lacks == ""


def test_what_it_lacks_is_seen_among_many_lines() -> None:
    """Of a flood only the lines with landmarks are understood: that no descriptor is left is one."""
    assert any(mark in f"{UNREACHABLE}: dial tcp 127.0.0.1:80: socket: too many open files" for mark in LANDMARKS)


REFUSALS: dict[str, Callable[[ConnectorObserver], object]] = {
    "unauthorized": lambda observer: observer.see_line(105, said(LineKind.UNAUTHORIZED, 0)),
    "tunnel gone": lambda observer: observer.see_line(105, said(LineKind.TUNNEL_GONE, 0)),
    "rejected": lambda observer: observer.see_line(105, said(LineKind.REJECTED, 0)),
    "by its counters": lambda observer: observer.see_counters(105, Counters(rejected=1)),
}


def refused_for(observer: ConnectorObserver, now: float) -> float:
    """Return for how many seconds the edge is said to have refused."""
    seen = observer.evidence(now, 20)
    return max(seen.rejected_for, seen.unauthorized_for or 0, seen.tunnel_gone_for or 0)


@pytest.mark.parametrize("kind", REFUSALS)
def test_an_edge_that_is_away_refuses_nobody(observer: ConnectorObserver, kind: str) -> None:
    """One refusal, and then an outage, is no minute of refusals: what ends the tunnel for good counts from the next one."""
    REFUSALS[kind](observer)
    observer.see_edge_away()
    assert refused_for(observer, 125) == 20, "the child has reached it last, whatever prx does not"
    observer.see_line(126, said(LineKind.DIAL_FAILED, 0))
    assert refused_for(observer, 145) == 40, "one way may be closed, and others not"
    observer.see_edge_away()
    assert refused_for(observer, 175) == 0
    observer.see_line(180, said(LineKind.UNAUTHORIZED, 0))
    assert refused_for(observer, 190) == 10
    observer.see_edge_away()
    assert refused_for(observer, 200) == 20
