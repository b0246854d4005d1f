"""A tunnel that was asked to stop and finishes requests, or is asked for again while it does."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trustme
from tests.e2e.test_replicas import pids, reload, replicas, up, write_program
from tests.e2e.world import world
from tests.support.origin import HostedOrigin, serving
from tests.support.visitor import get

from prx.cli.status import _code
from prx.config.schema import Config
from prx.core.events import ChildStarted, Log
from prx.lab import Lab
from prx.metrics.readiness import not_ready
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


@pytest.mark.parametrize("change", ["origin_ca", "hostname", "token", "cloudflared_path", "local_addr"])
async def test_no_change_brings_back_what_finishes_its_requests(
    lab: Lab, clock: ManualClock, tmp_path: Path, change: str
) -> None:
    """A rotated CA, another name, token, program or address of the service while a stop drains: nothing is started for it."""
    context, first, second = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), trustme.CA(), trustme.CA()
    first.issue_cert("app.test").configure_cert(context)
    ca_file, program = tmp_path / "ca.pem", tmp_path / "cloudflared"
    first.cert_pem.write_to_path(str(ca_file))
    write_program(program, "old")
    cloudflare: dict[str, Any] = {"mode": "named", "token": lab.token("app"), "hostname": "app.localhost"}
    keys: dict[str, Any] = {"origin_tls_verify": True, "origin_ca": str(ca_file), "origin_server_name": "app.test"}
    with serving(tls=context) as origin:
        keys["local_addr"] = f"https://127.0.0.1:{origin.port}"
        cloudflare["grace_period_secs"] = 30
        async with (
            world(lab, clock, tmp_path, connector=str(program), port=origin.port, cloudflare=cloudflare) as here,
            asyncio.TaskGroup() as visitors,
        ):
            here.supervisor.reload(Config(tunnels={"web": replace(here.supervisor.config.tunnels["web"], **keys)}))
            await here.live(lambda status: up(status, 1))
            visit = visitors.create_task(get(f"{here.status.url}/slow"), name="visitor")
            await here.live(lambda _: origin.is_holding)
            events = len(here.events)
            here.supervisor.stop("web")
            await here.live(lambda status: status.state == "stopping")
            if change == "origin_ca":
                second.cert_pem.write_to_path(str(ca_file), append=True)
                await here.leap(6)  # the heartbeat has seen the file twice
            elif change == "local_addr":
                web = replace(here.supervisor.config.tunnels["web"], local_addr="127.0.0.1:9")
                here.supervisor.reload(Config(tunnels={"web": web}))
            else:
                other = {"hostname": "shop.localhost", "token": Secret(lab.token("shop")), "cloudflared_path": "builtin"}
                reload(here, **{change: other[change]})
            origin.release()
            await here.live(lambda status: status.state == "idle")
            assert (await visit).status_code == 200
            since = [event.fact for event in here.events[events:]]
    assert [fact for fact in since if isinstance(fact, ChildStarted)] == []
    assert [fact.message for fact in since if isinstance(fact, Log) and "has changed" in fact.message] == []


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


@pytest.mark.parametrize("how", ["stopped", "removed"])
async def test_one_that_goes_makes_the_others_no_less_ready(
    lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin, how: str
) -> None:
    """While it finishes its last request prx is ready, and `prx status` exits with 0 if it was taken out."""
    async with (
        replicas(lab, clock, tmp_path, "builtin", origin, protocol="http2", number=1, grace_period_secs=30.0) as here,
        asyncio.TaskGroup() as visitors,
    ):
        web = here.supervisor.config.tunnels["web"]
        other = replace(web, backend="none", public_url=f"http://127.0.0.1:{origin.port}/")
        here.supervisor.reload(Config(tunnels={"web": web, "other": other}))
        await here.live(lambda _: here.of("other").state == "ready")
        visit = visitors.create_task(get(f"{here.status.url}/slow"), name="visitor")
        await here.live(lambda _: origin.is_holding)
        if how == "stopped":
            here.supervisor.stop("web")
        else:
            here.supervisor.reload(Config(tunnels={"other": other}))
        await here.live(lambda status: status.state == "stopping")
        statuses = here.supervisor.statuses()
        assert not_ready(statuses) == []
        assert _code([status.to_json(0.0) for status in statuses]) == (1 if how == "stopped" else 0)
        if how == "stopped":
            here.supervisor.restart("web")
            assert not_ready(here.supervisor.statuses()) == ["web: stopping, healthy"]
        origin.release()
        assert (await visit).status_code == 200
