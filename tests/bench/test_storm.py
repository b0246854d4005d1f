"""Verdicts are graded by cause, and a storm's figures follow from its episodes."""

import random
from dataclasses import replace
from pathlib import Path

import pytest
from bench.room.timeline import Sample
from bench.room.visitor import Visit
from bench.storm.__main__ import parse, plans
from bench.storm.causes import BY_NAME, CAUSES, judge
from bench.storm.play import Span, calm_samples, deck, recorded, served_at
from bench.storm.records import Episode, Storm, StormPlan, load, save
from bench.storm.report import below, failing, render

from prx.core.verdicts import Verdict

PLANNED_VERDICTS = {"edge_refused"}  # said by the contract


@pytest.mark.parametrize(
    ("cause", "verdict", "served", "grade"),
    [
        ("edge down", "edge_lost", False, "right"),
        ("edge down", "healthy", False, "stale"),
        ("edge down", "udp_blocked", False, "false"),
        ("edge down", "starting", False, "tolerated"),
        ("edge down", "?", False, "stale"),
        ("edge and origin down", "origin_down", False, "tolerated"),
        ("connections reset", "healthy", True, "right"),
        ("UDP blocked, on HTTP/2", "healthy", True, "right"),
        ("UDP blocked, on HTTP/2", "udp_blocked", True, "false"),
        ("DoH down", "dns_pending", True, "tolerated"),
        ("origin 500 for visitors", "unreachable", False, "false"),
        ("child killed", "healthy", False, "stale"),
    ],
)
def test_a_verdict_is_graded_by_what_really_happens(cause: str, verdict: str, served: bool, grade: str) -> None:
    """`healthy` is right only while visitors are served, and never an accusation; to blame an innocent is false."""
    assert judge(BY_NAME[cause], verdict, served=served) == grade


def test_what_is_not_served_yet_after_the_end_may_be_called_so() -> None:
    """The network is back and the connections are not: that is no accusation; while the fault acts, it is one."""
    offline = BY_NAME["offline"]
    assert judge(offline, "unreachable", served=False) == "false"
    assert judge(offline, "unreachable", served=False, over=True) == "tolerated"
    assert judge(offline, "unreachable", served=True, over=True) == "false"
    assert judge(offline, "origin_down", served=False, over=True) == "false"


def test_every_cause_names_verdicts_that_exist() -> None:
    """A verdict that nothing can say would make a cause impossible to get right."""
    known = {str(verdict) for verdict in Verdict} | PLANNED_VERDICTS
    assert all(cause.right | cause.tolerated <= known and cause.why for cause in CAUSES)


def test_the_same_seed_gives_the_same_storm_and_each_cause_its_turn() -> None:
    """A deck is drawn to its end before it is shuffled again."""
    drawn = [cause.name for cause, _ in zip(deck(list(CAUSES), random.Random(7)), range(2 * len(CAUSES)), strict=False)]
    again = [cause.name for cause, _ in zip(deck(list(CAUSES), random.Random(7)), range(2 * len(CAUSES)), strict=False)]
    assert drawn == again
    assert sorted(drawn[: len(CAUSES)]) == sorted(BY_NAME)
    assert len(list(plans(parse([])))) * parse([]).episodes >= 100


def storm_of(*episodes: Episode, interval: float = 5.0, **rest: object) -> Storm:
    """Make a storm."""
    return replace(Storm(StormPlan(1, len(episodes), interval, "quic"), episodes), **rest)  # type: ignore[arg-type]


GOOD = Episode("edge down", "quic", 20.0, "edge_lost", "right", 3.2, (), 0, 0, 400, {"degraded": 10}, 4.0, False, "healthy 0–2")


def test_one_episode_is_recorded_from_visits_and_samples() -> None:
    """Losses are split at the fault's end and named by prx's state; a false verdict is an accusation; a start is a restart."""
    span = Span(BY_NAME["edge down"], "quic", 100.0, 120.0, 1, back=130.0)
    visits = [Visit(90 + number / 2, 0.1, 200 if number < 20 or number > 70 else 530, "a") for number in range(100)]
    samples = [Sample(100.0, "healthy", "ready"), Sample(104.0, "edge_lost", "degraded"), Sample(124.0, "crashed", "backoff")]
    found = recorded([span], 0, visits, samples, [50.0, 125.0])
    assert (found.shown, found.grade, found.first_right, found.accusations) == ("edge_lost", "right", 4.0, ("crashed",))
    assert (found.lost_during, found.lost_after, found.restarts, found.needed) == (40, {"degraded": 8, "backoff": 3}, 1, 0)
    assert calm_samples([*samples, Sample(140.0, "healthy")], [span]) == []


def test_a_killed_child_is_a_fault_until_the_next_one_starts() -> None:
    """What is lost while there is no connector is lost to the fault, and not to what prx does after it."""
    span = Span(BY_NAME["child killed"], "quic", 100.0, 100.0, 1, back=112.0)
    visits = [Visit(95 + number / 2, 0.1, 502 if 10 <= number <= 24 else 200, "a") for number in range(60)]
    found = recorded([span], 0, visits, [Sample(100.2, "crashed", "backoff"), Sample(105.0, "starting", "starting")], [105.0])
    assert (found.lost_during, found.lost_after) == (10, {"starting": 5})


@pytest.mark.parametrize(
    ("cause", "named", "started", "needed"),
    [
        ("edge down", True, [125.0], 1),
        ("edge down", True, [125.0, 129.0], 1),
        ("edge down", True, [110.0], 0),  # the edge was away
        ("edge down", False, [125.0], 0),  # it cost the URL
        ("edge down", True, [], 0),
        ("origin down", True, [125.0], 0),
        ("child killed", True, [125.0], 1),
        ("child killed", False, [125.0], 1),
    ],
)
def test_a_restart_is_needless_unless_it_can_help(cause: str, named: bool, started: list[float], needed: int) -> None:
    """A connector that waits by itself is worth one restart once the edge is back, if that costs no URL."""
    span = Span(BY_NAME[cause], "http2", 100.0, 120.0, 1, back=130.0)
    assert recorded([span], 0, [], [], [50.0, *started], named=named).needed == needed


def test_served_is_the_majority_of_the_last_two_seconds() -> None:
    """One answer among many failures does not make a tunnel healthy."""
    visits = [Visit(float(number) / 10, 0.1, 200 if number % 3 else 530, "a") for number in range(100)]
    assert served_at(visits, 8.0)
    assert not served_at([replace_status(visit) for visit in visits], 8.0)
    assert not served_at(visits, 50.0)


def replace_status(visit: Visit) -> Visit:
    """Turn success into failure and back."""
    return Visit(visit.sent, visit.seconds, 530 if visit.served else 200, visit.url)


@pytest.mark.parametrize(
    ("storm", "words"),
    [
        (storm_of(replace(GOOD, grade="stale", shown="healthy")), "right after 10 s at an interval of 5 s: 0%"),
        (storm_of(replace(GOOD, accusations=("udp_blocked",))), "false accusation: edge down: udp_blocked"),
        (storm_of(replace(GOOD, restarts=1)), "needless restart: edge down: 1, needed 0"),
        (storm_of(replace(GOOD, lost_after={"backoff": 100})), "lost after the fault's end: 100 of 500"),
        (storm_of(GOOD, calm_alarms=("unreachable",)), "false alarm in calm time"),
        (storm_of(GOOD, fds=(12, 40)), "prx grows"),
        (storm_of(GOOD, sizes=tuple((60.0 * turn, 30.0 + 0.5 * turn, 12) for turn in range(24))), "prx grows"),
        (storm_of(GOOD, sizes=tuple((60.0 * turn, 30.0, 12 + turn // 4) for turn in range(24))), "prx grows"),
        (storm_of(replace(GOOD, cause="child frozen", needed=1)), "missing restart: child frozen: 0, needed 1"),
        (storm_of(replace(GOOD, by_hand=True)), "helped by hand: edge down"),
        (storm_of(replace(GOOD, first_right=21.0)), "told late: edge down: after 21 s"),
        (storm_of(replace(GOOD, back=91.0)), "back late: edge down: after 91 s"),
        (storm_of(GOOD, sent=1000, lost_calm=2), "lost in calm time, storm 1: 2 of 1000"),
        (storm_of(failed="no answer"), "no result: no answer"),
    ],
)
def test_each_threshold_fails_by_itself(storm: Storm, words: str) -> None:
    """A good storm holds all of them; each fault is named in one line of its own."""
    assert failing([storm_of(GOOD)]) == []
    assert [line for line in failing([storm]) if words in line]
    assert words in render([storm], "cloudflared X")


def test_what_storms_may_do() -> None:
    """Allowed: a fault that ended before its restart was due, memory that is used once, a size that goes up and down."""
    healed = replace(GOOD, cause="UDP blocked, on QUIC", needed=1)
    once = tuple((60.0 * turn, 30.0 if turn < 5 else 38.0, 12 + turn % 2) for turn in range(24))
    assert failing([storm_of(healed, sizes=once), storm_of(GOOD, sizes=once[:8])]) == []
    flooded = [replace(GOOD, cause="log flood") if turn == 14 else GOOD for turn in range(24)]
    step = tuple((60.0 * turn, 30.0 if turn < 14 else 38.0, 12) for turn in range(24))
    assert failing([storm_of(*flooded, sizes=step)]) == []
    more = tuple((60.0 * turn, 30.0 if turn < 18 else 38.0, 12) for turn in range(24))
    assert "prx grows" in failing([storm_of(*flooded, sizes=more)])[0]


def test_the_report_counts_by_cause_and_phase() -> None:
    """Requests sent, answered and lost, the times to tell and to recover, and the restarts stand in a row for each cause."""
    storms = [storm_of(replace(GOOD, sent=1000), replace(GOOD, sent=500, first_right=5.2, back=10.0, lost_after={}))]
    page = render(storms, "cloudflared X")
    assert "| edge down | 2 | 1500 / 690 | 800 / 10 | 4.2 – 5.2 | 7 – 10 | 0 / 0 |" in page
    assert "| all | 2 | 1500 / 690 |" in page


def test_storms_can_be_read_again(tmp_path: Path) -> None:
    """The report of saved storms is the report of the run."""
    sizes = tuple((60.0 * turn, 45.7, 12) for turn in range(13))
    storms = [storm_of(GOOD, rss_mb=(45.7, 47.6), fds=(12, 12), skipped={"offline": "no namespace"}, sizes=sizes)]
    save(storms, "cloudflared X", tmp_path / "storm.json")
    assert render(*load(tmp_path / "storm.json")) == render(storms, "cloudflared X")


def test_the_report_begins_with_the_figures_that_are_promised() -> None:
    """Episodes and right verdicts by interval, false accusations, needless restarts, and what was lost after the end."""
    bad = replace(GOOD, grade="false", accusations=("unreachable",), restarts=1, lost_during=380, lost_after={})
    page = render([storm_of(GOOD, bad), storm_of(GOOD, interval=30.0)], "cloudflared X")
    assert "* Interval 5 s: 2 episodes, right after 10 s in 50.0%" in page
    assert "* Interval 30 s: 1 episodes, right after 10 s in 100.0%" in page
    assert "* 1 episodes with a false accusation at any time, 1 with a needless restart" in page
    assert "* 20 of 1200 lost requests (1.7%) were sent after the fault's end" in page


def test_an_earlier_page_stays_below_the_new_one() -> None:
    """Nothing of it is lost, and its headings are one level deeper."""
    before = "# Storms\n\nwords\n\n## Episodes\n\n| a |\n"
    assert below("# Storms\n\nnew\n", before) == "# Storms\n\nnew\n\n## Earlier: storms\n\nwords\n\n### Episodes\n\n| a |\n"
