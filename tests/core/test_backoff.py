"""The schedules between restarts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prx.core.backoff import RATE_LIMITED, RESTART, Schedule, steady_after


def test_the_schedule_is_the_documented_one() -> None:
    """Restarts wait 5, 10, 20, 40, 80, 160, 300 seconds, and 300 from then on."""
    assert [RESTART.delay(attempt) for attempt in range(1, 10)] == [5, 10, 20, 40, 80, 160, 300, 300, 300]


@given(st.integers(min_value=1), st.floats(0, 1), st.sampled_from([RESTART, RATE_LIMITED]))
def test_no_attempt_overflows(attempt: int, jitter: float, schedule: Schedule) -> None:
    """Any attempt number, however large, gives a wait between the first and the last one, plus at most 10 %."""
    assert schedule.delays[0] <= schedule.delay(attempt, jitter=jitter) <= schedule.delays[-1] * 1.1


def test_attempts_count_from_one() -> None:
    """Attempt 0 is a mistake in the program and says so."""
    with pytest.raises(ValueError, match="count from 1"):
        RESTART.delay(0)


def test_a_rate_limit_waits_a_minute_at_least() -> None:
    """The quick-tunnel service is left alone for 60 s or more."""
    assert min(RATE_LIMITED.delays) >= 60
    assert list(RATE_LIMITED.delays) == sorted(RATE_LIMITED.delays)


@pytest.mark.parametrize(("last", "expected"), [(0, 60), (5, 60), (30, 60), (40, 80), (300, 600)])
def test_steadiness_is_a_minute_or_twice_the_last_wait(last: float, expected: float) -> None:
    """Only a tunnel that stayed ready for max(60 s, 2 × the last wait) starts over with short waits."""
    assert steady_after(last) == expected
