"""Outcomes are put together, judged and rendered as the page says."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from bench.outages.__main__ import again, earlier, parse, plans
from bench.outages.cases import CASES
from bench.outages.judge import faults
from bench.outages.page import failing, render
from bench.outages.play import Rates, is_steady
from bench.outages.results import NEVER, Outcome, Plan, Played, Row, Run
from bench.room.client import version_of
from bench.room.crowd import why
from bench.room.scene import _started
from bench.room.subject import Prx, Subject
from bench.room.visitor import Visit


def outcome(subject: str, back: float | None, *, kept: bool = True, lost: int = 0, verdicts: str = "healthy 0–9") -> Outcome:
    """Make an outcome."""
    return Outcome(subject, kept, back, lost, 100, 40, 44, 0, verdicts)


def run_of(*pairs: tuple[Outcome, Outcome], case: str = "edge", seconds: float = 11.0) -> Run:
    """Make a run of one cell."""
    scenes = tuple(Played(Plan(case, seconds, "quic", "quick", number), pair) for number, pair in enumerate(pairs))
    return Run("cloudflared version X", real=True, watched=60.0, about="2 runs.", scenes=scenes)


def test_a_row_is_made_of_medians() -> None:
    """One bad run of three moves nothing; the verdicts are those of the run in the middle; never counts as the longest."""
    three = [
        outcome("prx", None, kept=False, lost=900, verdicts="c"),
        outcome("prx", 1.0, lost=1, verdicts="a"),
        outcome("prx", 2.0, lost=2, verdicts="b"),
    ]
    row = Row.of(three)
    assert (row.count, row.kept, row.back, row.lost, row.verdicts) == (3, 2, 2.0, 2, "b")
    assert row.during == pytest.approx(40 / 44)
    assert Row.of([three[0], three[0], three[1]]).back == NEVER


@pytest.mark.parametrize(
    ("prx", "bare", "words"),
    [
        (outcome("prx", 1.0), outcome("bare", 1.0), []),
        (outcome("prx", 6.0), outcome("bare", 1.0), []),
        (outcome("prx", 6.1), outcome("bare", 1.0), ["serves 5.1 s later than bare"]),
        (outcome("prx", 1.0, kept=False), outcome("bare", 9.0), ["keeps the URL in 0 of 1, bare in 1 of 1"]),
        (outcome("prx", 30.0, kept=False), outcome("bare", None, kept=False), []),
        (outcome("prx", None, kept=False), outcome("bare", None, kept=False), ["never comes back"]),
        (outcome("prx", None, kept=False), outcome("bare", 2.0, kept=False), ["never comes back"]),
    ],
)
def test_prx_is_never_worse_than_bare(prx: Outcome, bare: Outcome, words: list[str]) -> None:
    """Fewer URLs kept, more than 5 s later, or never back are faults; where bare never comes back, any time will do."""
    assert faults(Row.of([prx]), Row.of([bare])) == words


def test_the_page_marks_what_fails_and_says_what_is_missing() -> None:
    """A failing row carries the mark and the reason, and is listed; a skipped case stands there with its reason."""
    run = run_of(*[(outcome("bare", 1.0), outcome("prx", 20.0, kept=False, verdicts="edge_lost 3–70"))] * 5)
    skipped = Played(Plan("forgotten", 0.0, "quic", "quick", 0), skipped="the lab has no fault 'forget'")
    page = render(Run(run.client, run.real, run.watched, run.about, (*run.scenes, skipped)))
    row = next(line for line in page.splitlines() if line.startswith("| 11 s"))
    assert "| 0/5, 5/5 | 20.0, 1.0 | 0, 0 | 91%, 91% | 0 | edge_lost 3–70 | ✗ keeps the URL in 0 of 5" in row
    assert "* forgotten: the lab has no fault 'forget'" in page
    assert len(failing(run)) == 2
    heads = [line for line in page.splitlines() if line.startswith("| outage | tunnel | over | kept")]
    assert [row.count("|")] == [head.count("|") for head in heads]


def test_few_runs_are_no_proof_and_late_ones_none_at_all() -> None:
    """Of fewer than five runs a failing row is a question; a run that the bench was late with is left out, and counted."""
    four = run_of(*[(outcome("bare", 1.0), outcome("prx", 20.0))] * 4)
    late = replace(four.scenes[0], lag=2.1)
    page = render(replace(four, scenes=(*four.scenes, late)))
    assert "| 4/4, 4/4 | 20.0, 1.0 | 0, 0 | 91%, 91% | 0 | healthy 0–9 | ? serves 19.0 s later than bare |" in page
    assert "1 of 5 scenes are left out" in page


def test_the_page_puts_all_durations_together_and_says_which_are_missing() -> None:
    """A line for each kind, tunnel and protocol, of all its runs; what was not measured stands there."""
    short = run_of((outcome("bare", 1.0), outcome("prx", 2.0)), (outcome("bare", 3.0), outcome("prx", 4.0)))
    page = render(
        replace(short, scenes=(*short.scenes, *run_of((outcome("bare", None), outcome("prx", 9.0)), seconds=60).scenes))
    )
    assert "| Edge away: dropped, and refused | quick | QUIC | 3 | 3, 3 | 4.0, 3.0 | 0, 0 | 0 |" in page
    assert "* Edge away: dropped, and refused, quick, QUIC: 5 s, 15 s, 30 s, 120 s, 300 s" in page
    assert "* Edge away: dropped, and refused, named, HTTP/2: 5 s, 11 s, 15 s, 30 s, 60 s, 120 s, 300 s" in page


def test_a_run_without_the_real_client_says_so_in_bold() -> None:
    """The builtin connector's numbers are not taken for cloudflared's."""
    run = run_of((outcome("bare", 1.0), outcome("prx", 1.0)))
    assert "**No real cloudflared was given" in render(Run("the builtin", real=False, watched=60, about="", scenes=run.scenes))


def test_results_can_be_read_again(tmp_path: Path) -> None:
    """The page of saved results is the page of the run."""
    run = run_of((outcome("bare", None), outcome("prx", 2.5)), (outcome("bare", 1.0), outcome("prx", 0.5)))
    run.save(tmp_path / "run.json")
    assert render(Run.load(tmp_path / "run.json")) == render(run)


def test_a_full_run_plays_every_case_and_a_quick_one_each_case_briefly() -> None:
    """Five of each cell in full; once, quick tunnels and one short duration for each case in a quick run."""
    full, quick = list(plans(parse([]))), list(plans(parse(["--quick"])))
    assert {plan.case for plan in full} == {plan.case for plan in quick} == {case.name for case in CASES}
    assert {plan.repeat for plan in full} == set(range(5))
    assert max(plan.seconds for plan in quick) <= 15
    assert len(quick) == len({(plan.case, plan.transport) for plan in quick}) < 45


def test_the_end_of_an_outage_is_steady_service() -> None:
    """One visitor lost in the last seconds, or too few of them, and the bench looks on."""
    good = [Visit(95 + number / 20, 0.01, 200, "a") for number in range(100)]
    assert is_steady(good, 100.0, 20.0)
    assert not is_steady([*good[:50], Visit(97.5, 0.1, 530, "a"), *good[50:]], 100.0, 20.0)
    assert not is_steady(good[80:], 100.0, 20.0)
    assert is_steady(good[::5], 100.0, 4.0)


def test_only_failing_cells_are_played_again() -> None:
    """A cell that holds is left alone; one that fails gets as many further runs as asked for."""
    good = run_of((outcome("bare", 1.0), outcome("prx", 1.0)))
    bad = run_of((outcome("bare", 1.0), outcome("prx", 9.0)), case="killed", seconds=0.0)
    run = Run(good.client, good.real, good.watched, good.about, (*good.scenes, *bad.scenes))
    assert list(again(run, 3)) == [Plan("killed", 0.0, "quic", "quick", number) for number in range(3)]


def test_results_of_two_connectors_are_never_mixed(tmp_path: Path) -> None:
    """To add to results of another connector is refused, with both names; to add to none begins."""
    run = run_of((outcome("bare", 1.0), outcome("prx", 1.0)))
    nothing = replace(run, scenes=())
    assert earlier(tmp_path / "run.json", nothing) == nothing
    run.save(tmp_path / "run.json")
    assert earlier(tmp_path / "run.json", nothing) == run
    with pytest.raises(SystemExit, match=r"version X, and this is builtin"):
        earlier(tmp_path / "run.json", replace(nothing, client="builtin"))


def test_a_client_that_cannot_be_run_is_named() -> None:
    """A path that is wrong ends with one line, and not with a traceback."""
    with pytest.raises(SystemExit, match=r"PRX_TEST_CLOUDFLARED: cannot run '/nowhere/cloudflared': No such file"):
        version_of("/nowhere/cloudflared")


@pytest.mark.parametrize(
    "stderr",
    ["RuntimeError: why", "Traceback\n  x\nRuntimeError: why\n", "  +-+ 1 ----\n    | RuntimeError: why\n    +------------\n"],
)
def test_a_scene_that_fails_says_why(stderr: str) -> None:
    """The last words of a traceback, also those of an exception in a group, and not its frame."""
    assert why(stderr) == "RuntimeError: why"
    assert why("") == ""


def test_copies_are_runs_of_one_scene() -> None:
    """Five copies make five runs in one scene; what each of them loses counts as at the usual rate; none is refused."""
    plan = next(plans(parse(["--copies", "5"])))
    assert (plan.copies, len({one.repeat for one in plans(parse(["--copies", "5"]))})) == (5, 1)
    assert len({one.repeat for one in plans(parse(["--copies", "2"]))}) == 3
    seen = replace(outcome("prx", 1.0, lost=3), sent=10)
    assert (Rates(5.0).scaled(seen).lost, Rates(5.0).scaled(seen).sent) == (12, 40)
    assert Rates().scaled(seen) == seen
    with pytest.raises(SystemExit):
        parse(["--copies", "0"])


async def test_subjects_start_side_by_side_and_end_together(tmp_path: Path) -> None:
    """As many as may start at once do; all are there at the same time, in order; none ends before it is over."""
    log: list[str] = []

    @asynccontextmanager
    async def make(number: int) -> AsyncIterator[Subject]:
        log.append(f"{number} begins")
        await asyncio.sleep(0)
        log.append(f"{number} runs")
        yield Prx(cast("asyncio.subprocess.Process", None), tmp_path, f"prx{number}")
        log.append(f"{number} ends")

    over = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        found = await _started([make(number) for number in range(3)], group, 2, over)
        assert len(found) == 3
        assert log[:3] == ["0 begins", "1 begins", "0 runs"]
        assert not any("ends" in line for line in log)
        over.set()
    assert sum("ends" in line for line in log) == 3


def test_what_was_measured_earlier_stays_until_it_is_measured_again() -> None:
    """A row of the page before is kept and marked, once, while its cell is not measured; it is not among what is missing."""
    old = render(run_of((outcome("bare", 3.0), outcome("prx", 2.0)), seconds=60.0))
    new = run_of((outcome("bare", 5.0), outcome("prx", 4.0)))
    page = render(new, old)
    for _ in range(2):
        assert "| 60 s | quick | QUIC | 1/1, 1/1 | 2.0, 3.0 | 0, 0 | 91%, 91% | 0 | healthy 0–9 | earlier |" in page
        assert "| 11 s | quick | QUIC | 1/1, 1/1 | 4.0, 5.0 | 0, 0 | 91%, 91% | 0 | healthy 0–9 |  |" in page
        assert "Edge away: dropped, and refused, quick, QUIC: 5 s, 15 s, 30 s, 120 s, 300 s" in page
        page = render(new, page)
    again = run_of((outcome("bare", 9.0), outcome("prx", 8.0)), seconds=60.0)
    assert "earlier" not in render(again, old)


def test_of_all_durations_the_earlier_runs_stand_if_they_are_more() -> None:
    """Three runs are not replaced by one: they stand there, marked, until as many were played since."""
    pair = (outcome("bare", 3.0), outcome("prx", 2.0))
    old = render(run_of(pair, pair, pair, seconds=60.0))
    assert "| quick | QUIC | 3 earlier | 3, 3 |" in render(run_of(pair), old)
    assert "| quick | QUIC | 3 | 3, 3 |" in render(run_of(pair, pair, pair), old)
