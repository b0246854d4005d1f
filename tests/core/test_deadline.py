"""A time limit that several steps share."""

from prx.core.deadline import Deadline


def test_what_is_left() -> None:
    """Each step gets what the earlier ones have left, and never less than nothing."""
    now = [100.0]
    deadline = Deadline(lambda: now[0], 5.0)
    assert (deadline.at, deadline.left, deadline.is_over) == (105.0, 5.0, False)
    now[0] = 103.0
    assert (deadline.left, deadline.is_over) == (2.0, False)
    now[0] = 105.0
    assert (deadline.left, deadline.is_over) == (0.0, True)
    now[0] = 200.0
    assert deadline.left == 0.0
