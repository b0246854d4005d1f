"""Wake-ups that are gathered."""

from __future__ import annotations

import pytest

from prx.runtime.host.clock import GATHERED_EVERY, MANY, gathered


def test_many_wake_together_and_a_few_when_they_are_due() -> None:
    """None wakes early, or late by more than the grid; what is due at once, and what is alone, is not late at all."""
    for delay in (1.0, 1.01, 3.7, 5.0, 30.0):
        assert gathered(100.03, delay, MANY - 1) == delay
        late = gathered(100.03, delay, MANY) - delay
        assert 0 <= late < GATHERED_EVERY
        assert (100.03 + delay + late) % GATHERED_EVERY == pytest.approx(0.0, abs=1e-6) or late == 0.0
    assert gathered(100.03, 0.3, MANY) == 0.3
    assert len({round(7.0 + wait + gathered(7.0 + wait, 5.0, MANY), 6) for wait in (0.01, 0.05, 0.1, 0.2)}) == 1
