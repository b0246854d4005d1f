"""The middlewares keep an app closed, for HTTP and WebSocket, ASGI and WSGI."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

from prx.access import asgi, wsgi
from prx.access.verify import IDENTITY, REFUSAL

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

    from tests.access.conftest import Team

HEADER = b"cf-access-jwt-assertion"


class App:
    """An ASGI app that remembers what reached it."""

    def __init__(self) -> None:
        self.scopes: list[asgi.Scope] = []

    async def __call__(self, scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
        self.scopes.append(scope)


async def connect(middleware: asgi.AccessMiddleware, kind: str, headers: list[tuple[bytes, bytes]]) -> list[asgi.Message]:
    """Open one connection and give what was sent back."""
    sent: list[asgi.Message] = []

    async def receive() -> asgi.Message:
        return {"type": "websocket.connect"}

    async def send(message: asgi.Message) -> None:
        sent.append(message)

    await middleware({"type": kind, "headers": headers, "path": "/"}, receive, send)
    return sent


@pytest.mark.parametrize("kind", ["http", "websocket"])
async def test_asgi_lets_through_who_came_through_access(team: Team, kind: str) -> None:
    """The app gets the request with the identity in its scope; the server's own scope is left alone."""
    app = App()
    middleware = asgi.AccessMiddleware(app, team.verifier())
    assert await connect(middleware, kind, [(b"host", b"x"), (b"Cf-Access-Jwt-Assertion", team.sign().encode())]) == []
    assert app.scopes[0][IDENTITY].email == "user@example.com"
    assert app.scopes[0]["path"] == "/"


@pytest.mark.parametrize("case", ["none", "bad", "twice", "latin-1"])
@pytest.mark.parametrize("kind", ["http", "websocket"])
async def test_asgi_refuses_everybody_else(team: Team, kind: str, case: str) -> None:
    """Without one good token nothing reaches the app: 403, or a handshake closed before it is accepted."""
    app, token = App(), team.sign().encode()
    headers = {
        "none": [(b"cookie", b"CF_Authorization=" + token)],
        "bad": [(HEADER, token[:-42])],
        "twice": [(HEADER, token), (HEADER, token)],
        "latin-1": [(HEADER, token + b"\xe9")],
    }[case]
    sent = await connect(asgi.AccessMiddleware(app, team.verifier()), kind, headers)
    assert app.scopes == []
    if kind == "websocket":
        assert sent == [{"type": "websocket.close", "code": 1008}]
    else:
        assert (sent[0]["status"], sent[1]["body"]) == (403, REFUSAL)


async def test_asgi_passes_lifespan_and_nothing_unknown(team: Team) -> None:
    """Start and end of the app pass; a kind of connection that cannot be checked does not."""
    app = App()
    middleware = asgi.AccessMiddleware(app, team.verifier())
    await connect(middleware, "lifespan", [])
    assert [scope["type"] for scope in app.scopes] == ["lifespan"]
    with pytest.raises(RuntimeError, match="cannot be verified"):
        await connect(middleware, "webtransport", [])
    assert len(app.scopes) == 1


async def test_asgi_drops_an_email_that_the_token_does_not_prove(team: Team) -> None:
    """Apps that read the plain-text header see the verified address or none, and a service has none."""
    app = App()
    middleware = asgi.AccessMiddleware(app, team.verifier())
    for token, email in [(team.sign(), b"boss@example.com"), (team.sign(), b"user@example.com"), (team.service(), b"")]:
        await connect(middleware, "http", [(HEADER, token.encode()), (b"Cf-Access-Authenticated-User-Email", email)])
    kept = [[value for name, value in scope["headers"] if b"Email" in name] for scope in app.scopes]
    assert kept == [[], [b"user@example.com"], []]


async def test_asgi_does_not_block_the_loop_while_keys_are_fetched(team: Team) -> None:
    """The loop runs on during a slow fetch, and many waiting requests share one fetch and one thread."""
    app = App()
    team.hold = threading.Event()
    middleware = asgi.AccessMiddleware(app, team.verifier())
    threads = threading.active_count()
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        for number in range(50):
            group.create_task(connect(middleware, "http", [(HEADER, team.sign().encode())]), name=f"request {number}")
        assert await asyncio.to_thread(team.asked.wait, 30)
        assert app.scopes == []
        assert threading.active_count() <= threads + 2  # the fetch, and the wait above
        team.hold.set()
    assert len(app.scopes) == 50
    assert team.fetches == 1


def call(middleware: wsgi.AccessMiddleware, method: str = "GET", **variables: str) -> tuple[str, bytes, dict[str, Any]]:
    """Send one request through the WSGI middleware, checked by wsgiref's validator."""
    environ: dict[str, Any] = {"REQUEST_METHOD": method, "QUERY_STRING": ""}
    setup_testing_defaults(environ)
    environ |= variables
    status: list[str] = []

    def start_response(line: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        status.append(line)
        return lambda data: None

    answer = validator(middleware)(environ, start_response)
    body = b"".join(answer)
    answer.close()  # type: ignore[attr-defined]
    return status[0], body, environ


def wsgi_app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Return who came."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ[IDENTITY].kind.encode()]


def test_wsgi_lets_through_who_came_through_access(team: Team) -> None:
    """People and services reach the app, which finds them in its environ."""
    middleware = wsgi.AccessMiddleware(wsgi_app, team.verifier())
    assert call(middleware, HTTP_CF_ACCESS_JWT_ASSERTION=team.sign())[:2] == ("200 OK", b"person")
    assert call(middleware, HTTP_CF_ACCESS_JWT_ASSERTION=team.service())[:2] == ("200 OK", b"service")


def test_wsgi_refuses_everybody_else(team: Team) -> None:
    """Missing, bad and joined headers get 403; HEAD gets no body."""
    middleware, token = wsgi.AccessMiddleware(wsgi_app, team.verifier()), team.sign()
    assert call(middleware)[:2] == ("403 Forbidden", REFUSAL)
    assert call(middleware, HTTP_CF_ACCESS_JWT_ASSERTION=token[:-42])[:2] == ("403 Forbidden", REFUSAL)
    assert call(middleware, HTTP_CF_ACCESS_JWT_ASSERTION=f"{token},{token}")[:2] == ("403 Forbidden", REFUSAL)
    assert call(middleware, "HEAD")[:2] == ("403 Forbidden", b"")


def test_wsgi_drops_an_email_that_the_token_does_not_prove(team: Team) -> None:
    """The plain-text header says what the token says, or is not there."""
    middleware = wsgi.AccessMiddleware(wsgi_app, team.verifier())
    name = "HTTP_CF_ACCESS_AUTHENTICATED_USER_EMAIL"
    variables = {"HTTP_CF_ACCESS_JWT_ASSERTION": team.sign()}
    assert name not in call(middleware, **variables, **{name: "boss@example.com"})[2]
    assert call(middleware, **variables, **{name: "user@example.com"})[2][name] == "user@example.com"
