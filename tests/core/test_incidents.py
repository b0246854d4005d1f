"""What people are told: trouble that lasts, its end, a URL that will change; never a flap."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from prx.core import events
from prx.core.conditions import CONDITIONS
from prx.core.events import Fact
from prx.core.incidents import LASTED, WELL_FOR, Incidents, Notice
from prx.core.states import State
from prx.core.verdicts import ACTIONS, Action, Verdict


class Scene:
    """One tunnel's incidents in virtual time; `told` has every notice."""

    def __init__(self, *, up: bool = True) -> None:
        self.now = 1000.0
        self.incidents = Incidents("web")
        self.told: list[Notice] = []
        self.give(events.UrlKnown(tunnel="web", url="https://a.example"))
        if up:
            self.become(Verdict.HEALTHY, State.READY)

    def give(self, fact: Fact) -> None:
        self.told += self.incidents.take(self.now, fact)

    def become(self, verdict: Verdict, state: State) -> None:
        """Show a verdict, then change the state, as the machine does."""
        self.give(events.VerdictChanged(tunnel="web", old="", new=verdict, reason="so it is", hint="do this"))
        self.give(events.StateChanged(tunnel="web", old=State.READY, new=state, reason=""))

    def wait(self, seconds: float) -> None:
        end = self.now + seconds
        while self.incidents.due is not None and self.incidents.due <= end:
            self.now = max(self.now, self.incidents.due)
            self.told += self.incidents.elapse(self.now)
        self.now = end

    def heard(self) -> list[str]:
        return [f"{item.event} {item.data.get('verdict', '')}".strip() for item in self.told]


BAD = [verdict for verdict in Verdict if ACTIONS[verdict] is not Action.NONE and verdict is not Verdict.STARTING]


@pytest.mark.parametrize("verdict", BAD)
def test_every_trouble_that_lasts_is_told_once_and_so_is_its_end(verdict: Verdict) -> None:
    """One notice when it has lasted, with what, since when, why and hint; one when it is over, with how long it took."""
    scene = Scene()
    began = scene.now
    scene.now += CONDITIONS[verdict].visible_after  # it was kept back for so long
    scene.become(verdict, State.DEGRADED)
    scene.wait(100)
    scene.become(verdict, State.DEGRADED)  # in other words
    scene.wait(100)
    assert scene.heard() == [f"trouble {verdict}"]
    data = scene.told[0].data
    assert data["since"] == events.timestamp(began)
    assert (data["reason"], data["hint"], data["url"]) == ("so it is", "do this", "https://a.example")
    assert data["title"] == CONDITIONS[verdict].title
    scene.become(Verdict.HEALTHY, State.READY)
    ended = scene.now
    scene.wait(WELL_FOR + 1)
    assert scene.heard()[1:] == ["recovered"]
    assert scene.told[1].data["lasted_secs"] == ended - began
    assert scene.told[1].data["verdicts"] == [verdict]


@pytest.mark.parametrize("verdict", [item for item in BAD if not item.is_final])
def test_what_comes_and_goes_before_it_has_lasted_is_not_told(verdict: Verdict) -> None:
    """A verdict that was not kept back and is gone within its time is no news, nor is its end."""
    scene = Scene()
    scene.give(events.StateChanged(tunnel="web", old=State.READY, new=State.DEGRADED, reason=""))
    for _ in range(50):
        scene.become(verdict, State.DEGRADED)
        scene.wait(LASTED - 0.5)
        scene.become(Verdict.HEALTHY, State.DEGRADED)
        scene.wait(60)
    assert scene.heard() == []


def test_a_flapping_tunnel_is_one_incident() -> None:
    """Trouble that returns before the tunnel was well for long is no new notice, and its end is reported once, of the whole."""
    scene = Scene()
    for _ in range(20):
        scene.become(Verdict.EDGE_LOST, State.DEGRADED)
        scene.wait(5)
        scene.become(Verdict.HEALTHY, State.READY)
        scene.wait(WELL_FOR - 1)
    scene.wait(10)
    assert scene.heard() == ["trouble edge_lost", "recovered"]
    assert scene.told[1].data["lasted_secs"] == pytest.approx(19 * 14 + 5 + 2)


def test_another_verdict_of_the_same_incident_is_told() -> None:
    """The edge is lost, then the child crashes: two pieces of news, one end."""
    scene = Scene()
    scene.become(Verdict.EDGE_LOST, State.DEGRADED)
    scene.wait(30)
    scene.become(Verdict.CRASHED, State.BACKOFF)
    scene.wait(30)
    scene.become(Verdict.STARTING, State.STARTING)
    scene.wait(30)
    scene.become(Verdict.HEALTHY, State.READY)
    scene.wait(30)
    assert scene.heard() == ["trouble edge_lost", "trouble crashed", "recovered"]
    assert scene.told[2].data["verdicts"] == ["edge_lost", "crashed"]


def test_the_way_up_is_no_trouble() -> None:
    """Starting, and a fresh name that public DNS does not know, cause no notice however long they take."""
    scene = Scene(up=False)
    for verdict in (Verdict.STARTING, Verdict.DNS_PENDING):
        scene.become(verdict, State.STARTING)
        scene.wait(300)
    scene.become(Verdict.HEALTHY, State.READY)
    scene.wait(300)
    assert scene.heard() == []


@pytest.mark.parametrize("fault", [Verdict.ORIGIN_DOWN, Verdict.EDGE_LOST, Verdict.UNREACHABLE, Verdict.OFFLINE])
@pytest.mark.parametrize("after", [1.0, WELL_FOR - 1])
def test_the_end_is_not_told_while_the_tunnel_is_on_its_way_up_again(fault: Verdict, after: float) -> None:
    """It was well for a moment and is started again: its trouble is over once it has been well for long, and not before."""
    scene = Scene()
    scene.become(fault, State.DEGRADED)
    scene.wait(60)
    scene.become(Verdict.HEALTHY, State.READY)
    scene.wait(after)
    scene.become(Verdict.STARTING, State.STARTING)
    scene.wait(300)
    assert scene.heard() == [f"trouble {fault}"]
    scene.become(Verdict.HEALTHY, State.READY)
    scene.wait(WELL_FOR)
    assert scene.heard() == [f"trouble {fault}", "recovered"]


@pytest.mark.parametrize("reported", [None, Verdict.CRASHED, Verdict.EDGE_LOST, Verdict.RATE_LIMITED])
def test_the_fresh_name_of_a_restarted_quick_tunnel_is_no_trouble(reported: Verdict | None) -> None:
    """A new quick tunnel has a name that public DNS does not know at first, whatever was before; an old one has to be known."""
    scene = Scene()
    if reported is not None:
        scene.become(reported, State.BACKOFF)
        scene.wait(10)
    before = scene.heard()
    scene.become(Verdict.STARTING, State.STARTING)
    scene.give(events.UrlKnown(tunnel="web", url="https://b.example"))
    scene.become(Verdict.DNS_PENDING, State.STARTING)
    scene.wait(240)
    assert scene.heard() == before
    scene.give(events.UrlChanged(tunnel="web", url="https://b.example", old="https://a.example"))
    scene.become(Verdict.HEALTHY, State.READY)
    scene.wait(60)
    ended = [] if reported is None else ["recovered"]
    assert scene.heard() == before + ended
    scene.become(Verdict.DNS_PENDING, State.DEGRADED)
    scene.wait(60)
    assert scene.heard() == [*before, *ended, "trouble dns_pending"]


@pytest.mark.parametrize("verdict", [Verdict.AUTH_REJECTED, Verdict.MISCONFIGURED])
def test_what_is_final_is_told_at_once(verdict: Verdict) -> None:
    """After a final verdict prx may end, so it waits for nothing."""
    scene = Scene(up=False)
    scene.become(verdict, State.FAILED)
    assert scene.heard() == [f"trouble {verdict}"]


def test_a_stop_as_asked_is_silent() -> None:
    """A tunnel that is stopped tells no end of its trouble, and begins again without it."""
    scene = Scene()
    scene.become(Verdict.EDGE_LOST, State.DEGRADED)
    scene.give(events.StateChanged(tunnel="web", old=State.DEGRADED, new=State.IDLE, reason=""))
    scene.wait(100)
    scene.become(Verdict.HEALTHY, State.READY)
    scene.wait(100)
    assert scene.heard() == ["trouble edge_lost"]


@pytest.mark.parametrize(("delay", "words"), [(5.0, "in 5 s"), (0.0, "now")])
def test_a_restart_that_costs_the_url_is_told_before(delay: float, words: str) -> None:
    """The warning comes with the schedule and names the URL; if the connector comes back, it is taken back."""
    scene = Scene()
    scene.give(events.RestartScheduled(tunnel="web", delay=delay, attempt=1, reason="hung", costs_url=True))
    assert scene.heard() == ["url_will_change"]
    assert scene.told[0].text == f"web: https://a.example will be replaced by a new URL {words}: hung"
    scene.give(events.RestartCancelled(tunnel="web", attempt=1, reason="it is back"))
    scene.give(events.RestartCancelled(tunnel="web", attempt=1, reason="again"))
    assert scene.heard() == ["url_will_change", "url_kept"]


@pytest.mark.parametrize("delays", [(5.0, 5.0), (5.0, 10.0, 20.0, 40.0), (0.0, 5.0), (5.0,) * 100])
def test_a_url_is_lost_once_however_often_the_start_fails(delays: tuple[float, ...]) -> None:
    """A connector that does not come up again is one piece of news about the URL, not one for each try; the next URL counts."""
    scene = Scene()
    for attempt, delay in enumerate(delays, 1):
        scene.give(events.RestartScheduled(tunnel="web", delay=delay, attempt=attempt, reason="offline", costs_url=True))
    assert scene.heard() == ["url_will_change"]
    scene.give(events.UrlKnown(tunnel="web", url="https://b.example"))
    scene.give(events.RestartScheduled(tunnel="web", delay=5, attempt=1, reason="hung", costs_url=True))
    assert scene.heard() == ["url_will_change"] * 2
    assert "https://b.example" in scene.told[-1].text


def test_a_restart_that_keeps_the_url_is_no_news() -> None:
    """A named tunnel's restart is reported by its verdict alone."""
    scene = Scene()
    scene.give(events.RestartScheduled(tunnel="web", delay=5, attempt=1, reason=""))
    scene.give(events.RestartCancelled(tunnel="web", attempt=1, reason=""))
    assert scene.heard() == []


def notices() -> Iterator[Notice]:
    """Yield one of each event."""
    scene = Scene()
    scene.become(Verdict.CRASHED, State.BACKOFF)
    scene.give(events.RestartScheduled(tunnel="web", delay=5, attempt=1, reason="hung", costs_url=True))
    scene.give(events.RestartCancelled(tunnel="web", attempt=1, reason="it is back"))
    scene.wait(10)
    scene.become(Verdict.HEALTHY, State.READY)
    scene.wait(20)
    yield from scene.told


def test_the_public_form() -> None:
    """Each notice is one line of JSON: event, timestamp, data with the tunnel in it; and a few variables."""
    found = list(notices())
    assert [item.event for item in found] == ["url_will_change", "url_kept", "trouble", "recovered"]
    for item in found:
        body = json.loads(item.to_json())
        assert set(body) == {"event", "timestamp", "data"}
        assert body["data"]["tunnel"] == "web"
        assert item.variables()["PRX_EVENT"] == item.event
        assert item.variables()["PRX_TEXT"] == item.text


@pytest.mark.parametrize("hours", [3, -3, 24 * 365, -24 * 365])
def test_a_clock_that_is_set_changes_no_duration(hours: int) -> None:
    """Trouble of a minute is reported as a minute, at its time, if the wall clock is set in its middle."""
    scene = Scene()
    scene.give(events.VerdictChanged(tunnel="web", old="", new=Verdict.EDGE_LOST, reason="so it is", hint=""))
    scene.give(events.StateChanged(tunnel="web", old=State.READY, new=State.DEGRADED, reason=""))
    scene.wait(30)
    scene.incidents.move(hours * 3600)
    scene.now += hours * 3600
    scene.wait(30)
    scene.become(Verdict.HEALTHY, State.READY)
    scene.wait(WELL_FOR)
    assert scene.heard() == ["trouble edge_lost", "recovered"]
    assert scene.told[-1].data["lasted_secs"] == pytest.approx(60, abs=CONDITIONS[Verdict.EDGE_LOST].visible_after + LASTED)


@pytest.mark.parametrize("lasted", [0.5, 3.0, 12.0, 60.0])
def test_trouble_is_dated_from_when_it_was_first_seen(lasted: float) -> None:
    """A verdict that had been true for a while when it was shown began then, and the recovery counts from there."""
    scene = Scene()
    began, scene.now = scene.now, scene.now + lasted
    kept_back = CONDITIONS[Verdict.ORIGIN_DOWN].visible_after
    scene.give(events.VerdictChanged(tunnel="web", old="", new=Verdict.ORIGIN_DOWN, reason="refused", lasted=lasted))
    scene.wait(100)
    scene.become(Verdict.HEALTHY, State.READY)
    scene.wait(100)
    assert scene.heard() == ["trouble origin_down", "recovered"]
    assert scene.told[0].data["since"] == events.timestamp(min(began, began + lasted - kept_back))
    assert scene.told[1].data["lasted_secs"] == max(lasted, kept_back) + 100


def test_a_verdict_of_the_way_up_is_no_news_sooner_because_it_was_seen_before() -> None:
    """A check that took long to fail is one check: what is well at the next one is not reported."""
    scene = Scene(up=False)
    scene.give(events.StateChanged(tunnel="web", old=State.IDLE, new=State.STARTING, reason=""))
    scene.give(events.VerdictChanged(tunnel="web", old="", new=Verdict.UNREACHABLE, reason="silent", lasted=10.0))
    scene.wait(1)
    scene.become(Verdict.HEALTHY, State.READY)
    scene.wait(100)
    assert scene.heard() == []
