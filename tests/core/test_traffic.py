"""Requests, errors and rate of the last minutes."""

from __future__ import annotations

import pytest

from prx.backends.base import Counters
from prx.core import events
from prx.core.status import TunnelStatus, fold
from prx.core.traffic import PUBLISH_EVERY, WINDOW_SECONDS, TrafficMeter, TrafficStatus
from prx.runtime.visitor_count import VisitorCount


def test_the_first_reading_is_published_also_if_nothing_came() -> None:
    """No requests is a fact; not known is another."""
    reading = TrafficMeter().see(0.0, 0, 0)
    assert reading is not None
    assert reading.status == TrafficStatus(0, 0, 0)


def test_an_idle_tunnel_publishes_nothing_more() -> None:
    """A tunnel without visitors wakes no reader of events."""
    meter = TrafficMeter()
    meter.see(0.0, 0, 0)
    assert [meter.see(float(now), 0, 0) for now in range(2, 2000, 2)] == [None] * 999


def test_requests_add_up_and_leave_the_window() -> None:
    """The last five minutes and the last minute are counted apart, and end."""
    meter = TrafficMeter()
    meter.see(0.0, 0, 0)
    first = meter.see(20.0, 12, 1)
    assert first is not None
    assert (first.status, first.new_requests, first.new_errors) == (TrafficStatus(12, 1, 12), 12, 1)
    later = meter.see(90.0, 13, 1)
    assert later is not None
    assert (later.status, later.new_requests) == (TrafficStatus(13, 1, 1), 1)
    over = meter.see(90.0 + WINDOW_SECONDS, 13, 1)
    assert over is not None
    assert (over.status, over.new_requests) == (TrafficStatus(0, 0, 0), 0)


def test_what_comes_within_the_pause_is_published_after_it() -> None:
    """Readers are woken every ten seconds at most, and nothing is lost by that."""
    meter = TrafficMeter()
    meter.see(0.0, 0, 0)
    assert meter.see(2.0, 3, 0) is None
    assert meter.see(4.0, 5, 2) is None
    reading = meter.see(PUBLISH_EVERY, 5, 2)
    assert reading is not None
    assert (reading.new_requests, reading.new_errors) == (5, 2)


def test_totals_that_shrink_count_once() -> None:
    """A request of prx's own that is subtracted before the connector has counted it makes no visitor."""
    meter = TrafficMeter()
    assert meter.see(0.0, 7, 0) is not None
    assert meter.see(20.0, 6, 0) is None
    assert meter.see(40.0, 7, 0) is None


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (TrafficStatus(), "0 requests"),
        (TrafficStatus(1, 0, 1), "1 request"),
        (TrafficStatus(12, 1, 3), "12 requests · 1 error"),
        (TrafficStatus(12, 2, 3), "12 requests · 2 errors"),
    ],
)
def test_words(status: TrafficStatus, words: str) -> None:
    """One is one, and no error is not worth a word."""
    assert status.words() == words


class Checks:
    """The health checks of a run."""

    def __init__(self) -> None:
        self.asked = self.failed = 0


def test_connectors_add_up_and_leave_what_they_have_counted() -> None:
    """A request of prx's own makes no visitor, whichever connector it came through; one that ends takes nothing away."""
    count, leader, other = VisitorCount(), Checks(), Checks()
    for run in (leader, other):
        count.begin(run)
    assert count.see(0.0, leader, Counters(requests=0)) is not None
    leader.asked = 3
    assert count.see(20.0, other, Counters(requests=2)) is None  # two of prx's own came here
    assert count.see(40.0, leader, Counters(requests=1)) is None
    found = count.see(60.0, other, Counters(requests=7, request_errors=1))
    assert found is not None
    assert (found.status.requests, found.status.errors) == (5, 1)
    count.end(leader)
    count.end(leader)
    found = count.see(80.0, other, Counters(requests=9, request_errors=1))
    assert found is not None
    assert found.new_requests == 2
    count.end(other)
    successor = Checks()
    count.begin(successor)
    found = count.see(81.0, successor, Counters())
    assert found is not None, "the status knew nothing in between"
    assert (found.status.requests, found.new_requests) == (7, 0)


def test_the_end_of_one_of_several_connectors_takes_nothing_away() -> None:
    """The status keeps what is known as long as a connector runs."""
    status = TunnelStatus("web")
    facts: list[events.Fact] = [
        events.ChildStarted(tunnel="web", pid=1, version="", protocol="", connector=0),
        events.ChildStarted(tunnel="web", pid=2, version="", protocol="", connector=1),
        events.Traffic(tunnel="web", requests=2, errors=0, per_minute=2, new_requests=2, new_errors=0),
        events.ChildExited(tunnel="web", pid=1, code=0, signal=None, result="clean"),
    ]
    for number, fact in enumerate(facts):
        status = fold(status, events.Event(number, 0.0, fact))
    assert status.traffic == TrafficStatus(2, 0, 2)


def test_the_status_has_it_until_the_connector_ends() -> None:
    """What a connector has counted ends with it: then nothing is known."""
    seen = events.Traffic(tunnel="web", requests=2, errors=1, per_minute=2, new_requests=2, new_errors=1)
    status = fold(TunnelStatus("web"), events.Event(1, 0.0, seen))
    assert status.to_json(0.0)["traffic"] == {"requests": 2, "errors": 1, "per_minute": 2, "window_secs": WINDOW_SECONDS}
    gone = events.ChildExited(tunnel="web", pid=1, code=0, signal=None, result="clean")
    assert fold(status, events.Event(2, 1.0, gone)).to_json(1.0)["traffic"] is None
