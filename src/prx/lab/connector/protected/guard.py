"""Admit only guests to a protected quick tunnel: the connector itself answers, in front of every rule and service.

Theory of operation
-------------------
A visitor with a session passes; the cookies of the guard stay here. GET and HEAD without one are sent to the login service
with a state of their own (302), which a signed cookie binds to that browser for ten minutes; every other method gets 401.
The login service proves the visitor's address with a one-time PIN and lets the browser POST `state` and `assertion` to
`CALLBACK`, a form of at most 4 KiB. The assertion is a JWT (ES256) that names host and state, and is good for two minutes.
If the address is on the guest list, the visitor gets a session of at most four hours (303 to the page that was asked for),
else 403, alike whatever is wrong, and who is on the list is never said. Keys are made at each start, so sessions end with
the process.

An answer of the service is marked as private too, for no cache may hand it to a stranger, and it cannot set the guard's
cookies.

All of this is cloudflared's (published source, 2026.9.3; not observed): paths, names, limits, status codes. Two departures:
a state is good once, and for names of this machine (the lab) any port will do.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlencode

from prx.core.numbers import whole
from prx.core.parsing import parse_json
from prx.lab.connector.log import Log
from prx.lab.connector.origin.exchanges import Answer, Headers
from prx.lab.connector.origin.messages import Body, Request, Response
from prx.lab.connector.origin.proxy import Proxy
from prx.lab.connector.protected.guests import GuestList
from prx.lab.protocol.errors import StreamError

CALLBACK: Final = "/.cloudflared/qt-auth/callback"
STATE_COOKIE: Final = "__Secure-cloudflared-qt-auth-state-"
SESSION_COOKIE: Final = "__Host-cloudflared-qt-auth-session"
STATE_SECONDS: Final = 600
SESSION_SECONDS: Final = 4 * 3600
_MOST_BODY: Final = 4096  # bytes
_MOST_COOKIE: Final = 4096  # bytes
_STATE: Final = re.compile(r"[A-Za-z0-9_-]{43}")  # 32 bytes
_QUICK_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.trycloudflare\.com")
_PRIVATE: Final[Headers] = [(b"Cache-Control", b"private, no-store"), (b"Referrer-Policy", b"no-referrer")]

Verify = Callable[[str], Awaitable[dict[str, Any]]]
"""Return the claims of an assertion that is signed by the login service; ValueError if it is not good."""


class GuardError(Exception):
    """A quick tunnel cannot be protected."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the connector answers itself."""

    status: int
    headers: Headers = field(default_factory=list)

    def answer(self) -> tuple[Answer, bytes]:
        """Return head and body; a redirect has no body."""
        phrase = HTTPStatus(self.status).phrase
        body = b"" if "Location" in {name.decode() for name, _ in self.headers} else f"{phrase}\n".encode()
        kind = [(b"Content-Type", b"text/plain; charset=utf-8"), (b"X-Content-Type-Options", b"nosniff")] if body else []
        length = [(b"Content-Length", str(len(body)).encode())]
        return Answer(self.status, phrase, [*_PRIVATE, *self.headers, *kind, *length]), body


class Guard:
    """The guard of one host name; `wall` returns seconds since 1970."""

    def __init__(self, hostname: str, guests: GuestList, login: str, *, verify: Verify, wall: Callable[[], float]) -> None:
        self._hostname = hostname.lower()
        self._local = self._hostname.endswith(".localhost")
        if not self._local and not _QUICK_NAME.fullmatch(self._hostname):
            raise GuardError(f'initialize Quick Tunnel authentication state: "{hostname}" is not a valid Quick Tunnel hostname')
        self._guests = guests
        self._login = login
        self._verify = verify
        self._wall = wall
        self._state_key, self._session_key = secrets.token_bytes(32), secrets.token_bytes(32)
        self._used: dict[str, float] = {}  # states that have opened a session, and until when they would be good

    async def admit(self, request: Request, incoming: Body) -> Request | Refusal:
        """Return the request as the service shall see it, or what is answered instead."""
        path, mark, _ = request.path.decode("latin-1").partition("?")
        if path == CALLBACK:
            return Refusal(400) if mark else await self._call_back(request, incoming)
        if self._has_session(request):
            return replace(request, headers=_without_own_cookies(request.headers))
        if request.method not in {b"GET", b"HEAD"}:
            return Refusal(401)
        return self._begin_login(request)

    # -- the way to the login -----------------------------------------------------------------------------------------

    def _begin_login(self, request: Request) -> Refusal:
        target = request.path.decode("latin-1")
        if not self._is_own(request.host) or not _is_safe(target):
            return Refusal(400)
        state, until = _text(secrets.token_bytes(32)), int(self._wall()) + STATE_SECONDS
        payload = {"state": state, "hostname": self._hostname, "return_path": target, "exp": until}
        attributes = f"Path={CALLBACK}; Expires={_date(until)}; Max-Age={STATE_SECONDS}; HttpOnly; Secure; SameSite=None"
        cookie = f"{STATE_COOKIE}{state}={_signed(payload, self._state_key)}; {attributes}"
        if len(cookie) > _MOST_COOKIE:
            return Refusal(400)
        location = f"{self._login}/authorize?{urlencode({'hostname': self._hostname, 'state': state})}"
        return Refusal(302, [(b"Location", location.encode()), (b"Set-Cookie", cookie.encode())])

    # -- and back -----------------------------------------------------------------------------------------------------

    async def _call_back(self, request: Request, incoming: Body) -> Refusal:
        kind = request.header(b"content-type").partition(b";")[0].strip().lower()
        if request.method != b"POST" or kind != b"application/x-www-form-urlencoded" or not self._is_own(request.host):
            return Refusal(400)
        form = await _form(request, incoming)
        payload = None if form is None else self._state_of(request, form["state"])
        if form is None or payload is None:
            return Refusal(400)
        cleared = (b"Set-Cookie", f"{STATE_COOKIE}{form['state']}=; Path={CALLBACK}; Max-Age=0; HttpOnly; Secure".encode())
        try:
            until = self._judge(await self._verify(form["assertion"]), form["state"])
        except ValueError:
            return Refusal(403, [cleared])
        self._forget_used()
        self._used[form["state"]] = payload["exp"]
        session = _signed({"nonce": _text(secrets.token_bytes(16)), "exp": until}, self._session_key)
        cookie = f"{SESSION_COOKIE}={session}; Path=/; Expires={_date(until)}; HttpOnly; Secure; SameSite=Lax"
        location = payload["return_path"].encode("latin-1")
        return Refusal(303, [(b"Location", location), cleared, (b"Set-Cookie", cookie.encode())])

    def _state_of(self, request: Request, state: str) -> dict[str, Any] | None:
        """Return what the browser's cookie holds for this state; None if it does not belong to it."""
        found = [value for name, value in _cookies(request.headers) if name == STATE_COOKIE + state]
        if len(found) != 1 or not _STATE.fullmatch(state) or state in self._used:
            return None
        payload = _checked(found[0], self._state_key)
        if payload is None or payload.get("state") != state or payload.get("hostname") != self._hostname:
            return None
        return payload if self._wall() < payload["exp"] else None

    def _judge(self, claims: dict[str, Any], state: str) -> int:
        """Return until when the visitor may have a session; ValueError if the assertion does not admit them."""
        now = self._wall()
        issued, expires, identity = (claims.get(name) for name in ("iat", "exp", "identity_exp"))
        if not all(type(number) is int for number in (issued, expires, identity)):
            raise ValueError("a time is missing")
        assert isinstance(issued, int)
        assert isinstance(expires, int)
        assert isinstance(identity, int)
        in_time = issued <= now + 30 and now < expires <= issued + 120 and expires <= identity
        bound = claims.get("type") == "quick_tunnel_auth" and claims.get("callback_host") == self._hostname
        if not in_time or not bound or not hmac.compare_digest(str(claims.get("state")).encode(), state.encode()):
            raise ValueError("not for this login")
        if not self._guests.allows(str(claims.get("email", ""))):
            raise ValueError("not a guest")
        return min(identity, int(now) + SESSION_SECONDS)

    def _forget_used(self) -> None:
        now = self._wall()
        self._used = {state: until for state, until in self._used.items() if now < until}

    # -- sessions -----------------------------------------------------------------------------------------------------

    def _has_session(self, request: Request) -> bool:
        found = [value for name, value in _cookies(request.headers) if name == SESSION_COOKIE]
        payload = _checked(found[0], self._session_key) if len(found) == 1 else None
        return payload is not None and self._wall() < payload["exp"]

    def _is_own(self, authority: str) -> bool:
        host, _, port = authority.lower().partition(":")
        return host == self._hostname and (self._local or port in {"", "443"})


class GuardedProxy(Proxy):
    """The way of guests' requests; all others are answered here, without consulting a rule or service."""

    def __init__(self, guard: Guard, *arguments: Any, log: Log, **options: Any) -> None:
        super().__init__(*arguments, log=log, **options)
        self._guard = guard
        self._guard_log = log

    async def serve(self, request: Request, incoming: Body, response: Response, index: int) -> None:
        """Answer one request that came over connection `index`; raise ProxyError if the service did not."""
        admitted = await self._guard.admit(request, incoming)
        if isinstance(admitted, Request):
            await super().serve(admitted, incoming, _PrivateResponse(response), index)
            return
        self._guard_log.debug("Quick Tunnel request answered by its guard", status=admitted.status, connIndex=index)
        answer, body = admitted.answer()
        bodiless = not body or request.method == b"HEAD"
        with suppress(StreamError):  # the visitor is gone
            await response.head(answer, end=bodiless, has_body=True)
            if not bodiless:
                await response.data(body, end=True)


class _PrivateResponse:
    """The service's answer, written so that no cache keeps it and no cookie of the guard is touched."""

    def __init__(self, inner: Response) -> None:
        self._inner = inner
        self.go_on, self.data, self.end = inner.go_on, inner.data, inner.end

    @property
    def started(self) -> bool:
        """Return whether the answer has started."""
        return self._inner.started

    @started.setter
    def started(self, started: bool) -> None:
        self._inner.started = started

    async def head(self, answer: Answer, *, end: bool, has_body: bool) -> None:
        """Send the head."""
        ours = {name.lower() for name, _ in _PRIVATE}
        kept = [(name, value) for name, value in answer.headers if name.lower() not in ours and not _sets_ours(name, value)]
        await self._inner.head(replace(answer, headers=[*kept, *_PRIVATE]), end=end, has_body=has_body)


async def _form(request: Request, incoming: Body) -> dict[str, str] | None:
    """Return `state` and `assertion` of the callback's body; None if it is anything else."""
    length = request.header(b"content-length")
    announced = whole(length) if length else 0
    if announced is None or announced > _MOST_BODY:
        return None
    body = bytearray()
    try:
        while data := await incoming.read():
            body += data
            if len(body) > _MOST_BODY:
                return None
        pairs = parse_qsl(body.decode("ascii"), strict_parsing=True, max_num_fields=2)
    except (StreamError, ValueError):
        return None
    form = dict(pairs)
    return form if len(pairs) == 2 and form.keys() == {"state", "assertion"} else None


def _is_safe(target: str) -> bool:
    """Return whether a redirect to this path stays on this host, whatever a browser makes of it."""
    path = unquote(target.partition("?")[0], "latin-1")
    plain = all(" " < character <= "~" for character in target) and "#" not in target
    return plain and path.startswith("/") and not path.startswith("//") and "\\" not in path and path != CALLBACK


def _cookies(headers: Headers) -> Iterator[tuple[str, str]]:
    for name, value in headers:
        if name.lower() == b"cookie":
            for part in value.decode("latin-1").split(";"):
                key, equals, text = part.strip().partition("=")
                if equals:
                    yield key, text


def _without_own_cookies(headers: Headers) -> Headers:
    rest = "; ".join(f"{name}={value}" for name, value in _cookies(headers) if not _is_ours(name))
    kept = [(name, value) for name, value in headers if name.lower() != b"cookie"]
    return [*kept, (b"cookie", rest.encode("latin-1"))] if rest else kept


def _is_ours(cookie: str) -> bool:
    return cookie == SESSION_COOKIE or cookie.startswith(STATE_COOKIE)


def _sets_ours(name: bytes, value: bytes) -> bool:
    return name.lower() == b"set-cookie" and _is_ours(value.decode("latin-1").partition("=")[0].strip())


def _signed(payload: dict[str, Any], key: bytes) -> str:
    text = _text(json.dumps(payload, separators=(",", ":")).encode())
    return f"{text}.{_text(hmac.digest(key, text.encode(), hashlib.sha256))}"


def _checked(value: str, key: bytes) -> dict[str, Any] | None:
    """Return what a signed cookie holds; None if it is not ours."""
    text, _, signature = value.partition(".")
    if not hmac.compare_digest(
        signature.encode("latin-1"), _text(hmac.digest(key, text.encode("latin-1"), hashlib.sha256)).encode()
    ):
        return None
    try:
        payload = parse_json(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, binascii.Error):
        return None
    return payload if isinstance(payload, dict) and isinstance(payload.get("exp"), int) else None


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _date(seconds: int) -> str:
    return formatdate(seconds, usegmt=True)
