"""A named tunnel that goes on under another name: its visitors notice nothing."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from bench.room.steady import load
from tests.e2e.test_replicas import replicas
from tests.e2e.world import World, world
from tests.support.origin import HostedOrigin

from prx.cli.status import _code
from prx.config.schema import CloudflareSettings, Config, TunnelSettings
from prx.core.events import Event, Log, StateChanged, UrlChanged
from prx.lab import Lab
from prx.metrics.readiness import not_ready
from prx.runtime.process.ports import draw_port
from prx.secrets.value import Secret
from prx.testing.clock import ManualClock

RATE = 20.0  # requests a second


def rename(here: World, *names: str, **keys: object) -> None:
    """Have the one tunnel be called by each of the names, the last one with other settings of cloudflared."""
    (web,) = here.supervisor.config.tunnels.values()
    for name in names[:-1]:
        here.supervisor.reload(Config(tunnels={name: web}))
    changed = replace(web, cloudflare=replace(web.cloudflare, **keys))  # type: ignore[arg-type]
    here.supervisor.reload(Config(tunnels={names[-1]: changed}))


def states(here: World) -> dict[str, str]:
    """Return the state of each tunnel."""
    return {status.name: str(status.state) for status in here.supervisor.statuses()}


def watched(here: World) -> list[str]:
    """Return a list of what can be seen to keep prx from being ready, or `prx status` from exiting with 0, after any event."""
    found: list[str] = []
    loop = asyncio.get_running_loop()

    def look() -> None:
        statuses = here.supervisor.statuses()
        found.extend(not_ready(statuses))
        found.extend(f"exit 1: {states(here)}" for _ in [1] if _code([status.to_json(0.0) for status in statuses]))

    def look_soon(_: Event) -> None:  # when all is said that belongs to it
        loop.call_soon(look)

    here.supervisor.bus.listen(look_soon)
    return found


@pytest.mark.parametrize("names", [["shop"], ["shop", "store", "web"]], ids=["once", "and back"])
async def test_a_renamed_tunnel_loses_no_visitor(
    lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin, names: list[str]
) -> None:
    """Under its new name the tunnel is up before it goes under its former one."""
    async with replicas(lab, clock, tmp_path, "builtin", origin, protocol="http2", number=1) as here:
        url = here.status.url
        unready = watched(here)
        async with load(url, RATE) as visitors:
            rename(here, *names)
            assert here.of(names[-1]).serving == 1
            await here.live_until(lambda: states(here) == {names[-1]: "ready"})
        assert visitors.lost == [], visitors.words()
        assert here.of(names[-1]).url == url
        assert unready == []


async def test_a_former_name_serves_until_the_new_one_can(
    lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin
) -> None:
    """A renamed tunnel that cannot run leaves the former one up, and says so; a stop of it ends both."""
    async with replicas(lab, clock, tmp_path, "builtin", origin, protocol="http2", number=1) as here:
        rename(here, "shop", cloudflared_path="/no/such/program")
        await here.live_until(lambda: states(here) == {"web": "ready", "shop": "failed"})
        await here.leap(15, until=lambda _: states(here)["web"] != "ready")
        assert states(here) == {"web": "ready", "shop": "failed"}
        assert [fact.message for fact in here.told(Log) if "it serves until shop does" in fact.message] != []
        here.supervisor.stop("shop")
        await here.live_until(lambda: states(here) == {"shop": "idle"})


Named = dict[str, TunnelSettings]


def named(lab: Lab, origin: HostedOrigin, connector: str, host: str, **keys: object) -> TunnelSettings:
    """Return the settings of the named tunnel that serves a host of the lab."""
    keys = {"mode": "named", "token": lab.token(host), "hostname": f"{host}.localhost", "protocol": "http2", **keys}
    cloudflare = CloudflareSettings(cloudflared_path=connector, grace_period_secs=2, **keys)  # type: ignore[arg-type]
    return TunnelSettings(local_addr=f"127.0.0.1:{origin.port}", cloudflare=cloudflare)


@asynccontextmanager
async def running(lab: Lab, clock: ManualClock, folder: Path, origin: HostedOrigin, tunnels: Named) -> AsyncIterator[World]:
    """Run prx with these tunnels, all of them up."""
    async with world(lab, clock, folder, connector="builtin", port=origin.port) as here:
        here.supervisor.reload(Config(tunnels=tunnels))
        await here.live_until(lambda: states(here) == dict.fromkeys(tunnels, "ready"))
        yield here


def settled(here: World, tunnels: Named, number: int) -> Callable[[], bool]:
    """Return whether each tunnel is up by its new settings, with so many connectors and no more."""

    def reached() -> bool:
        of_all = {status.name: status for status in here.supervisor.statuses()}
        return of_all.keys() == tunnels.keys() and all(
            status.state == "ready"
            and len(status.connectors) == number
            and (not (host := tunnels[name].cloudflare.hostname) or host in status.url)
            for name, status in of_all.items()
        )

    return reached


def circle(tunnels: Named) -> Named:
    """Return the tunnels, each with the settings of the next one."""
    names = list(tunnels)
    return {name: tunnels[names[number - 1]] for number, name in enumerate(names)}


def delayed(folder: Path, connector: str) -> str:
    """Return a program that runs the connector, three seconds late once `folder` has a file "late"."""
    program = folder / "cloudflared delayed"
    command = f"{sys.executable} -m prx.lab.connector" if connector == "builtin" else connector
    late = f'[ "$1" != --version ] && [ -e "{folder}/late" ] && sleep 3'
    program.write_text(f'#!/bin/sh\n{late}\nexec {command} "$@"\n')
    program.chmod(0o755)
    return str(program)


@pytest.mark.parametrize(("hosts", "number"), [(["app", "shop"], 1), (["app", "shop"], 2), (["app", "shop", "blog"], 1)])
async def test_tunnels_that_exchange_their_tokens_lose_no_visitor(
    lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin, connector: str, hosts: list[str], number: int
) -> None:
    """Two that swap in one reload, also with replicas, and three in a circle: every URL is served, however late one is."""
    tunnels = {host: named(lab, origin, connector, host, replicas=number) for host in hosts}
    tunnels["app"] = named(lab, origin, delayed(tmp_path, connector), "app", replicas=number)
    async with running(lab, clock, tmp_path, origin, tunnels) as here:
        urls = [here.of(host).url for host in hosts]
        (tmp_path / "late").touch()
        async with load(urls[0], RATE) as first, load(urls[-1], RATE) as last:
            unready = watched(here)
            here.supervisor.reload(Config(tunnels=circle(tunnels)))
            await here.live_until(settled(here, circle(tunnels), number))
        assert (first.lost, last.lost) == ([], []), f"{first.words()} {last.words()}"
        assert unready == []


async def test_a_name_that_another_tunnel_takes_costs_no_visitor(
    lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin, connector: str
) -> None:
    """One tunnel is renamed, and a new one gets its former name in the same reload."""
    app = named(lab, origin, delayed(tmp_path, connector), "app")
    new = {"web": named(lab, origin, connector, "shop"), "main": app}
    async with running(lab, clock, tmp_path, origin, {"web": app}) as here:
        (tmp_path / "late").touch()
        async with load(here.status.url, RATE) as visitors:
            unready = watched(here)
            here.supervisor.reload(Config(tunnels=new))
            await here.live_until(settled(here, new, 1))
        assert visitors.lost == [], visitors.words()
        assert unready == []


@pytest.mark.parametrize("then", ["quick", "the same port"])
async def test_what_cannot_run_beside_its_former_connector_waits_for_the_heir(
    lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin, then: str
) -> None:
    """A name turns to a quick tunnel, or keeps its port, while its token goes to another name: that one comes up first."""
    port = draw_port() if then == "the same port" else 0
    app = named(lab, origin, "builtin", "app", metrics_port=port)
    other = named(lab, origin, "builtin", "shop", metrics_port=port)
    late = named(lab, origin, delayed(tmp_path, "builtin"), "app")
    if then == "quick":
        other = replace(other, cloudflare=replace(other.cloudflare, mode="quick", token=Secret(""), hostname=""))
    new = {"web": other, "main": late}
    async with running(lab, clock, tmp_path, origin, {"web": app}) as here:
        (tmp_path / "late").touch()
        async with load(here.status.url, RATE) as visitors:
            here.supervisor.reload(Config(tunnels=new))
            await here.live_until(settled(here, new, 1))
        assert visitors.lost == [], visitors.words()


async def test_hostnames_that_are_exchanged_cost_no_visitor(
    lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin
) -> None:
    """Each token still serves its host, whatever the configuration expects; two in one reload are replaced without a gap."""
    tunnels = {host: named(lab, origin, "builtin", host) for host in ("app", "shop")}
    new = {
        name: replace(item, cloudflare=replace(item.cloudflare, token=tunnels[name].cloudflare.token))
        for name, item in circle(tunnels).items()
    }
    async with running(lab, clock, tmp_path, origin, tunnels) as here:
        old = {item.pid for status in here.supervisor.statuses() for item in status.connectors}
        async with load(here.of("app").url, RATE) as first, load(here.of("shop").url, RATE) as last:
            here.supervisor.reload(Config(tunnels=new))
            await here.live_until(
                lambda: not old & {item.pid for status in here.supervisor.statuses() for item in status.connectors}
            )
        assert (first.lost, last.lost) == ([], []), f"{first.words()} {last.words()}"


@pytest.mark.parametrize("number", [1, 2])
async def test_another_host_is_up_before_the_former_one_goes(
    lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin, number: int
) -> None:
    """A tunnel that gets another token and hostname stays up: its new URL is proven first, and published once."""
    app, shop = (named(lab, origin, "builtin", host, replicas=number) for host in ("app", "shop"))
    async with running(lab, clock, tmp_path, origin, {"web": app}) as here:
        unready, events = watched(here), len(here.events)
        here.supervisor.reload(Config(tunnels={"web": shop}))
        await here.live_until(settled(here, {"web": shop}, number))
        assert unready == []
        since = [event.fact for event in here.events[events:]]
        assert [fact.url for fact in since if isinstance(fact, UrlChanged)] == [lab.url("shop.localhost")]


async def test_a_token_is_served_until_its_heir_can(lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin) -> None:
    """One of two that exchange their tokens cannot run: what it is to serve is served on, and a stop ends that."""
    tunnels = {host: named(lab, origin, "builtin", host) for host in ("app", "shop")}
    new = circle(tunnels)
    broken = replace(new["shop"], cloudflare=replace(new["shop"].cloudflare, cloudflared_path="/no/such/program"))
    async with running(lab, clock, tmp_path, origin, tunnels) as here:
        url = here.of("app").url
        async with load(url, RATE) as visitors:
            here.supervisor.reload(Config(tunnels={**new, "shop": broken}))
            await here.live_until(lambda: here.of("app").url == here.of("shop").url and here.of("app").state == "ready")
            end = clock.monotonic() + 8
            await here.live_until(lambda: clock.monotonic() >= end)
            assert len(here.of("app").connectors) == 2
            assert [fact.message for fact in here.told(Log) if "serves until shop does" in fact.message] != []
            here.supervisor.reload(Config(tunnels=new))
            await here.live_until(settled(here, new, 1))
        assert visitors.lost == [], visitors.words()
        assert not [fact for fact in here.told(StateChanged) if fact.tunnel == "app" and fact.new == "backoff"]


async def test_a_stop_of_one_that_serves_for_another_costs_no_visitor(
    lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin
) -> None:
    """Two exchange their tokens, and one is stopped before the other one is up by its new token, which takes seconds."""
    tunnels = {"app": named(lab, origin, delayed(tmp_path, "builtin"), "app"), "shop": named(lab, origin, "builtin", "shop")}
    async with running(lab, clock, tmp_path, origin, tunnels) as here:
        url = here.of("app").url
        (tmp_path / "late").touch()
        async with load(url, RATE) as visitors:
            here.supervisor.reload(Config(tunnels=circle(tunnels)))
            here.supervisor.stop("app")
            await here.live_until(lambda: states(here) == {"app": "idle", "shop": "ready"} and here.of("shop").url == url)
        assert visitors.lost == [], visitors.words()


@pytest.mark.parametrize(("hosts", "number"), [(["app", "shop"], 1), (["app", "shop"], 2), (["app", "shop", "blog"], 1)])
async def test_an_exchange_that_is_taken_back_costs_no_visitor(
    lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin, hosts: list[str], number: int
) -> None:
    """One of those that exchange their tokens cannot run, and the former configuration comes back: all is served meanwhile."""
    tunnels = {host: named(lab, origin, "builtin", host, replicas=number) for host in hosts}
    new = circle(tunnels)
    broken = replace(new["shop"], cloudflare=replace(new["shop"].cloudflare, cloudflared_path="/no/such/program"))
    tunnels["app"] = named(lab, origin, delayed(tmp_path, "builtin"), "app", replicas=number)
    async with running(lab, clock, tmp_path, origin, tunnels) as here:
        async with load(here.of("app").url, RATE) as first, load(here.of("shop").url, RATE) as second:
            await here.live_until(lambda: all(status.serving == number for status in here.supervisor.statuses()))
            here.supervisor.reload(Config(tunnels={**new, "shop": broken}))
            await here.live_until(lambda: len(here.of("app").connectors) == 2 * number and here.of("app").state == "ready")
            await here.live_until(lambda: new["app"].cloudflare.hostname in here.of("app").url)
            (tmp_path / "late").touch()
            here.supervisor.reload(Config(tunnels=tunnels))
            await here.live_until(settled(here, tunnels, number))
        assert (first.lost, second.lost) == ([], []), f"{first.words()} {second.words()}"
        assert not [fact for fact in here.told(StateChanged) if fact.tunnel == "app" and fact.new == "backoff"]


async def test_an_exchange_that_is_taken_back_holds_no_port(
    lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin
) -> None:
    """A connector that serves on for another tunnel has the metrics port that its own tunnel gets back: it makes room."""
    tunnels = {host: named(lab, origin, "builtin", host) for host in ("app", "shop")}
    tunnels["app"] = named(lab, origin, "builtin", "app", metrics_port=draw_port())
    new = {"app": tunnels["shop"], "shop": named(lab, origin, "/no/such/program", "app")}
    async with running(lab, clock, tmp_path, origin, tunnels) as here:
        here.supervisor.reload(Config(tunnels=new))
        await here.live_until(lambda: len(here.of("app").connectors) == 2 and "shop" in here.of("app").url)
        here.supervisor.reload(Config(tunnels=tunnels))
        await here.live_until(settled(here, tunnels, 1))
