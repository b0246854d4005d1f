"""When a named tunnel may try QUIC again."""

import pytest

from prx.runtime.quic_return import QuicReturn
from prx.testing.clock import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    """Return a clock."""
    return ManualClock()


def asked(due: QuicReturn, clock: ManualClock, visitors: list[int | None]) -> list[bool]:
    """Ask once a minute, with so many visitors so far each time."""
    answers = []
    for count in visitors:
        answers.append(due.is_due(count))
        clock.advance(QuicReturn.EVERY)
    return answers


def test_not_at_once_and_not_often(clock: ManualClock) -> None:
    """After ten minutes over HTTP/2, and then not again for hours."""
    due = QuicReturn(clock)
    answers = asked(due, clock, [0] * 60)
    assert answers.index(True) == 10
    assert answers.count(True) == 1
    clock.advance(QuicReturn.AGAIN_AFTER)
    assert any(asked(due, clock, [0, 0]))


def test_only_in_a_quiet_minute(clock: ManualClock) -> None:
    """While visitors come, nothing is disturbed; what is not known is not quiet; an interruption starts again."""
    due = QuicReturn(clock)
    assert not any(asked(due, clock, list(range(30))))
    assert not any(asked(due, clock, [None] * 5))
    assert asked(due, clock, [40, 40]) == [False, True]
    clock.advance(QuicReturn.AGAIN_AFTER)
    due.interrupt()
    assert asked(due, clock, [40, 40]) == [False, True]
