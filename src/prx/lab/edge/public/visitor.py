"""What the public side needs of one request of a visitor, whatever carries it: HTTP/1.1 or HTTP/2."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from prx.core.numbers import whole
from prx.lab.protocol.headers import Headers


class VisitorLeftError(Exception):
    """The visitor closed the connection or gave the request up, or it broke."""


class MalformedError(Exception):
    """The visitor sent what HTTP does not allow; `status` is what to answer."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class UnsendableError(Exception):
    """A response cannot be sent as it is, as with a body that is not as long as announced."""


@dataclass(frozen=True)
class RequestHead:
    """The head of a request; header names are lower case, in order and with repeats, without the host."""

    method: bytes
    authority: bytes
    path: bytes
    headers: Headers
    has_body: bool
    websocket: bool = False

    @cached_property
    def values(self) -> dict[bytes, bytes]:
        """The last value of each header."""
        return dict(self.headers)

    @property
    def length(self) -> int:
        """The body's length as announced; 0 if there is none or it is not known."""
        return whole(self.values.get(b"content-length")) or 0

    @property
    def hostname(self) -> str:
        """The host name of the authority, without port and final dot, lower case."""
        text = self.authority.decode("latin-1").lower()
        if text.startswith("["):
            return text.partition("]")[0] + "]"
        return text.partition(":")[0].removesuffix(".")


class Visitor(Protocol):
    """The visitor's side of one request. Every method may raise VisitorLeftError, the sending ones UnsendableError."""

    @property
    def scheme(self) -> str:
        """How the visitor came: http or https."""

    @property
    def version(self) -> str:
        """The protocol's version: http/1.0, http/1.1 or http/2."""

    @property
    def peer(self) -> str:
        """The visitor's address."""

    @property
    def trailers(self) -> Headers:
        """What came after the request's body; known once `next_data` has given None."""

    async def next_data(self) -> bytes | None:
        """Wait for request body bytes; None at the end. MalformedError if it is no HTTP."""

    def watch(self, left: Callable[[], object] | None) -> None:
        """Have `left` called, once, when the visitor leaves from now on, or at once if they have; None: watch no longer.

        For a side that has read the whole request. Nothing is reported once the visitor's next request arrives.
        """

    async def send_interim(self, status: int, headers: Headers) -> None:
        """Send a 1xx."""

    async def send_head(self, status: int, headers: Headers) -> None:
        """Send the response's head, without those headers that this version of HTTP does not allow."""

    async def send_data(self, data: bytes) -> None:
        """Send response body bytes, as fast as the visitor takes them."""

    async def finish(self, trailers: Headers) -> None:
        """End the response."""

    async def respond(self, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> None:
        """Send a whole response; the body is left out if the request was a HEAD."""

    async def switch(self, headers: Headers) -> bytes:
        """Answer 101; return what the visitor sent right behind the request. Only if the request is a WebSocket's."""

    async def receive_raw(self) -> bytes:
        """Wait for bytes as they are, after `switch`; b"" at the end."""

    async def send_raw(self, data: bytes) -> None:
        """Send bytes as they are, after `switch`."""
