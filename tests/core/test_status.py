"""Status as a fold over events, and the public JSON of both."""

from dataclasses import replace
from functools import reduce

import pytest

from prx.core import events
from prx.core.events import Event, Fact
from prx.core.states import State
from prx.core.status import TunnelStatus, fold
from prx.core.verdicts import FIRST_REQUEST, NO_CONNECTION, Verdict

STATES = {"idle", "starting", "ready", "degraded", "backoff", "stopping", "failed"}


def rebuild(start: TunnelStatus, facts: list[Event]) -> TunnelStatus:
    """Return the status after a whole list of events."""
    return reduce(fold, facts, start)


def history(*facts: Fact) -> list[Event]:
    """Number facts, one a second."""
    return [Event(number, 1_800_000_000.0 + number, fact) for number, fact in enumerate(facts, 1)]


UP: tuple[Fact, ...] = (
    events.StateChanged(tunnel="web", old=State.IDLE, new=State.STARTING, reason="asked to start"),
    events.ChildStarted(tunnel="web", pid=7, version="2026.8.2", connector=0, protocol="quic"),
    events.ConnectionRegistered(tunnel="web", index=1, location="fra01", protocol="http2"),
    events.ConnectionRegistered(tunnel="web", index=0, location="ams02", protocol="http2"),
    events.Probed(tunnel="web", status=200, latency_ms=12.5, verdict=Verdict.HEALTHY),
    events.UrlChanged(tunnel="web", url="https://a", old=""),
    events.VerdictChanged(tunnel="web", old="", new=Verdict.HEALTHY, reason="the public URL answers 200"),
    events.StateChanged(tunnel="web", old=State.STARTING, new=State.READY, reason="the public URL answers 200"),
)


def test_the_public_form_of_a_status() -> None:
    """`prx status --json` has exactly the documented fields."""
    start = TunnelStatus("web", backend="cloudflare", mode="quick", local_addr="127.0.0.1:8080")
    shown = rebuild(start, history(*UP)).to_json(now=1_800_000_100.0)
    assert shown == {
        "name": "web",
        "backend": "cloudflare",
        "mode": "quick",
        "state": "ready",
        "verdict": "healthy",
        "reason": "the public URL answers 200",
        "hint": "",
        "url": "https://a",
        "proven": True,
        "local_addr": "127.0.0.1:8080",
        "since": "2027-01-15T08:00:08.000Z",
        "restarts": 0,
        "attempt": 0,
        "flaps": 0,
        "next_retry_in": None,
        "replicas": 1,
        "serving": 0,
        "connectors": [
            {
                "connector": 0,
                "pid": 7,
                "version": "2026.8.2",
                "protocol": "http2",
                "connections": [
                    {"index": 0, "location": "ams02", "protocol": "http2"},
                    {"index": 1, "location": "fra01", "protocol": "http2"},
                ],
            }
        ],
        "last_probe": {"status": 200, "latency_ms": 12.5, "at": "2027-01-15T08:00:05.000Z"},
        "traffic": None,
        "inspected": False,
        "configured": True,
    }


def test_a_tunnel_that_was_stopped_has_no_url_and_no_verdict() -> None:
    """Once it is idle nothing of the last run is shown but why it stands still; while it stops, its URL still is."""
    stopping = events.StateChanged(tunnel="web", old=State.READY, new=State.STOPPING, reason="asked to stop")
    idle = events.StateChanged(tunnel="web", old=State.STOPPING, new=State.IDLE, reason="stopped as asked")
    assert rebuild(TunnelStatus("web", mode="named"), history(*UP, stopping)).url == "https://a"
    stopped = rebuild(TunnelStatus("web", mode="named"), history(*UP, stopping, idle)).to_json(0.0)
    assert (stopped["state"], stopped["url"], stopped["proven"], stopped["verdict"]) == ("idle", "", False, "")
    assert (stopped["next_retry_in"], stopped["serving"], stopped["reason"]) == (None, 0, "stopped as asked")


def test_a_crash_shows_the_wait_and_then_the_restart() -> None:
    """The wait counts down; the next child counts as a restart, and a quick URL is gone with the old one."""
    start = TunnelStatus("web", mode="quick")
    down = (
        events.ChildExited(tunnel="web", pid=7, code=1, signal=None, result="crash"),
        events.StateChanged(tunnel="web", old=State.READY, new=State.BACKOFF, reason="exit code 1"),
        events.RestartScheduled(tunnel="web", delay=10.0, attempt=2, reason="exit code 1"),
    )
    waiting = rebuild(start, history(*UP, *down))
    assert (waiting.connectors, waiting.url) == ((), "")
    assert waiting.to_json(now=1_800_000_015.0)["next_retry_in"] == 6.0
    again = (
        events.StateChanged(tunnel="web", old=State.BACKOFF, new=State.STARTING, reason="the wait is over"),
        events.ChildStarted(tunnel="web", pid=8, version="2026.8.2", connector=0, restart=True),
    )
    status = rebuild(start, history(*UP, *down, *again))
    assert (status.restarts, status.url, status.retry_at, status.attempt) == (1, "", None, 2)
    steady = rebuild(start, history(*UP, *down, *again, events.AttemptsForgotten(tunnel="web", after=60)))
    assert steady.attempt == 0


def test_a_named_url_outlives_its_child() -> None:
    """The URL of a named tunnel is the same for every child."""
    again = events.ChildStarted(tunnel="web", pid=8, version="2026.8.2", connector=0)
    assert rebuild(TunnelStatus("web", mode="named"), history(*UP, again)).url == "https://a"


BEFORE = "no connection to the edge yet: refused"


@pytest.mark.parametrize(
    ("verdict", "changes", "reason"),
    [
        (Verdict.STARTING, ["+0"], FIRST_REQUEST),
        (Verdict.STARTING, ["+0", "+1", "-0"], FIRST_REQUEST),
        (Verdict.STARTING, ["+0", "-0"], NO_CONNECTION),
        (Verdict.STARTING, ["+0", "-0", "+2"], FIRST_REQUEST),
        (Verdict.STARTING, ["-0"], BEFORE),
        (Verdict.EDGE_LOST, ["+0"], BEFORE),
        (Verdict.ORIGIN_DOWN, ["+0", "-0"], BEFORE),
    ],
)
def test_a_connection_at_the_start_is_told_before_the_check_ends(verdict: Verdict, changes: list[str], reason: str) -> None:
    """While the first request waits for a slow service, the status says what it waits for; other verdicts keep their reason."""
    facts: list[Fact] = [
        events.ChildStarted(tunnel="web", pid=7, version="2026.8.2", connector=0),
        events.VerdictChanged(tunnel="web", old="", new=verdict, reason=BEFORE),
    ]
    for change in changes:
        index = int(change[1])
        if change[0] == "+":
            facts.append(events.ConnectionRegistered(tunnel="web", index=index, location="ams", protocol="quic"))
        else:
            facts.append(events.ConnectionLost(tunnel="web", index=index))
    assert rebuild(TunnelStatus("web", mode="quick"), history(*facts)).reason == reason


def test_other_tunnels_change_nothing() -> None:
    """Facts about another tunnel leave a status as it is."""
    other = TunnelStatus("api")
    assert rebuild(other, history(*UP)) is other


def test_every_fact_has_a_public_form() -> None:
    """seq, at, tunnel and event come first in every event; the rest are the fact's own fields."""
    exited = events.ChildExited(tunnel="web", pid=7, code=None, signal=9, result="signal", cause="crash", detail="x")
    assert list(history(exited)[0].to_json().items())[:8] == [
        ("seq", 1),
        ("at", "2027-01-15T08:00:01.000Z"),
        ("tunnel", "web"),
        ("event", "child_exited"),
        ("pid", 7),
        ("code", None),
        ("signal", 9),
        ("result", "signal"),
    ]


def test_event_names_are_the_documented_ones() -> None:
    """The names that scripts rely on exist."""
    names = {kind.name for kind in Fact.__subclasses__()}
    assert names >= {
        "state_changed",
        "verdict_changed",
        "url_changed",
        "child_started",
        "child_exited",
        "connection_registered",
        "connection_lost",
        "probe",
        "restart_scheduled",
        "log",
        "config_reloaded",
        "dropped",
    }


def test_a_tunnel_that_is_up_lacks_connectors() -> None:
    """Of several; one that is not up, or has one connector or none, lacks none. How many serve came with the verdict."""
    well = events.VerdictChanged(tunnel="web", old="", new=Verdict.HEALTHY, reason="1 of 2 connectors", serving=1)
    up = rebuild(TunnelStatus("web", state=State.READY, replicas=2), history(well))
    assert (up.lacks_connectors, up.to_json(0.0)["serving"]) == (True, 1)
    whole = rebuild(up, history(replace(well, serving=2)))
    assert (whole.lacks_connectors, whole.to_json(0.0)["serving"]) == (False, 2)
    for status in (replace(up, replicas=1), replace(up, replicas=0), replace(up, state=State.BACKOFF)):
        assert not status.lacks_connectors
    assert replace(up, state=State.BACKOFF).to_json(0.0)["serving"] == 0


def waits(number: int, delay: float) -> Fact:
    """A connector waits for its next start."""
    return events.RestartScheduled(tunnel="web", delay=delay, attempt=1, reason="exit code 1", connector=number)


def starts(number: int) -> Fact:
    """A connector is started."""
    return events.ChildStarted(tunnel="web", pid=20 + number, version="2026.8.2", connector=number)


FALLS = events.StateChanged(tunnel="web", old=State.READY, new=State.DEGRADED, reason="1 of 2 connectors")
FAILS = events.StateChanged(tunnel="web", old=State.DEGRADED, new=State.FAILED, reason="the token is refused")
STAYS = events.RestartCancelled(tunnel="web", attempt=0, reason="it is back", connector=1)


@pytest.mark.parametrize(
    ("facts", "number"),
    [
        ([waits(0, 20), waits(1, 10)], 1),
        ([waits(0, 20), waits(1, 10), starts(1)], 0),
        ([waits(1, 10), starts(0)], 1),
        ([waits(1, 10), FALLS], 1),
        ([waits(0, 20), waits(1, 10), STAYS], 0),
        ([waits(1, 10), starts(1)], None),
        ([waits(1, 10), FAILS], None),
        ([waits(2, 10)], None),
    ],
    ids=["two", "the other starts", "another starts", "the state changes", "one is kept", "it starts", "failed", "beyond"],
)
def test_the_next_try_is_the_first_of_all_connectors(facts: list[Fact], number: int | None) -> None:
    """Of those that wait and are wanted; what another connector does, or the tunnel's state, takes no wait away."""
    status = rebuild(TunnelStatus("web", mode="named", replicas=2), history(*UP, *facts))
    assert status.retry_at == (None if number is None else dict(status.retries)[number])
