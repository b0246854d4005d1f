"""What this connector carries between the lab's visitors and an origin, over both protocols: the real one's own tests."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.lab.connector.child import Child, started
from tests.lab.edge.conftest import events, lab, limits  # noqa: F401 - fixtures
from tests.lab.edge.test_real_traffic import (  # noqa: F401 - the same tests, with this module's `hostname`
    test_answers_without_body,
    test_big_download,
    test_big_upload,
    test_expect_continue,
    test_head_arrives_as_behind_cloudflare,
    test_https_visitor,
    test_many_at_once,
    test_origin_breaks_half_way,
    test_repeated_response_headers,
    test_server_sent_events,
    test_sizes_around_limits,
    test_visitor_leaves,
    test_websocket,
)
from tests.support.origin import Origin, run_origin
from tests.support.wire import get

from prx.lab import Lab
from prx.lab.faults import Drop, UdpBlocked


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    """Yield a running origin."""
    async with run_origin() as running:
        yield running


@pytest.fixture
async def child(lab: Lab, origin: Origin, protocol: str, tmp_path: Path) -> AsyncIterator[Child]:  # noqa: F811 - a fixture
    """Yield a connector with two connections for the tunnel `web`."""
    (tmp_path / "token").write_text(lab.token("web"))
    edges = [word for address in lab.edge_addrs for word in ("--edge", address)]
    words = [
        "tunnel",
        *edges,
        "--cacert",
        str(lab.ca_file),
        "--metrics",
        "127.0.0.1:0",
        "--ha-connections",
        "2",
        "--retries",
        "0",
    ]
    words += [
        "--protocol",
        protocol,
        "run",
        "--token-file",
        str(tmp_path / "token"),
        "--url",
        f"http://127.0.0.1:{origin.port}",
    ]
    async with started(words, tmp_path) as running:
        await connected(lab, 2)
        assert {connection.protocol for connection in lab.tunnel("web").connections} == {protocol}
        yield running


@pytest.fixture
def hostname(child: Child) -> str:
    """Return the name of a tunnel that this connector serves."""
    return "web.localhost"


async def connected(lab: Lab, count: int) -> None:  # noqa: F811 - an argument
    """Wait until the tunnel `web` has so many connections."""
    async with asyncio.timeout(30):
        await lab.wait_for(lambda lab: len(lab.tunnel("web").connections) == count)


@pytest.mark.parametrize(("audience", "status"), [("", 200), ("f" * 64, 403)])
@pytest.mark.parametrize("protocol", ["http2"])
async def test_access(
    lab: Lab,  # noqa: F811 - a fixture
    origin: Origin,
    tmp_path: Path,
    protocol: str,
    audience: str,
    status: int,
) -> None:
    """A rule that requires Access accepts what the lab signs for its application, and nothing that is signed for another."""
    front = lab.protect("web.localhost")
    (tmp_path / "token").write_text(lab.token("web"))
    access = {"required": True, "teamName": front.team, "audTag": [audience or front.aud]}
    rules = {"originRequest": {"access": access}, "ingress": [{"service": f"http://127.0.0.1:{origin.port}"}]}
    (tmp_path / "config.yml").write_text(json.dumps(rules))
    edges = [word for address in lab.edge_addrs for word in ("--edge", address)]
    words = ["tunnel", *edges, "--cacert", str(lab.ca_file), "--metrics", "127.0.0.1:0", "--protocol", protocol]
    words += ["--ha-connections", "1", "--config", str(tmp_path / "config.yml"), "run", "--token-file", str(tmp_path / "token")]
    async with started(words, tmp_path, PRX_ACCESS_CERTS_URL=front.certs_url):
        await connected(lab, 1)
        cookie = ("Cookie", f"CF_Authorization={lab.login('web.localhost', 'ada@example.com')}")
        assert (await get(lab, "web.localhost", "/bytes?n=10", headers=[cookie])).status == status


@pytest.mark.parametrize("protocol", ["quic"])
async def test_dropped_and_back(lab: Lab, child: Child) -> None:  # noqa: F811 - a fixture
    """When the edge drops everything connection 0 comes back by itself, and requests pass again."""
    lab.inject(Drop())
    await child.line("INF Registered tunnel connection", "connIndex=0", count=2)
    assert (await get(lab, "web.localhost", "/bytes?n=10")).status == 200


@pytest.mark.slow
async def test_udp_blocked_from_the_first(lab: Lab, origin: Origin, tmp_path: Path) -> None:  # noqa: F811 - a fixture
    """With `auto` and a token QUIC is given up for HTTP/2 after the dials that were allowed, by all connections."""
    lab.inject(UdpBlocked())
    edges = [word for address in lab.edge_addrs for word in ("--edge", address)]
    words = [
        "tunnel",
        *edges,
        "--cacert",
        str(lab.ca_file),
        "--metrics",
        "127.0.0.1:0",
        "--ha-connections",
        "2",
        "--retries",
        "0",
    ]
    words += ["--max-edge-addr-retries", "0", "run", "--url", f"http://127.0.0.1:{origin.port}"]
    async with started(words, tmp_path, TUNNEL_TOKEN=lab.token("web")) as child:
        await child.line("INF Initial protocol quic")
        fields = "connIndex=0 event=0 ip=127.0.0.1"
        cause = "failed to dial to edge with quic: timeout: no recent network activity"
        await child.line(f'ERR Failed to dial a quic connection error="{cause}" {fields}')
        await child.line(f"INF Switching to fallback protocol http2 {fields}")
        await connected(lab, 2)
        assert {connection.protocol for connection in lab.tunnel("web").connections} == {"http2"}
        assert not any("Serve tunnel error" in line for line in child.lines)
        warning = next(line for line in child.lines if "If this log occurs persistently" in line)
        assert " WRN If this log occurs persistently, and cloudflared is unable to connect" in warning
