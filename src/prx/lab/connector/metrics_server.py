"""Serve readiness, metrics and diagnostics over HTTP, for programs that watch the connector.

Paths and bodies are those of cloudflared 2026.8.2: `/ready`, `/healthcheck`, `/metrics`, `/quicktunnel`, `/config` and
`/diag/tunnel`. As with the real one there is no authentication and any Host is answered.
"""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any, Final

from prx.lab.connector.errors import StartError
from prx.lab.connector.go_errors import errno_text
from prx.lab.connector.log import Log
from prx.lab.connector.origin.rules_in_force import Configuration
from prx.lab.connector.state import State

USUAL_PORTS: Final = range(20241, 20246)
_LAST_PORT: Final = 65535
_IDLE_LIMIT: Final = 60.0  # seconds that a client may take for its request
_MAX_REQUEST: Final = 16 * 1024  # bytes


def open_listener(address: str, log: Log) -> socket.socket:
    """Return a socket that listens on `host:port`; without an address the first free of the usual ports, else any.

    Raises StartError when the address given is taken or is none.
    """
    if not address:
        for port in (*USUAL_PORTS, 0):
            try:
                return _listen("localhost", port)
            except OSError:
                continue
        raise StartError("Error opening metrics server listener: no port is free on localhost")
    host, _, text = address.rpartition(":")
    words = "invalid address"
    if text.isdecimal() and int(text) <= _LAST_PORT:
        try:
            return _listen(host.removeprefix("[").removesuffix("]") or "localhost", int(text))
        except OSError as error:
            words = errno_text(error)
    cause = f"failed to bind to address ({address}): listen tcp {address}: bind: {words}"
    log.error("Error opening metrics server listener", error=cause)
    raise StartError(f"Error opening metrics server listener: {cause}")


def address_of(listener: socket.socket) -> str:
    """Return `host:port` of a listening socket."""
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class MetricsServer:
    """A server on a listening socket, until it is stopped."""

    def __init__(self, state: State, configuration: Configuration, log: Log) -> None:
        self._state = state
        self._configuration = configuration
        self._log = log
        self._clients: dict[asyncio.Task[None] | None, asyncio.StreamWriter] = {}  # by the task that serves it
        self._server: asyncio.Server | None = None

    async def start(self, listener: socket.socket) -> None:
        """Begin to answer."""
        self._server = await asyncio.start_server(self._serve, sock=listener, limit=_MAX_REQUEST)
        self._log.info(f"Starting metrics server on {address_of(listener)}/metrics")

    async def stop(self) -> None:
        """Close the socket and every connection."""
        if self._server is None:
            return
        self._server.close()
        serving = [task for task in self._clients if task is not None]
        for client in self._clients.values():
            client.transport.abort()
        if serving:  # a task that outlived the event loop would be cancelled with it, which asyncio reports as a fault
            await asyncio.wait(serving)
        await self._server.wait_closed()
        self._log.info("Metrics server stopped")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients[asyncio.current_task()] = writer
        try:
            while await self._answer(reader, writer):
                pass
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the client went away, was too slow or too long-winded: nothing can be reported to it
        finally:
            self._clients.pop(asyncio.current_task(), None)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; return whether another may follow on the connection."""
        async with asyncio.timeout(_IDLE_LIMIT):
            head = await reader.readuntil(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        method, _, rest = lines[0].partition(" ")
        target, _, version = rest.partition(" ")
        status, content_type, body = self._respond(target.partition("?")[0])
        keep = version == "HTTP/1.1" and not any(line.lower().replace(" ", "") == "connection:close" for line in lines[1:])
        writer.write(
            f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
            f"{'' if keep else 'Connection: close' + chr(13) + chr(10)}\r\n".encode("latin-1")
        )
        writer.write(b"" if method == "HEAD" else body)
        await writer.drain()
        return keep

    def _respond(self, path: str) -> tuple[str, str, bytes]:
        """Return status line, content type and body."""
        text = "text/plain; charset=utf-8"
        match path:
            case "/ready":
                status, body = self._state.ready()
                return ("200 OK" if status == 200 else "503 Service Unavailable"), text, _json(body)
            case "/healthcheck":
                return "200 OK", text, b"OK\n"
            case "/metrics":
                content_type = "text/plain; version=0.0.4; charset=utf-8"
                return "200 OK", content_type, self._state.metrics.render().encode()
            case "/quicktunnel":
                return "200 OK", text, _json({"hostname": self._state.quick_hostname})
            case "/config":
                return "200 OK", text, self._configuration.for_operator()
            case "/diag/tunnel":
                self._log.info("Collection started", collector="tunnelState")
                body = self._state.diagnosis()
                self._log.info("Collection finished", collector="tunnelState")
                return "200 OK", text, _json(body) + b"\n"
            case _:
                return "404 Not Found", text, b"404 page not found\n"


def _listen(host: str, port: int) -> socket.socket:
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
