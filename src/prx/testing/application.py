"""A WSGI or ASGI application of a test, served on a loopback port.

WSGI is served by the standard library. ASGI (3.0, HTTP alone) is carried by an adapter to WSGI: the application runs on an
event loop in a thread of its own; the body of a request is read whole, that of a response passes as it comes. For WebSockets,
or anything else that an application needs of its server, start that server and pass its port.
"""

from __future__ import annotations

import asyncio
import inspect
import io
import queue
import re
import threading
import time
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from http.client import responses
from socketserver import ThreadingMixIn
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prx.core.deadline import Deadline
from prx.testing.hosted import Hosted, hosted

STUCK_SECONDS: Final = 5.0
"""Seconds that requests under way have to end when their server does."""

_LINE: Final = 65536  # bytes
_CHUNK: Final = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\n]*)?\r?\n")

Application = Callable[..., Any]
Message = dict[str, Any]


@contextmanager
def serving(application: Application) -> Iterator[int]:
    """Serve an application for the length of a block; yields its port."""
    if not _is_asgi(application):
        with _serving_wsgi(application) as port:
            yield port
        return
    with hosted(lambda: _lifespan(application), "prx asgi") as host:
        adapter = _Adapter(application, host)
        with _serving_wsgi(adapter) as port:
            try:
                yield port
            finally:
                adapter.end()


def _is_asgi(application: Application) -> bool:
    return inspect.iscoroutinefunction(application) or inspect.iscoroutinefunction(type(application).__call__)


# -- WSGI ----------------------------------------------------------------------------------------------------------


class _Server(ThreadingMixIn, WSGIServer):
    request_queue_size = 128
    block_on_close = False  # it waits without end, and a request may be stuck for good: that of a test that fails, above all

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._handling: list[threading.Thread] = []

    def server_bind(self) -> None:
        """Bind without asking DNS for the name of this machine, as HTTPServer does: that can take seconds."""
        self.socket.bind(("127.0.0.1", 0))
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "127.0.0.1", self.server_address[1]
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Handle a request in a thread of its own."""
        work = partial(self.process_request_thread, request, client_address)
        thread = threading.Thread(target=work, name="prx application request", daemon=True)
        self._handling = [*(one for one in self._handling if one.is_alive()), thread]
        thread.start()

    def wait_for_requests(self) -> None:
        """Wait for the end of what is handled; warn of what is stuck, and leave it to the end of the process."""
        end = Deadline(time.monotonic, STUCK_SECONDS)
        for thread in self._handling:
            thread.join(end.left)
        if stuck := sum(thread.is_alive() for thread in self._handling):
            words = f"{stuck} requests are stuck in the application {STUCK_SECONDS:g} s after the end of the test"
            warnings.warn(words, RuntimeWarning, stacklevel=2)


class _Handler(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Keep quiet: a test's output is the test's."""

    def parse_request(self) -> bool:
        """Read the head of a request, and a body that comes in chunks, which `wsgiref` knows nothing of."""
        if not super().parse_request():
            return False
        if self.headers.get("Transfer-Encoding", "").strip().lower() == "chunked":
            try:
                body = _without_chunks(self.rfile)
            except ValueError:
                self.send_error(400, "the chunks of the body cannot be read")
                return False
            self._came_from, self.rfile = self.rfile, io.BytesIO(body)
            del self.headers["Transfer-Encoding"]
            self.headers["Content-Length"] = str(len(body))
        return True

    def finish(self) -> None:
        """Close what was read from, too."""
        super().finish()
        if self._came_from is not None:
            self._came_from.close()

    _came_from: io.BufferedIOBase | None = None


def _without_chunks(file: io.BufferedIOBase) -> bytes:
    """Return a whole body that comes in chunks (RFC 9112, 7.1); ValueError if it does not keep to that."""
    body = bytearray()
    while size := _chunk_size(file.readline(_LINE)):
        piece = file.read(size)
        if len(piece) < size or file.readline(_LINE) != b"\r\n":
            raise ValueError("a chunk has another length than it says")
        body += piece
    while file.readline(_LINE).strip():  # trailers
        pass
    return bytes(body)


def _chunk_size(line: bytes) -> int:
    found = _CHUNK.fullmatch(line)
    if found is None:  # int() reads more: with a sign, or with 0x in front
        raise ValueError("a chunk without its length")
    return int(found[1], 16)


@contextmanager
def _serving_wsgi(application: Application) -> Iterator[int]:
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.set_app(application)
        work = partial(server.serve_forever, poll_interval=0.02)
        thread = threading.Thread(target=work, name="prx application", daemon=True)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()
            server.wait_for_requests()


# -- ASGI ----------------------------------------------------------------------------------------------------------


class _Adapter:
    """A WSGI application that runs an ASGI one on the loop of `host`."""

    def __init__(self, application: Application, host: Hosted[Message]) -> None:
        self._application = application
        self._host = host
        self._running: set[Future[None]] = set()
        self._over = False

    def end(self) -> None:
        """End what is under way: an application may wait without end for what no longer comes."""
        self._over = True
        for running in list(self._running):
            running.cancel()

    def __call__(self, environ: Message, start_response: Callable[..., Any]) -> Iterator[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        messages: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        running = self._host.start(self._exchange(_scope(environ, self._host.value), body, messages))
        self._running.add(running)
        running.add_done_callback(self._running.discard)
        running.add_done_callback(lambda _: messages.put(None))
        if self._over:
            running.cancel()
        head = messages.get()
        if head is None and running.cancelled():
            start_response("503 Service Unavailable", [("Content-Length", "0")])
            return
        if head is None:
            running.result()  # the exception of the application, which the server shows on stderr, as it does for WSGI
            raise RuntimeError("the ASGI application ended without a response")
        status = int(head["status"])
        start_response(f"{status} {responses.get(status, '')}", [_text(header) for header in head.get("headers", ())])
        while message := messages.get():
            yield message.get("body", b"")
            if not message.get("more_body"):  # what the application does after it holds up no visitor
                return

    async def _exchange(self, scope: Message, body: bytes, messages: queue.SimpleQueue[Message | None]) -> None:
        requests: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Message:
            if not requests:
                await asyncio.Event().wait()  # whether the visitor has left is not reported
            return requests.pop()

        async def send(message: Message) -> None:
            messages.put(message)

        await self._application(scope, receive, send)


def _scope(environ: Message, state: Message) -> Message:
    names = {key[5:]: value for key, value in environ.items() if key.startswith("HTTP_")}
    names |= {key: environ[key] for key in ("CONTENT_TYPE", "CONTENT_LENGTH") if environ.get(key)}
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": environ["REQUEST_METHOD"],
        "scheme": "http",
        "path": environ["PATH_INFO"].encode("latin-1").decode("utf-8", "replace"),
        "raw_path": environ["PATH_INFO"].encode("latin-1"),
        "query_string": environ["QUERY_STRING"].encode("latin-1"),
        "root_path": "",
        "headers": [(key.replace("_", "-").lower().encode(), value.encode("latin-1")) for key, value in names.items()],
        "client": (environ["REMOTE_ADDR"], 0),
        "server": ("127.0.0.1", int(environ["SERVER_PORT"])),
        "state": dict(state),
    }


def _text(header: tuple[bytes, bytes]) -> tuple[str, str]:
    return header[0].decode("latin-1"), header[1].decode("latin-1")


@asynccontextmanager
async def _lifespan(application: Application) -> AsyncIterator[Message]:
    """Start an application up and shut it down again, if it takes part in that; yields its state."""
    state: Message = {}
    orders: asyncio.Queue[Message] = asyncio.Queue()
    answers: asyncio.Queue[Message] = asyncio.Queue()

    async def live() -> None:
        with suppress(Exception):  # ASGI: an application that raises here has no lifespan
            await application({"type": "lifespan", "asgi": {"version": "3.0"}, "state": state}, orders.get, answers.put)
        answers.put_nowait({"type": "none"})

    async def ask(what: str) -> None:
        orders.put_nowait({"type": f"lifespan.{what}"})
        answer = await answers.get()
        if answer["type"].endswith(".failed"):
            raise RuntimeError(f"the application's {what} failed: {answer.get('message', '')}")

    async with asyncio.TaskGroup() as group:
        life = group.create_task(live(), name="lifespan")
        try:
            await ask("startup")
            yield state
            if not life.done():
                await ask("shutdown")
        finally:
            life.cancel()
