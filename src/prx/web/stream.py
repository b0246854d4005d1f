"""Events as Server-Sent Events (WHATWG HTML, 9.2), for clients that may be slow, dead or hostile.

Each stream has a bounded queue; what does not fit is dropped, counted and reported as an event `dropped`. A client that takes
nothing for `WRITE_SECONDS` is disconnected.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import chain
from typing import Any, Final

from starlette.types import Message, Receive, Scope, Send

from prx.web.ring import Item, Ring

MOST_STREAMS: Final = 256
WRITE_SECONDS: Final = 15.0
COMMENT_SECONDS: Final = 15.0  # so that a dead client is noticed, and a live one knows that we are here
RETRY_MS: Final = 2000
CHUNK_BYTES: Final = 32 * 1024

_UNBUFFERED: Final = (b"x-accel-buffering", b"no")  # nginx keeps an answer back until it is whole, or large

Abort = Callable[[tuple[str, int] | None], None]


class Streams:
    """How many streams there are, and how long one may keep us waiting."""

    def __init__(self, ring: Ring, abort: Abort, *, write_seconds: float = WRITE_SECONDS, most: int = MOST_STREAMS) -> None:
        self.ring = ring
        self.abort = abort
        self.write_seconds = write_seconds
        self.most = most
        self.open = 0
        self.cut = 0

    def response(self, after: str | None) -> EventStream | None:
        """Return a stream of what comes, after what came since the event `after`; None if there are too many."""
        return EventStream(self, after) if self.open < self.most else None


class EventStream:
    """The answer to one request, as an ASGI application."""

    def __init__(self, streams: Streams, after: str | None) -> None:
        self._streams = streams
        self._after = after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102 - ASGI
        self._streams.open += 1
        follower = self._streams.ring.follow()
        beginning = self._beginning()  # at the very moment from which the follower gets what comes: nothing twice, nothing lost
        try:
            async with asyncio.TaskGroup() as group:
                writing = group.create_task(self._write(scope, send, beginning, follower.take), name="event stream")
                await _until_gone(receive)
                writing.cancel()
        finally:
            self._streams.open -= 1
            follower.close()

    async def _write(self, scope: Scope, send: Send, beginning: Iterable[str], take: Callable[[], Any]) -> None:
        async def put(message: Message) -> None:
            async with asyncio.timeout(self._streams.write_seconds):
                await send(message)

        try:
            headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-store"), _UNBUFFERED]
            await put({"type": "http.response.start", "status": 200, "headers": headers})
            for message in _chunks(beginning):
                await put(message)
            while True:
                dropped, items = 0, ()
                with suppress(TimeoutError):
                    async with asyncio.timeout(COMMENT_SECONDS):
                        dropped, items = await take()
                for message in _chunks(self._texts(dropped, items)):
                    await put(message)
        except (TimeoutError, OSError):
            self._streams.cut += 1
            self._streams.abort(scope.get("client"))

    def _beginning(self) -> Iterable[str]:
        """Return what comes first: what is to be in it is decided now, and put into words as it is sent."""
        ring = self._streams.ring
        first = f"retry: {RETRY_MS}\n\n"
        if self._after is None:
            return (first, f"id: {ring.id_of(ring.number)}\n" + 'data: {"event":"hello"}\n\n')
        missed, items = ring.since(self._after)
        if missed is None:
            first += 'data: {"event":"reset"}\n\n'
        elif missed:
            first += _dropped(missed)
        return chain((first,), map(self._text, items))

    def _texts(self, dropped: int, items: Iterable[Item]) -> Iterable[str]:
        if dropped:
            yield _dropped(dropped)
        else:
            yield ": here\n\n"
        for item in items:
            yield self._text(item)

    def _text(self, item: Item) -> str:
        return f"id: {self._streams.ring.id_of(item.number)}\ndata: {item.text}\n\n"


def _dropped(count: int) -> str:
    return f"data: {json.dumps({'event': 'dropped', 'count': count}, separators=(',', ':'))}\n\n"


def _chunks(texts: Iterable[str]) -> Iterator[Message]:
    """Yield parts of the body: each is sent before the next one is made, so that a slow client costs no copy of what waits."""
    part = bytearray()
    for text in texts:
        part += text.encode()
        if len(part) >= CHUNK_BYTES:
            yield {"type": "http.response.body", "body": bytes(part), "more_body": True}
            part.clear()
    yield {"type": "http.response.body", "body": bytes(part), "more_body": True}


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
