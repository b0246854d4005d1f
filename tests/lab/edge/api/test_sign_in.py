"""Who may call the API, and what others get."""

from __future__ import annotations

import json
from base64 import b64decode
from contextlib import AsyncExitStack

import httpx2
import pytest
from tests.lab.edge.api.client import ACCOUNT, RECORDS, TUNNELS, ZONE, Client, Told, calling

from prx.lab import Lab, LabConfig
from prx.lab.edge.api import permissions


async def ask(lab: Lab, path: str, headers: dict[str, str]) -> Told:
    """Make a call with headers of one's own."""
    async with httpx2.AsyncClient(trust_env=False) as http:
        answer = await http.get(lab.api + path, headers=headers)
    return Told(answer.status_code, answer.json(), answer.headers)


async def test_token_verifies_itself(lab: Lab, api: Client) -> None:
    """A user token is verified at /user, an account token at its account, each of them only there."""
    assert (await api("GET", "/user/tokens/verify")).result["status"] == "active"
    assert (await api("GET", f"{ACCOUNT}/tokens/verify")).refused == (401, 1000)
    async with calling(lab, lab.account.tokens.mint(kind="account").value) as other:
        assert (await other("GET", f"{ACCOUNT}/tokens/verify")).result["status"] == "active"
        assert (await other("GET", "/user/tokens/verify")).refused == (401, 1000)


@pytest.mark.parametrize(
    ("headers", "refused"),
    [
        ({}, (400, 9106)),
        ({"Authorization": "Bearer"}, (400, 6003)),
        ({"Authorization": "Bearer two words"}, (400, 6003)),
        ({"Authorization": 'Bearer "quoted"'}, (400, 6003)),
        ({"Authorization": "Basic eDp5"}, (400, 6003)),
        ({"Authorization": "Bearer unknown"}, (403, 9109)),
    ],
)
async def test_bad_token(lab: Lab, headers: dict[str, str], refused: tuple[int, int]) -> None:
    """A missing, malformed and unknown token are distinguished."""
    told = await ask(lab, TUNNELS, headers)
    assert told.refused == refused
    if refused[1] == 6003:
        assert told.document["errors"][0]["error_chain"][0]["code"] == 6111


async def test_expired_token() -> None:
    """A token is good for as long as it was made for."""
    now = 1_800_000_000.0
    async with AsyncExitStack() as stack:
        lab = await stack.enter_async_context(Lab.start(LabConfig(wall=lambda: now)))
        client = await stack.enter_async_context(calling(lab, lab.account.tokens.mint(seconds=60).value))
        assert (await client("GET", TUNNELS)).result == []
        now += 60
        assert (await client("GET", TUNNELS)).refused == (403, 9109)


async def test_each_missing_permission(lab: Lab) -> None:
    """Without the permission that a call needs it is refused with 10000, and with that one alone it is not."""
    ids = {"account": ACCOUNT.rsplit("/", 1)[1], "zone": ZONE.rsplit("/", 1)[1], "record": "0" * 32}
    tunnel = "00000000-0000-4000-8000-000000000001"
    checked = set()
    for route in lab.account.routes():
        if route.needs is None:
            continue
        path = route.path
        for name in ("account", "zone", "record", "client"):
            path = path.replace(f"{{{name}}}", ids.get(name, "x"))
        while "{" in path:
            path = path.replace(path[path.index("{") : path.index("}") + 1], tunnel)
        others = permissions.ALL - route.needs.names
        if route.needs.level == "Write":
            others |= {route.needs.name.replace("Write", "Read")}
        async with calling(lab, lab.account.tokens.mint(others).value) as client:
            assert (await client(route.method, path)).refused == (403, 10000), route
        async with calling(lab, lab.account.tokens.mint(frozenset((route.needs.name,))).value) as client:
            told = await client(route.method, path)
            assert told.document["success"] or told.refused[1] != 10000, route
        checked.add(route.needs.name)
    assert {"Cloudflare Tunnel Read", "Cloudflare Tunnel Write", "DNS Write", "DNS Read", "Zone Read"} <= checked


async def test_other_accounts_and_zones(lab: Lab, api: Client) -> None:
    """Ids of others are refused, ids of a wrong form lead nowhere, and so do unknown paths and methods."""
    other = "9" * 32
    assert (await api("GET", f"/accounts/{other}/cfd_tunnel")).refused == (403, 9109)
    assert (await api("GET", f"/zones/{other}/dns_records")).refused == (403, 9109)
    assert (await api("GET", "/accounts/web/cfd_tunnel")).refused == (404, 7003)
    assert (await api("GET", f"{TUNNELS}/web")).refused == (404, 7003)
    assert (await api("GET", "/nonsense")).refused == (400, 7000)
    assert (await api("PATCH", TUNNELS)).refused == (405, 10405)
    async with calling(lab, lab.account.tokens.mint(zones=frozenset((other,))).value) as limited:
        assert (await limited("GET", "/zones")).result == []
        assert (await limited("GET", RECORDS)).refused == (403, 9109)
        assert (await limited("GET", TUNNELS)).result == []


async def test_account_and_zone_are_found(api: Client) -> None:
    """The zone is found by name, tells its account, and is not found under other names; the account is found, too."""
    (zone,) = (await api("GET", "/zones", name="prx.localhost", status="active")).result
    assert (f"/zones/{zone['id']}", f"/accounts/{zone['account']['id']}") == (ZONE, ACCOUNT)
    assert (await api("GET", ZONE)).result == zone
    assert (await api("GET", "/zones", name="agent.prx.localhost")).result == []
    assert (await api("GET", "/zones", name="ends_with:localhost")).result == [zone]
    (account,) = (await api("GET", "/accounts")).result
    assert account["id"] == zone["account"]["id"]


async def test_cert_pem(lab: Lab) -> None:
    """cert.pem holds a token that may do what cloudflared's may: tunnels and the zone, not Access; only its owner reads it."""
    text = lab.cert_pem.read_text()
    assert lab.cert_pem.stat().st_mode & 0o777 == 0o600
    lines = text.splitlines()
    assert (lines[0], lines[-1]) == ("-----BEGIN ARGO TUNNEL TOKEN-----", "-----END ARGO TUNNEL TOKEN-----")
    content = json.loads(b64decode("".join(lines[1:-1])))
    assert content["zoneID"] == ZONE.rsplit("/", 1)[1]
    async with calling(lab, content["apiToken"]) as client:
        assert (await client("GET", TUNNELS)).result == []
        assert (await client("GET", RECORDS)).result == []
        assert (await client("GET", ACCOUNT)).refused == (403, 10000)


def test_permission_names() -> None:
    """A permission that does not exist is named, with those that do."""
    assert permissions.parse(["dns write"]) == {"DNS Write"}
    with pytest.raises(ValueError, match="unknown permission 'DNS Edit'; expected one of"):
        permissions.parse(["DNS Edit"])
