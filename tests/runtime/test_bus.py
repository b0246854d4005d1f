"""Facts become numbered events; no listener can slow the tunnel down."""

from collections.abc import Callable
from typing import Any

import pytest

from prx.core.events import (
    ConnectionLost,
    Dropped,
    Event,
    Log,
    Probed,
    RestartScheduled,
    StateChanged,
    UrlChanged,
    VerdictChanged,
)
from prx.core.states import State
from prx.core.status import TunnelStatus
from prx.core.verdicts import Verdict
from prx.logs.lines import CUT_MARKER
from prx.logs.redact import Redactor
from prx.runtime.bus import TEXT_LIMIT, Bus, redacted
from prx.runtime.child_log import BURST, RATE, LineRateLimiter
from prx.testing.clock import ManualClock


def fact(index: int) -> ConnectionLost:
    """Make a fact."""
    return ConnectionLost(tunnel="web", index=index)


async def test_numbers_have_no_gaps() -> None:
    """Every event has the number after the one before, for every subscriber."""
    bus = Bus(ManualClock())
    one, two = bus.subscribe(), bus.subscribe()
    for index in range(5):
        bus.publish(fact(index))
    bus.close()
    assert [event.seq async for event in one] == [event.seq async for event in two] == [1, 2, 3, 4, 5]


async def test_a_slow_subscriber_is_told_what_it_missed() -> None:
    """Beyond its limit events are dropped for it alone, counted, and reported once, in their place."""
    bus = Bus(ManualClock())
    slow, quick = bus.subscribe(limit=2), bus.subscribe()
    for index in range(5):
        bus.publish(fact(index))
    seen = [await anext(slow) for _ in range(3)]
    assert [event.fact for event in seen] == [fact(0), fact(1), Dropped(tunnel="", count=3)]
    bus.publish(fact(9))
    assert (await anext(slow)).fact == fact(9)
    bus.close()
    assert len([event async for event in quick]) == 6


async def test_the_status_follows_the_events() -> None:
    """A tracked tunnel's status is up to date when a listener hears of the event."""
    bus = Bus(ManualClock())
    bus.track(TunnelStatus("web"))
    heard: list[tuple[Event, str]] = []
    bus.listen(lambda event: heard.append((event, bus.statuses()[0].state)))
    bus.publish(StateChanged(tunnel="web", old=State.IDLE, new=State.STARTING, reason=""))
    assert [state for _, state in heard] == ["starting"]


async def test_a_listener_that_raises_costs_nobody_anything() -> None:
    """A defect in a listener is said once; others, subscribers and the publisher go on, and it hears the next event."""
    bus, heard, tries = Bus(ManualClock()), list[int](), list[int]()

    def broken(event: Event) -> None:
        tries.append(event.seq)
        raise ZeroDivisionError("a defect")

    bus.listen(broken)
    bus.listen(lambda event: heard.append(event.seq))
    subscriber = bus.subscribe()
    for index in range(3):
        bus.publish(fact(index))
    bus.close()
    assert heard == tries == [1, 2, 3, 4]
    said = [event.fact.message async for event in subscriber if isinstance(event.fact, Log)]
    assert len(said) == 1
    assert "ZeroDivisionError: a defect" in said[0]


def test_a_flood_of_lines_is_counted() -> None:
    """A burst passes, the rest is skipped and counted, and the budget comes back with time."""
    budget = LineRateLimiter(0.0)
    assert sum(budget.take(0.0) for _ in range(10_000)) == BURST
    assert budget.settle() == 10_000 - BURST
    assert budget.settle() == 0
    assert sum(budget.take(1.0) for _ in range(10_000)) == RATE


async def test_a_reader_that_was_slow_learns_where_each_tunnel_stands() -> None:
    """However many events were dropped for it, the last state, verdict and URL of each tunnel come, in their order."""
    bus = Bus(ManualClock())
    with bus.subscribe(limit=3) as slow:
        for number in range(50):
            for name in ("a", "b"):
                bus.publish(StateChanged(tunnel=name, old=State.READY, new=State.DEGRADED, reason=str(number)))
                bus.publish(fact(number))
        bus.publish(UrlChanged(tunnel="a", url="https://new.example", old=""))
        bus.publish(VerdictChanged(tunnel="b", old="", new=Verdict.HEALTHY, reason="well"))
        bus.close()
        facts = [event.fact async for event in slow]
    dropped = [item.count for item in facts if isinstance(item, Dropped)]
    assert len(facts) - len(dropped) + sum(dropped) == 202
    assert [(item.tunnel, item.name, getattr(item, "reason", "")) for item in facts[-4:]] == [
        ("a", "state_changed", "49"),
        ("b", "state_changed", "49"),
        ("a", "url_changed", ""),
        ("b", "verdict_changed", "well"),
    ]


@pytest.mark.parametrize("limit", [1, 3, 20])
@pytest.mark.parametrize("after", [0, 1, 30])
async def test_numbers_count_up_for_a_reader_that_was_slow(limit: int, after: int) -> None:
    """A program that ignores what is older than the last event it has seen still learns where each tunnel stands."""
    bus = Bus(ManualClock())
    with bus.subscribe(limit=limit) as slow:
        for stall in range(3):
            for number in range(30):
                bus.publish(fact(number))
            bus.publish(StateChanged(tunnel="a", old=State.READY, new=State.DEGRADED, reason=str(stall)))
            bus.publish(UrlChanged(tunnel="a", url=f"https://{stall}.example", old=""))
            for number in range(after):
                bus.publish(fact(number))
            bus.publish(VerdictChanged(tunnel="b", old="", new=Verdict.HEALTHY, reason=str(stall)))
            events = [await anext(slow) for _ in range(limit + 4)]
            assert [event.fact.name for event in events[limit:]] == [
                "dropped",
                "state_changed",
                "url_changed",
                "verdict_changed",
            ]
            assert [event.seq for event in events] == sorted(event.seq for event in events)
        assert slow.take(1) == []


async def test_a_reader_that_reads_misses_nothing_of_a_thousand_tunnels() -> None:
    """A thousand tunnels that start in one turn of the loop are more events than any turn can hand on; none is dropped."""
    bus = Bus(ManualClock())
    with bus.subscribe() as reader:
        for number in range(10_000):
            bus.publish(fact(number))
        bus.close()
        assert len([event async for event in reader]) == 10_000
    assert bus.dropped == 0


@pytest.mark.parametrize("hours", [3, -3, 24 * 365, -24 * 365])
def test_ages_are_true_after_the_wall_clock_was_set(hours: int) -> None:
    """How long a state lasts, the next try, the last check, the flaps: no jump of the wall clock changes them."""
    clock = ManualClock()
    bus = Bus(clock)
    bus.track(TunnelStatus("web"))
    bus.publish(StateChanged(tunnel="web", old=State.STARTING, new=State.READY, reason=""))
    bus.publish(StateChanged(tunnel="web", old=State.READY, new=State.BACKOFF, reason=""))
    bus.publish(Probed(tunnel="web", status=200, latency_ms=1.0, verdict=Verdict.HEALTHY))
    bus.publish(RestartScheduled(tunnel="web", delay=300.0, attempt=1, reason=""))
    clock.set_wall(hours * 3600)
    clock.advance(60)
    (status,) = bus.statuses()
    assert status.since is not None
    assert status.last_probe is not None
    assert clock.wall() - status.since == pytest.approx(60)
    assert clock.wall() - status.last_probe.at == pytest.approx(60)
    assert status.to_json(clock.wall())["next_retry_in"] == pytest.approx(240)
    assert status.flaps.count(clock.wall()) == 1


def test_sleep_is_age() -> None:
    """A machine that slept did not have its clock set: the night counts."""
    clock = ManualClock()
    bus = Bus(clock)
    bus.track(TunnelStatus("web"))
    bus.publish(StateChanged(tunnel="web", old=State.STARTING, new=State.READY, reason=""))
    clock.suspend(8 * 3600)
    assert clock.wall() - (bus.statuses()[0].since or 0.0) == pytest.approx(8 * 3600)


@pytest.mark.parametrize("where", ["message", "fields"])
async def test_a_reader_that_reads_nothing_holds_little_memory(where: str) -> None:
    """Of a child's longest lines a bounded size waits; later ones are dropped and counted, and states are not."""
    bus, text = Bus(ManualClock()), "x" * 60_000
    facts = {"message": text} if where == "message" else {"message": "", "fields": {"error": text}}
    with bus.subscribe() as slow:
        for _ in range(300):
            bus.publish(Log(tunnel="web", level="info", **facts))
        bus.publish(StateChanged(tunnel="web", old=State.READY, new=State.DEGRADED, reason="last"))
        kept = [await anext(slow) for _ in range(TEXT_LIMIT // len(text) + 1)]
        assert all(isinstance(event.fact, Log) for event in kept)
        assert (await anext(slow)).fact == Dropped(tunnel="", count=300 - len(kept))
        assert (await anext(slow)).fact.name == "state_changed"
        bus.publish(Log(tunnel="web", level="info", **facts))
        assert (await anext(slow)).fact.name == "log"


SHAPES: dict[str, Callable[[int], dict[str, Any]]] = {
    "a long message": lambda size: {"message": "x" * size},
    "a long value": lambda size: {"message": "", "fields": {"error": "x" * size}},
    "a long name": lambda size: {"message": "", "fields": {"x" * size: 1}},
    "long names": lambda size: {"message": "", "fields": {f"{number}{'x' * 100}": 1 for number in range(size // 100)}},
    "many fields": lambda size: {"message": "", "fields": {f"{number:x}": number for number in range(size // 10)}},
    "many empty fields": lambda size: {"message": "", "fields": {f"{number:x}": "" for number in range(size // 10)}},
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_reader_that_reads_nothing_holds_little_of_any_line(shape: Callable[[int], dict[str, Any]]) -> None:
    """Whatever a line of 64 KiB is made of, only so many wait as that their memory is bounded."""
    bus = Bus(ManualClock())
    with bus.subscribe() as slow:
        for _ in range(300):
            bus.publish(Log(tunnel="web", level="info", **shape(60_000)))
        assert len(slow.take(300)) == 300 - bus.dropped < 150


def test_many_usual_lines_wait() -> None:
    """The limit of a line's text leaves as many lines of usual length as events may wait."""
    bus = Bus(ManualClock())
    fields = {"connIndex": 1, "originService": "http://127.0.0.1:8080", "ingressRule": 0, "event": 1, "stream": "stderr"}
    with bus.subscribe(limit=16 * 1024):
        for _ in range(16 * 1024):
            bus.publish(Log(tunnel="web", level="info", message="GET https://app.example.com/item/1 HTTP/1.1", fields=fields))
    assert bus.dropped == 0


def test_what_was_taken_makes_room_for_more() -> None:
    """A reader that reads long lines, one by one or many at once, misses none, however many come."""
    bus = Bus(ManualClock())
    with bus.subscribe() as reader:
        for _ in range(6):
            for _ in range(50):
                bus.publish(Log(tunnel="web", level="info", message="x" * 60_000))
            assert len(reader.take(50)) == 50
    assert bus.dropped == 0


SECRET = "s3cret-value-of-the-test"


@pytest.mark.parametrize(
    ("message", "fields"),
    [
        (f"the value is {SECRET}", {}),
        ("GET /hook", {"url": f"http://127.0.0.1/?token={SECRET[:8]}"}),
        ("GET /hook", {"headers": {"inner": ["one", f"Bearer {'x' * 24}"]}}),
        ("Authorization: Basic eA==", {"number": 7, "none": None}),
        (f"cut at {SECRET[:9]}{CUT_MARKER}", {"other": "clean"}),
        (f"two lines\nof {SECRET}", {}),
        ("S\u0130GNATURE", {"more": f"?\u017fecret={SECRET[:8]}"}),
    ],
)
def test_each_text_of_an_event_is_redacted(message: str, fields: dict[str, Any]) -> None:
    """All texts are searched at once, and if any may hold a secret, each by itself."""
    redactor = Redactor([SECRET])
    event = Bus(ManualClock(), redactor).publish(Log(tunnel="web", level="info", message=message, fields=fields))
    assert isinstance(event.fact, Log)
    assert event.fact.message == redactor.text(message)
    assert event.fact.fields == redacted(fields, redactor)
    assert (event.fact.message, event.fact.fields) != (message, fields)


@pytest.mark.parametrize(
    ("message", "fields"),
    [
        ("GET /item/1", {"event": 1, "stream": "stderr"}),
        ("my sec", {"second": "ret"}),
        ("", {"a": ["s3cret-value", "-of-the-test"]}),
    ],
)
def test_an_event_without_a_secret_is_published_as_it_is(message: str, fields: dict[str, Any]) -> None:
    """Texts that only together hold the word of a secret are none."""
    fact = Log(tunnel="web", level="info", message=message, fields=fields)
    assert Bus(ManualClock(), Redactor([SECRET])).publish(fact).fact is fact
