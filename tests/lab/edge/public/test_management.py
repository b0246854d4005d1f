"""The management host and what a lab tells of connections: what cloudflared's own component tests ask for."""

from __future__ import annotations

import asyncio
import ipaddress
import json
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import jwt
import pytest
from tests.lab.edge import connector, quic_connector
from tests.lab.edge.cloudflared import run_cloudflared
from tests.support.origin import Origin
from tests.support.wire import get
from websockets.asyncio.client import connect

from prx.lab import Lab, LabConfig
from prx.lab.edge.public.management import HOST


@pytest.mark.parametrize("way", [connector, quic_connector])
@pytest.mark.parametrize("edge", ["127.0.0.1", "::1"])
async def test_where_connections_come_from(way: object, edge: str) -> None:
    """Each connection says from which address its connector dials, over both protocols and in both families."""
    place = f"[{edge}]:0" if ":" in edge else f"{edge}:0"
    async with (
        Lab.start(LabConfig(edge_addrs=(place,))) as lab,
        way.registered(lab, lab.token("web")),  # type: ignore[attr-defined]  # one of two modules
    ):
        (connection,) = lab.tunnel("web").connections
        assert ipaddress.ip_address(connection.origin_ip) == ipaddress.ip_address(edge)
        assert lab.state()["tunnels"][0]["connections"][0]["origin_ip"] == edge


async def test_management_leads_to_the_connector_that_is_named(lab: Lab) -> None:
    """A token for a tunnel leads to its connectors, or to the one that is named; without one none is reached."""
    async with connector.registered(lab, lab.token("web")), connector.registered(lab, lab.token("web"), index=1):
        first = lab.tunnel("web").connections[0].connector
        token = lab.management_token("web")
        reply = await get(lab, HOST, f"/host_details?connector_id={first}&access_token={token}")
        assert reply.body.startswith(b"hello /host_details?connector_id=")
        assert (await get(lab, HOST, f"/logs?access_token={token}", tls=True)).status == 200
        other = await get(lab, HOST, f"/logs?connector_id=00000000-0000-0000-0000-000000000000&access_token={token}")
        assert (other.status, other.body) == (530, b"error code: 1033")
        for path in ("/logs", "/logs?access_token=a.b.c", f"/logs?access_token={token[:-8]}"):
            assert (await get(lab, HOST, path)).status == 401, path


async def test_management_tokens_end() -> None:
    """A token of another lab, or one whose hour is over, opens nothing."""
    now = 1_800_000_000.0
    async with Lab.start(LabConfig(wall=lambda: now)) as lab, connector.registered(lab, lab.token("web")):
        token = lab.management_token("web", "admin")
        assert (await get(lab, HOST, f"/metrics?access_token={token}")).status == 200
        async with Lab.start() as other:
            other.token("web")
            assert (await get(other, HOST, f"/metrics?access_token={token}")).status == 401
        now += 3601
        assert (await get(lab, HOST, f"/metrics?access_token={token}")).status == 401


@pytest.mark.parametrize(
    ("resource", "granted"), [("logs", ["logs", "ping"]), ("admin", ["admin"]), ("host_details", ["host_details"])]
)
async def test_what_a_management_token_grants(lab: Lab, resource: str, granted: list[str]) -> None:
    """A token says what it is good for, and one for logs is good for a ping too, as cloudflared expects of it."""
    lab.token("web")
    claims = jwt.decode(lab.management_token("web", resource), options={"verify_signature": False})
    assert claims["res"] == granted


async def test_management_tokens_over_the_control_endpoint(lab: Lab) -> None:
    """Another process can have such a token; a mistake is reported with what is expected."""
    lab.token("web")
    async with httpx2.AsyncClient(base_url=lab.control, trust_env=False) as client:
        assert (await client.post("/management-token", json={"hostname": "web"})).json()["token"].count(".") == 2
        wrong = await client.post("/management-token", json={"hostname": "web", "resource": "all"})
        assert (wrong.status_code, "expected one of logs" in wrong.json()["error"]) == (400, True)
        assert (await client.post("/management-token", json={"hostname": "nobody"})).status_code == 404


@pytest.mark.real
@pytest.mark.parametrize("protocol", ["http2", "quic"])
async def test_the_real_client_answers_for_itself(lab: Lab, origin: Origin, tmp_path: Path, protocol: str) -> None:
    """Through the management host the real connector reports on its machine and shows its log, over both protocols."""
    (tmp_path / "token").write_text(lab.token("web"))
    flags = ("--url", f"http://127.0.0.1:{origin.port}", "--protocol", protocol, "--ha-connections", "1")
    async with (
        asyncio.timeout(60),
        run_cloudflared(lab, tmp_path, *flags, after_run=("--token-file", str(tmp_path / "token"))),
    ):
        await lab.wait_for(lambda lab: bool(lab.tunnel("web").connections))
        (connection,) = lab.tunnel("web").connections
        token = lab.management_token("web", "host_details")
        reply = await get(lab, HOST, f"/host_details?connector_id={connection.connector}&access_token={token}")
        assert reply.status == 200
        assert json.loads(reply.body)["connector_id"] == connection.connector
        uri = f"ws://{HOST}:{urlsplit(lab.public).port}/logs?access_token={lab.management_token('web')}"
        async with connect(uri, host="127.0.0.1", compression=None, proxy=None) as socket:
            await socket.send('{"type":"start_streaming"}')
            assert (await get(lab, "web.localhost", "/looked-for")).status == 200
            while "/looked-for" not in str(await socket.recv()):
                pass
