"""When the next check is due."""

import pytest

from prx.core.cadence import PACE, Cadence, rest_of


def test_looks_follow_each_other_quickly_after_a_change() -> None:
    """A fault is checked within a quarter of a second, and every five seconds after a while; never beyond the interval."""
    cadence = Cadence()
    assert [cadence.next_in(0, 30, well=False) for _ in range(12)] == [*PACE, PACE[-1]]
    assert cadence.next_in(0, 30, well=True) == 30
    cadence.hurry()
    assert cadence.next_in(0, 30, well=False) == PACE[0]
    assert cadence.next_in(0, 0.1, well=False) == 0.1


@pytest.mark.parametrize(
    ("silent_for", "timeout", "rest"),
    [(0.0, 30.0, 0.0), (0.2, 30.0, 0.1), (12.0, 30.0, 6.0), (28.0, 30.0, 2.0), (30.0, 30.0, 0.0), (99.0, 30.0, 0.0)],
    ids=["it has answered", "at once", "for a while", "nearly for too long", "for too long", "for much too long"],
)
def test_a_start_that_shows_nothing_is_checked_less_and_less(silent_for: float, timeout: float, rest: float) -> None:
    """Until it has failed to start, which is found out in time, and never beyond the interval."""
    assert rest_of(silent_for, timeout) == pytest.approx(rest)
    cadence = Cadence()
    assert cadence.next_in(0, 30, well=False, rest=rest) == pytest.approx(max(PACE[0], rest))
    assert cadence.next_in(0, 1.0, well=False, rest=rest) <= 1.0
    assert cadence.next_in(0, 30, well=True, rest=rest) == 30


def test_a_look_that_is_wanted_during_another_follows_it() -> None:
    """Two checks are never under way; a wish is not lost, and is granted once."""
    cadence = Cadence()
    assert cadence.begin()
    assert not cadence.begin()
    assert not cadence.begin()
    assert cadence.finish()
    assert cadence.begin()
    assert not cadence.finish()


def test_a_wish_to_be_spared_is_honoured_within_reason() -> None:
    """Retry-After counts, at least the interval and at most an hour, and holds whatever the pace is."""
    for asked, pause in ((120.0, 120.0), (1.0, 30.0), (1e9, 3600.0)):
        cadence = Cadence()
        cadence.spare(10.0, asked, 30.0)
        assert cadence.next_in(10.0, 30.0, well=True) == pause
        assert cadence.next_in(10.0, 30.0, well=False) == pause
    cadence.restart()
    assert cadence.next_in(10.0, 30.0, well=True) == 30.0
    cadence.spare(10.0, 3600.0, 30.0)
    cadence.spare(20.0, None, 30.0)
    assert cadence.next_in(20.0, 30.0, well=True) == 30.0, "the newest check counts"
