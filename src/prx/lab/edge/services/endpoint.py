"""A small HTTP service on loopback for machines: whole requests in, whole answers out, JSON by default.

It is for programs of this machine alone. But a web page that is open in a browser here reaches loopback, too, and needs no
leave to send what an HTML form can send; what keeps it out is that it cannot choose these:

* Host: what the browser was asked to open, so a foreign name if such a name was made to lead here (DNS rebinding)
* Origin and Sec-Fetch-Site: the browser says who asks (Fetch, Fetch Metadata); programs say nothing of that kind
* Content-Type: other than a form's only after a preflight (Fetch: CORS-safelisted request-header), which fails here: it has
  an Origin, and no answer ever carries Access-Control-Allow-Origin
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qsl

import h11

from prx.core.parsing import parse_json
from prx.lab.edge.public.http1 import Http1Connection
from prx.lab.edge.public.http1_server import Http1Server
from prx.lab.edge.public.visitor import MalformedError, VisitorLeftError

MAX_BODY: Final = 1024 * 1024
_JSON: Final = "application/json"
_LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")
_HTTP_PORT: Final = 80  # clients leave it out of Host
_OWN_SITES: Final = {"none", "same-origin"}  # of Sec-Fetch-Site; none: a person typed the URL


@dataclass(frozen=True, slots=True)
class Request:
    """A whole request; header names are lower case, repeated query names keep their last value."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    def json(self) -> dict[str, Any]:
        """Read the body as a JSON object; ValueError if it is none."""
        document = parse_json(self.body or b"{}")
        if not isinstance(document, dict):
            raise ValueError("the body is not a JSON object")  # noqa: TRY004 - the input is wrong, not the call
        return document


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer."""

    status: int
    body: bytes
    content_type: str = _JSON
    headers: tuple[tuple[str, str], ...] = ()

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
    """Serves `handle` on a port of its own, to programs of this machine alone.

    `body_types`: the Content-Type that POST requires, by path; JSON for all other paths. `names`: host names by which it may be
    called too, on any port: a front of the user's own passes what a program calls by them on. None of them may be one that a
    stranger could lead here. `typed`: whether a POST must have its Content-Type; not if a caller who may do something proves it
    with a header of its own, which no page can send.
    """

    def __init__(
        self,
        group: asyncio.TaskGroup,
        name: str,
        handle: Handle,
        body_types: Mapping[str, str],
        names: tuple[str, ...] = (),
        *,
        typed: bool = True,
    ) -> None:
        self._typed = typed
        self._server = Http1Server(group, name, self._serve)
        self._handle = handle
        self._body_types = body_types
        self._names = names
        self._hosts: tuple[str, ...] = ()

    async def listen(self, host: str, port: int) -> str:
        """Listen and return the base URL."""
        found = await self._server.listen(host, port)
        self._hosts = _own_hosts(found)
        return f"http://{host}:{found}"

    def close(self) -> None:
        """Stop listening."""
        self._server.close()

    async def _serve(self, connection: Http1Connection) -> None:
        try:
            while (head := await connection.next_request()) is not None:
                answer = await self._answer(connection, head)
                headers = [(b"Content-Type", answer.content_type.encode()), (b"Cache-Control", b"no-store")]
                more = [(name.encode(), value.encode()) for name, value in answer.headers]
                await connection.respond(answer.status, [*headers, *more], answer.body)
        except MalformedError:
            raise VisitorLeftError("not HTTP") from None

    async def _answer(self, connection: Http1Connection, head: h11.Request) -> Answer:
        request = await _whole(connection, head)
        if isinstance(request, Answer):
            return request
        try:
            return self._refusal(request) or await self._handle(request)
        except ValueError as error:
            return Answer.error(400, str(error))

    def _refusal(self, request: Request) -> Answer | None:
        """Refuse what a web page may have caused; None if no page can have caused it."""
        headers = request.headers
        host = headers.get("host", "").lower()
        if host not in self._hosts and host.partition(":")[0] not in self._names:
            return Answer.error(403, f"the Host of the request is not this endpoint; expected {' or '.join(self._hosts)}")
        if "origin" in headers or headers.get("sec-fetch-site", "none") not in _OWN_SITES:
            return Answer.error(403, "this endpoint is for programs on this machine, not for web pages")
        if request.method == "POST" and self._typed:
            return _wrong_type(headers.get("content-type", ""), self._body_types.get(request.path, _JSON))
        return None


async def _whole(connection: Http1Connection, head: h11.Request) -> Request | Answer:
    try:
        body = await connection.read_body(MAX_BODY)
    except ValueError as error:
        return Answer.error(413, str(error))
    target = head.target.decode("ascii", "replace")
    if not target.startswith("/") or target.startswith("//"):
        return Answer.error(400, "the request target is not a path; expected one that begins with a single /")
    path, _, query = target.partition("?")
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
    return Request(head.method.decode(), path, dict(parse_qsl(query)), headers, body)


def _own_hosts(port: int) -> tuple[str, ...]:
    """Return every Host by which a program may call an endpoint on this port."""
    bare = _LOOPBACK if port == _HTTP_PORT else ()
    return (*(f"{name}:{port}" for name in _LOOPBACK), *bare)


def _wrong_type(found: str, expected: str) -> Answer | None:
    essence = found.partition(";")[0].strip().lower()
    if essence == expected:
        return None
    return Answer.error(415, f"the Content-Type of the request is {essence or 'missing'}; expected {expected}")
