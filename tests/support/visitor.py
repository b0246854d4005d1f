"""The one HTTP client of the tests, httpx2: names under `.localhost` are opened on loopback, as browsers and curl do.

A test that must see what is on the wire, or must write what no client would, has `tests.support.wire`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx2
from tests.support.waits import PATIENCE
from websockets.asyncio.client import connect

_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "visitor"}


def _to_loopback(request: httpx2.Request) -> None:
    """Send a request for a name of this machine to 127.0.0.1; its Host header stays."""
    if request.url.host.endswith(".localhost"):
        request.url = request.url.copy_with(host="127.0.0.1")


@contextmanager
def client(base_url: str = "") -> Iterator[httpx2.Client]:
    """Yield a client that keeps its connection, follows nothing and knows no proxy."""
    hooks: dict[str, list[Any]] = {"request": [_to_loopback]}
    with httpx2.Client(
        base_url=base_url, headers=_HEADERS, trust_env=False, verify=False, timeout=PATIENCE, event_hooks=hooks
    ) as opened:
        yield opened


def request(method: str, url: str, *, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> httpx2.Response:
    """Send one request on a connection of its own and read the whole answer; blocking."""
    with client() as opened:
        return opened.request(method, url, content=body, headers=headers)


async def get(url: str, **headers: str) -> httpx2.Response:
    """Send a GET without blocking the loop."""
    return await asyncio.to_thread(request, "GET", url, headers=headers)


async def post(url: str, body: bytes) -> httpx2.Response:
    """Send a POST without blocking the loop."""
    return await asyncio.to_thread(request, "POST", url, body=body)


def websocket(url: str) -> connect:
    """Open a WebSocket, for use with `async with`."""
    return connect(url.replace("http://", "ws://"), host="127.0.0.1", proxy=None, max_size=None)
