"""A tunnel that comes and goes is reported as such, although each of its troubles is short."""

from functools import reduce

import pytest

from prx.core import events
from prx.core.events import Event, Fact
from prx.core.flapping import Flaps
from prx.core.states import State
from prx.core.status import TunnelStatus, fold
from prx.core.verdicts import Verdict

BEGAN = 1_800_000_000.0


def probed(verdict: str) -> Fact:
    """Return a look that found `verdict`."""
    return events.Probed(tunnel="web", status=200 if verdict == "healthy" else 502, latency_ms=1.0, verdict=Verdict(verdict))


def became(old: str, new: str) -> Fact:
    """Return a change of state."""
    return events.StateChanged(tunnel="web", old=State(old), new=State(new), reason="a test")


def flaps(*facts: Fact, every: float = 15.0, at: float | None = None) -> int:
    """Return what the status counts after these facts, one each so many seconds, `at` a time or at the end."""
    history = [Event(number, BEGAN + number * every, fact) for number, fact in enumerate(facts, 1)]
    status = reduce(fold, history, TunnelStatus("web"))
    return int(status.to_json(at if at is not None else history[-1].at)["flaps"])


def test_an_hour_of_200_and_502_in_turn_is_counted() -> None:
    """Each fall counts once, and one that is older than an hour does not count any more."""
    hour = [probed(verdict) for _ in range(120) for verdict in ("healthy", "unreachable")]
    assert flaps(*hour) == 120
    assert flaps(*hour, at=BEGAN + 240 * 15 + 1800) == 60
    assert flaps(*hour, at=BEGAN + 240 * 15 + 3600) == 0


@pytest.mark.parametrize(
    ("facts", "count"),
    [
        ([probed("healthy")] * 9, 0),
        ([probed("unreachable")] * 9, 0),
        ([probed("healthy"), *[probed("origin_down")] * 9], 1),
        ([probed("healthy"), became("ready", "degraded"), became("degraded", "ready"), became("ready", "backoff")], 2),
        ([probed("healthy"), became("ready", "stopping"), became("stopping", "idle"), probed("unreachable")], 0),
        ([probed("protected"), became("ready", "starting"), probed("dns_pending"), probed("healthy")], 0),
    ],
)
def test_what_is_a_fall(facts: list[Fact], count: int) -> None:
    """Only a tunnel that was well can fall, once until it is well again, and not when it ends or starts again as asked."""
    assert flaps(*facts) == count


def test_a_few_falls_are_not_worth_a_word() -> None:
    """The panel says it from three falls on, and memory stays bounded however often it falls."""
    seen = Flaps()
    for second in range(4000):
        seen = seen.see(float(second), well=second % 2 == 0)
        if second == 3:
            assert seen.words(3.0) == ""
    assert "1000 times" in seen.words(3999.0)
    assert seen.words(9999.0) == ""
