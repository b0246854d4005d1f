"""A mirror on loopback that misbehaves on request, and a release whose one asset is a small script."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prx.install.pinned import Asset, Release

MACHINE = ("linux", "amd64")
PROGRAM = b"#!/bin/sh\necho cloudflared version 2099.1.0\n" + b"#" * 300_000
VERSION = "2099.1.0"
# `prx install cloudflared`, with a table whose release is VERSION with DIGEST
INSTALL = """
import sys
from prx.install import cloudflared, pinned
version, digest, *arguments = sys.argv[1:]
asset = pinned.Asset("cloudflared-linux-amd64", digest)
small = pinned.Release(version, {key: asset for key in [("linux", "amd64"), cloudflared.this_machine()]})
cloudflared.install_cloudflared.__kwdefaults__["release"] = small
from prx.cli.install import install
from prx.ui.errors import run
sys.exit(run(install, ["cloudflared", *arguments]))
"""

Answer = Callable[[BaseHTTPRequestHandler], None]


def release(content: bytes = PROGRAM, version: str = VERSION, name: str = "cloudflared-linux-amd64") -> Release:
    """Describe a release that holds `content`."""
    return Release(version, {MACHINE: Asset(name, hashlib.sha256(content).hexdigest())})


def archive(members: dict[str, bytes | None]) -> bytes:
    """Make a .tgz; None makes a symbolic link to /etc/passwd."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            if content is None:
                member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
            member.size, member.mode = len(content or b""), 0o4777
            tar.addfile(member, io.BytesIO(content or b""))
    return packed.getvalue()


def whole(content: bytes = PROGRAM) -> Answer:
    """Answer with `content`."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def redirect(location: str) -> Answer:
    """Answer with a redirect."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", location)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def status(code: int) -> Answer:
    """Answer with a status and no body."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


class Mirror:
    """The server; `answers` by path, `half_sent` and `release` for answers that stop in the middle."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []
        self.half_sent = threading.Event()
        self.let_go = threading.Event()
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                mirror.asked.append(self.path)
                self.close_connection = True
                with suppress(BrokenPipeError, ConnectionResetError):  # the client has had enough
                    mirror.answers.get(self.path, status(404))(self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the base class
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def serve(self, answer: Answer, version: str = VERSION, name: str = "cloudflared-linux-amd64") -> str:
        """Answer so for the asset, and return the base URL."""
        self.answers[f"/{version}/{name}"] = answer
        return self.url

    def half(self, content: bytes = PROGRAM) -> Answer:
        """Send half of `content`, say so, and stall until let go; then close."""

        def answer(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(content)))
            handler.end_headers()
            handler.wfile.write(content[: len(content) // 2])
            handler.wfile.flush()
            self.half_sent.set()
            self.let_go.wait(60)

        return answer

    def drip(self) -> Answer:
        """Send a byte now and then, forever: never silent for long, never done."""

        def answer(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(200)
            handler.end_headers()
            while not self.let_go.wait(0.02):
                handler.wfile.write(b"x")

        return answer

    def endless(self) -> Answer:
        """Send as fast as it goes, forever, without a length."""

        def answer(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(200)
            handler.end_headers()
            while not self.let_go.is_set():
                handler.wfile.write(b"x" * 65536)

        return answer

    def close(self) -> None:
        """End it, and every answer that still goes on."""
        self.let_go.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
