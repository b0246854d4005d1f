"""The waits before restarts, as `Restarts` chooses them."""

from dataclasses import replace

import pytest

from prx.core.backoff import REPLICA, RESTART
from prx.core.outbox import Outbox
from prx.core.restarts import Restarts
from prx.core.verdicts import Action, Diagnosis, Verdict

CRASHED = Diagnosis(Verdict.CRASHED, "ended")
OFFLINE = Diagnosis(Verdict.OFFLINE, "this machine has no network")


def restarts() -> Restarts:
    """Return the restarts of a tunnel whose URL a restart does not cost, without chance."""
    return Restarts("web", Outbox(), jitter=lambda: 0.0, costs_url=lambda: False)


@pytest.mark.parametrize("failed", [0, 1, 3, 9])
def test_an_end_without_a_network_waits_as_the_last_failed_try_did(failed: int) -> None:
    """It is no failed try, so neither its own wait nor the next one is longer for it."""
    some = restarts()
    waits = [some.delay_after(CRASHED, quick=False) for _ in range(failed)]
    offline = [some.delay_after(replace(OFFLINE, remedy=Action.WAIT), quick=False) for _ in range(2)]
    assert offline == [waits[-1] if waits else RESTART.delays[0]] * 2
    assert some.delay_after(CRASHED, quick=False) == RESTART.delay(failed + 1)


@pytest.mark.parametrize("ends", [1, 2, 3, 7])
def test_a_replica_that_has_stayed_ready_is_back_as_soon_as_at_first(ends: int) -> None:
    """The short waits of one of several connectors grow with each end, and begin again once it has been steady."""
    some = restarts()
    assert [some.delay_after(CRASHED, quick=True) for _ in range(ends)] == [REPLICA.delay(end + 1) for end in range(ends)]
    some.settle()
    assert some.delay_after(CRASHED, quick=True) == REPLICA.delays[0]
    assert some.attempt == 0
