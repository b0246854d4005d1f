"""Whether a request came through, from the connector's counters."""

import pytest

from prx.backends.base import Counters
from prx.core.evidence import Delivery
from prx.runtime.delivery import Read, Watch, Ways, compare

BEFORE = Counters(requests=10, request_errors=1, said={200: 8, 503: 1})


@pytest.mark.parametrize(
    ("after", "delivery"),
    [
        (BEFORE, Delivery(reached=False)),
        (Counters(requests=11, request_errors=1, said={200: 9, 503: 1}), Delivery(True, frozenset({200}))),
        (Counters(requests=11, request_errors=2, said={200: 8, 503: 1}), Delivery(True, failed=True)),
        (Counters(requests=12, request_errors=1, said={200: 8, 503: 2, 404: 1}), Delivery(True, frozenset({503, 404}))),
        (Counters(requests=11, request_errors=1, said={200: 8, 503: 1}), Delivery(reached=True)),
    ],
    ids=["still", "answered", "failed", "several", "under way"],
)
def test_two_readings_tell_what_happened_between_them(after: Counters, delivery: Delivery) -> None:
    """Requests, statuses and failures that were added; nothing else."""
    assert compare(BEFORE, after) == delivery


def test_a_missing_reading_tells_nothing() -> None:
    """A connector that does not answer is neither "came through" nor "did not"."""
    for pair in ((None, BEFORE), (BEFORE, None), (None, None)):
        assert compare(*pair).reached is None


async def test_tunnels_with_one_token_are_added_up() -> None:
    """Two tunnels of one prx that run with the same token are ways of one tunnel; another token is another tunnel's."""
    ways = Ways()

    async def first() -> Counters | None:
        return Counters(requests=3, said={200: 3})

    async def second() -> Counters | None:
        return Counters(requests=4, request_errors=1, said={200: 2, 500: 1})

    async def silent() -> Counters | None:
        return None

    ways.add("token", first)
    ways.add("token", second)
    ways.add("other", first)
    assert await ways.count("token") == Counters(requests=7, request_errors=1, said={200: 5, 500: 1})
    ways.add("token", silent)
    assert await ways.count("token") is None, "a sum without one of its parts is none"
    ways.remove("token", silent)
    ways.remove("token", second)
    assert await ways.count("token") == Counters(requests=3, said={200: 3})
    assert await ways.count("nobody") is None


@pytest.mark.parametrize(
    ("after", "answered"),
    [
        (Counters(requests=30, request_errors=1, said={200: 28, 503: 1}), True),
        (Counters(requests=30, request_errors=1, in_flight=1, said={200: 28, 503: 1}), True),
        (Counters(requests=31, request_errors=1, in_flight=1, said={200: 28, 503: 1}), False),
        (Counters(requests=30, request_errors=1, in_flight=90, said={200: 28, 503: 1}), False),
        (Counters(requests=30, request_errors=2, said={200: 28, 503: 1}), False),
        (Counters(requests=30, request_errors=1, in_flight=20, said={200: 8, 503: 1}), False),
    ],
    ids=["all", "the next one", "all but one", "a slow service", "one failed", "a service that hangs"],
)
def test_it_is_known_whether_all_that_came_were_answered(after: Counters, answered: bool) -> None:
    """Then a request that waits in vain is not one of them, although the counters have moved for others."""
    assert compare(BEFORE, after).answered is answered


def counting(*requests: int) -> Read:
    """Return what reads the counters of a connector that has passed on so many requests, one number for each reading."""
    left = list(requests)

    async def read() -> Counters | None:
        count = left.pop(0) if len(left) > 1 else left[0]
        return Counters(requests=count, said={200: count})

    return read


@pytest.mark.parametrize(
    ("goes", "comes", "reached"),
    [(False, False, True), (True, False, None), (False, True, None), (True, True, None)],
    ids=["both stay", "one goes", "one comes", "one takes the place of another"],
)
async def test_readings_of_other_connectors_are_not_compared(goes: bool, comes: bool, reached: bool | None) -> None:
    """What a connector has counted before it came is no request of now, and what one takes away hides those of the others."""
    ways, gone, stays = Ways(), counting(50), counting(10, 11)
    ways.add("token", gone)
    ways.add("token", stays)
    watch = Watch(ways, "token")
    await watch.begin()
    if goes:
        ways.remove("token", gone)
    if comes:
        ways.add("token", counting(70))
    assert (await watch.end()).reached is reached
