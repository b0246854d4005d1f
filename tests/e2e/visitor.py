"""What a visitor does with a public URL: names under `.localhost` are opened on loopback, as browsers and curl do."""

from __future__ import annotations

import asyncio
import http.client
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from websockets.asyncio.client import connect


@dataclass(frozen=True)
class Answer:
    """Status, headers (lower-case names) and body."""

    status: int
    headers: dict[str, str]
    body: bytes


def request(method: str, url: str, *, body: bytes | None = None, headers: dict[str, str] | None = None) -> Answer:
    """Send one request and read the whole answer; blocking."""
    connection = connection_to(url)
    try:
        connection.request(method, urlsplit(url).path or "/", body, {"Host": urlsplit(url).netloc, **(headers or {})})
        response = connection.getresponse()
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())
    finally:
        connection.close()


def connection_to(url: str) -> http.client.HTTPConnection:
    """Open a connection to the public side."""
    return http.client.HTTPConnection("127.0.0.1", urlsplit(url).port or 80, timeout=60)


async def get(url: str, **headers: str) -> Answer:
    """Send a GET without blocking the loop."""
    return await asyncio.to_thread(request, "GET", url, headers=headers)


async def post(url: str, body: bytes) -> Answer:
    """Send a POST without blocking the loop."""
    return await asyncio.to_thread(request, "POST", url, body=body)


def websocket(url: str) -> connect:
    """Open a WebSocket, for use with `async with`."""
    return connect(url.replace("http://", "ws://"), host="127.0.0.1", proxy=None, max_size=None)


async def eventually(url: str, status: int, *, within: float = 20) -> Answer:
    """GET until the status is this one."""
    until = time.monotonic() + within
    while (answer := await get(url)).status != status:
        if time.monotonic() > until:
            raise AssertionError(f"{url} answers {answer.status}, expected {status}: {answer.body[:200]!r}")
    return answer


__all__ = ["Answer", "connection_to", "eventually", "get", "post", "request", "websocket"]
