"""A small HTTP service on loopback for machines: whole requests in, whole answers out, JSON by default."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qsl, urlsplit

import h11

from prx.edge.http1 import Http1Connection, Http1Server
from prx.edge.visitor import MalformedError, VisitorLeftError

MAX_BODY: Final = 1024 * 1024
_LOOPBACK: Final = {"127.0.0.1", "::1", "localhost"}


@dataclass(frozen=True)
class Request:
    """A whole request; header names are lower case, repeated query names keep their last value."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    def json(self) -> dict[str, Any]:
        """Read the body as a JSON object; ValueError where it is none."""
        document = json.loads(self.body or b"{}")
        if not isinstance(document, dict):
            raise ValueError("the body is not a JSON object")  # noqa: TRY004 - the input is wrong, not the call
        return document


@dataclass(frozen=True)
class Answer:
    """A whole answer."""

    status: int
    body: bytes
    content_type: str = "application/json"

    @classmethod
    def of(cls, document: Any, status: int = 200) -> Answer:
        """Answer with JSON."""
        return cls(status, json.dumps(document).encode() + b"\n")

    @classmethod
    def error(cls, status: int, message: str) -> Answer:
        """Answer that something is wrong, and what."""
        return cls.of({"error": message}, status)


Handle: TypeAlias = Callable[[Request], Awaitable[Answer]]


class Endpoint:
    """Serves `handle` on a port of its own.

    With `guarded`, requests that a web page may have caused are refused: those with an Origin, and those whose Host is
    not this machine (DNS rebinding).
    """

    def __init__(self, group: asyncio.TaskGroup, name: str, handle: Handle, *, guarded: bool) -> None:
        self._server = Http1Server(group, name, self._serve)
        self._handle = handle
        self._guarded = guarded

    async def listen(self, host: str, port: int) -> str:
        """Listen and give the base URL."""
        return f"http://{host}:{await self._server.listen(host, port)}"

    def close(self) -> None:
        """Stop listening."""
        self._server.close()

    async def _serve(self, connection: Http1Connection) -> None:
        try:
            while (head := await connection.next_request()) is not None:
                answer = await self._answer(connection, head)
                headers = [(b"Content-Type", answer.content_type.encode()), (b"Cache-Control", b"no-store")]
                await connection.respond(answer.status, headers, answer.body)
        except MalformedError:
            raise VisitorLeftError("not HTTP") from None

    async def _answer(self, connection: Http1Connection, head: h11.Request) -> Answer:
        request = await _whole(connection, head)
        if isinstance(request, Answer):
            return request
        if self._guarded and not _from_this_machine(request):
            return Answer.error(403, "this endpoint is for programs on this machine, not for web pages")
        try:
            return await self._handle(request)
        except ValueError as error:
            return Answer.error(400, str(error))


async def _whole(connection: Http1Connection, head: h11.Request) -> Request | Answer:
    try:
        body = await connection.read_body(MAX_BODY)
    except ValueError as error:
        return Answer.error(413, str(error))
    target = urlsplit(head.target.decode("ascii", "replace"))
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
    return Request(head.method.decode(), target.path, dict(parse_qsl(target.query)), headers, body)


def _from_this_machine(request: Request) -> bool:
    host = urlsplit(f"//{request.headers.get('host', '')}").hostname
    return host in _LOOPBACK and "origin" not in request.headers
