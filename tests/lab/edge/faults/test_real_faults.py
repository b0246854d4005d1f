"""What the real cloudflared does when faults touch its bytes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.lab.edge.cloudflared import run_cloudflared
from tests.support.origin import Origin
from tests.support.waits import PATIENCE
from tests.support.wire import get

from prx.lab import Lab
from prx.lab.faults import Delay, DropAfter, ExpireCert, Fault, Garble, HalfClose, Lose, Reset

pytestmark = pytest.mark.real


def token_file(lab: Lab, folder: Path) -> tuple[str, ...]:
    """Write a token and give the flag that names it."""
    file = folder / "token"
    file.write_text(lab.token("web"))
    return ("--token-file", str(file))


BREAKING = [Reset(), HalfClose(), Garble(every=5), DropAfter(bytes=0), Lose(every=1)]


@pytest.mark.parametrize("protocol", ["http2", "quic"])
@pytest.mark.parametrize("fault", BREAKING, ids=lambda fault: type(fault).__name__)
async def test_it_notices_and_comes_back(lab: Lab, tmp_path: Path, origin: Origin, fault: Fault, protocol: str) -> None:
    """Whatever ends its connections, it notices, comes back, and carries again."""
    if isinstance(fault, Lose) and protocol == "http2":
        pytest.skip("TCP does not lose")
    flags = ("--url", f"http://127.0.0.1:{origin.port}", "--ha-connections", "1", "--retries", "0", "--protocol", protocol)
    async with (
        asyncio.timeout(2 * PATIENCE),
        run_cloudflared(lab, tmp_path, *flags, after_run=token_file(lab, tmp_path)) as child,
    ):
        await lab.wait_for(lambda lab: len(lab.tunnel("web").connections) == 1)
        before = lab.tunnel("web").connections
        lab.inject(fault)
        if not isinstance(fault, Reset | HalfClose):
            await get(lab, "web.localhost")
        await child.said(lambda line: "Serve tunnel error" in line)
        lab.clear()
        await lab.wait_for(lambda lab: not set(before) & set(lab.tunnel("web").connections))
        await lab.wait_for(lambda lab: len(lab.tunnel("web").connections) == 1)
        assert (await get(lab, "web.localhost")).status == 200


@pytest.mark.parametrize("protocol", ["http2", "quic"])
async def test_delay_is_only_slow(lab: Lab, tmp_path: Path, origin: Origin, protocol: str) -> None:
    """A slow way changes nothing but the time."""
    lab.inject(Delay(0.05, jitter=0.05))
    flags = ("--url", f"http://127.0.0.1:{origin.port}", "--ha-connections", "1", "--protocol", protocol)
    async with (
        asyncio.timeout(2 * PATIENCE),
        run_cloudflared(lab, tmp_path, *flags, after_run=token_file(lab, tmp_path)),
    ):
        await lab.wait_for(lambda lab: len(lab.tunnel("web").connections) == 1)
        began = asyncio.get_running_loop().time()
        assert (await get(lab, "web.localhost")).status == 200
        assert asyncio.get_running_loop().time() - began >= 0.1


async def test_expired_certificate(lab: Lab, tmp_path: Path) -> None:
    """It says that the certificate has expired, and registers once that is over."""
    lab.inject(ExpireCert())
    async with (
        asyncio.timeout(2 * PATIENCE),
        run_cloudflared(lab, tmp_path, "--retries", "0", after_run=token_file(lab, tmp_path)) as child,
    ):
        await child.said(lambda line: "certificate has expired" in line)
        lab.clear()
        await lab.wait_for(lambda lab: bool(lab.tunnel("web").connections))


async def test_stateless_reset(lab: Lab, tmp_path: Path) -> None:
    """Over QUIC it understands a reset as what it is: the edge has lost the connection."""
    flags = ("--hello-world", "--ha-connections", "1", "--retries", "0", "--protocol", "quic")
    async with (
        asyncio.timeout(2 * PATIENCE),
        run_cloudflared(lab, tmp_path, *flags, after_run=token_file(lab, tmp_path)) as child,
    ):
        await lab.wait_for(lambda lab: bool(lab.tunnel("web").connections))
        lab.inject(Reset())
        await child.said(lambda line: "received a stateless reset" in line)
        await lab.wait_for(lambda lab: bool(lab.tunnel("web").connections))
