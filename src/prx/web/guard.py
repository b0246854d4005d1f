"""Who may ask, and what every answer carries: the outermost part of the application.

A request passes, in this order: the Host header names this server (so that no foreign name can be rebound to it), the path is
short and plain, the body is small and comes in time, the client has a session or the token of scripts, and what changes
something comes from this very page, or from a script that says so:

    POST only · header `X-PRX-Action: 1`, which no form of another site can send · `Sec-Fetch-Site` is same-origin or none, and
    Origin, if there is one, is this server (OWASP, CSRF prevention: custom request headers; verifying origin)

No answer ever carries Access-Control-Allow-*, so a browser shows none of it to another site.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from prx.core.numbers import whole
from prx.web.address import Listen
from prx.web.bounds import Connections
from prx.web.keys import Keys

ACTION_HEADER: Final = "x-prx-action"
_LOG: Final = logging.getLogger("prx.web")
BODY_BYTES: Final = 64 * 1024
BODY_SECONDS: Final = 10.0
_URL_CHARACTERS: Final = 2_000
OPEN_PATHS: Final = frozenset({"/login", "/static/prx.css"})
"""What is answered without a session: the page that asks for one."""

HEADERS: Final = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-store",
}


def refusal(status: int, error: str, hint: str = "") -> JSONResponse:
    """Return the JSON answer for what is refused."""
    return JSONResponse({"error": error, "hint": hint}, status)


def cookie_name(listen: Listen) -> str:
    """Return the name of the session's cookie: cookies know no ports, and each user of a machine may have a dashboard."""
    return f"prx_session_{listen.port}"


class Guard:
    """Wrap `app` for a server that listens on `listen`, whose visitors prove themselves with `keys`."""

    def __init__(self, app: ASGIApp, listen: Listen, keys: Keys, connections: Connections) -> None:
        self._app = app
        self._connections = connections
        self._listen = listen
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102 - ASGI
        if scope["type"] != "http":
            return

        started = False

        async def send_guarded(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        try:
            await self._answer(scope, receive, send_guarded)
        except Exception:
            _LOG.exception("a request could not be answered: %s %r", scope["method"], scope["path"])
            if started:
                raise
            await refusal(500, "this is a defect of prx", "its log says more")(scope, receive, send_guarded)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = self._refused(scope)
        if answer is None:
            body, answer = await _body(Headers(scope=scope), receive)
            if answer is None:
                await self._app(scope, _again(body, receive), send)
                return
        await answer(scope, receive, send)

    def _refused(self, scope: Scope) -> Response | None:
        """Return the answer to a request that goes no further; None if it may."""
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._listen.allows(hosts[0]):
            return refusal(421, "this server is not asked for by that name", f"open {self._listen.url}, or set `[web] hosts`")
        if self._connections.is_clogged:
            return refusal(503, "clients have not read their answers", "try again in a moment: they are ended after 10 s")
        if len(scope["raw_path"]) + len(scope["query_string"]) > _URL_CHARACTERS:
            return refusal(414, f"the URL has more than {_URL_CHARACTERS} characters")
        if scope["method"] not in {"GET", "HEAD", "POST"}:
            return JSONResponse({"error": "GET, HEAD and POST are answered", "hint": ""}, 405, {"allow": "GET, HEAD, POST"})
        if scope["method"] == "POST" and (problem := self._foreign(headers, hosts[0], scope["path"])):
            return refusal(403, problem, f"see {ACTION_HEADER} in the reference of the API")
        if scope["path"] in OPEN_PATHS or self._is_known(headers):
            return None
        return self._ask_to_log_in(scope, headers)

    def _is_known(self, headers: Headers) -> bool:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self._keys.is_bearer(token.strip())
        cookies = cookie_parser(headers.get("cookie", "")[:8192])
        return self._keys.is_session(cookies.get(cookie_name(self._listen), ""))

    def _ask_to_log_in(self, scope: Scope, headers: Headers) -> Response:
        if scope["path"].startswith("/api/"):
            return JSONResponse(
                {"error": "a session or a token is needed", "hint": "send `Authorization: Bearer`, from: prx web --token"},
                401,
                {"www-authenticate": 'Bearer realm="prx"'},
            )
        query = scope["query_string"].decode("latin-1")
        keep = f"?{query}" if scope["path"] == "/" and query.startswith("token=") else ""
        return RedirectResponse(f"/login{keep}", 303)

    def _foreign(self, headers: Headers, host: str, path: str) -> str:
        """Return why a request may come from another site; empty if it does not."""
        if headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
            return "the request comes from another site"
        origins = headers.getlist("origin")
        if len(origins) > 1 or (origins and not self._listen.is_origin(origins[0], host)):
            return "the Origin is another one than this server"
        if path == "/login":  # a form: without a session there is nothing to protect but the tries, which are counted
            return "" if origins or "sec-fetch-site" in headers else "the request names no Origin"
        return "" if headers.get(ACTION_HEADER) == "1" else f"the header {ACTION_HEADER}: 1 is missing"


async def _body(headers: Headers, receive: Receive) -> tuple[bytes, Response | None]:
    """Return the body of a request, or the answer to one that is too long or too slow."""
    too_long = refusal(413, f"a request has at most {BODY_BYTES} bytes")
    too_long.headers["connection"] = "close"
    length = whole(headers.get("content-length", "0"))
    if length is None or length > BODY_BYTES:
        return b"", too_long
    found = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await receive()
                found += message.get("body", b"")
                if len(found) > BODY_BYTES:
                    return b"", too_long
                if not message.get("more_body"):
                    return bytes(found), None
    except TimeoutError:
        late = refusal(408, "the body of the request did not come in time")
        late.headers["connection"] = "close"
        return b"", late


def _again(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives the whole body first, and then what comes."""
    given = False

    async def once() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return once
