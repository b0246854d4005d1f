"""A tunnel that was asked to stop and finishes requests, or is asked for again while it does."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest
from tests.e2e.test_replicas import pids, reload, replicas, up, write_program
from tests.support.origin import HostedOrigin
from tests.support.visitor import get

from prx.config.schema import Config
from prx.core.events import ChildStarted, Log
from prx.lab import Lab
from prx.secrets.value import Secret
from prx.testing.clock import ManualClock


async def test_changes_do_not_undo_a_stop(lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin) -> None:
    """Another program, other settings and another mode while the last request is finished: the tunnel still ends."""
    program, new = tmp_path / "cloudflared", tmp_path / "new"
    write_program(program, "old")
    async with (
        replicas(lab, clock, tmp_path, str(program), origin, protocol="http2", number=1, grace_period_secs=30.0) as here,
        asyncio.TaskGroup() as visitors,
    ):
        visit = visitors.create_task(get(f"{here.status.url}/slow"), name="visitor")
        await here.live(lambda _: origin.is_holding)
        events = len(here.events)
        here.supervisor.stop()
        await here.live(lambda status: status.state == "stopping")
        write_program(new, "new")
        new.replace(program)
        await here.leap(5)  # the heartbeat has seen the program twice
        reload(here, retries=2)
        reload(here, mode="quick", token=Secret(""), hostname="")
        origin.release()
        await here.live(lambda status: status.state == "idle")
        await visit
        since = [event.fact for event in here.events[events:]]
    assert [fact for fact in since if isinstance(fact, ChildStarted)] == []
    assert [fact.message for fact in since if isinstance(fact, Log) and "was replaced" in fact.message] == []


@pytest.mark.parametrize(("number", "protocol"), [(1, "http2"), (2, "http2"), (2, "quic"), (3, "quic")])
async def test_a_stop_that_is_taken_back_leaves_no_connector_too_many(
    lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin, number: int, protocol: str
) -> None:
    """A restart while connectors drain: each place is taken once, and a connector that is missing then is reported as ever."""
    async with replicas(lab, clock, tmp_path, "builtin", origin, protocol=protocol, number=number, replicas_min=number) as here:
        old = pids(here)
        here.supervisor.stop("web")
        here.supervisor.restart("web")
        await here.live(lambda status: up(status, number) and not pids(here) & old)
        await here.leap(10)
        await here.live(lambda status: up(status, number))
        assert [item.connector for item in here.status.connectors] == list(range(number))
        os.kill(here.status.connectors[-1].pid, signal.SIGKILL)
        await here.live(lambda status: status.state != "ready")
        await here.live(lambda status: up(status, number))


async def test_a_tunnel_that_is_gone_and_back_at_once_comes_up(
    lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin
) -> None:
    """Taken out of the configuration and put back while a successor comes up: the tunnel is not left without a connector."""
    async with replicas(lab, clock, tmp_path, "builtin", origin, protocol="http2", number=1) as here:
        old, whole = pids(here), here.supervisor.config
        here.supervisor.restart("web")
        await here.live(lambda status: len(status.connectors) == 2)
        here.supervisor.reload(Config(tunnels={}))
        here.supervisor.reload(whole)
        await here.live(lambda status: status.state == "ready" and len(status.connectors) == 1 and not pids(here) & old)


async def test_one_connector_of_many_turns_quick(lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin) -> None:
    """From three connectors to a quick tunnel: one child asks for a URL, and those that go start none."""
    async with replicas(lab, clock, tmp_path, "builtin", origin, protocol="http2", number=3) as here:
        events = len(here.events)
        reload(here, mode="quick", token=Secret(""), hostname="", replicas=1)
        await here.live(lambda status: "app." not in status.url and len(status.connectors) == 1)
        started = [event.fact for event in here.events[events:] if isinstance(event.fact, ChildStarted)]
    assert [fact.connector for fact in started] == [0]
