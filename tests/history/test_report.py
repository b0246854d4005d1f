"""The report on a scripted past: what it says equals what happened, to the second."""

import json
from typing import Any

import pytest

from prx.history.latency import bucket, middle, percentile
from prx.history.reader import Life
from prx.history.records import decode
from prx.history.report import Report, TunnelReport, report
from prx.ui.report_lines import report_lines

DAY = 86_400.0
BEGIN = 1_800_000_000.0


class Script:
    """Records of one prx, written as a story: `at(second)` sets the time, other calls add what happens then."""

    def __init__(self, tunnel: str = "default", local_addr: str = "127.0.0.1:8080") -> None:
        self.tunnel, self.now, self.ahead = tunnel, 0.0, 0.0
        self.records: list[dict[str, Any]] = []
        self.add("prx_started", tunnel=None, pid=1, version="1", tunnels={tunnel: local_addr})
        self.add("state_changed", old="idle", new="starting", reason="")

    def add(self, event: str, **own: Any) -> None:
        """Write one record."""
        record = {"at": BEGIN + self.now + self.ahead, "event": event, "tunnel": self.tunnel, **own}
        self.records.append({name: value for name, value in record.items() if value is not None})

    def at(self, second: float) -> "Script":
        """Go to a second of the story, with a sign of life each minute."""
        while second - self.now > 60:
            self.now += 60
            self.add("alive", tunnel=None)
        self.now = second
        return self

    def jump(self, second: float) -> "Script":
        """Go to a second of the story without any sign of life."""
        self.now = second
        return self

    def set_clock(self, by: float, *, kept: bool = True) -> "Script":
        """Set the wall clock ahead by so many seconds, or back; an older prx has not `kept` that."""
        self.ahead += by
        if kept:
            self.add("clock_set", tunnel=None, by=by)
        return self

    def verdict(self, new: str, state: str = "", reason: str = "") -> "Script":
        """Change the verdict, and the state with it."""
        self.add("verdict_changed", old="", new=new, reason=reason, hint="")
        if state:
            self.add("state_changed", old="", new=state, reason=reason)
        return self

    def result(self, since: float, until: float, *, running: bool = True) -> TunnelReport:
        """Report on seconds `since` to `until` of the story."""
        whole = self.whole(since, until, running=running)
        assert len(whole.tunnels) == 1
        return whole.tunnels[0]

    def whole(self, since: float, until: float, *, running: bool = True) -> Report:
        """The same for all tunnels."""
        return report([Life("key", self.records)], BEGIN + since, BEGIN + until, running=running)


def lost(tunnel: TunnelReport) -> dict[str, tuple[float, int, float]]:
    """Return cause → seconds, number, longest."""
    return {
        item.cause: (round(item.secs, 3), item.count, round(item.longest.secs, 3) if item.longest else 0.0)
        for item in tunnel.lost
    }


def scripted_day() -> Script:
    """A day: up after 4 s, three faults of the service, one of the edge, a crash with restart, a stop in the evening."""
    day = Script()
    day.add("child_started", pid=2, version="v", connector=0, protocol="quic")
    day.at(4).verdict("healthy", "ready")
    day.add("url_changed", url="https://a.example", old="", proven=True)
    day.at(1000).verdict("origin_down", "degraded", "connection refused")
    day.at(1300).verdict("healthy", "ready")
    day.at(5000).verdict("origin_error", "degraded", "503")
    day.at(5010).verdict("origin_down", "degraded", "connection refused")
    day.at(5040).verdict("healthy", "ready")
    day.at(20_000).verdict("edge_lost", "degraded")
    day.at(20_061.5).verdict("healthy", "ready")
    day.at(40_000)
    day.add("child_exited", pid=2, code=1, signal=None, result="crash")
    day.verdict("crashed", "backoff")
    day.add("restart_scheduled", delay=5.0, attempt=1, reason="ended", costs_url=True)
    day.at(40_005)
    day.add("child_started", pid=3, version="v", connector=0, protocol="quic")
    day.verdict("starting", "starting")
    day.at(40_007).verdict("healthy", "ready")
    day.add("url_changed", url="https://b.example", old="https://a.example", proven=True)
    day.at(80_000)
    day.add("state_changed", old="ready", new="idle", reason="asked")
    day.at(DAY)
    return day


def test_a_scripted_day_is_reported_to_the_second() -> None:
    """Each second of a day is put down to the cause that was true then."""
    tunnel = scripted_day().result(0, DAY)
    assert lost(tunnel) == {
        "origin_down": (330.0, 2, 300.0),
        "edge_lost": (61.5, 1, 61.5),
        "origin_error": (10.0, 1, 10.0),
        "starting": (6.0, 2, 4.0),
        "crashed": (5.0, 1, 5.0),
    }
    assert tunnel.stopped == DAY - 80_000
    assert tunnel.watched == 80_000
    assert tunnel.reachable == 80_000 - 330 - 61.5 - 10 - 6 - 5
    assert tunnel.unwatched == 0
    assert [(item.cause, item.count, item.helped) for item in tunnel.restarts] == [("crashed", 1, 1)]
    assert [(item["at"] - BEGIN, item["old"], item["url"]) for item in tunnel.urls] == [
        (40_007, "https://a.example", "https://b.example")
    ]


def test_a_part_of_the_day_holds_what_was_in_force_before_it() -> None:
    """A span that begins in the middle of a fault counts the fault from there."""
    tunnel = scripted_day().result(1200, 2000)
    assert lost(tunnel) == {"origin_down": (100.0, 1, 100.0)}
    assert tunnel.watched == 800


@pytest.mark.parametrize("silence", [151.0, 3600.0])
def test_silence_is_neither_reachable_nor_lost(silence: float) -> None:
    """While prx was frozen, or the machine asleep, nothing is known, whatever the verdict was."""
    for verdict in ("healthy", "origin_down"):
        story = Script().at(10).verdict(verdict, "ready")
        story.at(600).jump(600 + silence).add("alive", tunnel=None)
        tunnel = story.at(1000 + silence).result(10, 1000 + silence)
        assert tunnel.unwatched == pytest.approx(silence, abs=60)
        assert tunnel.watched == pytest.approx(990, abs=60)


def test_a_killed_prx_is_believed_until_its_last_sign_of_life() -> None:
    """What was in force when prx was killed does not last until now."""
    story = Script().at(10).verdict("healthy", "ready")
    tunnel = story.at(3000).result(0, DAY)
    last = story.records[-1]["at"] - BEGIN
    assert (tunnel.reachable, tunnel.unwatched) == (last - 10, DAY - last)


def test_a_restart_of_prx_within_a_minute_loses_only_the_time_between() -> None:
    """Killed and started again: what lay between is not watched, even if it was short."""
    story = Script().at(10).verdict("healthy", "ready")
    story.at(100)
    end = story.records[-1]["at"] - BEGIN
    story.jump(120).add("prx_started", tunnel=None, pid=5, version="1", tunnels={})
    story.verdict("starting", "starting")
    tunnel = story.at(130).verdict("healthy", "ready").at(180).result(0, 180)
    assert tunnel.unwatched == 120 - end
    assert lost(tunnel)["starting"] == (20.0, 2, 10.0)


STEPS = [-7200.0, -3600.0, -400.0, -90.0, -3.0, -1.0, 1.5, 90.0, 3600.0, 7200.0]


def all_of(story: Script) -> TunnelReport:
    """Report on everything that a story has written, whatever clock it was written by."""
    return report([Life("key", story.records)], BEGIN - DAY, BEGIN + DAY, running=False).tunnels[0]


@pytest.mark.parametrize("by", STEPS)
def test_a_step_of_the_clock_changes_no_duration(by: float) -> None:
    """A fault before, over and after a step lasts as long as it did, and the one that the step falls into is one."""
    story = Script().at(10).verdict("healthy", "ready")
    story.at(400).verdict("origin_down", "degraded").at(420).verdict("healthy", "ready")
    story.at(500).verdict("edge_lost", "degraded").at(530).set_clock(by).at(570).verdict("healthy", "ready")
    story.at(900).verdict("origin_down", "degraded").at(950).verdict("healthy", "ready").at(1000).add("alive", tunnel=None)
    tunnel = all_of(story)
    assert lost(tunnel) == {"origin_down": (70.0, 2, 50.0), "edge_lost": (70.0, 1, 70.0), "starting": (10.0, 1, 10.0)}
    assert (tunnel.watched, tunnel.reachable) == pytest.approx((1000.0, 850.0))


@pytest.mark.parametrize("by", [-7200.0, -3600.0, -400.0, 3600.0])
def test_a_step_that_was_not_kept_costs_no_more_than_a_beat(by: float) -> None:
    """In the history of an older prx the step shows by the times alone: what came after it counts, and in full."""
    story = Script().at(10).verdict("healthy", "ready").at(500)
    story.add("alive", tunnel=None)
    story.set_clock(by, kept=False).at(600).verdict("origin_down", "degraded").at(660).verdict("healthy", "ready")
    story.at(1000).add("alive", tunnel=None)
    tunnel = all_of(story)
    assert lost(tunnel)["origin_down"] == (60.0, 1, 60.0)
    assert 1000 - 60 <= tunnel.watched <= 1000


@pytest.mark.parametrize("by", [-7200.0, -3600.0, -20.0, 3600.0])
@pytest.mark.parametrize("how", ["prx_stopped", "killed"])
def test_a_prx_that_starts_on_a_clock_that_was_set_is_watched_from_its_start(by: float, how: str) -> None:
    """A machine that boots with its clock set back: what happens then is not put off until the old time has come again."""
    story = Script().at(10).verdict("healthy", "ready").at(600)
    story.add(how if how != "killed" else "alive", tunnel=None)
    story.at(600).set_clock(by, kept=False)
    story.add("prx_started", tunnel=None, pid=2, version="1", tunnels={"default": "127.0.0.1:8080"})
    story.verdict("starting", "starting").at(605).verdict("healthy", "ready")
    story.at(700).verdict("origin_down", "degraded").at(740).verdict("healthy", "ready").at(900).add("alive", tunnel=None)
    tunnel = all_of(story)
    assert (tunnel.watched, lost(tunnel)["origin_down"]) == (900.0, (40.0, 1, 40.0))


def test_an_hour_that_came_twice_is_watched_twice_and_unwatched_never() -> None:
    """What was not watched is counted by the clock: two hours in one are no time without prx, and hide none."""
    story = Script().at(0).verdict("healthy", "ready").at(3600).set_clock(-3600).at(7200)
    story.add("alive", tunnel=None)
    tunnel = report([Life("key", story.records)], BEGIN - 600, BEGIN + 3600).tunnels[0]
    assert (tunnel.watched, tunnel.unwatched) == (7200.0, 600.0)


@pytest.mark.parametrize("by", [-3600.0, -90.0, 90.0, 3600.0])
def test_a_connection_lasts_as_long_as_it_did_over_a_step(by: float) -> None:
    """The time of connections is a true one as well, whether they end before, over or after a step."""
    story = Script()
    story.add("connection_registered", pid=2, index=0, location="ams01", protocol="quic")
    story.add("connection_registered", pid=2, index=1, location="fra03", protocol="quic")
    story.verdict("healthy", "ready").at(100).add("connection_lost", pid=2, index=1)
    story.at(300).set_clock(by).at(500).add("connection_lost", pid=2, index=0)
    story.add("connection_registered", pid=2, index=0, location="fra03", protocol="quic")
    tunnel = all_of(story.at(600))
    last = story.records[-1]["at"] - BEGIN - story.ahead
    found = {link.location: (link.count, round(link.secs, 3)) for link in tunnel.links}
    assert found == {"ams01": (1, 500.0), "fra03": (2, last - 400)}


def test_visitors_are_lost_while_a_connector_ends_for_a_restart() -> None:
    """A connector that drains takes no visitors: the verdict of before is no proof that the tunnel was reachable."""
    story = Script().at(10).verdict("healthy", "ready", "it answers 200")
    story.at(100).add("state_changed", old="ready", new="stopping", reason="asked to restart")
    story.at(130).add("state_changed", old="stopping", new="starting", reason="asked to restart")
    story.at(131).verdict("starting").at(134).verdict("healthy", "ready").at(200).add("alive", tunnel=None)
    tunnel = story.result(10, 200)
    assert lost(tunnel) == {"starting": (34.0, 1, 34.0)}
    assert [(span.cause, span.reason) for span in tunnel.timeline if span.cause] == [("starting", "")]


@pytest.mark.parametrize("lasted", [0.0, 2.0, 5.5, 60.0, 149.0])
def test_a_fault_counts_from_when_it_was_first_seen(lasted: float) -> None:
    """A verdict is shown when it has lasted; visitors were lost before."""
    story = Script().at(10).verdict("healthy", "ready").at(500)
    story.add("verdict_changed", old="healthy", new="origin_down", reason="", lasted=lasted)
    story.add("state_changed", old="ready", new="degraded", reason="")
    tunnel = story.at(520).verdict("healthy", "ready").at(600).result(10, 520)
    assert lost(tunnel) == {"origin_down": (20 + lasted, 1, 20 + lasted)}
    assert tunnel.reachable == 490 - lasted


@pytest.mark.parametrize("lasted", [30.0, -5.0, 1e9, "long", None, True, float("nan")])
def test_a_fault_takes_no_time_that_belongs_to_another_one(lasted: Any) -> None:
    """What was put down to one cause is not put down to the next; what cannot be counts as 0."""
    story = Script().at(10).verdict("healthy", "ready").at(100).verdict("edge_lost", "degraded").at(110)
    story.add("verdict_changed", old="edge_lost", new="origin_down", reason="", lasted=lasted)
    story.at(120).verdict("healthy", "ready").at(125)
    story.add("verdict_changed", old="healthy", new="unreachable", reason="", lasted=lasted)
    tunnel = story.at(130).verdict("healthy", "ready").at(200).result(10, 200)
    assert lost(tunnel)["edge_lost"][0] == lost(tunnel)["origin_down"][0] == 10
    assert lost(tunnel)["unreachable"][0] == (10 if lasted == 30.0 else 5)


@pytest.mark.parametrize("drained", [0.0, 0.5, 30.0, 180.0])
def test_the_time_of_a_stop_is_not_reachable_and_not_lost(drained: float) -> None:
    """Who stops a tunnel wants none from then on, however long the connector drains."""
    story = Script().at(10).verdict("healthy", "ready")
    story.at(100).add("state_changed", old="ready", new="stopping", reason="asked to stop")
    story.at(100 + drained).add("state_changed", old="stopping", new="idle", reason="stopped as asked")
    tunnel = story.at(300).result(10, 300)
    assert (tunnel.reachable, tunnel.stopped, lost(tunnel)) == (90.0, 200.0, {})


@pytest.mark.parametrize("state", ["starting", "backoff", "stopping"])
def test_a_good_verdict_counts_if_it_was_given_since(state: str) -> None:
    """What makes a verdict old is that the connector was started or ended after it, not the state in which it is given."""
    story = Script().at(10)
    story.add("state_changed", old="", new=state, reason="")
    story.at(20).verdict("healthy").at(100).add("alive", tunnel=None)
    assert story.result(20, 100).reachable == 80


@pytest.mark.parametrize("verdict", ["origin_down", "unreachable", "edge_lost", "udp_blocked"])
def test_a_connector_that_ends_under_a_fault_is_put_down_to_the_fault(verdict: str) -> None:
    """The verdict for which a connector is replaced goes on until another one is given."""
    story = Script().at(10).verdict("healthy", "ready").at(100).verdict(verdict, "degraded")
    story.at(110).add("state_changed", old="degraded", new="stopping", reason="")
    story.at(112).add("state_changed", old="stopping", new="starting", reason="")
    story.at(115).verdict("healthy", "ready").at(200).add("alive", tunnel=None)
    assert lost(story.result(10, 200)) == {verdict: (15.0, 1, 15.0)}


def test_a_report_made_while_a_connector_ends_calls_nothing_reachable() -> None:
    """What the end is for is not known yet: it is neither reachable nor lost."""
    story = Script().at(10).verdict("healthy", "ready")
    story.at(100).add("state_changed", old="ready", new="stopping", reason="asked to restart")
    tunnel = story.at(120).result(10, 120)
    assert (tunnel.reachable, tunnel.stopped) == (90.0, 20.0)
    assert {span.cause for span in tunnel.timeline} == {"", "stopped"}


@pytest.mark.parametrize("shown_by", ["connection_registered", "alive", "state_changed", "verdict_changed", "snapshot"])
def test_a_restart_after_which_nothing_changed_for_visitors_has_helped(shown_by: str) -> None:
    """A successor that took over without a loss changes no verdict: that the tunnel is reachable since counts all the same."""
    story = Script()
    story.add("child_started", pid=1, version="v", connector=0, protocol="")
    story.at(5).verdict("healthy", "ready")
    story.at(50).add("child_started", pid=2, version="v", connector=0, protocol="")
    own: dict[str, dict[str, Any]] = {
        "connection_registered": {"pid": 2, "index": 0},
        "snapshot": {"state": "ready", "verdict": "healthy"},
    }
    own |= {"verdict_changed": {"new": "healthy"}, "state_changed": {"new": "ready"}, "alive": {"tunnel": None}}
    story.at(55).add(shown_by, **own[shown_by])
    (restarts,) = story.result(0, 60).restarts
    assert (restarts.cause, restarts.count, restarts.helped) == ("asked", 1, 1)


@pytest.mark.parametrize(("back", "told"), [(30.0, False), (300.0, True), (3600.0, True), (400 * DAY, True)])
def test_records_of_the_future_are_told_and_not_taken_for_nothing(back: float, told: bool) -> None:
    """After the clock was set back, what was recorded lies ahead: it is counted, and not called a time without prx."""
    story = Script().at(10).verdict("healthy", "ready").at(700)
    story.verdict("origin_down", "degraded")
    whole = story.whole(-2000 - back, 700 - back)
    assert (whole.ahead > 0) == told
    text = "\n".join(report_lines(whole))
    assert ("clock was set back" in text) == told
    assert "no prx was running" not in text


def test_restarts_that_did_not_help_are_told() -> None:
    """Three starts of which the last one repairs the tunnel: one of three helped."""
    story = Script()
    story.add("child_started", pid=1, version="v", connector=0, protocol="")
    story.at(5).verdict("healthy", "ready")
    story.at(50).verdict("crashed", "backoff")
    for second in (60, 70, 80):
        story.add("restart_scheduled", delay=10.0, attempt=1, reason="", costs_url=False)
        story.at(second).add("child_started", pid=second, version="v", connector=0, protocol="")
    story.at(82).verdict("healthy", "ready")
    story.at(90).add("child_started", pid=99, version="v", connector=0, protocol="")
    tunnel = story.at(100).result(0, 100)
    assert [(item.cause, item.count, item.helped) for item in tunnel.restarts] == [("crashed", 3, 1), ("asked", 1, 0)]


def test_a_restart_of_a_replica_has_its_own_cause() -> None:
    """The tunnel is healthy by another connector all the time: the restart is put down to what befell this one."""
    story = Script()
    for connector in (0, 1):
        story.add("child_started", pid=10 + connector, version="v", connector=connector, protocol="")
    story.at(5).verdict("healthy", "ready")
    story.at(50).add("restart_scheduled", delay=1.0, attempt=1, reason="", costs_url=False, connector=1, verdict="crashed")
    story.at(51).add("child_started", pid=12, version="v", connector=1, protocol="")
    assert [(item.cause, item.count) for item in story.at(100).result(0, 100).restarts] == [("crashed", 1)]


def test_a_connector_that_is_added_again_is_no_restart() -> None:
    """The event of its start says so, also if one of that number ran before; an older prx did not say it."""
    for added, restarts in (({"restart": False}, []), ({"restart": True}, [("asked", 1)]), ({}, [("asked", 1)])):
        story = Script()
        for second in (0, 50):
            story.at(second).add("child_started", pid=10 + second, connector=1, **(added if second else {}))
        assert [(item.cause, item.count) for item in story.at(100).result(0, 100).restarts] == restarts


def test_the_first_start_of_each_connector_is_no_restart() -> None:
    """Two connectors that start are no restart; the one that is replaced counts once, under its own cause."""
    story = Script()
    for connector in (0, 1):
        story.add("child_started", pid=10 + connector, version="v", connector=connector, protocol="")
    story.at(5).verdict("healthy", "ready")
    story.at(50).verdict("crashed", "degraded")
    story.add("restart_scheduled", delay=1.0, attempt=1, reason="", costs_url=False, connector=1)
    story.at(51).add("child_started", pid=12, version="v", connector=1, protocol="")
    story.at(52).verdict("healthy", "ready")
    story.at(60).add("child_started", pid=13, version="v", connector=0, protocol="")
    tunnel = story.at(100).result(0, 100)
    assert [(item.cause, item.count, item.helped) for item in tunnel.restarts] == [("crashed", 1, 1), ("asked", 1, 0)]


def test_the_end_of_one_child_ends_only_its_connections() -> None:
    """Connection 0 of two children are two; the one that drains ends its own, and its successor's go on."""
    story = Script()
    for pid, place in ((10, "ams01"), (11, "fra03")):
        story.add("connection_registered", index=0, location=place, protocol="quic", connector=pid - 10, pid=pid)
    story.at(100).add("child_exited", pid=10, code=0, signal=None, result="clean", connector=0)
    story.at(150).add("connection_lost", index=0, reason="", connector=0, pid=99)
    tunnel = story.at(200).verdict("healthy", "ready").result(0, 200)
    assert {item.location: (item.count, item.secs) for item in tunnel.links} == {"ams01": (1, 100.0), "fra03": (1, 200.0)}


def test_connections_are_added_up_by_location() -> None:
    """What ends with its child is counted to its end; what is still open, to the last sign of life."""
    story = Script()
    for index, place in enumerate(("ams01", "ams01", "fra03")):
        story.add("connection_registered", index=index, location=place, protocol="quic")
    story.at(100).add("connection_lost", index=0, reason="")
    story.at(200).add("child_exited", pid=1, code=1, signal=None, result="crash")
    story.at(250).add("connection_registered", index=0, location="fra03", protocol="http2")
    tunnel = story.at(300).verdict("healthy", "ready").result(0, 300)
    assert {(item.location, item.protocol): (item.count, item.secs) for item in tunnel.links} == {
        ("ams01", "quic"): (2, 300.0),
        ("fra03", "quic"): (1, 200.0),
        ("fra03", "http2"): (1, 50.0),
    }


@pytest.mark.parametrize(
    ("silence", "until", "running", "secs"),
    [
        (0, 130, True, 120),  # it runs: a connection that is open holds until now
        (0, 130, False, 50),  # it does not: until its last sign of life
        (0, 1000, True, 50),  # killed: nothing is known of the rest
        (500, 600, True, 90),  # frozen for 500 s: nothing is known of these
        (0, 40, True, 30),  # an earlier time is asked for
    ],
)
def test_an_open_connection_counts_as_long_as_it_is_watched(silence: float, until: float, running: bool, secs: float) -> None:
    """Connections that are open hold as long as the tunnel's standing does, not until the last thing that was written."""
    story = Script()
    story.add("child_started", pid=2, version="v", connector=0, protocol="quic")
    story.at(10).add("connection_registered", pid=2, index=0, location="ams01", protocol="quic")
    story.verdict("healthy", "ready")
    story.add("traffic", requests=1)
    story.at(60).add("alive", tunnel=None)
    if silence:
        story.jump(60 + silence).add("alive", tunnel=None)
    assert [link.secs for link in story.result(0, until, running=running).links] == [secs]


@pytest.mark.parametrize("columns", [60, 80, 140])
def test_every_row_continues_below_its_own_words(columns: int) -> None:
    """In a narrow window a row goes on below where its words began, the first of a label as the others, and no word is cut."""
    lines = report_lines(scripted_day().whole(0, DAY), columns)
    rows = [line for line in lines if line.startswith("  ")]
    assert all(len(line) <= columns for line in lines[1:])
    assert all(line[:12].strip() in {"", "reachable", "lost", "restarts", "new URL", "latency", "edge"} for line in rows)
    together = " ".join(" ".join(line[12:] for line in rows).split())
    assert "origin_down: the local service does not answer, 2 times, the longest" in together


def test_two_prx_with_tunnels_of_one_name_are_two() -> None:
    """Each instance has its own tunnel `default`, distinguished by the address."""
    one, two = Script(local_addr="127.0.0.1:1"), Script(local_addr="127.0.0.1:2")
    for item in (one, two):
        item.at(10).verdict("healthy", "ready").at(100)
    whole = report([Life("a", one.records), Life("b", two.records)], BEGIN, BEGIN + 100)
    assert [item.local_addr for item in whole.tunnels] == ["127.0.0.1:1", "127.0.0.1:2"]


def test_a_hundred_percent_means_all() -> None:
    """A second lost in ninety days does not round up to 100 %."""
    story = Script().at(0).verdict("healthy", "ready")
    story.at(90 * DAY).verdict("edge_lost", "degraded").at(90 * DAY + 1).verdict("healthy", "ready")
    tunnel = story.at(90 * DAY + 2).result(0, 90 * DAY + 2)
    assert tunnel.to_json()["reachable_percent"] == 99.999


@pytest.mark.parametrize("values", [[1.0], [5.0, 10.0, 1000.0], [float(n) for n in range(1, 500)], [0.0001, 3.0]])
def test_percentiles_of_merged_buckets_are_right_to_three_percent(values: list[float]) -> None:
    """Nearest rank over the buckets equals nearest rank over the values, within a bucket's width."""
    buckets: dict[int, int] = {}
    for value in values:
        buckets[bucket(value)] = buckets.get(bucket(value), 0) + 1
    for percent in (1, 50, 95, 99, 100):
        rank = max(1, -(-len(values) * percent // 100))
        true = max(0.1, sorted(values)[int(rank) - 1])
        assert percentile(buckets, percent) == pytest.approx(true, rel=0.03, abs=0.05)
    assert percentile({}, 50) is None
    assert middle(bucket(100.0)) == pytest.approx(100, rel=0.025)


ODD: tuple[Any, ...] = (
    None,
    True,
    -5,
    10**400,
    1.5,
    "x",
    "\u00b2",
    "9" * 5000,
    [],
    [1],
    {},
    {"a": {}},
    {"9" * 5000: 1},
    {"99": 10**30},
)


def test_no_record_whatever_it_holds_ends_the_report() -> None:
    """Any field of any record may be of any kind (a damaged disk, another version): it counts as damaged, or is reported."""
    story = Script()
    story.add("child_started", pid=7, connector=1, version="x")
    story.add("connection_registered", pid=7, index=0, location="ams", protocol="quic")
    story.at(30).verdict("healthy", "ready")
    story.add("probes", secs=60, count=3, failed=1, buckets={"94": 2})
    story.add("traffic", secs=60, requests=3, errors=1)
    story.at(90).add("url_changed", url="http://a", old="http://b")
    story.add("connection_lost", pid=7, index=0)
    story.add("restart_scheduled", connector=1, delay=5, cause="edge_lost")
    story.add("restart_cancelled", connector=1)
    story.add("child_exited", pid=7, connector=1, result="clean")
    story.add("snapshot", state="ready", verdict="healthy", reason="", url="")
    story.add("lost", tunnel=None, count=3)
    story.at(120).add("prx_stopped", tunnel=None)
    for at, record in enumerate(story.records):
        for field in record:
            for odd in ODD:
                life = Life("key")
                for line in (
                    json.dumps(item).encode() for item in [*story.records[:at], record | {field: odd}, *story.records[at + 1 :]]
                ):
                    try:
                        life.records.append(decode(line))
                    except ValueError:
                        life.damaged += 1
                json.dumps(report([life], BEGIN - 100, BEGIN + 1000).to_json(timeline=True))


@pytest.mark.parametrize("silent", [1.0, 30.0, 59.0, 149.0])
@pytest.mark.parametrize("verdict", ["healthy", "origin_down"])
def test_a_prx_that_is_known_to_be_dead_is_believed_until_its_last_sign_of_life_alone(silent: float, verdict: str) -> None:
    """Killed a moment ago: what was in force then is put down to nothing since; another prx, which lives, is believed on."""
    dead, alive = Script("dead"), Script("alive")
    for story in (dead, alive):
        story.at(10).verdict(verdict, "ready")
        story.add("connection_registered", pid=2, index=0, location="ams01", protocol="quic")
        story.at(600).add("alive", tunnel=None)
    lives = [Life("dead", dead.records), Life("alive", alive.records)]
    found = {item.tunnel: item for item in report(lives, BEGIN, BEGIN + 600 + silent, killed={"dead"}).tunnels}
    assert (found["dead"].watched, found["dead"].unwatched) == (600.0, silent)
    assert (found["alive"].watched, found["alive"].unwatched) == (600.0 + silent, 0.0)
    assert (found["dead"].links[0].secs, found["alive"].links[0].secs) == (590.0, 590.0 + silent)
