"""What the security tests share: the connectors, and a home full of secrets."""

from __future__ import annotations

import os
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from tests.security.scene import Planted
from tests.support.threads import in_thread


@pytest.fixture(params=["builtin", pytest.param("real", marks=pytest.mark.real)])
def connector(request: pytest.FixtureRequest) -> str:
    """Return the builtin connector, and the real one if there is one."""
    path = os.environ.get("PRX_TEST_CLOUDFLARED", "") if request.param == "real" else "builtin"
    if not path:
        pytest.skip("PRX_TEST_CLOUDFLARED names no real cloudflared")
    return path


@pytest.fixture
def hook_server() -> Iterator[HTTPServer]:
    """Yield a server that takes every POST."""

    class Taker(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            """Answer 204."""
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    with in_thread(HTTPServer(("127.0.0.1", 0), Taker)) as server:
        yield server


@pytest.fixture
def planted(tmp_path: Path, connector: str, hook_server: HTTPServer) -> Planted:
    """Return a home with a secret in every input."""
    return Planted(tmp_path, connector, hook_server.server_port)
