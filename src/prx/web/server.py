"""Start and stop the dashboard: its parts, and the server around them."""

from __future__ import annotations

import asyncio
import errno
import logging
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp

from prx.control.liveness import killed
from prx.core.errors import PermanentError, PrxError, refused
from prx.secrets.value import Secret
from prx.web.address import Listen
from prx.web.api import routes
from prx.web.bounds import HEAD_BYTES, Connections, bounded
from prx.web.examine import Doctor
from prx.web.guard import Guard, refusal
from prx.web.hub import Hub
from prx.web.keys import Keys
from prx.web.pages import Pages
from prx.web.past import History
from prx.web.questions import Questions
from prx.web.render import Renderer
from prx.web.sources import Sources
from prx.web.stream import Streams
from prx.web.traffic_pages import TrafficPages

BACKLOG: Final = 256
SEND_BUFFER: Final = 64 * 1024
_REFUSED: Final = frozenset({errno.EACCES, errno.EPERM, errno.EAFNOSUPPORT})  # for as long as user and machine are these
_LISTEN_HINTS: Final = {
    errno.EADDRINUSE: "another dashboard may run: one shows all prx of this user",
    errno.EACCES: "choose a port from 1024 up, or have it run by a user who may use this one",
    errno.EADDRNOTAVAIL: "it is no address of this machine: 127.0.0.1 is always one",
    errno.EAFNOSUPPORT: "this machine has no IPv6: listen on 127.0.0.1",
}
_END_SECONDS: Final = 1  # streams never end by themselves


@dataclass(frozen=True, slots=True)
class Settings:
    """Where the dashboard listens and what it shows.

    sockets: the folder of the control sockets. history: that of the history. wall: seconds since 1970. steady: those of a clock
    that cannot be set, for durations.
    """

    listen: Listen
    key: bytes = field(repr=False)
    sockets: Path
    history: Path
    wall: Callable[[], float]
    password: Secret = field(default_factory=lambda: Secret(""))
    doctor: Doctor = field(default_factory=Doctor)
    steady: Callable[[], float] = time.monotonic


class _Server(uvicorn.Server):
    """uvicorn's server, which leaves signals to those who started it."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


class Dashboard:
    """The server, without a socket of its own yet: `serve` takes one that listens."""

    def __init__(self, settings: Settings, *, write_seconds: float | None = None, most_connections: int | None = None) -> None:
        settings.listen.require_guard(password=bool(settings.password))
        self._settings = settings
        self.connections = Connections() if most_connections is None else Connections(most_connections)
        self.hub = Hub(settings.sockets, wall=settings.wall, steady=settings.steady, life=secrets.token_hex(4))
        self.keys = Keys(settings.key, settings.wall)
        self.streams = Streams(self.hub.ring, self.connections.abort)
        self._server: _Server | None = None
        if write_seconds is not None:
            self.streams.write_seconds = write_seconds

    def app(self) -> ASGIApp:
        """Return the ASGI application."""
        settings = self._settings
        history = History(settings.history, settings.wall, lambda: killed(settings.sockets))
        sources = Sources(self.hub, history, self.streams, settings.doctor, Questions(self.hub), self.connections)
        renderer = Renderer(self.hub)
        pages = Pages(sources, renderer, self.keys, settings.listen, settings.password)
        inner = Starlette(
            routes=[*pages.routes(), *TrafficPages(sources, renderer).routes(), *routes(sources)],
            exception_handlers={404: _not_found, 405: _wrong_method},
        )
        inner.router.redirect_slashes = False
        return Guard(inner, settings.listen, self.keys, self.connections)

    def stop(self) -> None:
        """End `serve`."""
        if self._server is not None:
            self._server.should_exit = True

    async def serve(self, listening: socket.socket, on_ready: Callable[[], None] = lambda: None) -> None:
        """Serve until `stop`, or until cancelled."""
        server = self._server = _Server(
            uvicorn.Config(
                self.app(),
                http=bounded(self.connections),
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                h11_max_incomplete_event_size=HEAD_BYTES,
                timeout_graceful_shutdown=_END_SECONDS,
                backlog=BACKLOG,
            )
        )
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # defects are reported by the guard
        async with asyncio.TaskGroup() as group:
            following = group.create_task(self.hub.run(), name="hub")
            on_ready()
            try:
                await server.serve(sockets=[listening])
            finally:
                following.cancel()


def listen_on(listen: Listen) -> socket.socket:
    """Return a socket that listens; PrxError if the address is taken or is none of this machine, PermanentError if refused."""
    host = "127.0.0.1" if listen.host == "localhost" else listen.host
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)  # what a client that does not read costs the kernel
        if family == socket.AF_INET6:
            found.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        found.bind((host, listen.port))
        found.listen(BACKLOG)
        found.setblocking(False)
    except OSError as error:
        found.close()
        kind = PermanentError if error.errno in _REFUSED else PrxError
        hint = _LISTEN_HINTS.get(error.errno or 0, "")
        words = f"the dashboard cannot listen on {listen.authority}: {error.strerror}"
        raise refused(words, error, hint=hint, kind=kind) from error
    return found


async def _not_found(request: Request, _error: Exception) -> Response:
    if request.url.path.startswith("/api/"):
        return refusal(404, "there is nothing at this path", "see /api/v1/openapi.json")
    return HTMLResponse("<!doctype html><title>Not found</title><p>Nothing is here. <a href=/>The dashboard</a>", 404)


async def _wrong_method(request: Request, error: Exception) -> Response:
    answer = refusal(405, f"{request.method} is not for this path")
    with suppress(AttributeError, KeyError):
        answer.headers["allow"] = error.headers["Allow"]  # type: ignore[attr-defined]  # Starlette's HTTPException
    return answer
