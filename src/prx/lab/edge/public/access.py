"""Access fronts: what stands before a protected name, for clients without a browser and for the app behind it.

Who passes: a visitor with the right `CF-Access-Client-Id` and `CF-Access-Client-Secret`, and one who has logged in, that is,
who sends a token of the lab's team as the cookie `CF_Authorization`. The lab has no login page: `Lab.login` returns the token
that one would have ended with. Any other visitor is sent to the login (302 to
`https://TEAM.cloudflareaccess.com/cdn-cgi/access/login/HOSTNAME?…`, as an Allow policy does) or gets 403 (as a Service Auth
policy does). The redirect carries `meta`, a token of the team's that names visitor and page to the login, and starts a session
of the app (`CF_AppSession`).

What the app sees: `Cf-Access-Jwt-Assertion` and the cookie `CF_Authorization` with the same token, for people also
`Cf-Access-Authenticated-User-Email`. Whatever a visitor sent under these names, and the service token, stays here.
A service token is answered with the cookie too, so that later requests may go without it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any, Final, Literal, Protocol
from urllib.parse import quote

from prx.lab.edge.names import full_name
from prx.lab.edge.public.access_keys import AccessKeys
from prx.lab.edge.registry import ACCOUNT_TAG
from prx.lab.edge.state import Protected
from prx.lab.protocol.headers import Headers

CERTS_PATH: Final = "/cdn-cgi/access/certs"
CLIENT_ID: Final = b"cf-access-client-id"
CLIENT_SECRET: Final = b"cf-access-client-secret"
_ASSERTION: Final = b"cf-access-jwt-assertion"
_EMAIL: Final = b"cf-access-authenticated-user-email"
_OURS: Final = frozenset((CLIENT_ID, CLIENT_SECRET, _ASSERTION, _EMAIL))
_COOKIE: Final = b"CF_Authorization"
_APP_SESSION: Final = "CF_AppSession"
_APP_SESSION_SECONDS: Final = 86_400.0
RESOURCE_PATH: Final = "/.well-known/cloudflare-access-protected-resource"
_CREDENTIALS: Final = (b"Access-Control-Allow-Credentials", b"true")
_NO_STORE: Final = (b"Cache-Control", b"private, max-age=0, no-store, no-cache, must-revalidate")


@dataclass(frozen=True, slots=True)
class AccessFront:
    """Who passes without a login (one service token; none if it is empty), and what strangers get.

    `aud`: the application's audience tag; empty: one made of the name. `session_seconds`: how long a token is good.
    """

    client_id: str = ""
    client_secret: str = field(default="", repr=False)
    deny: Literal["login", "forbidden"] = "login"
    team: str = "lab"
    aud: str = ""
    session_seconds: float = 86_400.0

    def __post_init__(self) -> None:
        if self.deny not in ("login", "forbidden"):
            raise ValueError(f"unknown deny {self.deny!r}; expected 'login' or 'forbidden'")
        if self.client_id and not self.client_secret:
            raise ValueError("a service token needs a client_secret beside its client_id")

    @property
    def issuer(self) -> str:
        """Who signs: the team's URL."""
        return f"https://{self.team}.cloudflareaccess.com"

    def opens(self, path: str, ip: str) -> bool:
        """Return whether a path is open to every visitor from this address."""
        del path, ip
        return False

    def service(self, headers: Headers, ip: str) -> str:
        """Return the client id of the service token that lets a request pass (lower-case names); '' if none does."""
        del ip
        values = dict(headers)
        if not self.client_id:
            return ""
        right_id = hmac.compare_digest(values.get(CLIENT_ID, b""), self.client_id.encode())
        right_secret = hmac.compare_digest(values.get(CLIENT_SECRET, b""), self.client_secret.encode())
        return self.client_id if right_id and right_secret else ""

    def keeps(self, client_id: str, ip: str) -> bool:
        """Return whether who has passed with this service token may go on."""
        del client_id, ip
        return True

    def welcomes(self, email: str, ip: str) -> bool:
        """Return whether a person who has logged in may pass."""
        del email, ip
        return True

    @property
    def strict(self) -> bool:
        """Return whether service tokens are answered strictly: no cookie for those who pass."""
        return False

    def refuses(self, headers: Headers, *, logged_in: bool) -> int:
        """Return the status of a refusal: 302, 401 or 403."""
        del headers, logged_in
        return 302 if self.deny == "login" else 403

    def since(self) -> float:
        """Return since when a login is good, in seconds since 1970."""
        return 0.0


@dataclass(frozen=True, slots=True)
class Admission:
    """A visitor who passes: the token that names them, and what their response carries."""

    token: str
    email: str = ""
    response: Headers = field(default_factory=list)

    def rewrite(self, headers: Headers) -> Headers:
        """Return the request's headers as the app shall see them."""
        others = [part for part in _cookies(_cookie_header(headers)) if part[0] != _COOKIE]
        token = self.token.encode()
        cookie = b"; ".join(b"=".join(part) for part in [*others, (_COOKIE, token)])
        kept = [(name, value) for name, value in headers if name not in _OURS and name != b"cookie"]
        email = [(_EMAIL, self.email.encode())] if self.email else []
        return [*kept, (b"cookie", cookie), *email, (_ASSERTION, token)]


class Applications(Protocol):
    """Fronts that stand before names because of applications in the account."""

    def find(self, hostname: str, path: str | None) -> AccessFront | None:
        """Find the front of a name and a path (None: any)."""

    def names(self) -> list[str]:
        """Return the names."""


class Fronts:
    """The protected names of a lab, and the team whose tokens open them.

    A front that the lab was asked for goes before those of `applications`.
    """

    def __init__(self, team: AccessKeys) -> None:
        self._team = team
        self._fronts: dict[str, AccessFront] = {}
        self.applications: Applications | None = None

    def protect(self, hostname: str, front: AccessFront) -> None:
        """Put a front before a full name."""
        self._fronts[hostname] = front

    def unprotect(self, hostname: str) -> None:
        """Take it away."""
        self._fronts.pop(hostname, None)

    def find(self, hostname: str, path: str | None = None) -> AccessFront | None:
        """Find the front of a full name, and of a path (None: any)."""
        own = self._fronts.get(hostname)
        if own is not None or self.applications is None:
            return own
        return self.applications.find(hostname, path)

    def describe(self, hostname: str, certs_url: str) -> Protected:
        """Return what an app behind the front is configured with; LookupError if there is none."""
        hostname, front = self._find(hostname)
        return Protected(hostname, front.team, _audience(hostname, front), front.issuer, certs_url)

    def names(self) -> list[str]:
        """Return the protected names, sorted."""
        others = self.applications.names() if self.applications is not None else []
        return sorted({*self._fronts, *(name for name in others if not name.startswith("*."))})

    def keys(self) -> dict[str, Any]:
        """Return the team's public keys (JWKS)."""
        return self._team.document()

    def rotate_keys(self) -> None:
        """Sign with a new key; the former one stays published."""
        self._team.rotate()

    def login(self, hostname: str, email: str) -> str:
        """Return the token of a person who has logged in; LookupError if the name is not protected."""
        hostname, front = self._find(hostname)
        return self._team.sign_person(email, aud=_audience(hostname, front), issuer=front.issuer, seconds=front.session_seconds)

    def admit(self, hostname: str, front: AccessFront, headers: Headers, ip: str) -> Admission | None:
        """Decide whether a request passes; None: it does not."""
        aud = _audience(hostname, front)
        if client_id := front.service(headers, ip):
            token = self._team.sign_service(client_id, aud=aud, issuer=front.issuer, seconds=front.session_seconds)
            cookie = f"{_COOKIE.decode()}={token}; Path=/; HttpOnly; SameSite=None; Secure"
            return Admission(token, response=[] if front.strict else [(b"Set-Cookie", cookie.encode())])
        session, claims = self._logged_in(aud, front, headers)
        if claims is None:
            return None
        email = str(claims.get("email", ""))
        passes = front.keeps(str(claims["common_name"]), ip) if "common_name" in claims else front.welcomes(email, ip)
        return Admission(session, email=email) if passes else None

    def resource(self, hostname: str, front: AccessFront, path: str) -> dict[str, Any]:
        """Return what a client without a login learns of a protected name: where to get one."""
        return {
            "resource": f"https://{hostname}{path}",
            "protected": True,
            "team_domain": front.issuer.removeprefix("https://"),
            "authorization_servers": [front.issuer],
            "authentication_methods": [{"name": "cloudflared"}],
        }

    def identity(self, hostname: str, front: AccessFront, headers: Headers, *, ip: str) -> dict[str, Any] | None:
        """Return who has logged in, as `/cdn-cgi/access/get-identity` does; None without a login."""
        _, claims = self._logged_in(_audience(hostname, front), front, headers)
        if claims is None:
            return None
        person = {"email": claims["email"], "name": claims["email"], "user_uuid": claims["sub"]} if "email" in claims else {}
        service = {"common_name": claims["common_name"]} if "common_name" in claims else {}
        return {
            **person,
            **service,
            "id": claims["sub"],
            "amr": [],
            "idp": {"id": "", "type": "service_token" if service else "onetimepin"},
            "geo": {"country": "XX"},
            "account_id": ACCOUNT_TAG,
            "iat": claims["iat"],
            "ip": ip,
            "auth_status": "NONE",
            "service_token_status": bool(service),
            "is_warp": False,
            "is_gateway": False,
            "version": 2,
        }

    def _logged_in(self, aud: str, front: AccessFront, headers: Headers) -> tuple[str, Mapping[str, Any] | None]:
        """Return the token that a request carries as a cookie, and its claims if it is good here."""
        session = dict(_cookies(_cookie_header(headers))).get(_COOKIE, b"").decode("latin-1")
        claims = self._team.read(session, aud=aud, issuer=front.issuer) if session else None
        return session, None if claims is None or claims["iat"] < front.since() else claims

    def refusal(self, hostname: str, front: AccessFront, headers: Headers, target: str) -> tuple[int, Headers, bytes]:
        """Return status, headers and body for a visitor who does not pass; `target` is the path that was asked for."""
        aud = _audience(hostname, front)
        named = [(b"Cf-Access-Aud", aud.encode()), (b"Cf-Access-Domain", hostname.encode())]
        where = f"https://{hostname}{RESOURCE_PATH}{target.partition('?')[0]}"
        asks = (b"WWW-Authenticate", f'Cloudflare-Access resource_metadata="{where}"'.encode())
        status = front.refuses(headers, logged_in=self._logged_in(aud, front, headers)[1] is not None)
        if status == 403:
            kind, body = _forbidden(dict(headers).get(b"accept", b""))
            return 403, [*named, _NO_STORE, (b"Content-Type", kind)], body
        if status == 401:
            kind = b"text/html; charset=utf-8"
            return 401, [asks, _CREDENTIALS, *named, _NO_STORE, (b"Content-Type", kind)], _UNAUTHORIZED.encode()
        session = f"n{secrets.token_hex(8)}"
        claims = {
            "aud": aud,
            "hostname": hostname,
            "redirect_url": target,
            "service_token_status": False,
            "is_warp": False,
            "is_gateway": False,
            "auth_status": "NONE",
            "app_session_hash": hashlib.sha256(session.encode()).hexdigest(),
        }
        meta = self._team.sign_meta(claims, issuer=front.issuer)
        query = f"kid={aud}&redirect_url={quote(target, safe='')}&meta={meta}"
        location = f"{front.issuer}/cdn-cgi/access/login/{hostname}?{query}"
        ends = formatdate(self._team.now() + _APP_SESSION_SECONDS, usegmt=True)
        cookie = f"{_APP_SESSION}={session}; Expires={ends}; Path=/; Secure; HttpOnly"
        challenge = [
            (b"Location", location.encode()),
            (b"Set-Cookie", cookie.encode()),
            asks,
            _CREDENTIALS,
        ]
        return 302, [*challenge, *named, _NO_STORE], b""

    def _find(self, name: str) -> tuple[str, AccessFront]:
        hostname = full_name(name)
        front = self.find(hostname)
        if front is None:
            raise LookupError(f"{hostname} is not protected")
        return hostname, front


_FORBIDDEN: Final = """<!DOCTYPE html>
<html lang="en">
<head><title>Forbidden ・ Cloudflare Access</title><meta charset="utf-8"></head>
<body><h1>Forbidden</h1><p>You don't have permission to view this. Please contact your system administrator.</p></body>
</html>
"""


_UNAUTHORIZED: Final = """<!DOCTYPE html>
<html lang="en">
<head><title>401 Unauthorized</title><meta charset="utf-8"></head>
<body><h1>401 Unauthorized</h1></body>
</html>
"""


def _forbidden(accept: bytes) -> tuple[bytes, bytes]:
    """Return type and body of a 403: JSON for a client that asks for it, else a page."""
    if b"application/json" in accept:
        return b"application/json", json.dumps(
            {"status_code": 403, "message": "Forbidden. You don't have permission."}
        ).encode()
    return b"text/html; charset=utf-8", _FORBIDDEN.encode()


def _audience(hostname: str, front: AccessFront) -> str:
    """Return the audience tag: 64 hexadecimal digits, as real ones have."""
    return front.aud or hashlib.sha256(f"{front.team} {hostname}".encode()).hexdigest()


def _cookie_header(headers: Headers) -> bytes:
    """Join the Cookie headers, of which HTTP/2 allows several (RFC 9113, 8.2.3)."""
    return b"; ".join(value for name, value in headers if name == b"cookie")


def _cookies(header: bytes) -> list[tuple[bytes, bytes]]:
    """Take a Cookie header apart (RFC 6265, 4.2.1)."""
    pairs = [part.strip().partition(b"=") for part in header.split(b";")]
    return [(name, value) for name, equals, value in pairs if equals]
