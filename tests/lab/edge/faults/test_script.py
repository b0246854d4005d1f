"""Faults as a script: read from text, run by the lab's clock, the same each time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx2
import pytest
from tests.lab.edge.connector import dialled, registered
from tests.support.wire import get

from prx.lab import Lab, LabConfig
from prx.lab.edge.faults.notation import from_words
from prx.lab.edge.faults.script import Clear, Inject, Script, Step, parse_action
from prx.lab.events import ConnectionLost, FaultCleared, FaultInjected, LabEvent
from prx.lab.faults import Delay, Drop, DropAfter, Garble, Lose, NxDomain, QuickService, Refuse, RejectRegistration, Unroute
from prx.lab.protocol.rpc.registration import Rejected
from prx.testing.clock import ManualClock

STORY = """
# a bad morning
seed 7
at 2s   random drop one
at 5s   refuse for 10s
at 6s   drop all
at 20s  reject-registration unauthorized times=1
at 30s  unroute web for 5s
every 60s..120s random drop one until 10m
"""


class Scene:
    """A lab in virtual time, and what happened in it."""

    def __init__(self, lab: Lab, clock: ManualClock, events: list[LabEvent]) -> None:
        self.lab = lab
        self.clock = clock
        self.events = events

    async def until(self, seconds: float) -> None:
        """Advance the time, with every task acting on the way."""
        await asyncio.sleep(0)
        while self.clock.advance_to_next(1000.0 + seconds):  # noqa: ASYNC110 - it is this loop that moves time
            await asyncio.sleep(0.005)

    def faults(self) -> list[tuple[float, str]]:
        """Every fault as it began (+) and ended (-)."""
        named = [event for event in self.events if isinstance(event, FaultInjected | FaultCleared)]
        return [(event.at - 1000.0, ("+" if isinstance(event, FaultInjected) else "-") + event.fault) for event in named]


@asynccontextmanager
async def scene(text: str) -> AsyncIterator[Scene]:
    """Play a script in a lab whose time the test moves."""
    clock, events = ManualClock(1000.0), list[LabEvent]()
    async with Lab.start(LabConfig(clock=clock.monotonic, sleep=clock.sleep, on_event=events.append)) as lab:
        lab.begin(text)
        await asyncio.sleep(0)
        yield Scene(lab, clock, events)


async def test_a_bad_morning() -> None:
    """The story above: one of four goes, the edge refuses, all go, one is rejected, the name leads nowhere, all is well."""
    async with scene(STORY) as here, asyncio.timeout(30), AsyncExitStack() as four:
        lab, token = here.lab, here.lab.token("web")
        for index in range(4):
            await four.enter_async_context(registered(lab, token, index=index))
        await here.until(2)
        await lab.wait_for(lambda lab: len(lab.tunnel("web").connections) == 3)
        assert (await get(lab, "web.localhost")).status == 200

        await here.until(6)
        await lab.wait_for(lambda lab: not lab.tunnel("web").connections)
        with pytest.raises(ConnectionRefusedError):
            async with dialled(lab, token):
                pass

        await here.until(20)
        async with dialled(lab, token) as unlucky:
            assert isinstance(await unlucky.register(), Rejected)
        async with registered(lab, token):
            await here.until(30)
            assert (await get(lab, "web.localhost")).body == b"error code: 1033"
            await here.until(35)
            assert (await get(lab, "web.localhost")).status == 200
        assert here.faults()[:8] == [
            (2.0, "+Drop"),
            (5.0, "+Refuse"),
            (6.0, "+Drop"),
            (15.0, "-Refuse"),
            (20.0, "+RejectRegistration"),
            (30.0, "+Unroute"),
            (35.0, "-Unroute"),
        ]


async def test_every() -> None:
    """What comes again and again comes within its bounds, until its end, at the same times with the same seed."""
    times: list[list[float]] = []
    for _ in range(2):
        async with scene("seed 3\nevery 30s..60s random drop one until 10m") as here:
            await here.until(3600)
            times.append([at for at, _ in here.faults()])
    assert times[0] == times[1]
    pauses = [later - earlier for earlier, later in zip([0.0, *times[0]], times[0], strict=False)]
    assert all(30 <= pause <= 60 for pause in pauses)
    assert 540 <= times[0][-1] < 600


async def test_chance_follows_the_seed() -> None:
    """The same connections are chosen with the same seed."""
    chosen: list[list[int]] = []
    for _ in range(2):
        async with scene("seed 5\nat 1s random drop 2\nat 2s random drop one") as here, AsyncExitStack() as six:
            for index in range(6):
                await six.enter_async_context(registered(here.lab, here.lab.token("web"), index=index))
            for at, left in ((1, 4), (2, 3)):
                await here.until(at)
                await here.lab.wait_for(lambda lab, left=left: len(lab.tunnel("web").connections) == left)  # type: ignore[misc]
            chosen.append(sorted(event.index for event in here.events if isinstance(event, ConnectionLost)))
    assert chosen[0] == chosen[1]


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ("drop", Drop()),
        ("drop all", Drop()),
        ("drop one index=2", Drop(count=1, index=2)),
        ("random drop 3 hostname=web", Drop(count=3, hostname="web", random=True)),
        ("reject-registration duplicate times=2", RejectRegistration("duplicate", times=2)),
        ("quick-service 503 page", QuickService(503, "page")),
        ("quick-service kind=timeout", QuickService(kind="timeout")),
        ("nx-domain 4m web", NxDomain(240.0, "web")),
        ("delay 200ms jitter=50ms", Delay(0.2, 0.05)),
        ("drop-after bytes=1000", DropAfter(bytes=1000)),
        ("garble 500 slot=1", Garble(500, 1)),
        ("lose 4", Lose(4)),
        ("unroute web", Unroute("web")),
    ],
)
def test_words(words: str, fault: object) -> None:
    """A fault in words is the fault that is meant."""
    assert from_words(words.split()) == fault


def test_steps() -> None:
    """Times, lengths and ends are read, and a line without a time is done at once."""
    assert Script.parse("refuse for 2m\nat 1h clear refuse\nclear") == Script(
        (Step(Inject(Refuse(), 120.0)), Step(Clear(Refuse), first=3600.0), Step(Clear()))
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("\nat 5s explode", "line 2: unknown fault 'explode'; expected one of drop, go-away"),
        ("at soon drop", "line 1: 'soon' is no length of time; expected such as 5s"),
        ("at 5s", "expected at TIME ACTION"),
        ("every 0s drop", "'0s' is no pause"),
        ("every 9s..3s drop", "'9s..3s' is no pause"),
        ("drop some", "'some' is no number of connections; expected all, one or a number"),
        ("drop one for 5s", "acts once; expected it without 'for'"),
        ("random refuse", "leaves nothing to chance"),
        ("refuse now", "no place for 'now'; it has none"),
        ("delay fast", "'fast' is no length of time"),
        ("delay", "Delay needs seconds"),
        ("garble every=often", "'every' is 'often'; expected int"),
        ("slow-read 0", "expected bytes per second"),
        ("lose 0", "expected 1 or more datagrams"),
        ("drop-after", "needs seconds or bytes"),
        ("quick-service kind=odd", "unknown kind 'odd'; expected one of error, page, no_id, timeout"),
        ("unroute a_b", "is no host name"),
        ("seed x", "'x' is no seed"),
        ("clear a b", "expected clear, or clear FAULT"),
    ],
)
def test_mistakes(text: str, words: str) -> None:
    """A mistake is named with its line and with what is expected."""
    with pytest.raises(ValueError, match="line") as caught:
        Script.parse(text)
    assert words in str(caught.value)


def test_action_without_a_time() -> None:
    """One action can be read by itself, as the command line needs it."""
    assert parse_action(["refuse", "for", "10s"]) == Inject(Refuse(), 10.0)


async def test_over_the_control_endpoint(lab: Lab) -> None:
    """Another process can play a script; a mistake in it is reported at once, and what has no time is done at once."""
    async with httpx2.AsyncClient(base_url=lab.control, trust_env=False) as client:
        told = (await client.post("/faults", json={"script": "unroute web for 1h"})).json()
        (fault,) = told["faults"]
        assert 3590 < fault.pop("seconds_left") <= 3600
        assert fault == {"fault": "Unroute", "hostname": "web", "for_seconds": 3600}
        bad = await client.post("/faults", json={"script": "explode"})
        assert (bad.status_code, "line 1: unknown fault" in bad.json()["error"]) == (400, True)
