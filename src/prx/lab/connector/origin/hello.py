"""Answer for the service `hello_world`: a page, and the paths by which cloudflared's own page can be tested.

`/sse` counts, one event in `freq` (`10s`); `/uptime` says since when; `/_health` says ok. Its `/ws` is not there. Seen in
cloudflared 2026.8.2.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Final
from urllib.parse import parse_qs

from prx.core.durations import format_duration, parse_duration
from prx.lab.connector.origin.exchanges import Answer

STARTING: Final = "Starting Hello World server inside the builtin connector"
_SSE_SECONDS: Final = 10.0
_PAGE: Final = (
    b"<!doctype html><title>prx</title><h1>Congrats! You created a tunnel!</h1>"
    b"<p>This page is served by the prx builtin connector.</p>\n"
)


class Hello:
    """The service; `started` is when it began."""

    def __init__(self) -> None:
        self._started, self._began = datetime.now(UTC), time.monotonic()

    def answer(self, path: bytes) -> tuple[Answer, AsyncIterator[bytes]]:
        """Return the head of the answer for a path with its query, and the parts of the body."""
        name, _, query = path.decode("latin-1").partition("?")
        match name:
            case "/sse":
                return _head(b"text/event-stream; charset=utf-8"), _count(query)
            case "/uptime":
                return _head(b"application/json"), _once(self._uptime())
            case "/_health":
                return _head(b"text/plain; charset=utf-8"), _once(b"ok")
            case _:
                return _head(b"text/html; charset=utf-8"), _once(_PAGE)

    def _uptime(self) -> bytes:
        up = time.monotonic() - self._began
        return json.dumps({"startTime": self._started.isoformat(), "upTime": format_duration(up)}).encode()


def _head(kind: bytes) -> Answer:
    return Answer(200, "OK", [(b"Content-Type", kind)])


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body


async def _count(query: str) -> AsyncIterator[bytes]:
    seconds = _SSE_SECONDS
    for text in parse_qs(query).get("freq", [])[:1]:
        try:
            seconds = parse_duration(text)
        except ValueError:
            continue
    number = 0
    while True:
        await asyncio.sleep(max(seconds, 0.001))
        yield b"%d\n\n" % number
        number += 1
