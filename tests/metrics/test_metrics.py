"""The metrics: a fold over events, written in Prometheus' text format."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from prx.core import events
from prx.core.events import Event, Fact
from prx.core.states import State
from prx.core.status import TunnelStatus
from prx.core.verdicts import Verdict
from prx.metrics import reference
from prx.metrics.collection import Collector
from prx.metrics.connectors import ConnectorCounts, ConnectorTotals
from prx.metrics.exposition import Snapshot, render
from prx.metrics.readiness import not_ready
from prx.metrics.table import METRICS

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "metrics.md"


def counted(*facts: Fact) -> Collector:
    """Return what is counted of these facts."""
    collector = Collector()
    for number, fact in enumerate(facts):
        collector.see(Event(number, 1000.0 + number, fact))
    return collector


def rendered(*facts: Fact, statuses: tuple[TunnelStatus, ...] = (TunnelStatus("web"),), **connectors: ConnectorCounts) -> str:
    """Return the text of these facts and statuses."""
    return render(Snapshot("1.0", statuses, counted(*facts).tunnels, connectors))


def started(pid: int = 7, *, connector: int = 0, restart: bool = False) -> Fact:
    """Return the start of a child."""
    return events.ChildStarted(tunnel="web", pid=pid, version="1", connector=connector, restart=restart)


AGAIN = started(8, restart=True)


def verdict(new: Verdict) -> Fact:
    """Return a change to `new`."""
    return events.VerdictChanged(tunnel="web", old="", new=new, reason="")


SCHEDULED = events.RestartScheduled(tunnel="web", delay=5, attempt=1, reason="")
EVERYTHING: tuple[Fact, ...] = (
    started(),
    events.Probed(tunnel="web", status=200, latency_ms=31.0, verdict=Verdict.HEALTHY),
    events.Probed(tunnel="web", status=None, latency_ms=None, verdict=Verdict.UNREACHABLE),
    events.Log(tunnel="web", level="warn", message="x", source="cloudflare"),
    events.UrlChanged(tunnel="web", url="https://b", old="https://a"),
    verdict(Verdict.CRASHED),
    SCHEDULED,
    AGAIN,
)


def sample(text: str, name: str) -> float:
    """Return the value of one sample."""
    (found,) = re.findall(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return float(found)


@pytest.mark.parametrize(
    ("facts", "cause"),
    [
        ((started(), verdict(Verdict.CRASHED), SCHEDULED, AGAIN), "crashed"),
        ((started(), verdict(Verdict.EDGE_LOST), SCHEDULED, AGAIN), "edge_lost"),
        ((started(), verdict(Verdict.EDGE_LOST), AGAIN), "asked"),
        (
            (
                started(),
                verdict(Verdict.EDGE_LOST),
                SCHEDULED,
                events.RestartCancelled(tunnel="web", attempt=1, reason=""),
                AGAIN,
            ),
            "asked",
        ),
    ],
)
def test_a_restart_is_counted_under_its_cause(facts: tuple[Fact, ...], cause: str) -> None:
    """The cause is the verdict under which it was scheduled; what was asked for, or came after a cancelled one, is `asked`."""
    assert counted(*facts).tunnels["web"].restarts == {cause: 1}


def test_a_second_connector_is_no_restart() -> None:
    """Four that start once are no restart, nor is one that is added again; and one cause is not another's."""
    starts = [started(connector=number) for number in range(4)]
    assert counted(*starts, starts[3]).tunnels["web"].restarts == {}
    others = [started(connector=number, restart=True) for number in (1, 0)]
    again = counted(*starts, verdict(Verdict.CRASHED), SCHEDULED, *others)
    assert again.tunnels["web"].restarts == {"asked": 1, "crashed": 1}


def test_a_restart_of_a_replica_has_its_own_cause() -> None:
    """The tunnel is healthy by the other one: the restart is put down to what befell the connector."""
    starts = [started(connector=number) for number in range(2)]
    scheduled = replace(SCHEDULED, connector=1, verdict=Verdict.CRASHED)
    assert counted(*starts, verdict(Verdict.HEALTHY), scheduled, started(connector=1, restart=True)).tunnels[
        "web"
    ].restarts == {"crashed": 1}


@pytest.mark.parametrize(("state", "serving"), [(State.READY, 1), (State.BACKOFF, 0)])
def test_connectors_that_serve_and_are_wanted_have_series(state: State, serving: int) -> None:
    """One of two serves; none does while the tunnel is down."""
    text = rendered(statuses=(TunnelStatus("web", state=state, replicas=2, serving=1),))
    assert f'prx_connectors{{tunnel="web"}} {serving}\n' in text
    assert 'prx_connectors_wanted{tunnel="web"} 2\n' in text


def test_the_first_start_is_no_restart_and_the_first_url_no_change() -> None:
    """What begins changes nothing."""
    counts = counted(started(), events.UrlChanged(tunnel="web", url="https://a", old="")).tunnels["web"]
    assert (sum(counts.restarts.values()), counts.url_changes) == (0, 0)


def test_each_state_and_verdict_has_a_series_and_one_is_1() -> None:
    """A state set: an alert can ask for any of them, seen or not."""
    text = rendered(statuses=(TunnelStatus("web", state=State.DEGRADED, verdict=Verdict.ORIGIN_DOWN),))
    assert sample(text, 'prx_up{tunnel="web"}') == 1
    for metric, label, values, one in (
        ("prx_state", "state", State, "degraded"),
        ("prx_verdict", "verdict", Verdict, "origin_down"),
    ):
        found = {str(item): sample(text, f'{metric}{{tunnel="web",{label}="{item}"}}') for item in values}
        assert [name for name, value in found.items() if value] == [one]


def test_the_histogram_is_cumulative_and_in_seconds() -> None:
    """31 ms are above 0.025 s; a probe that got no answer is counted apart."""
    text = rendered(*EVERYTHING)
    assert sample(text, 'prx_probe_seconds_bucket{tunnel="web",le="0.025"}') == 0
    assert sample(text, 'prx_probe_seconds_bucket{tunnel="web",le="0.05"}') == 1
    assert sample(text, 'prx_probe_seconds_bucket{tunnel="web",le="+Inf"}') == 1
    assert sample(text, 'prx_probe_seconds_count{tunnel="web"}') == 1
    assert sample(text, 'prx_probe_seconds_sum{tunnel="web"}') == pytest.approx(0.031)
    assert sample(text, 'prx_probe_failures_total{tunnel="web"}') == 1


def test_only_the_connectors_lines_are_counted() -> None:
    """Lines of prx and of the user's own service are none of the connector's."""
    lines = [events.Log(tunnel="web", level="info", message="", source=source) for source in ("prx", "service", "cloudflare")]
    assert counted(*lines).tunnels["web"].log_lines == {"info": 1}


def test_a_connector_that_cannot_be_asked_has_no_series() -> None:
    """Unknown is no 0: a counter that fell to 0 would look like a restart."""
    assert "prx_connector_" not in rendered()
    counts = ConnectorCounts(requests=5, said={200: 4, 502: 1}, registered=4, rejected=1)
    text = rendered(web=counts)
    assert sample(text, 'prx_connector_responses_total{tunnel="web",code="502"}') == 1
    assert sample(text, 'prx_connector_registrations_total{tunnel="web",result="rejected"}') == 1


def of(requests: int, **more: object) -> ConnectorCounts:
    """Return what a connector counts that has passed on so many requests, all of them with 200."""
    return ConnectorCounts(requests=requests, said={200: requests}, **more)  # type: ignore[arg-type]


LIVES: dict[str, list[tuple[int, dict[int, ConnectorCounts | None], int | None]]] = {
    "one is replaced": [(0, {7: of(1000)}, 1000), (1002, {8: of(0)}, 1002), (1002, {8: of(5)}, 1007)],
    "one of two cannot be asked": [
        (0, {7: of(1000), 8: of(900)}, 1900),
        (0, {7: of(1001), 8: None}, 1901),
        (0, {7: of(1001), 8: of(950)}, 1951),
    ],
    "one of three is restarted": [
        (0, {7: of(10), 8: of(20), 9: of(30)}, 60),
        (21, {7: of(11), 9: of(31)}, 63),
        (21, {7: of(11), 9: of(31), 10: of(4)}, 67),
    ],
    "a successor stands beside it": [(0, {7: of(10)}, 10), (0, {7: of(12), 8: of(3)}, 15), (12, {8: of(9)}, 21)],
    "none runs for a while": [(0, {7: of(10)}, 10), (11, {}, None), (11, {8: None}, None), (11, {8: of(1)}, 12)],
    "none can be asked for a while": [
        (0, {7: of(10), 8: of(1)}, 11),
        (0, {7: None, 8: None}, None),
        (0, {7: None, 8: of(1)}, 11),
    ],
    "one ends while it cannot be asked": [(0, {7: of(10), 8: of(1)}, 11), (0, {7: None, 8: of(1)}, 11), (10, {8: of(2)}, 12)],
}


@pytest.mark.parametrize("life", LIVES)
def test_the_counters_of_connectors_never_fall(life: str) -> None:
    """Prometheus counts all that is left a second time if one falls: not for a connector that ends, restarts or is silent."""
    totals = ConnectorTotals()
    for past, running, expected in LIVES[life]:
        found = totals.see(of(past), running)
        assert (None if found is None else found.requests) == expected
        assert found is None or found.said[200] == expected


def test_what_is_under_way_is_counted_of_those_that_can_be_asked() -> None:
    """It is no total: what a connector had under way when it ended is not."""
    totals = ConnectorTotals()
    first = totals.see(of(0), {7: of(5, in_flight=3), 8: of(5, in_flight=2)})
    assert first is not None
    assert first.in_flight == 5
    second = totals.see(of(5, in_flight=3), {8: of(6, in_flight=1), 9: None})
    assert second is not None
    assert second.in_flight == 1


def test_every_metric_is_written_with_help_and_type_once() -> None:
    """Everything that the table declares has a sample, its head stands once, and nothing else is written."""
    text = rendered(*EVERYTHING, statuses=(TunnelStatus("web"), TunnelStatus("api")), web=ConnectorCounts(said={200: 1}))
    assert re.findall(r"^# TYPE (\S+)", text, re.MULTILINE) == [metric.name for metric in METRICS]
    assert re.findall(r"^# HELP (\S+)", text, re.MULTILINE) == [metric.name for metric in METRICS]


@pytest.mark.parametrize("name", ['a"b', "a\\b", "a\nb", 'x"} 1\nprx_up{tunnel="y'])
def test_a_label_cannot_leave_its_quotes(name: str) -> None:
    """Quote, backslash and line end are escaped, whatever a name holds."""
    text = rendered(statuses=(TunnelStatus(name),))
    assert len([line for line in text.splitlines() if line.startswith("prx_up")]) == 1


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)")
def test_promtool_finds_nothing() -> None:
    """Prometheus' own checker reads the text and has no objection to a name, a unit or a type."""
    text = rendered(*EVERYTHING, statuses=(TunnelStatus("web"), TunnelStatus("api")), web=ConnectorCounts(said={200: 1}))
    done = subprocess.run(["promtool", "check", "metrics"], input=text, text=True, capture_output=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_reference_page_is_fresh() -> None:
    """The page in the documentation is what `python -m prx.metrics.reference` prints."""
    assert PAGE.read_text(encoding="utf-8") == reference.page()


@pytest.mark.parametrize(
    ("state", "verdict", "ready"),
    [
        (State.READY, Verdict.HEALTHY, True),
        (State.READY, Verdict.PROTECTED, True),
        (State.DEGRADED, Verdict.ORIGIN_DOWN, True),
        (State.DEGRADED, Verdict.ORIGIN_ERROR, True),
        (State.IDLE, "", True),
        (State.DEGRADED, Verdict.EDGE_LOST, False),
        (State.DEGRADED, Verdict.ACCESS_REJECTED, False),
        (State.DEGRADED, Verdict.UNREACHABLE, False),
        (State.STARTING, "", False),
        (State.BACKOFF, Verdict.CRASHED, False),
        (State.STOPPING, Verdict.HEALTHY, False),
        (State.FAILED, Verdict.AUTH_REJECTED, False),
    ],
)
def test_readiness(state: State, verdict: Verdict, ready: bool) -> None:
    """Ready means: up, or degraded by the service alone; a stopped tunnel is not wanted. The text has no reason in it."""
    status = TunnelStatus("web", state=state, verdict=verdict, reason="secret", url="https://x")
    found = not_ready([status, TunnelStatus("api", state=State.READY)])
    assert (found == []) is ready
    assert "secret" not in str(found)


@pytest.mark.parametrize(("wanted", "configured"), [(False, True), (True, False), (False, False)])
@pytest.mark.parametrize("state", [State.STOPPING, State.DEGRADED, State.STARTING, State.FAILED])
def test_what_is_not_wanted_any_more_makes_nothing_unready(state: State, wanted: bool, configured: bool) -> None:
    """A tunnel that was stopped or removed and finishes its last requests; but prx is not ready once no other is wanted."""
    leaving = TunnelStatus("web", state=state, wanted=wanted, configured=configured)
    assert not_ready([leaving, TunnelStatus("api", state=State.READY)]) == []
    assert not_ready([leaving, TunnelStatus("api", state=State.STARTING)]) == ["api: starting"]
    assert not_ready([leaving, TunnelStatus("api", state=State.IDLE, wanted=False)]) == [f"web: {state}"]


@pytest.mark.parametrize(
    ("state", "verdict", "up"),
    [
        (State.READY, Verdict.HEALTHY, 1), (State.READY, Verdict.EDGE_REFUSED, 1), (State.READY, Verdict.EDGE_LOST, 1),
        (State.DEGRADED, Verdict.ORIGIN_DOWN, 1), (State.DEGRADED, Verdict.ORIGIN_ERROR, 1),
        (State.DEGRADED, Verdict.ACCESS_REJECTED, 1), (State.DEGRADED, Verdict.HEALTHY, 1),
        (State.DEGRADED, Verdict.EDGE_LOST, 0), (State.DEGRADED, Verdict.UNREACHABLE, 0), (State.DEGRADED, Verdict.OFFLINE, 0),
        (State.DEGRADED, Verdict.ROUTE_MISMATCH, 0), (State.DEGRADED, Verdict.UDP_BLOCKED, 0),
        (State.BACKOFF, Verdict.CRASHED, 0), (State.STARTING, Verdict.STARTING, 0), (State.FAILED, Verdict.AUTH_REJECTED, 0),
    ],
)  # fmt: skip
def test_up_means_that_visitors_get_through(state: State, verdict: Verdict, up: int) -> None:
    """`prx_up`, on which the alert of a tunnel that is down stands, is 0 for each fault of the tunnel itself."""
    text = rendered(statuses=(TunnelStatus("web", state=state, verdict=verdict),))
    assert sample(text, 'prx_up{tunnel="web"}') == up
