"""A new connector that cannot run, whatever the reason: the old one serves on, the tunnel says so, and a repair ends it."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.test_handover import delayed
from tests.e2e.test_replicas import assert_never_down, pids, reload, replicas, up
from tests.support.origin import HostedOrigin
from tests.support.visitor import get

from prx.core.events import ChildStarted, StateChanged
from prx.core.status import TunnelStatus
from prx.lab import Lab
from prx.lab.faults import Drop, Refuse
from prx.runtime.process.ports import draw_port
from prx.secrets.value import Secret
from prx.testing.clock import ManualClock

VERSION = '#!/bin/sh\n[ "$1" = --version ] && echo "cloudflared version 2099.1.0 (built 2099)" && exit\n'
PROGRAMS = {
    "ends": f"{VERSION}exit 1\n".encode(),
    "hangs": f"{VERSION}exec sleep 300\n".encode(),
    "of another machine": b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\xf3\x00" + bytes(44),
    "another program": b"#!/bin/sh\necho ls 9.1\n",
}


def wrong(token: str) -> Secret:
    """Return the token with another secret in it, as if it had been rotated again."""
    parts = json.loads(base64.b64decode(token))
    return Secret(base64.b64encode(json.dumps({**parts, "s": "bm90IGEgc2VjcmV0"}).encode()).decode())


def unfit(folder: Path, way: str) -> dict[str, Any]:
    """Return settings of a connector that cannot run, in one way or another."""
    program = folder / f"cloudflared {way}"
    program.write_bytes(PROGRAMS[way])
    program.chmod(0o755)
    return {"cloudflared_path": str(program)}


@pytest.mark.parametrize("way", ["ends", "of another machine", "another program", "wrong token"])
async def test_the_old_connector_serves_on(
    lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin, way: str
) -> None:
    """The tunnel is never down and names what keeps the new connector from running; settings that work are taken then."""
    async with replicas(lab, clock, tmp_path, "builtin", origin, protocol="http2", number=1) as here:
        old = pids(here)
        reload(here, **({"token": wrong(lab.token("app"))} if way == "wrong token" else unfit(tmp_path, way)))
        await here.live(lambda status: way == "wrong token" or "kept" in status.reason)
        shown = "ready" if way == "ends" else "degraded"  # what ends may yet come up

        def said(status: TunnelStatus) -> bool:
            return status.state == shown and "the connector that serves is kept; the new one" in status.reason

        status = await here.leap(300, until=said)  # a rejected token has a minute's patience, from its first rejection
        assert said(status), here.story()
        assert old <= pids(here)
        assert (await get(here.status.url)).status_code == 200
        reload(here, cloudflared_path="builtin", token=Secret(lab.token("app")))  # as it was: nothing differs any more
        await here.live(lambda status: up(status, 1) and "kept" not in status.reason)
        assert pids(here) == old
        reload(here, retries=7)
        await here.live(lambda status: up(status, 1) and not pids(here) & old)
        assert {fact.new for fact in here.told(StateChanged)} <= {"starting", "ready", "degraded"}


@pytest.mark.parametrize(("way", "first"), [("ends", "change"), ("hangs", "change"), ("ends", "outage")])
async def test_an_outage_of_the_edge_does_not_end_the_old_connector(
    lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin, way: str, first: str
) -> None:
    """If the edge goes away beside a change that cannot work, whichever came first, the old connector comes back."""
    async with replicas(lab, clock, tmp_path, "builtin", origin, protocol="http2", number=1) as here:
        old = pids(here)
        for step in ("change", "outage") if first == "change" else ("outage", "change"):
            if step == "change":
                reload(here, **unfit(tmp_path, way))
                await here.live(lambda _: len(here.told(ChildStarted)) > 1)
            else:
                lab.inject(Refuse())
                lab.inject(Drop())
                await here.live(lambda status: status.verdict == "edge_lost")
        lab.clear(Refuse)
        await here.live(lambda status: status.state == "ready")
        assert old <= pids(here), here.story()
        assert (await get(here.status.url)).status_code == 200


async def test_what_takes_turns_stops_at_the_first_that_cannot(
    lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tunnel with as many connectors as Cloudflare takes has no room for a successor; one is lost to a change, not all."""
    monkeypatch.setattr("prx.runtime.succession.MOST", 2)
    async with replicas(lab, clock, tmp_path, "builtin", origin, protocol="http2") as here:
        old = pids(here)
        reload(here, **unfit(tmp_path, "of another machine"))
        await here.live(lambda status: "1 of 2 connectors" in status.reason)
        await here.leap(300)
        assert len(old & pids(here)) == 1, here.story()
        kept = old & pids(here)
        reload(here, cloudflared_path="builtin")  # as it was: nothing differs any more for the one that was not lost
        await here.live(lambda status: up(status, 2))
        assert kept <= pids(here)


async def test_another_metrics_port_is_no_gap(lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin) -> None:
    """A connector with a metrics port and its successor with another one serve at once."""
    port = draw_port()
    async with replicas(lab, clock, tmp_path, "builtin", origin, protocol="http2", number=1, metrics_port=port) as here:
        events, old = len(here.events), pids(here)
        reload(here, metrics_port=draw_port())
        await here.live(lambda _: len(pids(here)) == 1 and not pids(here) & old)
        assert_never_down(here, events)


async def test_one_that_goes_while_it_is_restarted_holds_up_no_other(
    lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more connectors are allowed, so they take turns, and the last is not wanted any more: a later restart works."""
    monkeypatch.setattr("prx.runtime.succession.MOST", 2)
    async with replicas(lab, clock, tmp_path, delayed(tmp_path, "builtin"), origin, protocol="http2", number=2) as here:
        await here.live(lambda status: status.serving == 2)
        first, last = (item.pid for item in here.status.connectors)
        (tmp_path / "late").touch()
        here.supervisor.restart("web")
        await here.live(lambda _: last not in pids(here))
        assert first not in pids(here)
        reload(here, replicas=1)
        await here.live(lambda status: up(status, 1))
        await here.leap(1)
        (tmp_path / "late").unlink()
        old = pids(here)
        here.supervisor.restart("web")
        await here.live(lambda status: up(status, 1) and not pids(here) & old, within=10)
