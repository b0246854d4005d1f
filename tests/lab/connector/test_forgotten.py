"""A quick tunnel that the lab has forgotten: what the connectors, the real one and this one, make of it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from tests.lab.connector.child import Child, started
from tests.lab.edge.conftest import events, lab, limits  # noqa: F401 - fixtures
from tests.support.waits import PATIENCE
from tests.support.wire import get

from prx.backends.base import LineKind
from prx.backends.cloudflare.classify import parse_line
from prx.lab import Lab
from prx.lab.events import ConnectionRejected, LabEvent
from prx.lab.faults import BothBlocked, Forget

GONE = "Unauthorized: Tunnel not found"


@pytest.fixture
async def child(lab: Lab, protocol: str, command: Sequence[str], tmp_path: Path) -> AsyncIterator[Child]:  # noqa: F811 - a fixture
    """Yield a connector with a quick tunnel, connected."""
    edges = [word for address in lab.edge_addrs for word in ("--edge", address)]
    (tmp_path / "config.yml").write_text("{}")
    words = [
        "tunnel", *edges, "--cacert", str(lab.ca_file), "--quick-service", lab.quick_service, "--protocol", protocol,
        "--config", str(tmp_path / "config.yml"), "--metrics", "127.0.0.1:0", "--retries", "0", "--no-autoupdate",
        "--url", "http://127.0.0.1:9",
    ]  # fmt: skip
    async with started(words, tmp_path, command=command) as running:
        async with asyncio.timeout(2 * PATIENCE):
            await lab.wait_for(lambda lab: any(tunnel.connections for tunnel in lab.tunnels()))
        yield running


async def test_it_is_refused_for_ever(lab: Lab, child: Child, protocol: str, events: list[LabEvent]) -> None:  # noqa: F811
    """It goes on asking, alive; over HTTP/2 its log says why, over QUIC it says nothing of the cause."""
    name = lab.tunnels()[0].hostname
    lab.inject(Forget(name))

    def refusals() -> list[str]:
        return [event.cause for event in events if isinstance(event, ConnectionRejected)]

    async with asyncio.timeout(2 * PATIENCE):
        await lab.wait_for(lambda _: len(refusals()) >= 2)
    assert set(refusals()) == {GONE}
    assert child.process.returncode is None
    page = await get(lab, name)
    assert (page.status, page.body) == (530, b"error code: 1033")
    if protocol == "http2":
        await child.line(GONE)
        kinds = {parse_line("stderr", line).kind for line in child.lines if GONE in line}
        assert kinds == {LineKind.TUNNEL_GONE}
    elif "this is the prx builtin connector" not in child.lines[0].lower():
        assert not [line for line in child.lines if GONE in line]


async def test_it_comes_back_when_both_ways_are_open_again(lab: Lab, child: Child) -> None:  # noqa: F811 - a fixture
    """A shorter break, however deep, costs nothing: the same name serves again."""
    (tunnel,) = lab.tunnels()
    lab.inject(BothBlocked())
    async with asyncio.timeout(2 * PATIENCE):
        if tunnel.connections[0].protocol == "quic":  # over HTTP/2 it has no keep-alive, and notices nothing
            await lab.wait_for(lambda lab: not lab.tunnels()[0].connections)
            await child.line("Retrying connection in up to")
        lab.clear(BothBlocked)
        await lab.wait_for(lambda lab: bool(lab.tunnels()[0].connections))
    assert (await get(lab, tunnel.hostname)).status == 502
