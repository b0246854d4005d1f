"""What prx misses because it was itself held up is no sign of anything else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.runtime.contexts import shared
from tests.support.servers import Servers, answer

from prx.config.schema import TunnelSettings
from prx.core.evidence import Dns, DnsState, Evidence, Public
from prx.core.inputs import Checked
from prx.core.verdicts import Action
from prx.runtime.attention import Attention, _pulses
from prx.runtime.child_monitor import ChildMonitor
from prx.runtime.context import TunnelContext
from prx.runtime.observer import EXCUSED_FOR
from prx.runtime.run import CHECKS_AT_MOST, Run
from prx.testing.clock import ManualClock

READY = b'{"status":200,"readyConnections":4,"connectorId":"4f3ae1a8-63a3-4d96-8fd2-a0a5e0f3f9a0"}'

HoldUp = Callable[[float], None]


@pytest.fixture
async def hold_up(monkeypatch: pytest.MonkeyPatch) -> HoldUp:
    """Return a function that holds up the event loop for some seconds, as a machine does that gives prx no processor."""
    ahead = 0.0

    def jump(seconds: float) -> None:
        nonlocal ahead
        ahead += seconds

    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: time.monotonic() + ahead)
    return jump


def child_at(folder: Path, clock: ManualClock, port: int) -> ChildMonitor:
    """Return the monitor of a child that answers on `port`."""
    return ChildMonitor(TunnelContext.create("web", TunnelSettings(), shared(folder, clock)), "quic", port)


@pytest.mark.parametrize(("seconds", "lapsed"), [(0.0, False), (0.4, False), (1.0, True), (9.0, True)])
async def test_a_pause_is_noticed(hold_up: HoldUp, seconds: float, lapsed: bool) -> None:
    """A beat that comes late shows the pause, during the context and after it; a short delay shows nothing."""
    with Attention() as attention:
        hold_up(seconds)
        assert attention.lapsed == lapsed
        await asyncio.sleep(0)
    assert attention.lapsed == lapsed


@pytest.mark.parametrize("part", ["before the answer", "within the head", "within the body", "at every question"])
async def test_a_child_is_not_silent_because_prx_was_held_up(
    tmp_path: Path, servers: Servers, hold_up: HoldUp, part: str
) -> None:
    """Wherever the pause falls: the child that answered before still counts as one that answers."""
    pauses = [0.0, 5.0, *([5.0] if part == "at every question" else [])]
    whole = answer(200, READY)
    cut = {"within the head": 10, "within the body": len(whole) - 5}.get(part, 0)

    async def ready(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pause = pauses.pop(0) if pauses else 0.0
        writer.write(whole[:cut])
        await writer.drain()
        hold_up(pause)
        for _turn in range(3 if pause else 0):  # the limit is over before the answer goes on
            await asyncio.sleep(0)
        writer.write(whole[cut:])

    served = await servers.start(ready)
    clock = ManualClock()
    child = child_at(tmp_path, clock, served.port)
    await child.check_ready()
    clock.advance(8)
    await child.check_ready()
    evidence = child.evidence()
    assert (evidence.ready, evidence.answers, evidence.silent_for) == (4, True, 0.0)


async def test_a_silence_is_not_excused_forever(tmp_path: Path, servers: Servers, hold_up: HoldUp) -> None:
    """A child that never answers is found even if prx is held up at every question."""
    pause = 0.0

    async def ready(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hold_up(pause)
        if pause:
            await asyncio.Event().wait()
        writer.write(answer(200, READY))

    clock = ManualClock()
    child = child_at(tmp_path, clock, (await servers.start(ready)).port)
    await child.check_ready()
    pause = 5.0
    clock.advance(EXCUSED_FOR - 1)
    await child.check_ready()
    assert child.evidence().answers
    clock.advance(2)
    await child.check_ready()
    assert not child.evidence().answers


async def test_a_child_that_refuses_is_silent_at_once(tmp_path: Path, unused_port: int) -> None:
    """Without a pause the first question that fails counts."""
    child = child_at(tmp_path, ManualClock(), unused_port)
    await child.check_ready()
    assert not child.evidence().answers


@pytest.mark.parametrize(
    ("pauses", "statuses", "checks", "action"),
    [
        ([5.0, 0.0], [None, 200], 2, Action.NONE),
        ([0.0], [None], 1, Action.REPORT),
        ([5.0, 0.0], [None, None], 2, Action.REPORT),
        ([5.0], [200], 1, Action.NONE),
        ([5.0] * 9, [None] * 9, CHECKS_AT_MOST, Action.REPORT),
    ],
    ids=["held up, then well", "not held up", "held up, and really down", "held up, but well", "held up always"],
)
async def test_a_check_in_which_prx_was_held_up_is_made_again(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    hold_up: HoldUp,
    pauses: list[float],
    statuses: list[int | None],
    checks: int,
    action: Action,
) -> None:
    """A failed check is repeated if prx was held up in it, a bounded number of times; a good one, and one in time, counts."""
    run = Run(1, TunnelContext.create("web", TunnelSettings(), shared(tmp_path, ManualClock())), lambda _: None, "quic", 1)
    made = 0

    async def check(**_: object) -> Evidence:
        nonlocal made
        hold_up(pauses[made])
        await asyncio.sleep(0)
        public = Public(statuses[made], silent=statuses[made] is None)
        made += 1
        return Evidence(1000.0, "https://a.example", dns=Dns(DnsState.RESOLVED, ("192.0.2.1",)), public=public)

    monkeypatch.setattr(run.checker, "check", check)
    _, checked = await run.check()
    assert isinstance(checked, Checked)
    assert (made, checked.diagnosis.action) == (checks, action)


async def test_many_watch_by_one_timer(hold_up: HoldUp) -> None:
    """However many checks wait, the loop has one beat for them, and each learns of the pauses in its own time alone."""
    loop = asyncio.get_running_loop()
    before = len(loop._scheduled)  # type: ignore[attr-defined]
    with Attention() as first:
        with Attention() as second:
            assert len(loop._scheduled) - before == 1  # type: ignore[attr-defined]
            hold_up(2.0)
        with Attention() as third:
            assert [first.lapsed, second.lapsed, third.lapsed] == [True, True, False]
        await asyncio.sleep(0)
        assert not third.lapsed
    assert not _pulses
