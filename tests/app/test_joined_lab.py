"""A lab of another process: rotated tokens, its end, and another lab at its place."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.lacks import no_descriptors
from tests.support.waits import PATIENCE, free_port

from prx.app import lab_client
from prx.app.joined_lab import EVERY, JoinedLab
from prx.app.lab_client import announced
from prx.app.lab_mode import renewed_tokens
from prx.backends.base import EdgeSite
from prx.config.schema import CloudflareSettings, Config, TunnelSettings
from prx.core.errors import PrxError, ShortageError
from prx.core.evidence import Reach
from prx.lab import Lab, LabConfig
from prx.runtime.probes.edge import EdgeWatch
from prx.runtime.probes.resolver import Resolver
from prx.testing.clock import ManualClock

NAMES = ("app.localhost", "api.localhost")


@asynccontextmanager
async def joined(folder: Path, **more: int) -> AsyncIterator[tuple[Lab, JoinedLab]]:
    """Run a lab with two named tunnels, and join it."""
    async with Lab.start(LabConfig(state_dir=folder, **more)) as lab:  # type: ignore[arg-type]  # ports
        here = JoinedLab(lab.control)
        await asyncio.to_thread(here.site)
        for name in NAMES:
            await asyncio.to_thread(here.token, name)
        yield lab, here


def rotate(lab: Lab, name: str) -> None:
    """Set another secret for a tunnel, as Cloudflare's dashboard does."""
    tunnel, _ = lab._registry.named(name)
    tunnel.secret = b"another secret of thirty-two byt"


class Watch:
    """A check every few seconds, as a tunnel that waits asks for it."""

    def __init__(self, lab: JoinedLab) -> None:
        self.lab, self.clock = lab, ManualClock()
        self.told: list[str] = []
        self.renewed = 0

    async def asked(self) -> None:
        """Ask once, and take the answer in."""
        self.clock.advance(EVERY)
        for _ in range(2):
            self.renewed += self.lab.check(self.clock, lambda level, text: self.told.append(f"{level}: {text}"))
            if (asking := self.lab._asking) is not None:
                async with asyncio.timeout(PATIENCE):
                    with suppress(PrxError):
                        await asyncio.wrap_future(asking)


async def test_a_rotated_token_is_taken(tmp_path: Path) -> None:
    """The token that the lab has now is used from the next reload on, and reported as news once."""
    async with joined(tmp_path / "lab") as (lab, here):
        old = here.token(NAMES[0])
        assert not await asyncio.to_thread(here.renew)
        rotate(lab, NAMES[0])
        assert await asyncio.to_thread(here.renew)
        assert here.token(NAMES[0]) == lab.token(NAMES[0]) != old
        assert here.token(NAMES[1]) == lab.token(NAMES[1])
        assert not await asyncio.to_thread(here.renew)
        assert here.take_renewed() == {NAMES[0]}
        assert here.take_renewed() == set()


async def test_a_reload_names_the_tunnels_with_another_token(tmp_path: Path) -> None:
    """`prx reload` tells of a token that the lab has rotated, though nothing is written differently; once."""
    async with joined(tmp_path / "lab") as (lab, here):
        named = {name: CloudflareSettings(mode="named", hostname=host) for name, host in (("a", "app"), ("b", "api.localhost"))}
        config = Config(tunnels={name: TunnelSettings(cloudflare=item) for name, item in named.items()})
        assert renewed_tokens(here, config) == renewed_tokens(lab, config) == renewed_tokens(None, config) == []
        rotate(lab, NAMES[0])
        await asyncio.to_thread(here.renew)
        assert renewed_tokens(here, config) == ["a: cloudflare.token (the lab has another one)"]
        assert renewed_tokens(here, config) == []


async def test_a_tunnel_that_waits_asks_for_its_token(tmp_path: Path) -> None:
    """The lab is asked every few seconds at most, and a reload follows if a token is another one."""
    async with joined(tmp_path / "lab") as (lab, here):
        watch = Watch(here)
        await watch.asked()
        assert (watch.renewed, watch.told) == (0, [])
        rotate(lab, NAMES[1])
        await watch.asked()
        assert watch.renewed == 1
        assert watch.told == ["info: the lab has another token for a tunnel, which is taken"]
        here.check(watch.clock, lambda *_: None)
        assert here._asking is None, "it was asked less than five seconds ago"


async def test_a_lab_that_ended_is_named_once(tmp_path: Path) -> None:
    """What is asked of a lab that is gone fails with its address and what to do; a watch says it once."""
    async with joined(tmp_path / "lab") as (_, here):
        watch = Watch(here)
    with pytest.raises(PrxError, match=f"the lab is gone: no lab answers at {here.control}"):
        await asyncio.to_thread(here.renew)
    await watch.asked()
    await watch.asked()
    assert len(watch.told) == 1
    assert watch.told[0].startswith(f"error: the lab is gone: no lab answers at {here.control}: connection refused")
    assert watch.renewed == 0


async def test_another_lab_in_its_place_is_no_news_of_tokens(tmp_path: Path) -> None:
    """A lab that was started again has another edge: its tokens are of no use to connectors of the former one."""
    port = free_port()
    async with joined(tmp_path / "one", control_port=port) as (_, here):
        old = here.token(NAMES[0])
    async with Lab.start(LabConfig(state_dir=tmp_path / "two", control_port=port)):
        with pytest.raises(PrxError, match="was started again") as caught:
            await asyncio.to_thread(here.renew)
    assert "start it again" in caught.value.hint
    assert here.token(NAMES[0]) == old


async def test_a_lab_that_is_gone_is_told_from_an_edge_that_is_shut(tmp_path: Path) -> None:
    """While its control URL takes connections the lab is there, whatever its edge does; if neither does, it is gone."""
    async with joined(tmp_path / "lab") as (_, here):
        site = await asyncio.to_thread(here.site)
        open_edge, shut_edge = (watch(one) for one in (site, replace(site, edge_addrs=(f"127.0.0.1:{free_port()}",))))
        assert (await open_edge.dial(quic=False)).tcp is Reach.OPEN
        seen = await shut_edge.dial(quic=False)
        assert (seen.tcp, seen.gone_lab) == (Reach.CLOSED, "")
    seen = await watch(site).dial(quic=False)
    assert (seen.tcp, seen.gone_lab) == (Reach.CLOSED, here.control)
    assert (await watch(replace(site, joined="")).dial(quic=False)).gone_lab == "", "one that prx itself runs"


def watch(site: EdgeSite) -> EdgeWatch:
    """Return what dials the edge of a site."""
    clock = ManualClock()
    return EdgeWatch(site, Resolver(site.doh, clock=clock), clock)


async def test_a_lab_that_cannot_be_asked_for_now_is_not_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a descriptor nothing was asked, and no file was read: neither "the lab is gone" nor "there is none" is known."""
    monkeypatch.setenv("PRX_DATA_DIR", str(tmp_path / "data"))
    async with joined(tmp_path / "lab") as (lab, here):
        with no_descriptors(), pytest.raises(ShortageError):
            here.renew()
        assert not await asyncio.to_thread(here.renew)
        with announced(lab.control):
            (file,) = (tmp_path / "data" / "run").glob("lab.*.json")
            with no_descriptors(), pytest.raises(ShortageError):
                lab_client._read(file)
            assert lab_client.announced_controls() == [lab.control]
