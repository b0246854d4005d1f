"""The real cloudflared's commands against the lab's API: what it sends and expects is what the stand-in must do."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.lab.edge.api.client import RECORDS, TUNNELS, Client
from tests.lab.edge.cloudflared import binary, run_cloudflared
from tests.lab.edge.connector import registered
from tests.support.origin import Origin
from tests.support.waits import PATIENCE
from tests.support.wire import get

from prx.lab import Lab
from prx.lab.edge.faults.api_faults import Api

pytestmark = pytest.mark.real


@dataclass
class Cli:
    """Runs cloudflared's commands with the lab's API and the cert.pem that the lab writes."""

    lab: Lab
    home: Path

    async def __call__(self, *words: str) -> tuple[int, str, str]:
        """Run `cloudflared tunnel …` and give exit code, stdout and stderr."""
        arguments = ["tunnel", "--api-url", self.lab.api, "--origincert", str(self.lab.cert_pem), *words]
        environment = {"HOME": str(self.home), "PATH": os.environ["PATH"]}
        process = await asyncio.create_subprocess_exec(
            binary(), *arguments, env=environment, cwd=self.home, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(PATIENCE):
            told, talk = await process.communicate()
        process._transport.close()  # type: ignore[attr-defined]  # its pipes would be collected too late
        assert process.returncode is not None
        return process.returncode, told.decode(), talk.decode()


@pytest.fixture
def cli(lab: Lab, tmp_path: Path) -> Cli:
    """The real commands."""
    return Cli(lab, tmp_path)


async def test_from_create_to_delete(cli: Cli, api: Client) -> None:
    """Create, list, info, token, route, clean up and delete do what they say, and the account has it."""
    code, told, _ = await cli("create", "web")
    assert code == 0
    (made,) = (await api("GET", TUNNELS)).result
    assert f"Created tunnel web with id {made['id']}" in told
    assert made["config_src"] == "local"
    assert (cli.lab.cert_pem.parent / f"{made['id']}.json").exists()
    code, _, talk = await cli("create", "web")
    assert (code, "tunnel with name already exists" in talk) == (1, True)
    assert made["id"] in (await cli("list"))[1]
    code, told, talk = await cli("info", "web")
    assert (code, "does not have any active connection" in told + talk) == (0, True)
    code, told, _ = await cli("token", "web")
    token = (await api("GET", f"{TUNNELS}/{made['id']}/token")).result
    assert code == 0
    async with registered(cli.lab, told.strip()), registered(cli.lab, token, index=1):
        pass
    code, _, talk = await cli("route", "dns", "web", "app.prx.localhost")
    assert (code, "Added CNAME app.prx.localhost" in talk) == (0, True)
    assert "already configured" in (await cli("route", "dns", "web", "app.prx.localhost"))[2]
    assert (await cli("cleanup", "web"))[0] == 0
    assert (await cli("delete", "web"))[0] == 0
    assert (await api("GET", TUNNELS)).result == []


async def test_delete_of_a_running_tunnel(cli: Cli, api: Client) -> None:
    """A tunnel with connections is deleted with -f only, which cuts them."""
    made = await api.tunnel("web")
    async with registered(cli.lab, made["token"]):
        code, told, _ = await cli("info", "web")
        assert (code, "scripted" in told) == (0, True)
        code, _, talk = await cli("delete", "web")
        assert code == 1
        assert "1022" in talk or "active connections" in talk
        assert (await cli("delete", "-f", "web"))[0] == 0
        await cli.lab.wait_for(lambda lab: not lab.tunnels())


async def test_conflict_of_a_name(cli: Cli, api: Client) -> None:
    """A name that an A record has is refused in cloudflared's words, and taken over with --overwrite-dns."""
    made = await api.tunnel("web")
    await api("POST", RECORDS, {"type": "A", "name": "app", "content": "192.0.2.1"})
    code, _, talk = await cli("route", "dns", "web", "app.prx.localhost")
    assert code == 1
    assert "code: 1003, reason: An A, AAAA, or CNAME record with that host already exists" in talk
    assert (await cli("route", "dns", "--overwrite-dns", "web", "app.prx.localhost"))[0] == 0
    (record,) = (await api("GET", RECORDS)).result
    assert record["content"] == f"{made['id']}.cfargotunnel.com"


async def test_refusal(cli: Cli) -> None:
    """A missing permission is reported in cloudflared's words: it can read the error."""
    cli.lab.inject(Api("forbidden", permission="Cloudflare Tunnel Write"))
    code, _, talk = await cli("create", "web")
    assert (code, "code: 10000, reason: Authentication error" in talk) == (1, True)


async def test_cleanup_of_one_connector(cli: Cli, api: Client) -> None:
    """`cleanup --connector-id` cuts that connector alone."""
    made = await api.tunnel("web")
    async with registered(cli.lab, made["token"]), registered(cli.lab, made["token"], index=1):
        first = (await api("GET", f"{TUNNELS}/{made['id']}/connections")).result[0]["id"]
        assert (await cli("cleanup", "--connector-id", first, "web"))[0] == 0
        await cli.lab.wait_for(lambda lab: len(lab.tunnels()[0].connections) == 1)


async def test_real_connector_of_the_account(lab: Lab, api: Client, origin: Origin, tmp_path: Path) -> None:
    """A tunnel from the API carries visitors through a real connector: token, pushed ingress, CNAME; its version comes back."""
    made = await api.tunnel("web")
    rule = {"hostname": "app.prx.localhost", "service": f"http://127.0.0.1:{origin.port}"}
    config = {"ingress": [rule, {"service": "http_status:404"}]}
    await api("PUT", f"{TUNNELS}/{made['id']}/configurations", {"config": config})
    await api.lead("app.prx.localhost", made["id"])
    file = tmp_path / "token"
    file.write_text((await api("GET", f"{TUNNELS}/{made['id']}/token")).result)
    async with run_cloudflared(lab, tmp_path, "--ha-connections", "1", after_run=("--token-file", str(file))):
        async with asyncio.timeout(PATIENCE):
            await lab.wait_for(lambda lab: any(one.config_version == 1 for one in lab.tunnels()[0].connections))
        assert (await get(lab, "app.prx.localhost", "/")).status == 200
        again = (
            await api("PUT", f"{TUNNELS}/{made['id']}/configurations", {"config": {"ingress": [config["ingress"][1]]}})
        ).result
        assert again["version"] == 2
        async with asyncio.timeout(PATIENCE):
            await lab.wait_for(lambda lab: any(one.config_version == 2 for one in lab.tunnels()[0].connections))
        (told,) = (await api("GET", f"{TUNNELS}/{made['id']}/connections")).result
        assert (told["config_version"], bool(told["version"]), bool(told["arch"])) == (2, True, True)
        assert (await get(lab, "app.prx.localhost", "/")).status == 404
