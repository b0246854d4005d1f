"""A local service that does everything that a tunnel must carry."""

from __future__ import annotations

import base64
import hashlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.support.waits import free_port

WEBSOCKET_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
CHUNK = bytes(range(256)) * 1024  # 256 KiB


class Handler(BaseHTTPRequestHandler):
    """GET / /status/N /bytes/N /events /echo (WebSocket), POST /digest."""

    protocol_version = "HTTP/1.1"
    server: OriginServer

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""

    def do_GET(self) -> None:
        """Answer by path."""
        self.server.seen.append(dict(self.headers))
        match self.path.split("/")[1:]:
            case ["status", code]:
                self._answer(int(code), b"status")
            case ["bytes", count]:
                self._bytes(int(count))
            case ["events"]:
                self._events()
            case ["echo"]:
                self._echo()
            case _:
                self._answer(self.server.status, b"hello from the origin")

    do_HEAD = do_GET  # noqa: N815 - the name that http.server calls

    def do_POST(self) -> None:
        """Answer with length and digest of the body."""
        digest, count = hashlib.sha256(), 0
        for part in self._body():
            digest.update(part)
            count += len(part)
        self._answer(200, f"{count} {digest.hexdigest()}".encode())

    def _body(self) -> Iterator[bytes]:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            while size := int(self.rfile.readline(), 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return
        left = int(self.headers.get("Content-Length", 0))
        while left:
            part = self.rfile.read(min(left, 65536))
            left -= len(part)
            yield part

    def _answer(self, code: int, body: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _bytes(self, count: int) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(count))
        self.end_headers()
        while count:
            part = CHUNK[:count]
            self.wfile.write(part)
            count -= len(part)

    def _events(self) -> None:
        """Send an event, and the next only when the test has seen the one before."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for number in range(3):
            self.wfile.write(f"data: {number}\n\n".encode())
            self.wfile.flush()
            assert self.server.next_event.wait(20)
            self.server.next_event.clear()
        self.close_connection = True

    def _echo(self) -> None:
        key = self.headers["Sec-WebSocket-Key"] + WEBSOCKET_GUID
        accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", accept)
        self.end_headers()
        self.close_connection = True
        while True:
            head = self.rfile.read(2)
            if len(head) < 2:
                return
            size = head[1] & 0x7F
            if size == 126:
                size = int.from_bytes(self.rfile.read(2))
            elif size == 127:
                size = int.from_bytes(self.rfile.read(8))
            mask = self.rfile.read(4)
            payload = bytes(byte ^ mask[index % 4] for index, byte in enumerate(self.rfile.read(size)))
            length = bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(2) if size < 65536 else b"\x7f" + size.to_bytes(8)
            self.wfile.write(head[:1] + length + payload)
            if head[0] & 0x0F == 8:
                return


class OriginServer(ThreadingHTTPServer):
    """Serve on a free loopback port, or on `port`."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.status = 200
        self._open: list[socket.socket] = []
        self.seen: list[dict[str, str]] = []
        self.next_event = threading.Event()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Remember the connection, so that an end is an end for kept-alive ones too."""
        self._open.append(request)
        super().process_request(request, client_address)

    def disconnect_all(self) -> None:
        """Shut every connection that is still open."""
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, *_: Any) -> None:
        """Visitors may leave when they like."""

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.server_address[1])


@contextmanager
def serving(port: int = 0) -> Iterator[OriginServer]:
    """Run an origin in a thread of its own."""
    server = OriginServer(port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, name="origin")
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        server.disconnect_all()


def pattern_digest(count: int) -> str:
    """Return the SHA-256 of what GET /bytes/`count` gives."""
    digest = hashlib.sha256()
    while count:
        part = CHUNK[:count]
        digest.update(part)
        count -= len(part)
    return digest.hexdigest()


__all__ = ["CHUNK", "OriginServer", "free_port", "pattern_digest", "serving"]
