"""The waits before restarts, as `Restarts` chooses them."""

import pytest

from prx.core.backoff import REPLICA, RESTART
from prx.core.outbox import Outbox
from prx.core.restarts import Restarts
from prx.core.verdicts import Diagnosis, Verdict

CRASHED = Diagnosis(Verdict.CRASHED, "ended")
OFFLINE = Diagnosis(Verdict.OFFLINE, "this machine has no network")


def restarts() -> Restarts:
    """Return the restarts of a tunnel whose URL a restart does not cost, without chance."""
    return Restarts("web", Outbox(), jitter=lambda: 0.0, costs_url=lambda: False)


@pytest.mark.parametrize("failed", [0, 1, 3, 9])
def test_an_end_without_a_network_is_no_failed_try(failed: int) -> None:
    """The next failure waits as if it had not been; the next try without a network is as vain, so those are made less often."""
    some = restarts()
    for _ in range(failed):
        some.delay_after(CRASHED, quick=False)
    offline = [some.delay_after(OFFLINE, quick=False) for _ in range(8)]
    assert offline == [RESTART.delay(max(number, failed)) for number in range(1, 9)]
    assert some.attempt == failed
    assert some.delay_after(CRASHED, quick=False) == RESTART.delay(failed + 1)


@pytest.mark.parametrize(
    "back", ["the network", "a failure of another kind", "a tunnel that was well", "a restart that was asked for"]
)
def test_a_network_that_goes_again_begins_with_short_waits(back: str) -> None:
    """What was tried in vain in an earlier outage makes no later one longer."""
    some = restarts()
    for _ in range(5):
        some.delay_after(OFFLINE, quick=False)
    match back:
        case "a failure of another kind":
            some.delay_after(CRASHED, quick=False)
        case "a tunnel that was well":
            some.settle()
        case _:
            some.forget_attempts()
    assert some.delay_after(OFFLINE, quick=False) == RESTART.delays[0]


@pytest.mark.parametrize("ends", [1, 2, 3, 7])
def test_a_replica_that_has_stayed_ready_is_back_as_soon_as_at_first(ends: int) -> None:
    """The short waits of one of several connectors grow with each end, and begin again once it has been steady."""
    some = restarts()
    assert [some.delay_after(CRASHED, quick=True) for _ in range(ends)] == [REPLICA.delay(end + 1) for end in range(ends)]
    some.settle()
    assert some.delay_after(CRASHED, quick=True) == REPLICA.delays[0]
    assert some.attempt == 0
