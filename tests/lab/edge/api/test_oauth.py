"""Sign-in by browser: code, PKCE, scopes, and the tokens that come of it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from tests.lab.edge.api.client import RECORDS, TUNNELS, Client, calling

from prx.lab import Lab, LabConfig

REDIRECT = "http://127.0.0.1:47831/callback"
VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()


class Browser:
    """A program that signs in."""

    def __init__(self, lab: Lab, http: httpx2.AsyncClient) -> None:
        self.lab = lab
        self.http = http

    async def ask(self, *, accept: str = "*/*", **changes: str) -> httpx2.Response:
        """Ask for a code."""
        query = {
            "response_type": "code",
            "client_id": "prx-lab",
            "redirect_uri": REDIRECT,
            "scope": "argotunnel.write dns.write",
            "state": "s1",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
            **changes,
        }
        wanted = {key: value for key, value in query.items() if value}
        return await self.http.get("/oauth2/auth", params=wanted, headers={"Accept": accept})

    async def brought(self, **changes: str) -> dict[str, str]:
        """Return what the redirect carries."""
        answer = await self.ask(**changes)
        assert answer.status_code == 302, answer.text
        place = urlsplit(answer.headers["location"])
        assert place._replace(query="").geturl() == REDIRECT
        return {key: values[0] for key, values in parse_qs(place.query).items()}

    async def trade(self, **form: str) -> tuple[int, dict[str, Any]]:
        """Ask for tokens."""
        whole = {"client_id": "prx-lab", "redirect_uri": REDIRECT, "code_verifier": VERIFIER, **form}
        answer = await self.http.post("/oauth2/token", data=whole)
        return answer.status_code, answer.json()

    async def signed_in(self, **changes: str) -> dict[str, Any]:
        """Sign in and give the tokens."""
        brought = await self.brought(**changes)
        status, told = await self.trade(grant_type="authorization_code", code=brought["code"])
        assert status == 200, told
        return told


@pytest.fixture
async def browser(lab: Lab) -> AsyncIterator[Browser]:
    """A browser before the lab's sign-in."""
    async with httpx2.AsyncClient(base_url=lab.account.oauth.base, trust_env=False) as http:
        yield Browser(lab, http)


async def test_sign_in(lab: Lab, browser: Browser) -> None:
    """A code is traded once for a token with the permissions of the scopes that were granted, and no others."""
    brought = await browser.brought()
    assert brought["state"] == "s1"
    _, told = await browser.trade(grant_type="authorization_code", code=brought["code"])
    assert (told["scope"], told["expires_in"], "refresh_token" in told) == ("argotunnel.write dns.write", 3600, False)
    assert (await browser.trade(grant_type="authorization_code", code=brought["code"]))[1]["error"] == "invalid_grant"
    async with calling(lab, told["access_token"]) as client:
        assert (await client("GET", TUNNELS)).result == []
        assert (await client("GET", RECORDS)).result == []
        assert (await client("GET", "/zones")).refused == (403, 10000)
        assert (await client("GET", "/user/tokens/verify")).refused == (401, 1000)
        assert (await client("GET", "/user")).result["email"]


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge": ""}, "invalid_request"),
        ({"scope": "everything.write"}, "invalid_scope"),
        ({"decision": "deny"}, "access_denied"),
    ],
)
async def test_refused_request(browser: Browser, changes: dict[str, str], error: str) -> None:
    """What may not be asked for, or is declined, comes back as an error with the state."""
    brought = await browser.brought(**changes)
    assert (brought["error"], brought["state"], "code" in brought) == (error, "s1", False)


@pytest.mark.parametrize("changes", [{"client_id": "other"}, {"redirect_uri": "http://127.0.0.1:47831/callback/"}])
async def test_nobody_is_sent_elsewhere(browser: Browser, changes: dict[str, str]) -> None:
    """An unknown client and an address that is not registered to the letter are answered on the spot."""
    assert (await browser.ask(**changes)).status_code == 400


@pytest.mark.parametrize(
    "form", [{"code_verifier": "w" * 43}, {"redirect_uri": "http://127.0.0.1:47832/callback"}, {"client_id": "second"}]
)
async def test_code_of_another(lab: Lab, browser: Browser, form: dict[str, str]) -> None:
    """A code is good for its own verifier, redirect and client alone, and is used up by the try."""
    lab.account.oauth_clients.register({"client_id": "second", "redirect_uris": [REDIRECT]})
    code = (await browser.brought())["code"]
    for changed in (form, {}):
        status, told = await browser.trade(grant_type="authorization_code", code=code, **changed)
        assert (status, told["error"]) == (400, "invalid_grant")


async def test_no_scope_is_no_permission(lab: Lab, browser: Browser) -> None:
    """Without a scope a token may do nothing; scopes may be declined one by one."""
    told = await browser.signed_in(scope="")
    async with calling(lab, told["access_token"]) as client:
        assert (await client("GET", TUNNELS)).refused == (403, 10000)
    assert (await browser.signed_in(decline="dns.write"))["scope"] == "argotunnel.write"


async def test_refresh_and_revoke(lab: Lab, browser: Browser) -> None:
    """With `offline_access` a token can be renewed, each refresh token once; a revoked one is good for nothing."""
    told = await browser.signed_in(scope="argotunnel.read offline_access")
    _, renewed = await browser.trade(grant_type="refresh_token", refresh_token=told["refresh_token"])
    assert renewed["access_token"] != told["access_token"]
    assert (await browser.trade(grant_type="refresh_token", refresh_token=told["refresh_token"]))[0] == 400
    await browser.http.post("/oauth2/revoke", data={"token": renewed["access_token"]})
    async with calling(lab, renewed["access_token"]) as client:
        assert (await client("GET", TUNNELS)).refused == (403, 9109)


async def test_offline_needs_the_grant(lab: Lab, browser: Browser) -> None:
    """`offline_access` is refused outright for a client without the grant `refresh_token`."""
    grants = ["authorization_code"]
    lab.account.oauth_clients.register({"client_id": "second", "redirect_uris": [REDIRECT], "grant_types": grants})
    assert (await browser.brought(client_id="second", scope="dns.write offline_access"))["error"] == "invalid_scope"


async def test_token_ends() -> None:
    """A token is good for as long as the answer says; then it is no valid token any more."""
    now = 1_800_000_000.0
    async with Lab.start(LabConfig(wall=lambda: now)) as lab:
        lab.account.grants.lifetime = 60
        async with httpx2.AsyncClient(base_url=lab.account.oauth.base, trust_env=False) as http:
            told = await Browser(lab, http).signed_in()
        assert told["expires_in"] == 60
        now += 60
        async with calling(lab, told["access_token"]) as client:
            assert (await client("GET", TUNNELS)).refused == (403, 9109)


async def test_person_is_asked(browser: Browser) -> None:
    """A browser is shown who asks for what, with links to allow and to deny."""
    page = await browser.ask(accept="text/html,*/*")
    assert page.status_code == 200
    assert "argotunnel.write" in page.text
    allow = page.text.partition('href="')[2].partition('"')[0].replace("&amp;", "&")
    answer = await browser.http.get(allow, headers={"Accept": "text/html", "Sec-Fetch-Site": "same-origin"})
    assert answer.headers["location"].startswith(f"{REDIRECT}?code=")


async def test_registration(api: Client) -> None:
    """A client is registered by the API, with web addresses only; the scopes are listed."""
    path = TUNNELS.replace("cfd_tunnel", "oauth_clients")
    made = (await api("POST", path, {"client_name": "mine", "redirect_uris": ["http://127.0.0.1:1/cb"]})).result
    assert (await api("GET", f"{path}/{made['client_id']}")).result == made
    assert (await api("POST", path, {"redirect_uris": ["myapp:callback"]})).refused == (400, 12001)
    await api("DELETE", f"{path}/{made['client_id']}")
    assert (await api("GET", f"{path}/{made['client_id']}")).refused == (404, 12002)
    assert {"name": "argotunnel.write"} in (await api("GET", "/oauth/scopes")).result


async def test_discovery(lab: Lab, browser: Browser) -> None:
    """Discovery names the endpoints."""
    told = (await browser.http.get("/.well-known/openid-configuration")).json()
    assert told["token_endpoint"] == f"{lab.account.oauth.base}/oauth2/token"
