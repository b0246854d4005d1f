"""Define what an exchange with the local service is, whichever version of HTTP carries it.

Failures are worded as cloudflared 2026.8.2 words them, because its log lines carry those words. Connections are opened
and kept by `prx.lab.connector.origin.pool`.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

Headers = list[tuple[bytes, bytes]]


class OriginError(Exception):
    """The origin could not be reached or did not finish its answer."""


def readable(transport: asyncio.BaseTransport) -> bool:
    """Return whether something, be it the end, waits in the socket of a transport, or there is no socket any more."""
    descriptor = transport.get_extra_info("socket").fileno()
    if descriptor < 0:
        return True
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


@dataclass(frozen=True, slots=True)
class Answer:
    """The head of the origin's answer; `switched` after 101."""

    status: int
    reason: str
    headers: Headers

    @property
    def switched(self) -> bool:
        """Return whether the connection now carries something else than HTTP."""
        return self.status == 101


class OriginExchange(Protocol):
    """One request to the origin and its answer; every waiting method raises OriginError.

    `reused`: the connection is not new, so that it may have died unnoticed. `trailers` are known at the end of `body`.
    """

    reused: bool
    trailers: Headers

    async def send_head(self, method: bytes, target: bytes, headers: Headers, *, has_body: bool) -> None:
        """Send the head of the request, with the headers that HTTP/1.1 would have."""

    async def send_body(self, data: bytes) -> None:
        """Send a part of the request body; wait while the origin is slow."""

    async def end_request(self, trailers: Headers) -> None:
        """Say that the request is whole."""

    async def answer(self) -> Answer:
        """Wait for the head of the answer; interim answers other than 101 are dropped."""

    def body(self) -> AsyncIterator[bytes]:
        """Yield the parts of the answer's body as they arrive."""

    def close(self) -> None:
        """Give up what is not finished."""
