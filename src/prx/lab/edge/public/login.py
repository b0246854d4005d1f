"""The login service of protected quick tunnels: what `login.trycloudflare.com` is to cloudflared, on the lab's public port.

`GET /authorize?hostname=…&state=…` is the address to which a connector sends a visitor without a session. Cloudflare would mail
a one-time PIN; the lab believes every address: with `&email=you@example.com` it answers at once with a page whose form the
browser posts to the tunnel, or as JSON (`{"callback","state","assertion"}`) to a client that accepts nothing but that. The
assertion is a JWT that is good for two minutes; `GET /.well-known/jwks.json` has the key. Whether the address is on the guest
list, only the connector knows.

The form of request and assertion is that of cloudflared's published source (2026.9.3).
"""

from __future__ import annotations

import base64
import html
import json
import re
import secrets
from collections.abc import Callable
from typing import Final
from urllib.parse import parse_qsl

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from prx.lab.edge.public.visitor import RequestHead
from prx.lab.edge.registry import Registry
from prx.lab.protocol.headers import Headers

HOST: Final = "login.trycloudflare.localhost"
CALLBACK: Final = "/.cloudflared/qt-auth/callback"
AUDIENCE: Final = "cloudflared-quick-tunnel"
_ASSERTION_SECONDS: Final = 120
_IDENTITY_SECONDS: Final = 24 * 3600
_STATE: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_EMAIL: Final = re.compile(r"[^\s@]{1,64}@[^\s@]{1,253}")
_NO_STORE: Final = (b"Cache-Control", b"no-store")


class LoginService:
    """Asserts who a visitor is; `wall` returns seconds since 1970, `base` is its URL once the lab listens."""

    def __init__(self, registry: Registry, wall: Callable[[], float]) -> None:
        self._registry = registry
        self._wall = wall
        self._kid = secrets.token_hex(16)
        self._key: ec.EllipticCurvePrivateKey | None = None
        self.base = ""

    def assertion(self, hostname: str, state: str, email: str) -> str:
        """Assert that the visitor with this state is who receives mail at `email`; ValueError if that makes no sense."""
        tunnel = self._registry.find(hostname)
        if tunnel is None or tunnel.auth_mode != "otp":
            raise ValueError(f"{hostname or 'no name'} is no protected quick tunnel of this lab")
        if not _STATE.fullmatch(state):
            raise ValueError("state is missing or was not made by a connector")
        if not _EMAIL.fullmatch(email):
            raise ValueError(f"{email!r} is no mail address")
        now = int(self._wall())
        claims = {
            "iss": self.base, "aud": [AUDIENCE], "iat": now, "exp": now + _ASSERTION_SECONDS, "type": "quick_tunnel_auth",
            "email": email, "callback_host": tunnel.hostname, "state": state, "identity_exp": now + _IDENTITY_SECONDS,
        }  # fmt: skip
        return jwt.encode(claims, self._signing_key(), algorithm="ES256", headers={"kid": self._kid})

    def answer(self, asked: RequestHead) -> tuple[int, Headers, bytes] | None:
        """Return status, headers and body if a visitor asks this service; None if they ask for anything else."""
        if asked.hostname != HOST:
            return None
        path, _, query = asked.path.decode("latin-1").partition("?")
        if asked.method not in (b"GET", b"HEAD") or path not in ("/authorize", "/.well-known/jwks.json"):
            return _plain(404, "expected GET /authorize?hostname=…&state=…")
        if path != "/authorize":
            return 200, [(b"Content-Type", b"application/json"), _NO_STORE], json.dumps({"keys": [self._public()]}).encode()
        values = dict(parse_qsl(query))
        hostname, state, email = (values.get(name, "") for name in ("hostname", "state", "email"))
        try:
            assertion = self.assertion(hostname, state, email or "nobody@example.com")
        except ValueError as error:
            return _plain(400, str(error))
        if not email:
            return _page(_ASK.format(host=html.escape(hostname), state=html.escape(state)))
        callback = f"http://{hostname}:{self.base.rpartition(':')[2]}{CALLBACK}"
        if asked.values.get(b"accept", b"") == b"application/json":
            found = {"callback": callback, "state": state, "assertion": assertion}
            return 200, [(b"Content-Type", b"application/json"), _NO_STORE], json.dumps(found).encode()
        return _page(_FORM.format(callback=html.escape(callback), state=state, assertion=assertion))

    def _public(self) -> dict[str, str]:
        numbers = self._signing_key().public_key().public_numbers()
        x, y = (base64.urlsafe_b64encode(number.to_bytes(32)).rstrip(b"=").decode() for number in (numbers.x, numbers.y))
        return {"kid": self._kid, "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "x": x, "y": y}

    def _signing_key(self) -> ec.EllipticCurvePrivateKey:
        self._key = self._key or ec.generate_private_key(ec.SECP256R1())
        return self._key


_ASK: Final = """<h1>Sign in to {host}</h1>
<p>Cloudflare would mail you a one-time PIN. The lab believes you.</p>
<form><input type="hidden" name="hostname" value="{host}"><input type="hidden" name="state" value="{state}">
<label>Mail address <input type="email" name="email" required autofocus></label> <button>Sign in</button></form>"""

_FORM: Final = """<form method="post" action="{callback}"><input type="hidden" name="state" value="{state}">
<input type="hidden" name="assertion" value="{assertion}"><button>Go on</button></form>
<script>document.forms[0].submit()</script>"""


def _page(content: str) -> tuple[int, Headers, bytes]:
    head = '<head><title>Sign in ・ prx lab</title><meta charset="utf-8"></head>'
    headers = [(b"Content-Type", b"text/html; charset=utf-8"), _NO_STORE, (b"Referrer-Policy", b"no-referrer")]
    return 200, headers, f'<!DOCTYPE html>\n<html lang="en">{head}\n<body>{content}</body></html>\n'.encode()


def _plain(status: int, text: str) -> tuple[int, Headers, bytes]:
    return status, [(b"Content-Type", b"text/plain; charset=utf-8"), _NO_STORE], f"{text}\n".encode()
