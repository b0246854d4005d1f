"""Several connectors of one tunnel, whose number changes while one of them is not well."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.test_replicas import pids, reload, replicas, up
from tests.e2e.world import World
from tests.support.origin import HostedOrigin
from tests.support.visitor import get

from prx.core.events import ChildStarted, Fact, StateChanged
from prx.core.status import TunnelStatus
from prx.lab import Lab
from prx.testing.clock import ManualClock


def serving(status: TunnelStatus) -> list[int]:
    """Return the children that have a connection to the edge."""
    return [item.pid for item in status.connectors if item.connections]


def _since(here: World, number: int, kind: type[Fact]) -> list[Any]:
    """Return the facts of one kind since event `number`."""
    return [event.fact for event in here.events[number:] if isinstance(event.fact, kind)]


@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
async def test_fewer_connectors_never_end_the_only_ones_that_serve(
    lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin, fault: int
) -> None:
    """From three to one while the one that stays is away: the others serve on until it is back."""
    async with replicas(lab, clock, tmp_path, "builtin", origin, protocol="http2", number=3) as here:
        events, victim = len(here.events), here.status.connectors[0].pid
        os.kill(victim, fault)
        reload(here, replicas=1)
        alone: list[TunnelStatus] = []

        def back(status: TunnelStatus) -> bool:
            if not [pid for pid in serving(status) if pid != victim]:
                alone.append(status)
            return len(status.connectors) == 1 and up(status, 1) and victim not in pids(here)

        await here.live(back)
        assert alone == []
        if fault == signal.SIGKILL:  # a check may meet a frozen one before it is seen to hang
            assert {fact.new for fact in _since(here, events, StateChanged)} == set()
        assert [fact.connector for fact in _since(here, events, ChildStarted)] == [0]


async def test_fewer_connectors_start_none_of_those_that_go(
    lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin
) -> None:
    """One that waits for its next start and is not wanted any more is not started by the reload that says so."""
    program, starts = tmp_path / "cloudflared", tmp_path / "starts"
    program.write_text(f'#!/bin/sh\necho "$*" >> {starts}\nexec {sys.executable} -m prx.lab.connector "$@"\n')
    program.chmod(0o755)
    async with replicas(lab, clock, tmp_path, str(program), origin, protocol="http2") as here:
        os.kill(here.status.connectors[1].pid, signal.SIGKILL)
        await here.live(lambda status: "1 of 2 connectors" in status.reason)
        reload(here, replicas=1)
        await here.live(lambda status: up(status, 1) and "connectors" not in status.reason)
    assert len([line for line in starts.read_text().splitlines() if " run" in line]) == 2


async def test_a_connector_that_is_wanted_again_while_it_drains_comes_back(
    lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin
) -> None:
    """From two to one and to two again, while the second still finishes a request: there are two in the end."""
    async with replicas(lab, clock, tmp_path, "builtin", origin, protocol="http2") as here, asyncio.TaskGroup() as visitors:
        for number in range(12):
            visitors.create_task(get(f"{here.status.url}/slow"), name=f"visitor {number}")
        await here.live(lambda _: origin.is_holding)
        second = here.status.connectors[1].pid
        reload(here, replicas=1)
        await here.live(lambda status: len(serving(status)) == 1)
        assert second in pids(here)
        reload(here, replicas=2)
        await here.live(lambda status: up(status, 2) and second not in pids(here))
        origin.release()
