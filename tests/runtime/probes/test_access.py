"""Service tokens go to one host only, and Access's own answers are recognised."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from prx.access.verify import REFUSAL
from prx.core.errors import UsageError
from prx.runtime.probes.access import (
    AccessAnswer,
    ServiceToken,
    access_answer,
    probe_headers,
    service_token,
)
from prx.secrets.value import Secret

TOKEN = ServiceToken("abc.access", Secret("service-canary"))
QUICK = "https://login.trycloudflare.com/authorize?hostname=a-b-c.trycloudflare.com&state=AAAA"
LOGIN = "https://my-team.cloudflareaccess.com/cdn-cgi/access/login/app.example.com?kid=1&redirect_url=%2F"


def test_a_token_has_both_parts_or_none() -> None:
    """Half a token is an error in words, without the half."""
    assert service_token("", Secret("")) is None
    assert service_token("abc.access", Secret("service-canary")) == TOKEN
    for parts in (("abc.access", Secret("")), ("", Secret("service-canary"))):
        with pytest.raises(UsageError, match=r"is set, .* is not") as caught:
            service_token(*parts)
        assert "canary" not in caught.value.message


@pytest.mark.parametrize("value", ["a b", "a\r\nX-Evil: 1", "ä", "tab\t"])
def test_what_fits_into_no_header_is_refused(value: str) -> None:
    """No header can be injected through a variable, and the value is not shown."""
    for parts in ((value, Secret("x")), ("x", Secret(value))):
        with pytest.raises(UsageError) as caught:
            service_token(*parts)
        assert value not in caught.value.message


@pytest.mark.parametrize(
    "url",
    [
        "https://app.example.com",
        "https://app.example.com/health?x=1",
        "https://APP.example.com/",
        "https://app.example.com:8443/",
    ],
)
def test_the_token_goes_to_the_configured_host(url: str) -> None:
    """Over https, to that name."""
    headers = probe_headers(TOKEN, url, "App.Example.com")
    assert headers == {"CF-Access-Client-Id": "abc.access", "CF-Access-Client-Secret": "service-canary"}


@pytest.mark.parametrize(
    "url",
    [
        "http://app.example.com/",
        "https://app.example.com.evil.example/",
        "https://evil.example/app.example.com",
        "https://app.example.com@evil.example/",
        "https://user@app.example.com/",
        "https://sub.app.example.com/",
        "https://example.com/",
        "ws://app.example.com/",
        "app.example.com",
        "",
    ],
)
def test_the_token_goes_nowhere_else(url: str) -> None:
    """Other hosts, look-alikes and plain http get nothing."""
    assert probe_headers(TOKEN, url, "app.example.com") == {}


def test_the_lab_may_be_plain_http() -> None:
    """On this machine's own names and addresses only, and still only on the configured one."""
    for host in ("127.0.0.1", "localhost", "app.localhost"):
        assert probe_headers(TOKEN, f"http://{host}:8080/", host)
    assert probe_headers(TOKEN, "http://[::1]:80/", "::1")
    assert probe_headers(TOKEN, "http://other.localhost/", "app.localhost") == {}
    assert probe_headers(TOKEN, "http://192.168.1.2/", "192.168.1.2") == {}
    assert probe_headers(None, "https://app.example.com", "app.example.com") == {}
    assert probe_headers(TOKEN, "https://", "") == {}


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (302, {"Location": LOGIN}, b""),
        (302, [("location", LOGIN)], b""),
        (307, {"location": LOGIN}, b""),
        (302, {"Location": "http://127.0.0.1:9000/cdn-cgi/access/login/app.localhost"}, b""),
        (403, {"cf-access-aud": "abc", "cf-access-domain": "app.example.com"}, b""),
        (401, {"WWW-Authenticate": 'Cloudflare-Access resource_metadata="https://app.example.com/"'}, b""),
        (403, {}, "<!doctype html>\n<html>\n  <head>\n    <title>Error ・ Cloudflare Access</title>".encode()),
        (401, {}, "<html><head><title>Sign in ・ Cloudflare Access</title>".encode()),
        (302, {"Location": QUICK}, b""),
        (302, {"Location": "http://login.trycloudflare.localhost:8080/authorize?state=s&hostname=a.localhost"}, b""),
    ],
)
def test_an_answer_of_access_is_recognised(status: int, headers: Any, body: bytes) -> None:
    """Its redirect to the login, and its own refusals."""
    assert access_answer(status, headers, body) is not None


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (200, {"cf-access-aud": "abc"}, b"<title>x Cloudflare Access</title>"),
        (200, {"Location": LOGIN}, b""),
        (302, {}, b""),
        (302, {"Location": "/login"}, b""),
        (302, {"Location": "https://app.example.com/cdn-cgi/access/login"}, b""),
        (302, {"Location": "https://evilcloudflareaccess.com/cdn-cgi/access/login"}, b""),
        (302, {"Location": "https://my-team.cloudflareaccess.com.evil.example/cdn-cgi/access/login"}, b""),
        (302, {"Location": "https://my-team.cloudflareaccess.com/other"}, b""),
        (302, {"Location": "http://my-team.cloudflareaccess.com/cdn-cgi/access/login/"}, b""),
        (302, {"Location": "https://[broken"}, b""),
        (302, {"Location": QUICK.replace("https", "http")}, b""),
        (302, {"Location": QUICK.replace(".com/", ".com.evil.example/")}, b""),
        (302, {"Location": "https://login.trycloudflare.com/authorize"}, b""),
        (302, {"Location": "http://localhost:3000/authorize?hostname=a&state=b"}, b""),
        (401, {"WWW-Authenticate": 'Bearer resource_metadata="https://a.example/.well-known/oauth-protected-resource"'}, b""),
        (403, {"server": "cloudflare", "cf-ray": "1"}, b"<html>403 Forbidden nginx"),
        (403, {}, REFUSAL),
        (404, {}, b"<title>x Cloudflare Access</title>"),
        (403, {}, b"<title>My app</title> only through Cloudflare Access"),
        (530, {"cf-access-aud": "abc"}, b""),
        (403, {}, b"x" * 20_000 + b"<title>x Cloudflare Access</title>"),
    ],
)
def test_an_answer_of_the_app_is_not_taken_for_access(status: int, headers: Any, body: bytes) -> None:
    """The app's own redirects and refusals stay its own, those of our middleware too."""
    assert access_answer(status, headers, body) is None


def test_the_token_is_not_shown() -> None:
    """Printing a service token shows its id only."""
    assert "canary" not in repr(TOKEN)


def test_probing_loads_no_jwt_library() -> None:
    """Who only probes pays nothing for verification."""
    code = "import sys, prx.runtime.probes.access; print([m for m in ('jwt', 'cryptography', 'httpx2') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


AUD = {"cf-access-aud": "abc", "cf-access-domain": "app.example.com"}
CHALLENGE = {"WWW-Authenticate": 'Cloudflare-Access resource_metadata="https://x/.well-known/y"'}
METADATA = "https://app.example.com/.well-known/oauth-protected-resource"
BEARER = {"WWW-Authenticate": f'Bearer realm="OAuth", resource_metadata="{METADATA}"'}
PAGE = "<title>Forbidden ・ Cloudflare Access</title>".encode()


@pytest.mark.parametrize(
    ("status", "headers", "body", "sent", "expected"),
    [
        (302, {"Location": LOGIN}, b"", False, AccessAnswer.LOGIN),
        (302, {"Location": LOGIN}, b"", True, AccessAnswer.LOGIN),
        (302, {"Location": QUICK}, b"", False, AccessAnswer.QUICK_LOGIN),
        (401, AUD, b"", True, AccessAnswer.TOKEN_WRONG),
        (401, CHALLENGE, b"", True, AccessAnswer.TOKEN_WRONG),
        (401, AUD, b"", False, AccessAnswer.UNAUTHENTICATED),
        (401, CHALLENGE, b"", False, AccessAnswer.UNAUTHENTICATED),
        (401, AUD | BEARER, b"", False, AccessAnswer.OAUTH),
        (401, AUD | BEARER, b"", True, AccessAnswer.TOKEN_WRONG),
        (403, AUD, PAGE, True, AccessAnswer.NO_POLICY),
        (403, AUD, PAGE, False, AccessAnswer.FORBIDDEN),
        (403, {}, PAGE, False, AccessAnswer.UNMATCHED),
        (403, {}, PAGE, True, AccessAnswer.UNMATCHED),
        (401, BEARER, b"", False, None),
        (401, {"WWW-Authenticate": "Basic realm=x"}, b"", True, None),
        (403, {}, b"<title>Forbidden</title>", True, None),
        (500, AUD, PAGE, True, None),
    ],
)
def test_which_answer_it_is(
    status: int, headers: dict[str, str], body: bytes, sent: bool, expected: AccessAnswer | None
) -> None:
    """What was sent and what came back tell what would get through: a right pair, a policy, an application, a person."""
    assert access_answer(status, headers, body, sent_token=sent) is expected
    assert (access_answer(status, headers, body) is not None) is (expected is not None)
