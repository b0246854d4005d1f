"""Cloudflare's own Python SDK against the lab's API: envelope, types, pages and errors are what it expects.

`make sdk` installs the SDK (105 MB) beside the other tools and runs this; the tests do not.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from cloudflare import APIStatusError, AsyncCloudflare, BadRequestError, ConflictError, PermissionDeniedError
from tests.lab.edge.connector import registered
from tests.support.wire import get

from prx.lab import Lab
from prx.lab.edge.api.zones import ZONE_ID
from prx.lab.edge.faults.api_faults import Api
from prx.lab.edge.registry import ACCOUNT_TAG

NAME = "app.prx.localhost"


@pytest.fixture
async def sdk(lab: Lab) -> AsyncIterator[AsyncCloudflare]:
    """The SDK, pointed at the lab's API."""
    async with AsyncCloudflare(api_token=lab.api_token, base_url=lab.api, max_retries=0) as client:
        yield client


async def test_who_and_where(sdk: AsyncCloudflare) -> None:
    """Token, account and zone are found."""
    verified = await sdk.user.tokens.verify()
    assert verified is not None
    assert verified.status == "active"
    assert [account.id async for account in sdk.accounts.list()] == [ACCOUNT_TAG]
    zones = [zone async for zone in sdk.zones.list(name="prx.localhost", account={"id": ACCOUNT_TAG})]
    assert [(zone.id, zone.status, zone.account.id) for zone in zones] == [(ZONE_ID, "active", ACCOUNT_TAG)]


async def test_tunnel(lab: Lab, sdk: AsyncCloudflare) -> None:
    """A tunnel is made, configured, led to, listed with its connections, and deleted."""
    tunnels = sdk.zero_trust.tunnels.cloudflared
    made = await tunnels.create(account_id=ACCOUNT_TAG, name="web", config_src="cloudflare")
    assert made.id is not None
    token = await tunnels.token.get(made.id, account_id=ACCOUNT_TAG)
    config = {"ingress": [{"hostname": NAME, "service": "http://127.0.0.1:1"}, {"service": "http_status:404"}]}
    put = await tunnels.configurations.update(made.id, account_id=ACCOUNT_TAG, config=config)
    assert put is not None
    assert put.version == 1
    async with registered(lab, str(token)):
        record = await sdk.dns.records.create(
            zone_id=ZONE_ID,
            type="CNAME",
            name=NAME,
            content=f"{made.id}.cfargotunnel.com",
            proxied=True,
            ttl=1,
            comment="prx x",
        )
        assert record is not None
        assert (await get(lab, NAME)).status == 200
        clients = [client async for client in tunnels.connections.get(made.id, account_id=ACCOUNT_TAG)]
        assert [client.version for client in clients] == ["scripted"]
        with pytest.raises(BadRequestError, match="1022"):
            await tunnels.delete(made.id, account_id=ACCOUNT_TAG)
    await lab.wait_for(lambda lab: not lab.tunnels()[0].connections)
    found = [one async for one in sdk.dns.records.list(zone_id=ZONE_ID, name={"exact": NAME}, type="CNAME")]
    assert [one.id for one in found] == [record.id]
    await sdk.dns.records.delete(record.id, zone_id=ZONE_ID)
    await tunnels.delete(made.id, account_id=ACCOUNT_TAG)
    assert [one async for one in tunnels.list(account_id=ACCOUNT_TAG, is_deleted=False)] == []


async def test_pages(sdk: AsyncCloudflare) -> None:
    """All pages of a list are gone through, and it ends."""
    tunnels = sdk.zero_trust.tunnels.cloudflared
    for number in range(7):
        await tunnels.create(account_id=ACCOUNT_TAG, name=f"web-{number}")
    found = [one.name async for one in tunnels.list(account_id=ACCOUNT_TAG, per_page=3)]
    assert sorted(str(name) for name in found) == [f"web-{number}" for number in range(7)]


async def test_access(lab: Lab, sdk: AsyncCloudflare) -> None:
    """An application with policies and a service token is made, found and deleted; its name is guarded in between."""
    access = sdk.zero_trust.access
    token = await access.service_tokens.create(account_id=ACCOUNT_TAG, name="ci", duration="8760h")
    assert token is not None
    assert token.client_secret
    app = await access.applications.create(
        account_id=ACCOUNT_TAG,
        type="self_hosted",
        name="prx",
        domain=NAME,
        policies=[
            {"name": "people", "decision": "allow", "include": [{"email": {"email": "you@example.com"}}], "precedence": 1},
            {
                "name": "ci",
                "decision": "non_identity",
                "include": [{"service_token": {"token_id": str(token.id)}}],
                "precedence": 2,
            },
        ],
    )
    assert app is not None
    assert app.id is not None
    assert (await get(lab, NAME)).status == 302
    found = [one async for one in access.applications.list(account_id=ACCOUNT_TAG, domain=NAME, exact=True)]
    assert [one.id for one in found] == [app.id]
    organization = await sdk.zero_trust.organizations.list(account_id=ACCOUNT_TAG)
    assert organization is not None
    assert organization.auth_domain == "lab.cloudflareaccess.com"
    providers = [one async for one in sdk.zero_trust.identity_providers.list(account_id=ACCOUNT_TAG)]
    assert [str(one.name) for one in providers] == ["Cloudflare"]
    await access.applications.delete(app.id, account_id=ACCOUNT_TAG)
    await access.service_tokens.delete(str(token.id), account_id=ACCOUNT_TAG)
    assert [one async for one in access.service_tokens.list(account_id=ACCOUNT_TAG)] == []


async def test_errors(lab: Lab, sdk: AsyncCloudflare) -> None:
    """Errors are read: their status gives the class, their codes are there."""
    tunnels = sdk.zero_trust.tunnels.cloudflared
    await tunnels.create(account_id=ACCOUNT_TAG, name="web")
    with pytest.raises(ConflictError) as caught:
        await tunnels.create(account_id=ACCOUNT_TAG, name="web")
    assert caught.value.errors[0].code == 1013
    lab.inject(Api("forbidden", times=1))
    with pytest.raises(PermissionDeniedError) as refused:
        await tunnels.create(account_id=ACCOUNT_TAG, name="other")
    assert refused.value.errors[0].code == 10000
    lab.inject(Api("page", times=1))
    with pytest.raises(APIStatusError):
        await tunnels.create(account_id=ACCOUNT_TAG, name="other")
    lab.inject(Api("lost", times=1))
    again = sdk.with_options(max_retries=2)
    with pytest.raises(ConflictError):  # the SDK repeats a POST whose answer was lost, and meets its own effect
        await again.zero_trust.tunnels.cloudflared.create(account_id=ACCOUNT_TAG, name="other")
