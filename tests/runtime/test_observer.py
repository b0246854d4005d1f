"""What one run of the child has shown so far, as evidence."""

import pytest

from prx.backends.base import Counters, LineKind, LogLine, Readiness
from prx.core.events import ConnectionLost, ConnectionRegistered
from prx.runtime.observer import ConnectorObserver


@pytest.fixture
def observer() -> ConnectorObserver:
    """Give the observer of a run that began at second 100, speaking QUIC."""
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
    """One of four connections lost is no reason to look at once; the last one is."""
    answers = [Readiness(0, ""), Readiness(1, "a"), Readiness(4, "a"), Readiness(3, "a"), Readiness(0, "a"), None]
    assert [observer.see_readiness(answer) for answer in answers] == [False, True, False, False, True, False]


def test_failures_count_since_the_last_readiness(observer: ConnectorObserver) -> None:
    """Dials and rejections of a bad hour are forgotten when a connection is ready."""
    for _ in range(3):
        observer.see_line(110, said(LineKind.DIAL_FAILED, 0, protocol="quic", error="no answer"))
    observer.see_line(110, said(LineKind.DIAL_FAILED, 0, protocol="http2"))
    observer.see_counters(Counters(rejected=2))
    seen = observer.evidence(120)
    assert (seen.quic_dial_failures, seen.other_dial_failures, seen.rejected) == (3, 1, 2)
    assert (seen.age, seen.ever_ready) == (20, False)
    observer.see_readiness(Readiness(1, "a"))
    observer.see_readiness(Readiness(0, "a"))
    seen = observer.evidence(130)
    assert (seen.quic_dial_failures, seen.other_dial_failures, seen.rejected, seen.last_error) == (0, 0, 0, "")
    assert seen.ever_ready


def test_unauthorized_is_timed_from_its_first_line(observer: ConnectorObserver) -> None:
    """The minute counts from the first rejection, and a ready connection ends it."""
    observer.see_line(105, said(LineKind.UNAUTHORIZED, 0, error="Unauthorized: Invalid tunnel secret"))
    observer.see_line(140, said(LineKind.UNAUTHORIZED, 0, error="Unauthorized: Invalid tunnel secret"))
    assert observer.evidence(165).unauthorized_for == 60
    assert "Invalid tunnel secret" in observer.evidence(165).last_error
    observer.see_readiness(Readiness(1, "a"))
    assert observer.evidence(166).unauthorized_for is None
