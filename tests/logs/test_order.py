"""The order in which stored records are shown: the newest is last, whatever the clock did."""

from datetime import UTC, datetime, timedelta

import pytest

from prx.logs.order import LATE_SECONDS, in_order

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)


def at(second: float) -> str:
    """Return a time as records have it."""
    return (NOON + timedelta(seconds=second)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def order(*seconds: float) -> list[int]:
    """Return in which order records of these seconds are shown that were written in this one."""
    return [int(text) for _, text in in_order((at(second), str(number)) for number, second in enumerate(seconds))]


@pytest.mark.parametrize("late", [0.001, 1.0, 10.0, LATE_SECONDS])
def test_what_was_held_back_stands_where_it_belongs(late: float) -> None:
    """Repeated lines are written when their number is known: they are shown at their own time."""
    assert order(100, 200, 200 - late, 201) == [0, 2, 1, 3]


@pytest.mark.parametrize("back", [61.0, 3600.0, 7200.0, 10 * 365 * 86400.0])
def test_what_was_written_after_the_clock_was_set_back_is_newer(back: float) -> None:
    """The last lines are those written last, not those of the hours that the clock has taken back."""
    assert order(0, 10, 20, 20 - back, 25 - back, 24 - back) == [0, 1, 2, 3, 5, 4]


def test_several_steps_each_begin_anew() -> None:
    """A clock that jumps to and fro changes nothing about what came first."""
    assert order(0, 7200, 7201, 5, 6, 9000, 8000) == [0, 1, 2, 3, 4, 5, 6]


def test_what_has_no_time_stays_with_its_neighbours() -> None:
    """A record of another program, or one that is damaged, is shown and ends nothing."""
    records = [(at(0), "a"), ("", "b"), ("yesterday", "c"), ("2026-11-29T00:00:00", "d"), (at(1), "e")]
    assert sorted(text for _, text in in_order(records)) == ["a", "b", "c", "d", "e"]
