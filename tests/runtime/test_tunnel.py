"""What a tunnel remembers of its connectors."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
from tests.runtime.contexts import shared

from prx.config.schema import CloudflareSettings, TunnelSettings
from prx.core import inputs
from prx.core.causes import Cause
from prx.core.events import ChildExited, Fact, StateChanged, VerdictChanged
from prx.core.evidence import Evidence
from prx.core.replicas import Standing, TunnelStanding
from prx.core.states import State
from prx.core.verdicts import Diagnosis, Verdict
from prx.runtime.connector import Connector
from prx.runtime.context import TunnelContext
from prx.runtime.quic_return import QuicReturn
from prx.runtime.tunnel import Tunnel
from prx.testing.clock import ManualClock

WELL = Diagnosis(Verdict.HEALTHY, "the public URL answers 200")
CRASHED = Diagnosis(Verdict.CRASHED, "killed by signal 9", connected=False)
HANGS = Diagnosis(Verdict.EDGE_LOST, "stopped or stuck", because=Cause.CHILD_SILENT, connected=False)
LOST = Diagnosis(Verdict.EDGE_LOST, "all connections to the edge are lost", connected=False)


def ended(result: str) -> ChildExited:
    """Return the end of a child."""
    return ChildExited(tunnel="web", pid=7, code=0, signal=None, result=result)


def a_tunnel(folder: Path, clock: ManualClock) -> Tunnel:
    """Return a tunnel with two connectors that are not run."""
    named = CloudflareSettings(mode="named", hostname="app.localhost", replicas=2)
    return Tunnel("web", TunnelSettings(cloudflare=named), shared(folder, clock))


@pytest.mark.parametrize(
    ("shown", "end", "unaware"),
    [
        (CRASHED, ended("signal"), True),
        (HANGS, None, True),
        (HANGS, ended("clean"), True),
        (LOST, None, False),
        (LOST, ended("clean"), False),
    ],
    ids=["killed", "hangs", "hung and was replaced", "lost its connections", "was replaced"],
)
def test_the_edge_may_not_know_that_a_connector_has_gone(
    tmp_path: Path,
    manual_clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
    shown: Diagnosis,
    end: Fact | None,
    unaware: bool,
) -> None:
    """Killed or hanging, it goes without a word; what it said to the edge itself, or the edge took from it, is known there."""
    tunnel = a_tunnel(tmp_path, manual_clock)
    tunnel._url = "https://app.localhost"
    gone, lives = tunnel.connectors
    monkeypatch.setattr(Connector, "shown", property(lambda self: shown if self is gone else None))
    manual_clock.advance(100)
    tunnel.take_fact(gone, VerdictChanged(tunnel="web", old="", new=shown.verdict, reason=shown.reason))
    if end is not None:
        manual_clock.advance(20)
        tunnel.take_fact(gone, end)
    manual_clock.advance(3)
    assert tunnel.is_edge_unaware(lives, Evidence(manual_clock.monotonic())) is unaware


@pytest.mark.parametrize("who", ["another", "itself"])
def test_a_loss_of_one_connector_has_the_leader_check(
    tmp_path: Path, manual_clock: ManualClock, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    """What has taken the connections of one may have silenced the leader's too, which asks before its time then."""
    tunnel = a_tunnel(tmp_path, manual_clock)
    leader, follower = tunnel.connectors
    connector = follower if who == "another" else leader
    shown, checked = [WELL], list[Connector]()
    monkeypatch.setattr(Connector, "shown", property(lambda _: shown[-1]))
    monkeypatch.setattr(leader, "check_now", lambda: checked.append(leader))
    tunnel.take_fact(connector, StateChanged(tunnel="web", old=State.STARTING, new=State.READY, reason=""))
    connector.machine._observed.state = State.READY
    for diagnosis in (WELL, LOST, LOST):
        shown.append(diagnosis)
        tunnel.take_fact(connector, VerdictChanged(tunnel="web", old="", new=diagnosis.verdict, reason=diagnosis.reason))
    assert checked == ([leader] if who == "another" else [])


def test_a_change_of_verdict_and_state_is_one(
    tmp_path: Path, manual_clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new leader finds the service as dead as the former one did: the tunnel is not ready for a moment in between."""
    tunnel = a_tunnel(tmp_path, manual_clock)
    leader, _ = tunnel.connectors
    seen: list[Fact] = []
    tunnel.context.shared.bus.listen(lambda event: seen.append(event.fact))
    down = Diagnosis(Verdict.ORIGIN_DOWN, "connection refused")
    tunnel._shown = TunnelStanding(State.DEGRADED, down, 1, (State.DEGRADED, down))
    tunnel.standings[leader] = Standing(0, State.READY, replace(WELL, second_hand=True))
    monkeypatch.setattr(Connector, "shown", property(lambda _: down))
    leader.machine._observed.state = State.DEGRADED
    tunnel.take_fact(leader, VerdictChanged(tunnel="web", old="", new=Verdict.ORIGIN_DOWN, reason=""))
    tunnel.take_fact(leader, StateChanged(tunnel="web", old=State.READY, new=State.DEGRADED, reason=""))
    assert [fact for fact in seen if isinstance(fact, StateChanged)] == []


UP = {
    "healthy": (State.READY, WELL, 1),
    "degraded by its service": (State.DEGRADED, Diagnosis(Verdict.ORIGIN_DOWN, "connection refused"), 1),
    "back after a fault": (State.READY, Diagnosis(Verdict.PROTECTED, "Access answers"), 1),
    "on its way up": (State.STARTING, Diagnosis(Verdict.DNS_PENDING, "no name yet"), 0),
    "without a connection": (State.DEGRADED, LOST, 0),
    "crashed": (State.BACKOFF, CRASHED, 0),
}


@pytest.mark.parametrize(
    ("since", "others", "lasted"), [(None, 0, 0.0), (0.0, 0, 0.0), (2.5, 0, 2.5), (30.0, 0, 30.0), (30.0, 1, 0.0)]
)
def test_a_verdict_says_how_long_it_has_been_true(
    tmp_path: Path,
    manual_clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
    since: float | None,
    others: int,
    lasted: float,
) -> None:
    """Who reads the events dates a fault from when it was first seen; while others served, it was none for visitors."""
    settings = TunnelSettings(cloudflare=CloudflareSettings(mode="named", hostname="app.localhost", replicas=1 + others))
    tunnel = Tunnel("web", settings, shared(tmp_path, manual_clock))
    connector = tunnel.connectors[0]
    seen: list[Fact] = []
    tunnel.context.shared.bus.listen(lambda event: seen.append(event.fact))
    at = None if since is None else manual_clock.monotonic() - since
    diagnosis = Diagnosis(Verdict.ORIGIN_DOWN, "refused", since=at)
    monkeypatch.setattr(Connector, "shown", property(lambda _: diagnosis))
    tunnel.take_fact(connector, VerdictChanged(tunnel="web", old="", new=diagnosis.verdict, reason=diagnosis.reason))
    assert [fact.lasted for fact in seen if isinstance(fact, VerdictChanged)] == [lasted]


@pytest.mark.parametrize("before", [State.STARTING, State.READY, State.DEGRADED])
@pytest.mark.parametrize(("state", "diagnosis", "serving"), UP.values(), ids=UP)
@pytest.mark.parametrize("mode", ["quick", "named"])
def test_an_only_connector_that_serves_is_counted(
    tmp_path: Path,
    manual_clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
    mode: Literal["quick", "named"],
    before: State,
    state: State,
    diagnosis: Diagnosis,
    serving: int,
) -> None:
    """The verdict of a tunnel with one connector says whether that serves now, although its new state comes after it."""
    cloudflare = CloudflareSettings(mode=mode, hostname="app.localhost" if mode == "named" else "")
    tunnel = Tunnel("web", TunnelSettings(cloudflare=cloudflare), shared(tmp_path, manual_clock))
    (connector,) = tunnel.connectors
    seen: list[Fact] = []
    tunnel.context.shared.bus.listen(lambda event: seen.append(event.fact))
    tunnel.standings[connector] = Standing(0, before)
    monkeypatch.setattr(Connector, "shown", property(lambda _: diagnosis))
    connector.machine._observed.state = state
    tunnel.take_fact(connector, VerdictChanged(tunnel="web", old="", new=diagnosis.verdict, reason=diagnosis.reason))
    tunnel.take_fact(connector, StateChanged(tunnel="web", old=before, new=state, reason=""))
    assert [fact.serving for fact in seen if isinstance(fact, VerdictChanged)] == [serving]


def tasks_of(tunnel: Tunnel) -> list[str]:
    """Return the names of the tasks of a tunnel, without its own name."""
    start = f"{tunnel.name}: "
    return sorted(name[len(start) :] for task in asyncio.all_tasks() if (name := task.get_name()).startswith(start))


async def turns() -> None:
    """Wait while the tasks go on."""
    for _ in range(30):
        await asyncio.sleep(0)


async def test_a_tunnel_has_no_task_for_what_is_not_to_be_done(tmp_path: Path, manual_clock: ManualClock) -> None:
    """No connector is outdated, too many, or fallen back: nothing waits for that; what comes up has one task while it lasts."""
    missing = TunnelSettings(cloudflare=CloudflareSettings(mode="named", hostname="app.localhost", cloudflared_path="/none"))
    tunnel = Tunnel("web", missing, shared(tmp_path, manual_clock))
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        group.create_task(tunnel.run())
        await turns()
        assert tunnel.state is State.FAILED
        assert tasks_of(tunnel) == ["connector 0"]
        connector = tunnel.places[0]
        connector.machine._protocol.current = "http2"
        for _ in range(3):
            tunnel.take_input(connector)
        assert tasks_of(tunnel) == ["connector 0", "return to QUIC"]
        await turns()
        for current in ("http2", "quic"):
            connector.machine._protocol.current = current
            manual_clock.advance(QuicReturn.EVERY)
            await turns()
            assert ("return to QUIC" in tasks_of(tunnel)) == (current == "http2")
        connector.machine._protocol.current = "http2"
        tunnel.take_input(connector)
        tunnel.send(inputs.Stop())  # what is under way does not keep a tunnel from ending
    assert tasks_of(tunnel) == []


def test_tunnels_with_the_same_servers_share_a_resolver(tmp_path: Path, manual_clock: ManualClock) -> None:
    """One thing asks public DNS for hundreds of tunnels; one with servers of its own has another."""
    common = shared(tmp_path, manual_clock)
    settings = [TunnelSettings(), TunnelSettings(), TunnelSettings(doh=("https://127.0.0.9/dns",))]
    first, second, own = (TunnelContext.create("web", item, common).resolver for item in settings)
    assert first is second
    assert first is not own


def test_two_tunnels_may_stand_as_each_other(tmp_path: Path, manual_clock: ManualClock) -> None:
    """Two that exchange their tokens while neither serves yet follow each other, and come to an end of it."""
    first, second = (a_tunnel(tmp_path, manual_clock) for _ in range(2))
    first.formers.add(second.formers)
    second.formers.add(first.formers)
    for tunnel in (first, second):
        tunnel.show("")
        assert tunnel.state is State.IDLE
    first.formers.close()
    assert (second.formers.formers, second.formers.heirs) == ([], [])
    first.formers.add(second.formers)  # a supervision that is over says nothing of its tunnel any more
    assert (first.formers.formers, second.formers.heirs) == ([], [])
