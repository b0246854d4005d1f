"""Memory goes back after a start and after a peak, and nothing wakes prx to see whether it should."""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path

import pytest

from prx.app import memory_keeper
from prx.app.memory_keeper import (
    AFTER_PEAK,
    AFTER_START,
    AFTER_URL,
    FIRST_WAIT,
    GROWTH,
    LAST_WAIT,
    LOOK_EVERY,
    STARTS_AT_MOST,
    MemoryKeeper,
    read_own_memory,
)
from prx.core.events import ChildStarted, Event, Fact, Log
from prx.testing.clock import ManualClock

MIB = 1024 * 1024


class Kept:
    """A keeper in virtual time; `used` is what this prx has in use, `needed` what a return cannot give back."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = ManualClock()
        self.used: int | None = 30 * MIB
        self.needed = 20 * MIB
        self.returned: list[str] = []
        for name in ("return_heap", "return_free_memory", "freeze_objects"):
            monkeypatch.setattr(memory_keeper, name, partial(self._give_back, name))
        self.said: list[int | None] = []
        self.keeper = MemoryKeeper(self.clock, own_memory=self._own_memory)

    def _own_memory(self) -> int | None:
        """Return what the system reports: the next of `said` if there is one."""
        return self.said.pop(0) if self.said else self.used

    def _give_back(self, name: str, *, thorough: bool = False) -> None:
        self.returned.append(f"{name}, thorough" if thorough else name)
        if self.used is not None and name != "freeze_objects":
            self.used = self.needed

    def publish(self, fact: Fact | None = None) -> None:
        """Hand an event to the keeper."""
        self.keeper.see(Event(1, 0.0, fact or Log(tunnel="", level="info", message="")))

    def start_child(self) -> None:
        """Publish that a child was started."""
        self.publish(ChildStarted(tunnel="web", pid=1, version="", connector=0))

    def pass_time(self, seconds: float) -> list[str]:
        """Advance the clock, and return what was returned in it."""
        self.returned.clear()
        end = self.clock.monotonic() + seconds
        while self.clock.advance_to_next(end):
            pass
        return list(self.returned)

    def settle(self) -> None:
        """Show the first URL, and have prx at work for a moment."""
        self.keeper.settled()
        assert self.pass_time(AFTER_URL) == ["return_free_memory"]
        assert self.event_later(FIRST_WAIT) == ["return_heap", "freeze_objects"]

    def event_later(self, seconds: float = LOOK_EVERY) -> list[str]:
        """Publish an event so many seconds later, and return what was returned within `AFTER_PEAK` of it."""
        before = self.pass_time(seconds)
        self.publish()
        return before + self.pass_time(AFTER_PEAK)


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> Kept:
    """Return one."""
    return Kept(monkeypatch)


def test_a_start_without_a_url_returns_what_it_needed(kept: Kept) -> None:
    """Some seconds after the start, whether a child was ever started or not; then nothing wakes prx any more."""
    assert kept.pass_time(AFTER_START - 0.1) == []
    assert kept.pass_time(0.2) == ["return_free_memory"]
    assert kept.clock.next_at() is None


def test_each_restart_returns_what_it_needed(kept: Kept) -> None:
    """A child that is started again maps code again, before the URL was ever shown and after."""
    for _ in range(2):
        kept.start_child()
        assert kept.pass_time(60)[-1:] == ["return_free_memory"]
    kept.settle()
    kept.start_child()
    assert kept.pass_time(60) == ["return_free_memory"]
    assert kept.event_later() == ["return_heap"]


def test_starts_in_a_row_are_not_held_up(kept: Kept) -> None:
    """Hundreds of children that start one after the other are waited for, but one that is started forever is not."""
    for _ in range(int(STARTS_AT_MOST) - 1):
        assert kept.pass_time(1) == []
        kept.start_child()
    assert kept.pass_time(1) == ["return_free_memory"]


def test_a_shown_url_is_not_waited_for(kept: Kept) -> None:
    """Memory goes back a moment after the URL was shown, once."""
    kept.start_child()
    kept.pass_time(3)
    kept.settle()
    assert kept.pass_time(120) == []
    assert kept.clock.next_at() is None


def test_without_growth_nothing_wakes_prx(kept: Kept) -> None:
    """However many events come, a prx that varies by less than what counts as growth sets no timer."""
    kept.settle()
    for number in range(100):
        kept.used = kept.needed + (GROWTH - 1) * (number % 2)
        assert kept.event_later() == []
        assert kept.clock.next_at() is None


def test_a_peak_goes_back_once_it_is_over(kept: Kept) -> None:
    """While memory still grows nothing is returned: that would be needed again at once."""
    kept.settle()
    kept.pass_time(FIRST_WAIT)
    kept.used = kept.needed + 2 * GROWTH
    kept.publish()
    for _ in range(5):
        kept.used += 8 * MIB
        assert kept.pass_time(AFTER_PEAK) == []
    assert kept.pass_time(AFTER_PEAK) == ["return_heap"]
    assert kept.clock.next_at() is None


def test_every_one_of_many_peaks_goes_back(kept: Kept) -> None:
    """A prx that was given memory back does not wait longer and longer for the next peak."""
    kept.settle()
    for _ in range(20):
        kept.used = kept.needed + 8 * MIB
        assert kept.event_later(FIRST_WAIT) == ["return_heap"]


def test_a_peak_during_the_start_is_not_taken_for_what_prx_needs(kept: Kept) -> None:
    """It goes back as well, though nothing was known of what is usual."""
    kept.keeper.settled()
    kept.pass_time(AFTER_URL)
    kept.used = kept.needed + 100 * MIB
    assert kept.event_later(FIRST_WAIT) == ["return_heap", "freeze_objects"]
    kept.used = kept.needed + 8 * MIB
    assert kept.event_later(FIRST_WAIT) == ["return_heap"]


def test_memory_that_stays_in_use_is_not_asked_for_forever(kept: Kept) -> None:
    """Each try waits twice as long, and one is thorough; then that much is needed. Growth from there on counts again."""
    kept.settle()
    kept.used = kept.needed = 40 * MIB
    tries = [returned for _ in range(1800) for returned in kept.event_later()]
    assert tries == ["return_heap", "return_heap, thorough", *["return_heap"] * (len(tries) - 2)]
    assert FIRST_WAIT * 2 ** (len(tries) - 1) == LAST_WAIT
    assert [returned for _ in range(1800) for returned in kept.event_later()] == []
    kept.used = kept.needed * 5 // 4
    assert kept.event_later() == ["return_heap"]


@pytest.mark.parametrize("base", [20 * MIB, 100 * MIB], ids=["one tunnel", "many tunnels"])
@pytest.mark.parametrize("part", [3, 6, 12, 50])
@pytest.mark.parametrize("below", [0.2, 0.5, 0.8])
def test_memory_that_varies_about_what_counts_as_growth_is_not_asked_for_forever(
    kept: Kept, base: int, part: int, below: float
) -> None:
    """However it goes up and down by a part of that, within an hour prx is left alone, and was searched thoroughly once."""
    kept.used = kept.needed = base
    kept.settle()
    growth = max(GROWTH, base // 8)
    chance = random.Random(part)
    tries: list[str] = []
    for _ in range(1800):
        kept.used = kept.needed = base + growth + int((chance.random() - below) * growth / part)
        tries += kept.event_later()
    assert tries.count("return_heap, thorough") <= 1
    assert len(tries) < 10


def test_memory_that_is_not_reported_for_a_moment_is_not_taken_for_none(kept: Kept) -> None:
    """Without a free descriptor statm cannot be read: a peak is returned, and what is usual is still known afterwards."""
    nothing: list[list[int | None]] = [[None], [None, None], [20 * MIB, None], [None, 20 * MIB]]
    for moments in nothing:
        kept.used = kept.needed
        kept.settle()
        kept.pass_time(LAST_WAIT)
        kept.used = 2 * kept.needed
        kept.publish()
        kept.said = moments
        assert kept.pass_time(AFTER_PEAK) == ["return_heap"]
        kept.said = []
        assert [returned for _ in range(100) for returned in kept.event_later(FIRST_WAIT)] == []


def test_what_a_large_prx_varies_by_is_no_peak(kept: Kept) -> None:
    """Of a thousand tunnels some grow and some shrink, by more than a single one has."""
    kept.used = kept.needed = 200 * MIB
    kept.settle()
    kept.used += 8 * GROWTH
    assert kept.event_later() == []
    kept.used += 8 * GROWTH
    assert kept.event_later(FIRST_WAIT) == ["return_heap"]


def test_a_system_that_does_not_report_memory_returns_only_what_starts_needed(kept: Kept) -> None:
    """Without statm no peak is seen, and nothing fails."""
    kept.used = None
    assert kept.pass_time(60) == ["return_free_memory"]
    kept.keeper.settled()
    assert kept.pass_time(60) == ["return_free_memory", "freeze_objects"]
    assert kept.event_later(60) == []
    kept.start_child()
    assert kept.pass_time(60) == ["return_free_memory"]


def test_nothing_is_returned_after_the_end(kept: Kept) -> None:
    """`close` takes back the timer of a start and that of a peak."""
    kept.settle()
    kept.pass_time(FIRST_WAIT)
    kept.used = 2 * kept.needed
    kept.start_child()
    kept.keeper.close()
    assert kept.pass_time(600) == []


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="this system does not report it there")
def test_own_memory_is_what_no_file_holds() -> None:
    """What this process writes into counts."""
    before = read_own_memory()
    held = bytearray(b"x" * 50 * MIB)
    after = read_own_memory()
    assert held
    assert before is not None
    assert after is not None
    assert 40 * MIB < after - before < 110 * MIB


def test_without_proc_own_memory_is_unknown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither a system without /proc nor a statm of another shape is an error."""
    monkeypatch.setattr(memory_keeper, "_STATM", tmp_path / "statm")
    assert read_own_memory() is None
    (tmp_path / "statm").write_text("1\n")
    assert read_own_memory() is None
