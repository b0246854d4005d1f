"""Several connectors of one tunnel, under load: what one of them meets, visitors do not."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bench.room.steady import Visit, load
from tests.e2e.world import World, world
from tests.support.origin import HostedOrigin
from tests.support.visitor import get

from prx.config.schema import Config
from prx.core.events import ChildExited, ChildStarted, Log, Probed, StateChanged, UrlChanged, VerdictChanged
from prx.core.status import TunnelStatus
from prx.core.traffic import TrafficStatus
from prx.lab import Lab, LabConfig
from prx.lab.events import ConnectionLost as LostAtEdge
from prx.lab.events import LabEvent
from prx.secrets.value import Secret
from prx.testing.clock import ManualClock

RATE = 50.0  # requests a second


@pytest.fixture(params=["http2", "quic"])
def protocol(request: pytest.FixtureRequest) -> str:
    """Return both ways to the edge."""
    return str(request.param)


class EdgeNoticed:
    """When the edge has lost the last connection of each connector, by the real clock, in the order in which they went.

    Over QUIC it waits for a silent connector for 5 s, by a timer of its loop, which a busy machine holds up.
    """

    def __init__(self) -> None:
        self.connections = 0
        self._last: dict[str, float] = {}

    def see(self, event: LabEvent) -> None:
        """Take in what happens at the edge."""
        if isinstance(event, LostAtEdge):
            self.connections += 1
            self._last[event.connector] = time.monotonic()

    @property
    def times(self) -> list[float]:
        """When it had lost all of each."""
        return list(self._last.values())


@pytest.fixture
def edge_noticed() -> EdgeNoticed:
    """Return what is noted of the lab of this module."""
    return EdgeNoticed()


@pytest.fixture
async def lab(clock: ManualClock, edge_noticed: EdgeNoticed) -> AsyncIterator[Lab]:
    """Yield a lab whose faults last by virtual time, and whose losses are noted."""
    async with Lab.start(LabConfig(clock=clock.monotonic, on_event=edge_noticed.see)) as lab:
        yield lab


@asynccontextmanager
async def replicas(
    lab: Lab,
    clock: ManualClock,
    folder: Path,
    connector: str,
    origin: HostedOrigin,
    *,
    protocol: str,
    number: int = 2,
    **more: Any,
) -> AsyncIterator[World]:
    """Run a named tunnel with so many connectors, all of them up."""
    named: dict[str, Any] = {
        "mode": "named",
        "token": lab.token("app"),
        "hostname": "app.localhost",
        "replicas": number,
        **more,
    }
    async with world(
        lab, clock, folder, connector=connector, port=origin.port, protocols=(protocol,), cloudflare=named
    ) as here:
        await here.live(lambda status: up(status, number))
        yield here


def up(status: TunnelStatus, number: int) -> bool:
    """Return whether all connectors have all of their connections."""
    return status.state == "ready" and [len(item.connections) for item in status.connectors] == [4] * number


def pids(here: World) -> set[int]:
    """Return the children that run."""
    return {item.pid for item in here.status.connectors}


async def whole(here: World, seconds: float) -> None:
    """Advance the time by so much, real and virtual."""
    end = time.monotonic() + seconds
    await here.live(lambda _: time.monotonic() >= end, within=seconds + 30)


def assert_never_down(here: World, events: int) -> None:
    """Hold that since event number `events` the tunnel was never anything but ready, and its URL never changed."""
    since = [event.fact for event in here.events[events:]]
    assert [fact for fact in since if isinstance(fact, StateChanged | UrlChanged)] == []


async def test_killed_connectors_cost_only_what_was_in_flight_on_them(
    lab: Lab,
    edge_noticed: EdgeNoticed,
    clock: ManualClock,
    tmp_path: Path,
    connector: str,
    origin: HostedOrigin,
    protocol: str,
) -> None:
    """One connector after another is killed under load: the URL stays up, and only requests on the killed ones are lost."""
    async with replicas(lab, clock, tmp_path, connector, origin, protocol=protocol) as here:
        events, kills = len(here.events), []
        async with load(here.status.url, RATE) as visitors:
            for turn in range(4):
                victim = here.status.connectors[turn % 2].pid
                kills.append(time.monotonic())
                os.kill(victim, signal.SIGKILL)
                await here.live(lambda status: "1 of 2 connectors" in status.reason)
                await here.live(lambda status: up(status, 2) and "connectors" not in status.reason)
                await whole(here, 2.5)
            await here.live_until(lambda: edge_noticed.connections == 4 * len(kills))
        assert_never_down(here, events)
        spans = list(zip(kills, edge_noticed.times, strict=True))
        lost = [visit for visit in visitors.lost if not any(_is_excused(visit, *span) for span in spans)]
        assert lost == [], f"{visitors.words()} {spans}"
        assert len(here.told(ChildExited)) == 4


async def test_visitors_of_all_connectors_are_counted(
    lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin
) -> None:
    """Requests are those of all connectors together, prx's own left out; the end of one of them takes nothing away."""
    async with replicas(lab, clock, tmp_path, "builtin", origin, protocol="http2") as here:
        for number in range(20):
            await get(f"{here.status.url}/status/{500 if number < 4 else 200}")
        await here.live(lambda status: status.traffic == TrafficStatus(20, 4, 20))
        counted = [await connector.counters(max_age=0.0) for connector in here.supervisor._keepers["web"].tunnel.connectors]
        assert all(counters is not None and counters.requests > 0 for counters in counted), counted
        os.kill(here.status.connectors[0].pid, signal.SIGKILL)
        await here.live(lambda status: "1 of 2 connectors" in status.reason)
        assert here.status.traffic == TrafficStatus(20, 4, 20)
        await here.live(lambda status: up(status, 2) and "connectors" not in status.reason)
        for _ in range(5):
            await get(here.status.url)
        await here.live(lambda status: status.traffic is not None and status.traffic.requests == 25)
        await whole(here, 3)
        assert here.status.traffic is not None
        assert (here.status.traffic.requests, here.status.traffic.errors) == (25, 4)


async def test_a_rolling_restart_loses_nothing(
    lab: Lab, clock: ManualClock, tmp_path: Path, connector: str, origin: HostedOrigin, protocol: str
) -> None:
    """Restart of two connectors: each successor is ready before the old one drains, one at a time."""
    async with replicas(lab, clock, tmp_path, connector, origin, protocol=protocol) as here:
        events, old = len(here.events), pids(here)
        async with load(here.status.url, RATE) as visitors:
            here.supervisor.restart("web")
            await here.live(lambda status: up(status, 2) and not pids(here) & old)
        assert visitors.lost == [], visitors.words()
        assert_never_down(here, events)
        assert most_at_once(here) == 3


def _is_excused(visit: Visit, kill: float, noticed: float) -> bool:
    """Return whether a visit had started when the connector was killed, or before the edge has noticed its end."""
    return visit.began <= noticed and visit.ended >= kill


def most_at_once(here: World) -> int:
    """Return how many children ran at once at most."""
    running: set[int] = set()
    most = 0
    for event in here.events:
        match event.fact:
            case ChildStarted(pid=pid):
                running.add(pid)
            case ChildExited(pid=pid):
                running.discard(pid)
        most = max(most, len(running))
    return most


@pytest.mark.parametrize("number", [1, 2])
async def test_a_rotated_token_loses_nothing(
    lab: Lab, clock: ManualClock, tmp_path: Path, connector: str, origin: HostedOrigin, protocol: str, number: int
) -> None:
    """Another token, and another grace period with it, under load: no request is lost, also with one connector."""
    async with replicas(lab, clock, tmp_path, connector, origin, protocol=protocol, number=number) as here:
        events, old = len(here.events), pids(here)
        async with load(here.status.url, RATE) as visitors:
            reload(here, token=Secret(lab.token("app")), grace_period_secs=3.0)
            await here.live(lambda status: up(status, number) and not pids(here) & old)
        assert visitors.lost == [], visitors.words()
        assert_never_down(here, events)


def reload(here: World, **keys: Any) -> None:
    """Write other settings of the tunnel into `[tunnel.cloudflare]`."""
    web = here.supervisor.config.tunnels["web"]
    here.supervisor.reload(Config(tunnels={"web": replace(web, cloudflare=replace(web.cloudflare, **keys))}))


async def test_settings_that_cannot_work_leave_the_old_connectors_up(
    lab: Lab, clock: ManualClock, tmp_path: Path, connector: str, origin: HostedOrigin
) -> None:
    """A program that is not there: the old connectors serve on, the tunnel is degraded and says why, and a repair ends it."""
    async with replicas(lab, clock, tmp_path, connector, origin, protocol="http2", number=1) as here:
        old = pids(here)
        async with load(here.status.url, RATE) as visitors:
            reload(here, cloudflared_path="/no/such/program")
            status = await here.live(lambda status: status.state == "degraded")
            assert (status.verdict, pids(here)) == ("misconfigured", old)
            assert "is kept" in status.reason
            reload(here, cloudflared_path=connector)  # as it was: nothing differs any more
            await here.live(lambda status: up(status, 1) and "kept" not in status.reason)
            assert pids(here) == old
        assert visitors.lost == [], visitors.words()


async def test_a_replaced_program_loses_nothing(lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin) -> None:
    """A cloudflared that is replaced under its connectors is taken at once, one connector after another."""
    program = tmp_path / "cloudflared"
    write_program(program, "old")
    async with replicas(lab, clock, tmp_path, str(program), origin, protocol="http2") as here:
        events, old = len(here.events), pids(here)
        async with load(here.status.url, RATE) as visitors:
            write_program(tmp_path / "new", "new")
            (tmp_path / "new").replace(program)
            await here.live(lambda status: up(status, 2) and not pids(here) & old)
        assert visitors.lost == [], visitors.words()
        assert_never_down(here, events)
        assert [fact.message for fact in here.told(Log) if "was replaced" in fact.message][1:] == []


def write_program(path: Path, words: str) -> None:
    """Write a program that is the builtin connector, and differs in a comment."""
    path.write_text(f'#!/bin/sh\n# {words}\nexec {sys.executable} -m prx.lab.connector "$@"\n')
    path.chmod(0o755)


async def test_a_frozen_connector_is_replaced_while_the_other_serves(
    lab: Lab, clock: ManualClock, tmp_path: Path, connector: str, origin: HostedOrigin
) -> None:
    """A connector that is stopped (SIGSTOP) is replaced within seconds; the tunnel stays up all the time."""
    async with replicas(lab, clock, tmp_path, connector, origin, protocol="http2") as here:
        victim = here.status.connectors[1].pid
        os.kill(victim, signal.SIGSTOP)
        began = clock.monotonic()
        await here.live(lambda status: victim not in pids(here))
        assert clock.monotonic() - began < 10
        await here.live(lambda status: up(status, 2))
        assert not [fact for fact in here.told(StateChanged) if fact.new not in {"starting", "ready", "degraded"}]


async def test_below_the_least_number_the_tunnel_is_degraded(
    lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin
) -> None:
    """With `replicas_min` = 2 the loss of one of two is a fault that is shown, and its verdict stays what visitors meet."""
    async with replicas(lab, clock, tmp_path, "builtin", origin, protocol="http2", replicas_min=2) as here:
        os.kill(here.status.connectors[0].pid, signal.SIGKILL)
        status = await here.live(lambda status: status.state == "degraded")
        assert (status.verdict, status.reason.split(";")[0]) == ("healthy", "1 of 2 connectors")
        await here.live(lambda status: up(status, 2))


async def test_more_and_fewer_connectors_are_a_reload(
    lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin
) -> None:
    """From one to three and to two: those that run are left alone."""
    async with replicas(lab, clock, tmp_path, "builtin", origin, protocol="http2", number=1) as here:
        first = here.status.connectors[0].pid
        reload(here, replicas=3)
        await here.live(lambda status: up(status, 3))
        kept = [item.pid for item in here.status.connectors]
        reload(here, replicas=2)
        await here.live(lambda status: up(status, 2))
        assert [item.pid for item in here.status.connectors] == kept[:2] == [first, kept[1]]


async def test_each_connector_has_its_protocol(lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin) -> None:
    """`replica_protocols` are two ways to the edge, and one of them is enough."""
    async with world(
        lab, clock, tmp_path, connector="builtin", port=origin.port, protocols=("quic", "http2"),
        cloudflare={
            "mode": "named", "token": lab.token("app"), "hostname": "app.localhost",
            "replicas": 2, "replica_protocols": ("quic", "http2"),
        },
    ) as here:  # fmt: skip
        await here.live(lambda status: up(status, 2))
        assert [item.protocol for item in here.status.connectors] == ["quic", "http2"]
        assert [fact.connector for fact in here.told(ChildStarted)] in ([0, 1], [1, 0])


async def test_the_public_url_is_asked_once_for_all(
    lab: Lab, clock: ManualClock, tmp_path: Path, connector: str, origin: HostedOrigin
) -> None:
    """Three connectors cost the service as many checks as one does, and no connector counts the requests of another as its."""
    async with replicas(lab, clock, tmp_path, connector, origin, protocol="http2", number=3) as here:
        await here.leap(100)
        before = len(here.told(Probed))
        await here.leap(300)
        assert len(here.told(Probed)) - before <= 11
        assert [fact for fact in here.told(VerdictChanged) if fact.new not in {"starting", "healthy", "dns_pending"}] == []
