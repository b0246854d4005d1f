"""The page of `prx start --hello`: a small HTTP/1.1 server, so that a tunnel can be tried without a service of one's own.

It answers GET and HEAD on every path, keeps connections alive, and runs in threads beside the event loop: a slow visitor
holds up no other.
"""

from __future__ import annotations

import html
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from prx import __version__

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Hello from prx</title>
<style>body{{font:1.1rem/1.6 system-ui,sans-serif;max-width:38rem;margin:15vh auto;padding:0 1.5rem}}
body{{color:#222;background:#fafafa}}
h1{{font-size:2.2rem;margin:0 0 .5em}}code{{background:#eee;padding:.1em .35em;border-radius:.25em}}
@media(prefers-color-scheme:dark){{body{{color:#ddd;background:#161616}}code{{background:#333}}}}</style></head>
<body><h1>It works.</h1>
<p>This page is served by prx {version} on your own machine and reached you through the tunnel as <code>{host}</code>.</p>
<p>Put a service of your own in its place: <code>prx start 8080</code></p></body></html>
"""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = f"prx/{__version__}"
    sys_version = ""
    wbufsize = -1  # head and page in one packet
    timeout = 60  # seconds that a kept connection may rest

    def do_GET(self) -> None:
        """Answer with the page."""
        self.wfile.write(self._head())

    def do_HEAD(self) -> None:
        """Answer as to GET, without the page."""
        self._head()

    def _head(self) -> bytes:
        host = html.escape(self.headers.get("Host", "")[:253])
        page = _PAGE.format(version=__version__, host=host).encode()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(page)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        return page

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is that of the base class
        """Log nothing: who visits is seen in the tunnel's own events."""


class _Server(ThreadingHTTPServer):
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a visitor who goes away in the middle is no news."""


class HelloPage:
    """Serve the page on a free loopback port while the `with` block lasts; `local_addr` is HOST:PORT."""

    def __init__(self) -> None:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="hello page", daemon=True)
        self.local_addr = "{}:{}".format(*self._server.server_address)

    def __enter__(self) -> HelloPage:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
