"""What is no news of how well a tunnel serves: that it was asked to stop, or that one connector is ahead of a change."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from tests.e2e.test_replicas import pids, replicas, up, write_program
from tests.support.origin import HostedOrigin

from prx.core.events import ChildStarted, StateChanged, VerdictChanged
from prx.lab import Lab
from prx.testing.clock import ManualClock


@pytest.mark.parametrize(("number", "least", "protocol"), [(2, 1, "http2"), (2, 2, "quic"), (3, 3, "http2"), (1, 1, "quic")])
@pytest.mark.parametrize("at_once", [False, True])
async def test_a_stop_is_no_loss_of_connectors(
    lab: Lab,
    clock: ManualClock,
    tmp_path: Path,
    origin: HostedOrigin,
    number: int,
    least: int,
    protocol: str,
    at_once: bool,
) -> None:
    """Connectors that were asked to end are not missed: no verdict meanwhile, never degraded, and the reason is reported."""
    async with replicas(lab, clock, tmp_path, "builtin", origin, protocol=protocol, number=number, replicas_min=least) as here:
        await here.live(lambda status: status.reason == "the public URL answers 200")
        events = len(here.events)
        here.supervisor.kill() if at_once else here.supervisor.stop()
        await here.live(lambda status: status.state == "idle")
        since = [event.fact for event in here.events[events:]]
    assert [fact for fact in since if isinstance(fact, VerdictChanged)] == []
    states = [(fact.old, fact.new) for fact in since if isinstance(fact, StateChanged)]
    assert states == [("ready", "stopping"), ("stopping", "idle")]
    assert [fact.reason for fact in since if isinstance(fact, StateChanged)] == ["asked to stop", "stopped as asked"]


@pytest.mark.parametrize(("victim", "protocol", "number"), [(0, "http2", 2), (1, "quic", 2), (0, "quic", 3), (2, "http2", 3)])
async def test_only_connectors_of_the_old_program_are_replaced(
    lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin, victim: int, protocol: str, number: int
) -> None:
    """One that has ended meanwhile, and was started again with the new program, is not replaced a second time."""
    program, new = tmp_path / "cloudflared", tmp_path / "new"
    write_program(program, "old")
    async with replicas(lab, clock, tmp_path, str(program), origin, protocol=protocol, number=number) as here:
        old, events = pids(here), len(here.events)
        write_program(new, "new")
        new.replace(program)
        os.kill(here.status.connectors[victim].pid, signal.SIGKILL)
        await here.live(lambda status: up(status, number) and not pids(here) & old)
        await here.leap(10)  # the heartbeat checks programs every 2 s
        started = [event.fact.connector for event in here.events[events:] if isinstance(event.fact, ChildStarted)]
    assert sorted(started) == list(range(number))
