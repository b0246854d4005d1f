"""The API's part about what passes through a tunnel that is inspected: what prx shows of it, secrets hidden by prx itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from prx.core.errors import UsageError
from prx.traffic.compare import compare
from prx.web.hub import Seen
from prx.web.query import choice, known, number
from prx.web.sources import Sources
from prx.web.traffic_views import path_of

MOST_ROWS: Final = 1_000
LONGEST_FILTER: Final = 500  # characters
_MOST_ID: Final = 10**12 - 1

Endpoint = Callable[[Request], Awaitable[Response]]


class TrafficApi:
    """List, show, compare and send again."""

    def __init__(self, sources: Sources) -> None:
        self._hub = sources.hub
        self._questions = sources.questions

    def routes(self) -> list[tuple[str, Endpoint, str]]:
        """Return path, endpoint and method of each operation."""
        return [
            ("/requests", self.listed, "GET"),
            ("/requests/{id}", self.one, "GET"),
            ("/requests/{id}/diff", self.diff, "GET"),
            ("/requests/{id}/replay", self.replay, "POST"),
        ]

    async def listed(self, request: Request) -> Response:
        """Return the last requests, oldest first; or, after an id, those that were answered later, in that order."""
        known(request, {"prx", "tunnel", "filter", "limit", "after", "own"})
        seen, tunnel = self._meant(request)
        answer = await self._questions.requests(
            seen,
            tunnel,
            wanted=filter_of(request),
            limit=number(request, "limit", 100, least=1, most=MOST_ROWS),
            own=choice(request, "own", "false", ("true", "false")) == "true",
            after=number(request, "after", 0, least=0, most=_MOST_ID),
        )
        rows, last = answer["requests"], answer.get("last")
        return JSONResponse({"prx": seen.key, "requests": rows, "last": last, "dropped": answer["dropped"]})

    async def one(self, request: Request) -> Response:
        """Return all that is kept of a request."""
        known(request, {"prx", "tunnel"})
        seen, tunnel = self._meant(request)
        return JSONResponse({"prx": seen.key, "request": await self._questions.request(seen, tunnel, _id(request))})

    async def diff(self, request: Request) -> Response:
        """Return in what two requests and their answers differ."""
        known(request, {"prx", "tunnel", "other"})
        seen, tunnel = self._meant(request)
        other = number(request, "other", 0, least=0, most=_MOST_ID)
        if not other:
            raise UsageError("other: expected the id of a request")
        before = await self._questions.request(seen, tunnel, _id(request))
        after = await self._questions.request(seen, tunnel, other)
        parts = await asyncio.to_thread(compare, before, after)
        return JSONResponse({"prx": seen.key, "parts": [asdict(part) for part in parts]})

    async def replay(self, request: Request) -> Response:
        """Send a request to the service again."""
        known(request, {"prx", "tunnel", "at"})
        seen, tunnel = self._meant(request)
        found = await self._questions.replay(seen, tunnel, _id(request), request.query_params.get("at"))
        page = f"{path_of(seen.key, found['tunnel'])}/{found['id']}"
        return JSONResponse({"prx": seen.key, "done": "replay", "request": found, "page": page})

    def _meant(self, request: Request) -> tuple[Seen, str | None]:
        tunnel = request.query_params.get("tunnel")
        return self._hub.find(request.query_params.get("prx"), tunnel), tunnel


def filter_of(request: Request) -> str:
    """Return the filter of a request, in the language of `prx requests --filter`."""
    text = request.query_params.get("filter", "")
    if len(text) > LONGEST_FILTER:
        raise UsageError(f"filter: found {len(text)} characters, expected at most {LONGEST_FILTER}")
    return text


def _id(request: Request) -> int:
    text = request.path_params["id"]
    if not text.isascii() or not text.isdigit() or len(text) > 12 or not int(text):
        raise UsageError(f"id: found {text[:80]!r}, expected the number of a request")
    return int(text)
