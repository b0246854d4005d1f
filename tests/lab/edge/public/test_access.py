"""The Access front: who passes, what strangers get, and what the app behind it can verify."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator

import httpx2
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509 import load_pem_x509_certificate
from jwt.algorithms import RSAAlgorithm
from tests.lab.edge.connector import registered, respond
from tests.support.wire import Reply, get

from prx.access.claims import AccessDeniedError
from prx.access.verify import AccessVerifier
from prx.lab import AccessFront, Lab, LabConfig, Protected
from prx.lab.events import LabEvent, RequestServed
from prx.lab.protocol.h2.stream import H2Stream
from prx.runtime.probes.access import access_answer

RIGHT = [("CF-Access-Client-Id", "id.access"), ("CF-Access-Client-Secret", "s3cret")]
WRONG = [("CF-Access-Client-Id", "id.access"), ("CF-Access-Client-Secret", "other")]
FRONT = AccessFront("id.access", "s3cret")


async def mirror(stream: H2Stream) -> None:
    """Answer with the request's headers as the app sees them."""
    body = json.dumps([(name.decode(), value.decode()) for name, value in stream.headers]).encode()
    await respond(stream, 200, [(b"Content-Length", b"%d" % len(body))], body)


@pytest.fixture
async def app(lab: Lab) -> AsyncIterator[Protected]:
    """A protected app that mirrors what it sees."""
    async with registered(lab, lab.token("web"), answer=mirror):
        yield lab.protect("web", FRONT)


def seen(reply: Reply) -> dict[str, list[str]]:
    """What the app saw: every header with all of its values."""
    found: dict[str, list[str]] = {}
    for name, value in json.loads(reply.body):
        found.setdefault(name, []).append(value)
    return found


def verifier_of(app: Protected) -> AccessVerifier:
    """Verify as an app behind the lab does."""
    return AccessVerifier(app.team, app.aud, certs_url=app.certs_url)


async def test_stranger_is_sent_to_the_login(lab: Lab, app: Protected, events: list[LabEvent]) -> None:
    """A stranger gets a redirect to the team's login, and so does a wrong service token."""
    for headers in ([], WRONG, RIGHT[:1], [("Cookie", "CF_Authorization=a.b.c")]):
        reply = await get(lab, "web.localhost", "/a?b=c", headers=headers)
        assert reply.status == 302
        place, _, meta = reply.header("location").partition("&meta=")
        assert place == (
            f"https://lab.cloudflareaccess.com/cdn-cgi/access/login/web.localhost?kid={app.aud}&redirect_url=%2Fa%3Fb%3Dc"
        )
        told = jwt.decode(meta, options={"verify_signature": False})
        assert (told["type"], told["aud"], told["hostname"]) == ("meta", app.aud, "web.localhost")
        assert told["redirect_url"] == "/a?b=c"
        session = r"CF_AppSession=n[0-9a-f]{16}; Expires=.* GMT; Path=/; Secure; HttpOnly"
        assert re.fullmatch(session, reply.header("set-cookie"))
        assert (reply.header("www-authenticate"), reply.header("server")) == (
            'Cloudflare-Access resource_metadata="https://web.localhost/.well-known/cloudflare-access-protected-resource/a"',
            "cloudflare",
        )
        assert reply.header("cf-ray")
        assert access_answer(reply.status, reply.headers) is not None
    assert {event.source for event in events if isinstance(event, RequestServed)} == {"access"}


async def test_stranger_is_forbidden(lab: Lab, app: Protected) -> None:
    """Where only service tokens pass, a stranger gets Access's own 403, which differs from an app's by header and by title."""
    lab.protect("web", AccessFront("id.access", "s3cret", deny="forbidden"))
    reply = await get(lab, "web.localhost", headers=WRONG)
    assert (reply.status, reply.header("cf-access-aud"), reply.header("cf-access-domain")) == (403, app.aud, "web.localhost")
    assert access_answer(403, reply.headers) is not None
    assert access_answer(403, [], reply.body) is not None


async def test_service_token(lab: Lab, app: Protected) -> None:
    """The right service token passes; the app can verify whose it was, and the token itself stays at the edge."""
    reply = await get(lab, "web.localhost", headers=[*RIGHT, ("Cookie", "a=b")])
    headers = seen(reply)
    (token,) = headers["cf-access-jwt-assertion"]
    assert headers["cookie"] == [f"a=b; CF_Authorization={token}"]
    assert not headers.keys() & {"cf-access-client-id", "cf-access-client-secret", "cf-access-authenticated-user-email"}
    identity = await asyncio.to_thread(verifier_of(app).verify, token)
    assert (identity.kind, identity.common_name, identity.subject, identity.email) == ("service", "id.access", "", "")
    cookie = reply.header("set-cookie").partition(";")[0]
    assert (await get(lab, "web.localhost", headers=[("Cookie", cookie)])).status == 200


async def test_person(lab: Lab, app: Protected) -> None:
    """Who has logged in passes with the cookie; the app can verify who it is, whatever else the visitor claims."""
    token = lab.login("web", "ada@example.com")
    forged = [("Cf-Access-Jwt-Assertion", "x.y.z"), ("Cf-Access-Authenticated-User-Email", "root@example.com")]
    reply = await get(lab, "web.localhost", headers=[("Cookie", f"CF_Authorization={token}"), *forged])
    headers = seen(reply)
    assert headers["cf-access-jwt-assertion"] == [token]
    assert headers["cf-access-authenticated-user-email"] == ["ada@example.com"]
    identity = await asyncio.to_thread(verifier_of(app).verify_request, {"Cf-Access-Jwt-Assertion": token})
    assert (identity.kind, identity.email, identity.common_name) == ("person", "ada@example.com", "")
    assert identity.subject


async def test_rotation(lab: Lab, app: Protected) -> None:
    """A verifier takes tokens of the new key and of the one before, and refuses those of a key that is withdrawn."""
    uptime = 0.0
    verifier = AccessVerifier(app.team, app.aud, certs_url=app.certs_url, clock=lambda: uptime)
    first = lab.login("web", "ada@example.com")
    await asyncio.to_thread(verifier.verify, first)
    lab.rotate_keys()
    second = lab.login("web", "ada@example.com")
    uptime = 61.0  # it asks for keys once a minute at most
    for token in (second, first):
        assert (await asyncio.to_thread(verifier.verify, token)).email == "ada@example.com"
        assert (await get(lab, "web.localhost", headers=[("Cookie", f"CF_Authorization={token}")])).status == 200
    lab.rotate_keys()
    uptime = 3700.0
    assert (await get(lab, "web.localhost", headers=[("Cookie", f"CF_Authorization={first}")])).status == 302
    await asyncio.to_thread(verifier.verify, second)
    with pytest.raises(AccessDeniedError, match="does not have"):
        await asyncio.to_thread(verifier.verify, first)


async def test_keys_are_published_in_both_places(lab: Lab, app: Protected) -> None:
    """The protected name and the control endpoint publish the same keys, and no private part."""
    lab.rotate_keys()
    reply = await get(lab, "web.localhost", "/cdn-cgi/access/certs")
    async with httpx2.AsyncClient(trust_env=False) as client:
        assert (await client.get(app.certs_url)).json() == reply.json()
    assert [sorted(key) for key in reply.json()["keys"]] == [["alg", "e", "kid", "kty", "n", "use"]] * 2
    document = reply.json()
    assert document["public_cert"] == document["public_certs"][0]
    for key, entry in zip(document["keys"], document["public_certs"], strict=True):
        public = load_pem_x509_certificate(entry["cert"].encode()).public_key()
        assert isinstance(public, RSAPublicKey)
        assert (entry["kid"], json.loads(RSAAlgorithm.to_jwk(public))["n"]) == (key["kid"], key["n"])


async def test_who_is_logged_in(lab: Lab, app: Protected) -> None:
    """`get-identity` says who has logged in, and 400 of a stranger; `logout` takes the cookies back; no other path is there."""
    path = "/cdn-cgi/access/get-identity"
    cookie = [("Cookie", f"CF_Authorization={lab.login('web', 'ada@example.com')}")]
    assert (await get(lab, "web.localhost", path, headers=cookie)).json()["email"] == "ada@example.com"
    passed = (await get(lab, "web.localhost", headers=RIGHT)).header("set-cookie").partition(";")[0]
    assert (await get(lab, "web.localhost", path, headers=[("Cookie", passed)])).json()["common_name"] == "id.access"
    stranger = await get(lab, "web.localhost", path)
    assert (stranger.status, stranger.json()) == (400, {"err": "no app token set"})
    left = await get(lab, "web.localhost", "/cdn-cgi/access/logout", headers=cookie)
    assert [value.partition("=")[0] for name, value in left.headers if name == "Set-Cookie"] == [
        "CF_Authorization",
        "CF_AppSession",
    ]
    assert (await get(lab, "web.localhost", "/cdn-cgi/access/nonsense", headers=cookie)).status == 404
    lab.unprotect("web")
    assert (await get(lab, "web.localhost", path)).status == 404


async def test_token_for_the_login_opens_nothing(lab: Lab, app: Protected) -> None:
    """The token that a redirect carries is no login, though the same key has signed it."""
    meta = (await get(lab, "web.localhost")).header("location").partition("&meta=")[2]
    assert (await get(lab, "web.localhost", headers=[("Cookie", f"CF_Authorization={meta}")])).status == 302


async def test_token_of_another_name(lab: Lab, app: Protected) -> None:
    """A login at one name opens no other, and the app's verifier refuses its token too."""
    lab.protect("other", FRONT)
    token = lab.login("other", "ada@example.com")
    assert (await get(lab, "web.localhost", headers=[("Cookie", f"CF_Authorization={token}")])).status == 302
    with pytest.raises(AccessDeniedError, match="another application"):
        await asyncio.to_thread(verifier_of(app).verify, token)


async def test_session_ends() -> None:
    """A login is good for as long as the front says."""
    now = 1_800_000_000.0
    async with Lab.start(LabConfig(wall=lambda: now)) as lab, registered(lab, lab.token("web"), answer=mirror):
        lab.protect("web", AccessFront(session_seconds=60))
        cookie = [("Cookie", f"CF_Authorization={lab.login('web', 'ada@example.com')}")]
        assert (await get(lab, "web.localhost", headers=cookie)).status == 200
        now += 60
        assert (await get(lab, "web.localhost", headers=cookie)).status == 302


async def test_without_a_front(lab: Lab, app: Protected) -> None:
    """An unprotected name is open, and gives no login."""
    lab.unprotect("web")
    assert "cf-access-jwt-assertion" not in seen(await get(lab, "web.localhost"))
    with pytest.raises(LookupError, match=r"web\.localhost is not protected"):
        lab.login("web", "ada@example.com")


async def test_over_the_control_endpoint(lab: Lab, app: Protected) -> None:
    """Another process can protect a name, log a person in and rotate the keys."""
    async with httpx2.AsyncClient(base_url=lab.control, trust_env=False) as client:
        told = (await client.post("/protect", json={"hostname": "web", "aud": "a" * 64})).json()
        assert (told["aud"], told["certs_url"]) == ("a" * 64, app.certs_url)
        token = (await client.post("/login", json={"hostname": "web", "email": "ada@example.com"})).json()["token"]
        assert len((await client.post("/rotate-keys", json={})).json()["keys"]) == 2
        verifier = AccessVerifier(told["team"], told["aud"], certs_url=told["certs_url"])
        assert (await asyncio.to_thread(verifier.verify, token)).email == "ada@example.com"
        assert (await client.post("/login", json={"hostname": "nobody", "email": "a"})).status_code == 404
