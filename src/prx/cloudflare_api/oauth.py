"""Sign in by browser: OAuth 2 authorization code with PKCE (RFC 6749, 7636, 8252), the answer on a loopback redirect.

Cloudflare lets every account register a client since 2026-06-03; a command line is a public one: no secret, S256 required. The
redirect must equal a registered one, so the ports are fixed. Without `scope` a token may do nothing; the answer says which were
granted. (developers.cloudflare.com/fundamentals/oauth.)
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import html
import json
import secrets
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, Final
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2

from prx.cloudflare_api.client import require_safe
from prx.config.this_machine import is_this_machine
from prx.core.errors import CredentialError, NotReadyError, PrxError, shortage
from prx.core.parsing import parse_json
from prx.core.shortage import lack_behind
from prx.files.outgoing import failure_words, making_client, trust_hint
from prx.secrets.value import Secret

DASH: Final = "https://dash.cloudflare.com"
PORTS: Final = (47831, 47832, 47833)
CALLBACK: Final = "/callback"
SCOPES: Final = ("argotunnel.write", "zone.read", "dns.write", "access-acct.write", "zone-access.write")
OFFLINE: Final = "offline_access"  # granted only to a client that was registered with refresh tokens, refused outright else
_EARLY: Final = 60.0  # seconds before its end in which a token is renewed already
_LIMIT: Final = 64 << 10


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a sign-in gives. expires_at: seconds since 1970; scope: what was granted."""

    access: Secret
    refresh: Secret
    expires_at: float
    scope: str
    client_id: str

    def to_text(self) -> Secret:
        """Write it as one entry of the secrets manager."""
        document = {
            "access_token": self.access.reveal(),
            "refresh_token": self.refresh.reveal(),
            "expires_at": self.expires_at,
            "scope": self.scope,
            "client_id": self.client_id,
        }
        return Secret(json.dumps(document))

    @classmethod
    def read(cls, entry: Secret) -> Tokens:
        """Read such an entry; CredentialError if it is none."""
        try:
            found = parse_json(entry.reveal())
            return cls(
                Secret(found["access_token"]),
                Secret(found["refresh_token"]),
                float(found["expires_at"]),
                str(found["scope"]),
                str(found["client_id"]),
            )
        except (ValueError, KeyError, TypeError):
            raise CredentialError("the sign-in that was kept cannot be read", hint="prx login") from None

    def is_fresh(self, now: float) -> bool:
        """Return whether it can be used at `now` (seconds since 1970)."""
        return now < self.expires_at - _EARLY


class Pkce:
    """One sign-in: a verifier, its challenge, and the state that ties the answer to the question."""

    def __init__(self) -> None:
        self.verifier = secrets.token_urlsafe(48)
        digest = hashlib.sha256(self.verifier.encode()).digest()
        self.challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        self.state = secrets.token_urlsafe(24)

    def url(self, dash: str, client_id: str, redirect: str, *, lasting: bool) -> str:
        """Return the page on which the user agrees; `lasting` asks for a refresh token, too."""
        query = {
            "response_type": "code",
            "client_id": client_id,
            "redirect_uri": redirect,
            "scope": " ".join((*SCOPES, OFFLINE) if lasting else SCOPES),
            "state": self.state,
            "code_challenge": self.challenge,
            "code_challenge_method": "S256",
        }
        return f"{dash.rstrip('/')}/oauth2/auth?{urlencode(query)}"


class ScopeRefusedError(Exception):
    """What was asked for is more than the client may have."""


@dataclass
class _Answer:
    """What the browser came back with."""

    code: str = field(default="", repr=False)
    error: str = ""
    refused_scope: bool = False


class Callback:
    """Wait on one of the registered ports of this machine for the browser; a context manager."""

    def __init__(self, state: str, ports: tuple[int, ...] = PORTS) -> None:
        self._state = state
        self._answer: _Answer | None = None
        self._server = _listen(ports, self._handler())

    @property
    def redirect(self) -> str:
        """The address that the browser is sent to."""
        return f"http://127.0.0.1:{self._server.server_address[1]}{CALLBACK}"

    def wait(self, seconds: float) -> str:
        """Return the code; NotReadyError if no answer came in time, CredentialError if the sign-in was refused."""
        self._server.timeout = seconds
        while self._answer is None:
            self._server.handle_request()
            if self._answer is None and self._server.timed_out:
                raise NotReadyError(f"no sign-in within {seconds:.0f} s", hint="run prx login again")
        if self._answer.refused_scope:
            raise ScopeRefusedError
        if self._answer.error:
            raise CredentialError(f"Cloudflare did not let prx in: {self._answer.error}", hint="run prx login again")
        return self._answer.code

    def __enter__(self) -> Callback:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        callback = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 10

            def do_GET(self) -> None:
                status, words = callback.take(self.path, self.headers.get("Host", ""))
                page = f"<!DOCTYPE html><title>prx</title><p>{html.escape(words)}".encode()
                self.send_response(status)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(page)))
                self.send_header("Cache-Control", "no-store")
                self.send_header("Referrer-Policy", "no-referrer")
                self.end_headers()
                self.wfile.write(page)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's word
                """Write nothing: the code stands in the path."""

        return Handler

    def take(self, target: str, host: str) -> tuple[int, str]:
        """Read what a request carries; status and words for the browser. Only the right state counts."""
        parts = urlsplit(target)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        if parts.path != CALLBACK or not is_this_machine(host.rpartition(":")[0] or host):
            return 404, "There is nothing here."
        if not hmac.compare_digest(query.get("state", "").encode(), self._state.encode()):
            return 400, "This does not belong to the sign-in that prx has started."
        if "error" in query or not query.get("code"):
            words = query.get("error_description") or query.get("error") or "no code came back"
            self._answer = _Answer(error=words[:200], refused_scope=query.get("error") == "invalid_scope")
            return 200, "prx was not let in. You can close this page."
        self._answer = _Answer(code=query["code"])
        return 200, "prx is signed in. You can close this page."


def _listen(ports: tuple[int, ...], handler: type[BaseHTTPRequestHandler]) -> _Server:
    for port in ports:
        with ExitStack() as stack:
            try:
                server = _Server(("127.0.0.1", port), handler, bind_and_activate=False)
                stack.callback(server.server_close)
                server.server_bind()
                server.server_activate()
            except OSError:
                continue
            stack.pop_all()
            return server
    raise PrxError(
        f"the ports {', '.join(map(str, ports))} of this machine are all taken, and the answer comes to one of them",
        hint="end what listens there, then run prx login again",
    )


class _Server(HTTPServer):
    """Remember a time-out: `handle_request` returns in either case."""

    allow_reuse_address = True
    timed_out = False

    def handle_timeout(self) -> None:
        self.timed_out = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Pass over a browser that hangs up early."""


def exchange(
    dash: str, form: Mapping[str, str], *, now: Callable[[], float], transport: httpx2.BaseTransport | None = None
) -> Tokens:
    """Trade a code, or a refresh token, for tokens; CredentialError if that is refused, PrxError if no answer comes."""
    require_safe(dash)
    local = is_this_machine(urlsplit(dash).hostname or "")
    with making_client():
        client = httpx2.Client(transport=transport, timeout=30, trust_env=not local)
    try:
        with client:
            answer = client.post(f"{dash.rstrip('/')}/oauth2/token", data=dict(form))
    except httpx2.RequestError as error:
        if lack := lack_behind(error):
            raise shortage(lack) from None
        hint = trust_hint(error) or "check the network, then run prx login"
        raise PrxError(f"{dash} does not answer ({failure_words(error) or type(error).__name__})", hint=hint) from None
    try:
        found = parse_json(answer.content[:_LIMIT])
        assert isinstance(found, dict)
    except (ValueError, AssertionError):
        raise PrxError(f"{dash} answers {answer.status_code} and no JSON", hint="run prx login again later") from None
    if answer.status_code != 200 or not isinstance(found.get("access_token"), str):
        why = str(found.get("error_description") or found.get("error") or f"HTTP {answer.status_code}")[:200]
        raise CredentialError(f"Cloudflare gives no token: {why}", hint="prx login signs in again")
    seconds = found.get("expires_in")
    return Tokens(
        Secret(found["access_token"]),
        Secret(str(found.get("refresh_token") or form.get("refresh_token", ""))),
        now() + (float(seconds) if isinstance(seconds, int | float) else 0.0),
        str(found.get("scope") or ""),
        form["client_id"],
    )


def missing_scopes(tokens: Tokens) -> list[str]:
    """Return the scopes that the user declined; none if the answer does not say."""
    granted = set(tokens.scope.replace(",", " ").split())
    return [scope for scope in SCOPES if granted and scope not in granted]
