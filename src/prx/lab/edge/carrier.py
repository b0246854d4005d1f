"""What the edge needs of a connection to a connector, whatever carries it: HTTP/2 or QUIC."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from prx.lab.protocol.headers import Headers


class Kind(Enum):
    """What a request asks the connector to do."""

    HTTP = "http"
    WEBSOCKET = "websocket"


@dataclass(frozen=True, slots=True)
class TunnelRequest:
    """The head of a visitor's request as the connector shall see it; header names are lower case."""

    kind: Kind
    method: bytes
    scheme: bytes
    authority: bytes
    path: bytes
    headers: Headers
    has_body: bool


@dataclass(frozen=True, slots=True)
class TunnelResponse:
    """The head of the answer; `from_origin` is false if the connector itself made it."""

    status: int
    headers: Headers
    from_origin: bool

    @property
    def interim(self) -> bool:
        """Return whether another head follows (1xx); 101 is final (RFC 9110, 15.2)."""
        return 100 <= self.status < 200 and self.status != 101


class Exchange(Protocol):
    """One request under way. Waiting methods raise `prx.lab.protocol.errors.StreamError` when it breaks off."""

    @property
    def trailers(self) -> Headers | None:
        """What came after the response's body; known once `read` has given b""."""

    async def send(self, data: bytes, *, end: bool = False) -> None:
        """Send request body bytes, as fast as the connector takes them."""

    async def send_trailers(self, trailers: Headers) -> None:
        """End the request's body with trailers."""

    async def next_head(self) -> TunnelResponse:
        """Wait for the next head of the response: any number of interim ones, then the final one."""

    async def read(self) -> bytes:
        """Wait for response body bytes; b"" at the end."""

    def close(self) -> None:
        """Give up what is not finished; must be called last, always."""


@dataclass(frozen=True, slots=True)
class PushAnswer:
    """What the connector says of a pushed configuration: the version it runs now, and its error or ''."""

    applied: int
    error: str


class TunnelConnection(Protocol):
    """A registered connection to a connector."""

    @property
    def protocol(self) -> str:
        """Name of the carrier: http2 or quic."""

    @property
    def peer(self) -> str:
        """The connector's address, as the edge sees it."""

    async def open_request(self, request: TunnelRequest) -> Exchange:
        """Send a request's head; StreamError if the connection takes no more."""

    async def push_configuration(self, version: int, config: bytes) -> PushAnswer:
        """Send a remote configuration (JSON) and wait for the answer; StreamError if none comes."""

    async def wait_idle(self) -> None:
        """Wait until no request is under way."""

    async def wait_closed(self) -> str:
        """Wait until the connection is gone; return the reason, empty for an orderly end."""

    def close(self) -> None:
        """Send what waits, then close."""

    def abort(self, reason: str) -> None:
        """Drop the connection at once."""

    def stall(self) -> None:
        """Fall silent: read nothing and send nothing more, but keep the connection."""

    def resume(self) -> None:
        """End the silence."""

    def goaway(self) -> None:
        """Announce that no new request comes, if the carrier can express that."""
