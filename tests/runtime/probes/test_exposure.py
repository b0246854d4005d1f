"""What one question without credentials tells about strangers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from prx.config.schema import TunnelAccess
from prx.core.evidence import Public
from prx.runtime.probes.exposure import Exposure, Reach, check_exposure, classify

URL = "https://web.example.com/"


@pytest.mark.parametrize(
    ("public", "reach"),
    [
        (Public(200), Reach.EXPOSED),
        (Public(204), Reach.EXPOSED),
        (Public(302), Reach.EXPOSED),
        (Public(404), Reach.EXPOSED),
        (Public(429), Reach.EXPOSED),
        (Public(500), Reach.EXPOSED),
        (Public(302, access=True), Reach.GUARDED),
        (Public(403, access=True), Reach.GUARDED),
        (Public(401), Reach.ASKED),
        (Public(403), Reach.ASKED),
        (Public(None, error="no answer"), Reach.UNKNOWN),
        (Public(502), Reach.UNKNOWN),
        (Public(530, edge_error=1033), Reach.UNKNOWN),
        (Public(403, edge_error=1020), Reach.UNKNOWN),
    ],
)
def test_every_answer_has_its_meaning(public: Public, reach: Reach) -> None:
    """Only Access's own answer is Access; silence and the edge's errors say nothing."""
    assert classify(URL, public).reach is reach


@pytest.mark.parametrize(
    ("reach", "warned", "refused"),
    [
        (Reach.EXPOSED, True, True),
        (Reach.ASKED, False, True),
        (Reach.GUARDED, False, False),
        (Reach.UNKNOWN, False, False),
    ],
)
def test_words(reach: Reach, warned: bool, refused: bool) -> None:
    """A warning comes where strangers get in, a refusal wherever it is not Access that stops them; both name the place."""
    exposure = Exposure(URL, reach, 200)
    warning, refusal = exposure.warning("127.0.0.1:8080"), exposure.refusal()
    assert bool(warning) == warned
    assert bool(refusal) == refused
    if warned:
        assert f"anyone who knows {URL} reaches 127.0.0.1:8080" in warning
        assert '"localhost"' in warning
    assert bool(exposure.broken_promise()) == refused
    if refused:
        assert URL in exposure.broken_promise()
        assert "prx setup" in exposure.broken_promise()
        assert URL in refusal
        assert "status 200" in refusal


@pytest.mark.parametrize(
    ("wishes", "promised"),
    [
        ({}, False),
        ({"allow": ("you@example.com",)}, True),
        ({"service_tokens": ("ci",)}, True),
        ({"allow": ("everyone",), "public_paths": ("/hooks/*",)}, True),
        ({"allow": ("everyone",), "public_paths": ("/*",)}, False),
    ],
)
def test_what_a_file_promises_of_the_root(wishes: dict[str, tuple[str, ...]], promised: bool) -> None:
    """Guests, or machines, and no open root: only then is a stranger who is answered there a promise that is not kept."""
    assert TunnelAccess(**wishes).is_promised == promised


@pytest.fixture
def serve() -> Iterator[Callable[[int, dict[str, str]], str]]:
    """Yield a function that serves one answer on loopback; the last request's headers must hold no credentials."""
    servers: list[tuple[HTTPServer, threading.Thread]] = []

    def start(status: int, headers: dict[str, str]) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                sent = {name.lower() for name in self.headers}
                assert not any(name.startswith("cf-access") or name in {"authorization", "cookie"} for name in sent)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the base class
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        servers.append((server, thread))
        return f"http://web.localhost:{server.server_address[1]}/"

    yield start
    for server, thread in servers:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize(
    ("status", "headers", "reach"),
    [
        (200, {}, Reach.EXPOSED),
        (302, {"Location": "/login"}, Reach.EXPOSED),
        (302, {"Location": "https://team.cloudflareaccess.com/cdn-cgi/access/login/web.example.com?x=1"}, Reach.GUARDED),
        (401, {"WWW-Authenticate": "Basic"}, Reach.ASKED),
    ],
)
async def test_a_real_answer(
    serve: Callable[[int, dict[str, str]], str], status: int, headers: dict[str, str], reach: Reach
) -> None:
    """One GET without credentials, through a real socket, is enough to tell."""
    url = serve(status, headers)
    exposure = await check_exposure(url, ["127.0.0.1"])
    assert (exposure.reach, exposure.status, exposure.url) == (reach, status, url)


async def test_nobody_answers() -> None:
    """A URL that does not answer is no statement about strangers."""
    exposure = await check_exposure("http://web.localhost:1/", ["127.0.0.1"], timeout=2)
    assert exposure.reach is Reach.UNKNOWN
    assert "refused" in exposure.error
