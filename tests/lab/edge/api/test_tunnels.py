"""Tunnels that the API makes: what the edge, its connectors and its visitors have of them."""

from __future__ import annotations

import base64
import json
from typing import Any
from uuid import uuid4

import pytest
from tests.lab.edge.api.client import RECORDS, TUNNELS, Client
from tests.lab.edge.connector import Answer, Rejected, dialled, registered, respond
from tests.support.wire import get

from prx.core.tunnel_token import TunnelToken
from prx.lab import Lab
from prx.lab.edge.registry import REMEMBERED_SECONDS
from prx.lab.protocol import headers as codec
from prx.lab.protocol.h2.stream import H2Stream

RULES = {"ingress": [{"hostname": "app.prx.localhost", "service": "http://127.0.0.1:8080"}, {"service": "http_status:404"}]}


def configurable(came: list[Any]) -> Answer:
    """Take configurations as a connector does; they end in `came`."""

    async def answer(stream: H2Stream) -> None:
        assert dict(stream.headers)[codec.UPGRADE] == codec.UPDATE_CONFIGURATION
        text = b""
        while data := await stream.read():
            text += data
        came.append(json.loads(text))
        told = json.dumps({"lastAppliedVersion": came[-1]["version"], "err": None}).encode()
        await respond(stream, 200, [], told)

    return answer


async def test_created_tunnel_is_accepted_at_once(lab: Lab, api: Client) -> None:
    """A tunnel made by API takes connectors, and a CNAME makes its name reachable; both go as they came."""
    made = await api.tunnel("web")
    token = (await api("GET", f"{TUNNELS}/{made['id']}/token")).result
    assert token == made["token"]
    assert str(TunnelToken.decode(token).tunnel_id) == made["id"]
    async with registered(lab, token):
        assert (await get(lab, "app.prx.localhost")).status == 530
        record = await api.lead("app.prx.localhost", made["id"])
        assert (await get(lab, "app.prx.localhost", "/x")).body == b"hello /x"
        await api("DELETE", f"{RECORDS}/{record['id']}")
        assert "1016" in (await get(lab, "app.prx.localhost")).body.decode()


async def test_answers_of_a_tunnel(api: Client) -> None:
    """A new tunnel has the documented fields, and `credentials_file` as cloudflared writes it."""
    made = await api.tunnel("web")
    assert (made["name"], made["status"], made["config_src"], made["deleted_at"]) == ("web", "inactive", "cloudflare", None)
    assert made["remote_config"] is True
    assert made["credentials_file"].keys() == {"AccountTag", "TunnelID", "TunnelName", "TunnelSecret"}
    got = (await api("GET", f"{TUNNELS}/{made['id']}")).result
    assert "connections" not in got
    assert got.items() <= made.items()


async def test_local_tunnel_keeps_its_own_secret(api: Client) -> None:
    """A tunnel with a secret of the caller's has that secret; one that is too short is refused."""
    secret = bytes(range(32))
    body = {"name": "own", "config_src": "local", "tunnel_secret": base64.b64encode(secret).decode()}
    made = (await api("POST", TUNNELS, body)).result
    assert TunnelToken.decode(made["token"]).secret == secret
    assert made["config_src"] == "local"
    short = {**body, "name": "short", "tunnel_secret": base64.b64encode(secret[:31]).decode()}
    assert (await api("POST", TUNNELS, short)).refused == (400, 1002)


async def test_names_are_taken_among_the_living(api: Client) -> None:
    """Two living tunnels never share a name, neither by creation nor by renaming; a deleted one gives its name back."""
    first = await api.tunnel("web")
    second = await api.tunnel("other")
    assert (await api("POST", TUNNELS, {"name": "web"})).refused == (409, 1013)
    assert (await api("PATCH", f"{TUNNELS}/{second['id']}", {"name": "web"})).refused == (409, 1013)
    assert (await api("DELETE", f"{TUNNELS}/{first['id']}")).result["deleted_at"]
    again = await api.tunnel("web")
    listed = (await api("GET", TUNNELS, name="web")).result
    assert [tunnel["id"] for tunnel in listed] == [again["id"]]
    gone = (await api("GET", TUNNELS, name="web", is_deleted="true")).result
    assert [tunnel["id"] for tunnel in gone] == [first["id"]]
    assert (await api("GET", f"{TUNNELS}/{first['id']}")).result["deleted_at"]
    assert (await api("GET", f"{TUNNELS}/{first['id']}/token")).refused == (404, 1003)


async def test_configuration_arrives(lab: Lab, api: Client) -> None:
    """A configuration that is put is pushed to connectors, now and later, and /connections tells the version that they run."""
    made = await api.tunnel("web")
    path = f"{TUNNELS}/{made['id']}/configurations"
    assert (await api("GET", path)).result["config"] is None
    came: list[Any] = []
    async with registered(lab, made["token"], answer=configurable(came)):
        assert (await api("PUT", path, {"config": RULES})).result["version"] == 1
        await lab.wait_for(lambda lab: lab.tunnels()[0].connections[0].config_version == 1)
        assert came == [{"version": 1, "config": RULES}]
        (told,) = (await api("GET", f"{TUNNELS}/{made['id']}/connections")).result
        assert told["config_version"] == 1
        async with registered(lab, made["token"], index=1, answer=configurable(came)):
            await lab.wait_for(lambda lab: {one.config_version for one in lab.tunnels()[0].connections} == {1})
    got = (await api("GET", path)).result
    assert (got["config"], got["version"], got["source"]) == (RULES, 1, "cloudflare")


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"ingress": []}, "ingress"),
        ({"ingress": [{"hostname": "a.prx.localhost", "service": "http://127.0.0.1:1"}]}, "last ingress rule"),
        ({"ingress": [{"service": "http://127.0.0.1:1"}, {"service": "http_status:404"}]}, "never be reached"),
        ({"ingress": [{"service": "gopher://x"}]}, "gopher"),
        ({"ingress": [{"service": "http_status:404", "originRequest": {"connectTimeout": "30s"}}]}, "connectTimeout"),
        ({"originRequest": {"tlsTimeout": "5s"}}, "tlsTimeout"),
        ({"ingress": [{"hostname": "a", "path": "(", "service": "http://x"}, {"service": "http_status:404"}]}, "regular"),
        ({"ingress": [{"hostname": "*.*.a", "service": "http://x"}, {"service": "http_status:404"}]}, "at most one wildcard"),
        ({"ingress": [{"hostname": "a*.b", "service": "http://x"}, {"service": "http_status:404"}]}, "at most one wildcard"),
        ({"ingress": [{"hostname": "a.*.b", "service": "http://x"}, {"service": "http_status:404"}]}, "at most one wildcard"),
        (None, "config"),
    ],
)
async def test_bad_configuration(api: Client, config: object, named: str) -> None:
    """A configuration that Cloudflare would refuse is refused with 1056, and nothing changes."""
    made = await api.tunnel("web")
    path = f"{TUNNELS}/{made['id']}/configurations"
    told = await api("PUT", path, {"config": config})
    assert told.refused == (400, 1056)
    assert named in told.message
    assert (await api("GET", path)).result["version"] == 0


async def test_connectors_are_listed(lab: Lab, api: Client) -> None:
    """/connections has one entry for each connector with its connections; a clean-up by client id cuts only its own."""
    made = await api.tunnel("web")
    path = f"{TUNNELS}/{made['id']}/connections"
    assert (await api("GET", path)).result == []
    one, two = uuid4(), uuid4()
    async with (
        registered(lab, made["token"], connector=one),
        registered(lab, made["token"], index=1, connector=one),
        registered(lab, made["token"], connector=two),
    ):
        told = (await api("GET", path)).result
        assert {entry["id"]: len(entry["conns"]) for entry in told} == {str(one): 2, str(two): 1}
        conn = told[0]["conns"][0]
        assert conn["origin_ip"] == "127.0.0.1"
        assert conn["client_version"] == told[0]["version"]
        assert conn["colo_name"].startswith("lab")
        assert conn["is_pending_reconnect"] is False
        assert (await api("GET", f"{TUNNELS}/{made['id']}/connectors/{one}")).result["id"] == str(one)
        assert (await api("GET", f"{TUNNELS}/{made['id']}")).result["status"] == "healthy"
        await api("DELETE", path, client_id=str(one))
        await lab.wait_for(lambda lab: len(lab.tunnels()[0].connections) == 1)
        assert [entry["id"] for entry in (await api("GET", path)).result] == [str(two)]
    await lab.wait_for(lambda lab: not lab.tunnels()[0].connections)
    assert (await api("GET", f"{TUNNELS}/{made['id']}")).result["status"] == "down"


async def test_connections_that_are_gone_may_be_remembered(lab: Lab, api: Client) -> None:
    """With that habit they are listed as pending reconnect, and keep the tunnel, until a clean-up, a return or some minutes."""
    made = await api.tunnel("web")
    one, path, others = f"{TUNNELS}/{made['id']}", f"{TUNNELS}/{made['id']}/connections", uuid4()
    connector = uuid4()
    async with registered(lab, made["token"], connector=connector):
        pass
    await lab.wait_for(lambda lab: not lab.tunnels()[0].connections)
    assert (await api("GET", path)).result == []
    lab.account.habits = lab.account.habits.changed({"gone_connections": "remembered"})
    ((entry,), down) = ((await api("GET", path)).result, (await api("GET", one)).result)
    assert (entry["id"], [conn["is_pending_reconnect"] for conn in entry["conns"]]) == (str(connector), [True])
    assert down["status"] == "down"
    assert (await api("DELETE", one)).refused == (400, 1022)
    async with registered(lab, made["token"], connector=connector), registered(lab, made["token"], connector=others):
        told = (await api("GET", path)).result
        assert [conn["is_pending_reconnect"] for entry in told for conn in entry["conns"]] == [False, False]
    await lab.wait_for(lambda lab: not lab.tunnels()[0].connections)
    assert len((await api("GET", path)).result) == 2
    await api("DELETE", path, client_id=str(others))
    assert [entry["id"] for entry in (await api("GET", path)).result] == [str(connector)]
    (tunnel,) = lab.account.tunnels.living()
    for gone in tunnel.gone:
        gone.gone_at = (gone.gone_at or 0.0) - REMEMBERED_SECONDS
    assert (await api("DELETE", one)).result["deleted_at"]


async def test_when_a_tunnel_was_active(lab: Lab, api: Client) -> None:
    """Lists can be asked for tunnels that existed, had connections, or had none, at a time in any form of RFC 3339."""
    made = await api.tunnel("web")
    (tunnel,) = lab.account.tunnels.living()
    tunnel.created_at, tunnel.active_at, tunnel.inactive_at = 1_700_000_000.0, 1_700_000_100.0, 1_700_000_200.0

    async def found(key: str, at: str) -> bool:
        return bool((await api("GET", TUNNELS, **{key: at})).result)

    before, quiet, busy, after = (f"2023-11-14T22:{text}Z" for text in ("13:19", "13:21.5", "15:00.000001", "16:41"))
    for at, existed, active in ((before, False, False), (quiet, True, False), (busy, True, True), (after, True, False)):
        assert await found("existed_at", at) is existed
        assert await found("was_active_at", at) is active
        assert await found("was_inactive_at", at) is (existed and not active)
    assert await found("was_active_at", "2023-11-15T00:15:00+02:00")
    tunnel.inactive_at = None
    assert await found("was_active_at", after)
    assert (await api("GET", TUNNELS, was_active_at="yesterday")).refused == (400, 1002)
    assert made["id"] == str(tunnel.id)


async def test_delete_cuts(lab: Lab, api: Client) -> None:
    """A tunnel with connections is deleted only with `cascade`; then they are cut and its token is good no longer."""
    made = await api.tunnel("web")
    await api.lead("app.prx.localhost", made["id"])
    async with registered(lab, made["token"]):
        assert (await api("DELETE", f"{TUNNELS}/{made['id']}")).refused == (400, 1022)
        assert (await api("DELETE", f"{TUNNELS}/{made['id']}", cascade="true")).result["deleted_at"]
        await lab.wait_for(lambda lab: not lab.tunnels())
        assert "1033" in (await get(lab, "app.prx.localhost")).body.decode()
    async with dialled(lab, made["token"]) as late:
        assert isinstance(await late.register(), Rejected)
    assert (await api("DELETE", f"{TUNNELS}/{made['id']}")).refused == (404, 1003)


async def test_new_secret(lab: Lab, api: Client) -> None:
    """A new secret makes older tokens useless for the next registration, and leaves running connections alone."""
    made = await api.tunnel("web")
    async with registered(lab, made["token"]):
        secret = base64.b64encode(bytes(32)).decode()
        assert (await api("PATCH", f"{TUNNELS}/{made['id']}", {"tunnel_secret": secret})).result["status"] == "healthy"
        async with dialled(lab, made["token"], index=1) as old:
            assert isinstance(await old.register(), Rejected)
        fresh = (await api("GET", f"{TUNNELS}/{made['id']}/token")).result
        async with registered(lab, fresh, index=1):
            pass


async def test_lists_have_pages(api: Client) -> None:
    """A list comes in pages with their counts, and can be asked for by prefix."""
    for number in range(5):
        await api.tunnel(f"web-{number}")
    await api.tunnel("other")
    told = await api("GET", TUNNELS, per_page="2", page="3", include_prefix="web-", unknown="ignored")
    assert [tunnel["name"] for tunnel in told.result] == ["web-0"]
    info = {"page": 3, "per_page": 2, "count": 1, "total_count": 5, "total_pages": 3}
    assert told.document["result_info"] == info
    assert [tunnel["name"] for tunnel in (await api("GET", TUNNELS, exclude_prefix="web-")).result] == ["other"]
    assert (await api("GET", TUNNELS, page="9")).result == []


async def test_lab_tunnels_are_the_accounts(lab: Lab, api: Client) -> None:
    """A tunnel that the lab was asked a token for is in the account, one in the zone with its record; quick ones are not."""
    lab.token("web")
    token = lab.token("agent.prx.localhost")
    assert {tunnel["name"] for tunnel in (await api("GET", TUNNELS)).result} == {"web.localhost", "agent.prx.localhost"}
    (record,) = (await api("GET", RECORDS)).result
    assert record["content"] == f"{TunnelToken.decode(token).tunnel_id}.cfargotunnel.com"
    assert lab.token("agent.prx.localhost") == token
    made = await api.tunnel("mine")
    await api.lead("mine.prx.localhost", made["id"])
    assert lab.token("mine.prx.localhost") == made["token"]


async def test_both_management_forms(api: Client) -> None:
    """Tokens for live logs come as bare strings, asked for in the documented way and in cloudflared's."""
    made = await api.tunnel("web")
    base = f"{TUNNELS}/{made['id']}/management"
    assert (await api("POST", base, {"resources": ["logs"]})).result.count(".") == 2
    for kind in ("logs", "admin", "host_details"):
        assert (await api("POST", f"{base}/{kind}")).result.count(".") == 2
    assert (await api("POST", base, {"resources": ["other"]})).refused == (400, 1002)
