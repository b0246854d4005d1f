"""Access objects, and what an application makes of visitors from the moment in which it exists."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest
from tests.lab.edge.api.client import ACCOUNT, ZONE, Client
from tests.lab.edge.connector import registered
from tests.support.wire import Reply, get

from prx.lab import Lab

ACCESS = f"{ACCOUNT}/access"
NAME = "app.prx.localhost"
ALLOW = {"name": "people", "decision": "allow", "include": [{"email": {"email": "you@example.com"}}]}


@pytest.fixture
async def site(lab: Lab, api: Client) -> AsyncIterator[str]:
    """The name of a service that answers."""
    made = await api.tunnel("web")
    await api.lead(NAME, made["id"])
    async with registered(lab, made["token"]):
        assert (await get(lab, NAME)).status == 200
        yield NAME


async def application(api: Client, *policies: Any, **body: Any) -> Any:
    """Create an application for the name."""
    document = {"type": "self_hosted", "name": f"prx: {NAME}", "domain": NAME, "policies": list(policies), **body}
    return (await api("POST", f"{ACCESS}/apps", document)).result


async def service_token(api: Client, name: str = "ci") -> Any:
    """Create a service token."""
    return (await api("POST", f"{ACCESS}/service_tokens", {"name": name, "duration": "8760h"})).result


def machine(token: Any, secret: str | None = None) -> list[tuple[str, str]]:
    """The headers of a service token."""
    return [("CF-Access-Client-Id", token["client_id"]), ("CF-Access-Client-Secret", secret or token["client_secret"])]


def auth_for(token: Any) -> dict[str, Any]:
    """A Service Auth policy for a token."""
    return {"name": "machines", "decision": "non_identity", "include": [{"service_token": {"token_id": token["id"]}}]}


async def visit(lab: Lab, path: str = "/", *headers: tuple[str, str]) -> Reply:
    """Visit the name."""
    return await get(lab, NAME, path, headers=list(headers))


async def test_application_guards_at_once(lab: Lab, api: Client, site: str) -> None:
    """Strangers are sent to the login with the application's own tag; who is invited passes, a service token passes."""
    token = await service_token(api)
    app = await application(api, ALLOW, auth_for(token))
    reply = await visit(lab, "/a")
    assert reply.status == 302
    assert f"kid={app['aud']}" in reply.header("location")
    assert reply.header("www-authenticate").startswith('Cloudflare-Access resource_metadata="https://app.prx.localhost/.well')
    assert (await visit(lab, "/", *machine(token))).status == 200
    assert (await visit(lab, "/", *machine(token, "wrong"))).status == 302
    cookie = ("Cookie", f"CF_Authorization={lab.login(NAME, 'you@example.com')}")
    assert (await visit(lab, "/", cookie)).status == 200
    other = ("Cookie", f"CF_Authorization={lab.login(NAME, 'other@example.com')}")
    assert (await visit(lab, "/", other)).status == 403
    claims = jwt.decode(lab.login(NAME, "you@example.com"), options={"verify_signature": False})
    assert claims["aud"] == [app["aud"]]
    assert lab.protected(NAME).aud == app["aud"]
    assert (await api("DELETE", f"{ACCESS}/apps/{app['id']}")).status == 202
    assert (await visit(lab)).status == 200


async def test_open_paths(lab: Lab, api: Client, site: str) -> None:
    """A path with an override is open, one segment for each `*`; whatever lies beside or below it is not."""
    overrides = [{"behavior": "public", "path_pattern": "/hooks/*"}]
    await application(api, ALLOW, destinations=[{"type": "public", "uri": NAME, "overrides": overrides}])
    for path, status in (("/hooks/x", 200), ("/hooks/x?y=/z", 200), ("/hooks/x/y", 302), ("/hooks", 302), ("/", 302)):
        assert (await visit(lab, path)).status == status, path


@pytest.mark.parametrize(
    ("include", "email", "passes"),
    [
        ({"email": {"email": "You@Example.com"}}, "you@example.com", True),
        ({"email_domain": {"domain": "example.com"}}, "any@example.com", True),
        ({"email_domain": {"domain": "example.com"}}, "any@notexample.com", False),
        ({"everyone": {}}, "any@other.com", True),
        ({"ip": {"ip": "127.0.0.0/8"}}, "any@other.com", True),
        ({"ip": {"ip": "192.0.2.0/24"}}, "any@other.com", False),
        ({"geo": {"country_code": "DE"}}, "any@other.com", False),
    ],
)
async def test_who_is_meant(lab: Lab, api: Client, site: str, include: Any, email: str, passes: bool) -> None:
    """An Allow policy means whom its rules name, after a login only."""
    await application(api, {"name": "p", "decision": "allow", "include": [include]})
    assert (await visit(lab)).status == 302
    cookie = ("Cookie", f"CF_Authorization={lab.login(NAME, email)}")
    assert (await visit(lab, "/", cookie)).status == (200 if passes else 403)


async def test_order_of_policies(lab: Lab, api: Client, site: str) -> None:
    """Block before Allow blocks, `exclude` and `require` narrow, and Bypass opens to whom it means without a login."""
    block = {"name": "b", "decision": "deny", "include": [{"email": {"email": "bad@example.com"}}], "precedence": 1}
    domain = [{"email_domain": {"domain": "example.com"}}]
    allow = {"name": "a", "decision": "allow", "include": domain, "precedence": 2}
    allow |= {"exclude": [{"email": {"email": "out@example.com"}}], "require": [{"ip": {"ip": "127.0.0.1"}}]}
    app = await application(api, allow, block)
    for name, status in (("bad", 403), ("out", 403), ("you", 200)):
        cookie = ("Cookie", f"CF_Authorization={lab.login(NAME, f'{name}@example.com')}")
        assert (await visit(lab, "/", cookie)).status == status, name
    bypass = {"name": "open", "decision": "bypass", "include": [{"everyone": {}}]}
    added = (await api("POST", f"{ACCESS}/apps/{app['id']}/policies", bypass)).result
    assert added["precedence"] == 3
    assert (await visit(lab)).status == 200
    await api("DELETE", f"{ACCESS}/apps/{app['id']}/policies/{added['id']}")
    assert (await visit(lab)).status == 302


async def test_machines_only(lab: Lab, api: Client, site: str) -> None:
    """Where only service tokens pass, others get 403, as JSON for who asks so, or 401 where the application says that."""
    token = await service_token(api)
    app = await application(api, auth_for(token))
    refused = await visit(lab)
    assert (refused.status, refused.header("cf-access-aud")) == (403, app["aud"])
    assert (await visit(lab, "/", ("Accept", "application/json"))).header("content-type") == "application/json"
    passed = await visit(lab, "/", *machine(token))
    assert passed.status == 200
    cookie = ("Cookie", passed.header("set-cookie").partition(";")[0])
    assert (await visit(lab, "/", cookie)).status == 200
    body = {"type": "self_hosted", "domain": NAME, "service_auth_401_redirect": True, "policies": app["policies"]}
    await api("PUT", f"{ACCESS}/apps/{app['id']}", body)
    assert (await visit(lab)).status == 401
    assert (await visit(lab, "/", cookie)).status == 200


async def test_scripts_are_told_401(lab: Lab, api: Client, site: str) -> None:
    """A script in a page gets 401 in the place of a redirect; the document that the header names is there for all."""
    await application(api, ALLOW)
    reply = await visit(lab, "/x", ("X-Requested-With", "XMLHttpRequest"))
    assert reply.status == 401
    path = reply.header("www-authenticate").partition(f"https://{NAME}")[2].rstrip('"')
    told = (await visit(lab, path)).json()
    assert (told["protected"], told["team_domain"]) == (True, "lab.cloudflareaccess.com")


async def test_strict_service_tokens(lab: Lab, api: Client, site: str) -> None:
    """In strict mode a pair that is not good is 401, a good one without a policy 403, and no cookie comes with a success."""
    await api("PUT", f"{ACCESS}/organizations", {"strict_service_token_auth": True})
    token, stranger = await service_token(api), await service_token(api, "other")
    await application(api, ALLOW, auth_for(token))
    passed = await visit(lab, "/", *machine(token))
    assert (passed.status, passed.header("set-cookie")) == (200, "")
    assert (await visit(lab, "/", *machine(token, "wrong"))).status == 401
    assert (await visit(lab, "/", *machine(token)[:1])).status == 401
    assert (await visit(lab, "/", *machine(token), *machine(token)[:1])).status == 401
    assert (await visit(lab, "/", *machine(stranger))).status == 403
    assert (await visit(lab)).status == 302


async def test_life_of_a_service_token(lab: Lab, api: Client, site: str) -> None:
    """A secret is shown once; a rotation ends it at once or in time; disabled and deleted tokens open nothing."""
    token = await service_token(api)
    assert token["client_id"].endswith(".access")
    path = f"{ACCESS}/service_tokens/{token['id']}"
    assert "client_secret" not in (await api("GET", path)).result
    app = await application(api, auth_for(token))
    fresh = (await api("POST", f"{path}/rotate")).result
    assert (await visit(lab, "/", *machine(token))).status == 403
    assert (await visit(lab, "/", *machine(fresh))).status == 200
    until = {"previous_client_secret_expires_at": "2999-01-01T00:00:00Z"}
    newer = (await api("POST", f"{path}/rotate", until)).result
    for pair in (fresh, newer):
        assert (await visit(lab, "/", *machine(pair))).status == 200
    raised = (await api("PUT", path, {"name": "ci", "client_secret_version": 9})).result
    assert (await visit(lab, "/", *machine(newer))).status == 403
    await api("PUT", path, {"name": "ci", "enabled": False})
    assert (await visit(lab, "/", *machine(raised))).status == 403
    assert (await api("DELETE", path)).refused == (400, 12130)
    await api("DELETE", f"{ACCESS}/apps/{app['id']}")
    assert (await api("DELETE", path)).result["id"] == token["id"]
    assert (await api("GET", f"{ACCESS}/service_tokens")).result == []


async def test_service_token_in_one_header(lab: Lab, api: Client, site: str) -> None:
    """An application may take both halves from one header."""
    token = await service_token(api)
    await application(api, auth_for(token), read_service_tokens_from_header="Authorization")
    pair = f'{{"cf-access-client-id":"{token["client_id"]}","cf-access-client-secret":"{token["client_secret"]}"}}'
    assert (await visit(lab, "/", ("Authorization", pair))).status == 200
    assert (await visit(lab, "/", ("Authorization", "{}"))).status == 403


async def test_reusable_policies(lab: Lab, api: Client, site: str) -> None:
    """A reusable policy serves by id and outlives an application; one of the application's own does not."""
    policy = (await api("POST", f"{ACCESS}/policies", ALLOW)).result
    assert (policy["reusable"], policy["app_count"]) == (True, 0)
    app = await application(api, {"id": policy["id"], "precedence": 1})
    assert [one["id"] for one in app["policies"]] == [policy["id"]]
    assert (await api("GET", f"{ACCESS}/policies/{policy['id']}")).result["app_count"] == 1
    assert (await api("DELETE", f"{ACCESS}/policies/{policy['id']}")).refused == (400, 12130)
    await api("DELETE", f"{ACCESS}/apps/{app['id']}")
    assert [one["id"] for one in (await api("GET", f"{ACCESS}/policies")).result] == [policy["id"]]
    await api("DELETE", f"{ACCESS}/policies/{policy['id']}")
    own = await application(api, ALLOW)
    assert own["policies"][0]["reusable"] is False
    assert (await api("GET", f"{ACCESS}/policies")).result == []


async def test_put_replaces(api: Client) -> None:
    """PUT takes back what it is given unchanged, and drops what it is not given."""
    app = await application(api, ALLOW, custom_deny_url="https://example.com")
    path = f"{ACCESS}/apps/{app['id']}"
    same = (await api("PUT", path, app)).result
    assert {key: value for key, value in same.items() if key != "updated_at"} == {
        key: value for key, value in app.items() if key != "updated_at"
    }
    bare = (await api("PUT", path, {"type": "self_hosted", "name": "n", "domain": NAME})).result
    assert (bare["aud"], bare["policies"], "custom_deny_url" in bare) == (app["aud"], [], False)


@pytest.mark.parametrize(
    "body",
    [
        {"type": "saas"},
        {"domain": "app.example.com"},
        {"domain": ""},
        {"session_duration": "soon"},
        {"policies": [{"id": "00000000-0000-4000-8000-000000000001"}]},
        {"policies": [{**ALLOW, "precedence": 1}, {**ALLOW, "precedence": 1}]},
        {"policies": [{**ALLOW, "decision": "maybe"}]},
        {"policies": [{**ALLOW, "include": []}]},
        {"policies": [{**ALLOW, "include": [{"sorcery": {}}]}]},
        {"policies": [{**ALLOW, "include": [{"service_token": {"token_id": "unknown"}}]}]},
        {"policies": [{**ALLOW, "include": [{"ip": {"ip": "nowhere"}}]}]},
    ],
)
async def test_bad_application(lab: Lab, api: Client, body: dict[str, Any]) -> None:
    """An application that cannot be is refused with 12130, and leaves nothing behind."""
    before = lab.account.exported()
    document = {"type": "self_hosted", "name": "n", "domain": NAME, "policies": [ALLOW], **body}
    assert (await api("POST", f"{ACCESS}/apps", document)).refused == (400, 12130)
    assert lab.account.exported() == before


async def test_applications_are_found(api: Client) -> None:
    """An application is found by domain, name and tag; a second one for its domain is refused, one for a path is not."""
    app = await application(api, ALLOW)
    for query in ({"domain": NAME, "exact": "true"}, {"name": "prx:"}, {"aud": app["aud"]}, {"search": "app.prx"}):
        assert [one["id"] for one in (await api("GET", f"{ACCESS}/apps", **query)).result] == [app["id"]]
    assert (await api("GET", f"{ACCESS}/apps", domain="prx.localhost", exact="true")).result == []
    twin = {"type": "self_hosted", "name": "twin", "domain": NAME}
    assert (await api("POST", f"{ACCESS}/apps", twin)).refused == (409, 12136)
    assert (await api("POST", f"{ACCESS}/apps", {**twin, "domain": f"{NAME}/admin"})).result["aud"] != app["aud"]
    assert (await api("GET", f"{ZONE}/access/apps/{app['id']}")).result["id"] == app["id"]
    unknown = "00000000-0000-4000-8000-000000000001"
    assert (await api("GET", f"{ACCESS}/apps/{unknown}")).refused == (404, 11021)


async def test_paths_and_wildcards(lab: Lab, api: Client, site: str) -> None:
    """An application stands before its path alone, the longest match has it, and a wildcard means every name below."""
    await application(api, ALLOW, domain=f"{NAME}/admin")
    assert [(await visit(lab, path)).status for path in ("/", "/admin", "/admin/x", "/administration")] == [200, 302, 302, 200]
    wide = await application(api, ALLOW, domain="*.prx.localhost")
    assert f"kid={wide['aud']}" in (await visit(lab, "/")).header("location")
    assert f"kid={wide['aud']}" not in (await visit(lab, "/admin")).header("location")


async def test_identity_providers(api: Client) -> None:
    """A new team has Cloudflare's own login only; the one-time PIN can be added once."""
    path = f"{ACCESS}/identity_providers"
    told = await api("GET", path)
    assert [one["type"] for one in told.result] == ["cloudflare"]
    assert (await api("GET", path, page="2")).result == []
    pin = {"type": "onetimepin", "name": "One-time PIN", "config": {}}
    made = (await api("POST", path, pin)).result
    assert (await api("POST", path, pin)).refused == (409, 12130)
    assert (await api("DELETE", f"{path}/{made['id']}")).result == {"id": made["id"]}


async def test_unmatched_requests(lab: Lab, api: Client, site: str) -> None:
    """An organization that denies what no application is for denies a fresh tunnel's name, unless its zone is exempted."""
    path = f"{ACCESS}/organizations"
    await api("PUT", path, {"deny_unmatched_requests": True})
    assert (await visit(lab)).status == 403
    await api("PUT", path, {"deny_unmatched_requests_exempted_zone_names": ["prx.localhost"]})
    assert (await visit(lab)).status == 200


async def test_revoked_sessions(lab: Lab, api: Client, site: str) -> None:
    """Revoking ends the sessions of an application."""
    app = await application(api, ALLOW)
    cookie = ("Cookie", f"CF_Authorization={lab.login(NAME, 'you@example.com')}")
    assert (await visit(lab, "/", cookie)).status == 200
    await api("POST", f"{ACCESS}/apps/{app['id']}/revoke_tokens")
    assert (await visit(lab, "/", cookie)).status == 302


async def test_not_switched_on(lab: Lab, api: Client) -> None:
    """While Zero Trust is not switched on every call of Access says so, and the others go on."""
    lab.account.enabled = False
    for path in ("organizations", "apps", "service_tokens", "identity_providers", "policies"):
        told = await api("GET", f"{ACCESS}/{path}")
        assert (told.refused, told.message) == ((403, 9999), "access.api.error.not_enabled")
    assert (await api("GET", "/zones")).result
