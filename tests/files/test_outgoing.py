"""What the environment says to HTTP clients, and what is said when no answer comes: in words, at every place that asks."""

from __future__ import annotations

import asyncio
import io
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trustme
from tests.support.threads import in_thread

from prx.cloudflare_api.client import Call, Client
from prx.cloudflare_api.errors import LostAnswerError, UnreachableError
from prx.cloudflare_api.oauth import exchange
from prx.cloudflare_api.rights import Right
from prx.core.errors import PrxError, UsageError
from prx.files.outgoing import failure_words, making_client, trust_hint
from prx.install.fetch import Bounds, fetch
from prx.secrets.value import Secret

NOWHERE = "https://192.0.2.1:9"  # RFC 5737: no machine has this address; nothing is sent to it here


def ask_the_api() -> None:
    """Make the client of Cloudflare's API."""
    Client(Secret("t" * 40), base=f"{NOWHERE}/client/v4").request(Call("GET", "/zones", "ask", Right.ZONE_READ))


def sign_in() -> None:
    """Make the client of the sign-in."""
    exchange(NOWHERE, {"client_id": "x"}, now=lambda: 0.0)


def download() -> None:
    """Make the client of the installation."""
    asyncio.run(fetch(f"{NOWHERE}/x", io.BytesIO(), bounds=Bounds(), progress=lambda *_: None))


CLIENTS: list[Callable[[], None]] = [ask_the_api, sign_in, download]


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(
    "environ",
    [
        {"ALL_PROXY": "socks5://127.0.0.1:1080"},
        {"HTTPS_PROXY": "socks5h://127.0.0.1:1080"},
        {"HTTPS_PROXY": "ftp://proxy:21"},
        {"HTTPS_PROXY": "http://[::1"},
        {"all_proxy": "http://proxy:port"},
    ],
)
def test_a_proxy_that_cannot_be_one_is_for_the_user_to_repair(
    client: Callable[[], None], environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every client says so in words, with the variables that name a proxy."""
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError) as caught:
        client()
    assert "HTTPS_PROXY or ALL_PROXY" in caught.value.message


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(("content", "why"), [(None, "no such file"), ("", "holds no certificate"), ("x", "no certificate")])
def test_authorities_that_cannot_be_read_are_no_full_disk(
    client: Callable[[], None], content: str | None, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every client names SSL_CERT_FILE and the file; it was a traceback, or a folder that could not be written."""
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
        file.chmod(0o600)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    with pytest.raises(UsageError) as caught:
        client()
    assert (f"SSL_CERT_FILE={file}" in caught.value.message, why in caught.value.message) == (True, True)


@pytest.mark.parametrize("client", CLIENTS)
def test_authorities_that_others_can_change_are_not_trusted(
    client: Callable[[], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token that is sent to whom they name would be theirs."""
    file = tmp_path / "ca.pem"
    file.write_bytes(trustme.CA().cert_pem.bytes())
    file.chmod(0o666)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    with pytest.raises(PrxError) as caught:
        client()
    assert str(file) in caught.value.message


def test_other_mistakes_pass_through() -> None:
    """What is not of the environment is not said to be."""
    for error in (
        RuntimeError("x"),
        KeyError("x"),
        OSError(24, "too many open files"),
        UnicodeEncodeError("a", "b", 0, 1, "c"),
    ):
        with pytest.raises(type(error)), making_client():
            raise error


@contextmanager
def serving(certificate: trustme.LeafCert | None) -> Iterator[str]:
    """Serve over TLS, or in plain HTTP; yield the address as one of https."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST = answer  # noqa: N815 - the base class's names

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: Any) -> None:
            """Pass over a client that does not trust it."""

    server = Server(("127.0.0.1", 0), Handler)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    with in_thread(server):
        yield f"https://127.0.0.1:{server.server_address[1]}"


AUTHORITY = trustme.CA()
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
UNTRUSTED = {
    "another authority": (trustme.CA().issue_cert("127.0.0.1"), "the certificate is not trusted", True),
    "another name": (AUTHORITY.issue_cert("other.example"), "the certificate is not trusted", True),
    "ended": (AUTHORITY.issue_cert("127.0.0.1", not_after=LONG_AGO), "the certificate is not trusted", True),
    "no TLS": (None, "TLS fails: ", False),
}


@pytest.mark.parametrize("case", UNTRUSTED)
def test_what_tls_finds_wrong_is_said(case: str) -> None:
    """A proxy that inspects traffic, and a wrong clock, are not "operation not permitted", nor an unknown failure."""
    certificate, words, is_trust = UNTRUSTED[case]
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    with (
        serving(certificate) as url,
        httpx2.Client(verify=context, trust_env=False) as client,
        pytest.raises(httpx2.ConnectError) as caught,
    ):
        client.get(url)
    assert failure_words(caught.value).startswith(words)
    assert ("SSL_CERT_FILE" in trust_hint(caught.value)) is is_trust


def test_each_client_says_it() -> None:
    """The API, the sign-in and the installation name the cause, and what helps."""
    with serving(UNTRUSTED["another authority"][0]) as url:
        calls: list[Callable[[], Any]] = [
            lambda: Client(Secret("t" * 40), base=url, patient=False).request(Call("GET", "/", "ask", Right.ZONE_READ)),
            lambda: exchange(url, {"client_id": "x"}, now=lambda: 0.0),
            lambda: asyncio.run(fetch(url, io.BytesIO(), bounds=Bounds(), progress=lambda *_: None)),
        ]
        for call in calls:
            with pytest.raises(PrxError) as caught:
                call()
            assert "the certificate is not trusted" in caught.value.message
            assert "SSL_CERT_FILE" in caught.value.hint


@pytest.mark.parametrize(("method", "kind"), [("GET", UnreachableError), ("PUT", LostAnswerError), ("POST", LostAnswerError)])
def test_an_answer_that_cannot_be_decoded_is_no_answer(method: str, kind: type[Exception]) -> None:
    """A broken proxy says gzip and sends something else: no traceback, and of a create it is not known whether it was done."""

    class Garbled(httpx2.BaseTransport):
        def handle_request(self, request: httpx2.Request) -> httpx2.Response:
            stream = httpx2.ByteStream(b"no gzip!")
            return httpx2.Response(200, headers={"Content-Encoding": "gzip"}, stream=stream)

    with Client(Secret("t" * 40), transport=Garbled(), sleep=lambda _: None) as client, pytest.raises(kind):
        client.request(Call(method, "/zones", "ask", Right.ZONE_READ))
