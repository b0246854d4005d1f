"""A `metrics_port` that stays the same, or goes to another tunnel: no gap, and the port is where it belongs in the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from bench.room.steady import load
from tests.e2e.test_handover import RATE, Named, circle, named, running, settled, watched
from tests.e2e.test_replicas import pids, reload, replicas, up, write_program
from tests.e2e.world import World
from tests.support.origin import HostedOrigin

from prx.core.events import StateChanged
from prx.lab import Lab
from prx.runtime.process.ports import draw_port
from prx.secrets.value import Secret
from prx.testing.clock import ManualClock


def ports(here: World) -> dict[str, list[int]]:
    """Return the ports on which the connectors of each tunnel answer."""
    return {
        name: [item._run._port for item in keeper.tunnel.connectors if item._run is not None]
        for name, keeper in here.supervisor._keepers.items()
    }


def wanted(tunnels: Named) -> dict[str, list[int]]:
    """Return the ports that they are to have."""
    return {name: [item.cloudflare.metrics_port] for name, item in tunnels.items()}


def restart(here: World, _: Path) -> None:
    """Ask for a restart."""
    here.supervisor.restart("web")


def change_settings(here: World, _: Path) -> None:
    """Change what a connector is started with."""
    reload(here, retries=7)


def replace_program(_: World, program: Path) -> None:
    """Replace the program that runs."""
    write_program(program.with_name("new"), "new")
    program.with_name("new").replace(program)


def rotate_token(here: World, _: Path) -> None:
    """Change the grace period, and the token with it."""
    web = here.supervisor.config.tunnels["web"]
    reload(here, token=Secret(web.cloudflare.token.reveal()), grace_period_secs=3.0)


@pytest.mark.parametrize("change", [restart, change_settings, replace_program, rotate_token])
async def test_a_connector_that_is_replaced_keeps_its_port_and_its_visitors(
    lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin, change: Callable[[World, Path], None]
) -> None:
    """One that takes its place has another port until the former one has ended, and the tunnel is never down."""
    port, program = draw_port(), tmp_path / "cloudflared"
    write_program(program, "old")
    async with replicas(lab, clock, tmp_path, str(program), origin, protocol="http2", number=1, metrics_port=port) as here:
        old, events = pids(here), len(here.events)
        async with load(here.status.url, RATE) as visitors:
            change(here, program)
            await here.live(lambda status: up(status, 1) and not pids(here) & old and ports(here) == {"web": [port]})
        assert visitors.lost == [], visitors.words()
        assert [event.fact for event in here.events[events:] if isinstance(event.fact, StateChanged)] == []
        assert here.status.restarts == 1  # the connector that has the port again is none of its own


@pytest.mark.parametrize("number", [2, 3])
@pytest.mark.parametrize("which", ["tokens", "names"])
async def test_an_exchange_costs_no_visitor_and_no_port(
    lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin, which: str, number: int
) -> None:
    """Tunnels exchange their tokens and keep their ports, or their ports go along: every URL is served all the time."""
    tunnels = {host: named(lab, origin, "builtin", host, metrics_port=draw_port()) for host in ("app", "shop", "blog")[:number]}
    new = circle(tunnels)
    if which == "tokens":
        for name, item in new.items():
            new[name] = replace(item, cloudflare=replace(item.cloudflare, metrics_port=tunnels[name].cloudflare.metrics_port))
    async with running(lab, clock, tmp_path, origin, tunnels) as here:
        unready = watched(here)
        async with load(here.of("app").url, RATE) as first, load(here.of("shop").url, RATE) as second:
            here.supervisor.reload(replace(here.supervisor.config, tunnels=new))
            await here.live_until(lambda: settled(here, new, 1)() and ports(here) == wanted(new))
        assert (first.lost, second.lost) == ([], []), f"{first.words()} {second.words()}"
        assert unready == []


@pytest.mark.parametrize("keeps", [True, False], ids=["the same port", "another port"])
async def test_a_new_name_has_the_port_in_the_end(
    lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin, *, keeps: bool
) -> None:
    """A renamed tunnel whose port stays the same comes up beside its former connector, and prx goes on."""
    app = named(lab, origin, "builtin", "app", metrics_port=draw_port())
    new = {"shop": app if keeps else replace(app, cloudflare=replace(app.cloudflare, metrics_port=draw_port()))}
    async with running(lab, clock, tmp_path, origin, {"web": app}) as here:
        async with load(here.status.url, RATE) as visitors:
            here.supervisor.reload(replace(here.supervisor.config, tunnels=new))
            await here.live_until(lambda: settled(here, new, 1)() and ports(here) == wanted(new))
        assert visitors.lost == [], visitors.words()


@pytest.mark.parametrize("after", ["quick", "named"])
async def test_a_quick_tunnel_waits_for_its_port(
    lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin, after: str
) -> None:
    """It has one connector at a time: one that gets the port of a tunnel that is taken out starts once that has ended."""
    port = draw_port()
    quick = named(lab, origin, "builtin", "app", mode="quick", token=Secret(""), hostname="", metrics_port=port)
    former = quick if after == "quick" else named(lab, origin, "builtin", "app", metrics_port=port)
    async with running(lab, clock, tmp_path, origin, {"web": former}) as here:
        here.supervisor.reload(replace(here.supervisor.config, tunnels={"shop": quick}))
        await here.live_until(lambda: settled(here, {"shop": quick}, 1)() and ports(here) == {"shop": [port]})
        assert not [fact for fact in here.told(StateChanged) if fact.new in {"failed", "backoff"}]
