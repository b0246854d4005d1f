"""The pages about what passes through a tunnel: a list, one request, two of them compared."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from prx.control.messages import Message
from prx.core.errors import PrxError
from prx.logs.text import printable
from prx.traffic.compare import compare
from prx.web.hub import Seen
from prx.web.render import Renderer
from prx.web.sources import Sources
from prx.web.traffic_api import filter_of
from prx.web.traffic_views import detail, path_of, row

SHOWN: Final = 200
_STATUS: Final = {"no_such_request": 404, "usage": 400}


@dataclass(frozen=True, slots=True)
class _Place:
    """Whose requests a page shows."""

    seen: Seen
    tunnel: Message

    @property
    def name(self) -> str:
        return str(self.tunnel["name"])

    @property
    def local_addr(self) -> str:
        return printable(str(self.tunnel.get("local_addr", "")))

    def values(self) -> dict[str, Any]:
        """Return what every template of this room needs."""
        path = path_of(self.seen.key, self.name)
        table = "tunnel" if self.name == "default" else f"tunnels.{self.name}"
        return {
            "name": printable(self.name),
            "local_addr": self.local_addr,
            "path": path,
            "up": path.removesuffix("/requests"),
            "table": printable(f"[{table}.inspect]"),
        }


class TrafficPages:
    """The pages below /tunnels/PRX/NAME/requests."""

    def __init__(self, sources: Sources, renderer: Renderer) -> None:
        self._hub = sources.hub
        self._questions = sources.questions
        self._renderer = renderer

    def routes(self) -> list[Route]:
        """Return the routes."""
        below = "/tunnels/{prx}/{name}/requests"
        return [
            Route(below, self.listed),
            Route(f"{below}/diff", self.diff),
            Route(f"{below}/{{id:int}}", self.one),
        ]

    async def listed(self, request: Request) -> Response:
        """Show the last requests that fit the filter."""
        place = self._place(request)
        if place is None:
            return self._no_tunnel(request)
        own = request.query_params.get("own") == "1"
        rows, dropped, trouble, code = [], 0, "", ""
        try:
            answer = await self._questions.requests(place.seen, place.name, wanted=filter_of(request), limit=SHOWN, own=own)
            rows, dropped = [row(item) for item in answer["requests"]], answer["dropped"]
        except PrxError as error:
            trouble, code = _words(error, place.seen), error.code
        return self._renderer.page(
            "requests.html",
            request,
            status=400 if code == "usage" else 200,
            rows=rows,
            dropped=dropped,
            trouble="" if code == "inspection_off" else trouble,
            off=code == "inspection_off",
            wanted=request.query_params.get("filter", "")[:500],
            own=own,
            **place.values(),
        )

    async def one(self, request: Request) -> Response:
        """Show everything that is kept of one request."""
        place = self._place(request)
        if place is None:
            return self._no_tunnel(request)
        number = request.path_params["id"]
        try:
            found = await self._questions.request(place.seen, place.name, number)
            near = await self._questions.requests(place.seen, place.name, wanted="", limit=SHOWN, own=True)
        except PrxError as error:
            return self._trouble(request, place, error)
        shown = await asyncio.to_thread(detail, found, place.seen.key, place.local_addr)
        before = _before(found, near["requests"])
        return self._renderer.page("request.html", request, r=shown, before=before, **place.values())

    async def diff(self, request: Request) -> Response:
        """Show in what the two requests differ that are marked in the list."""
        place = self._place(request)
        if place is None:
            return self._no_tunnel(request)
        marked = [text for text in request.query_params.getlist("id") if text.isascii() and text.isdigit() and len(text) <= 12]
        values: dict[str, Any] = {"parts": [], "pair": (), **place.values()}
        if len(marked) != 2:
            return self._renderer.page("diff.html", request, status=400, marked=len(marked), **values)
        try:
            pair = [await self._questions.request(place.seen, place.name, int(text)) for text in marked]
        except PrxError as error:
            return self._trouble(request, place, error)
        parts = await asyncio.to_thread(compare, *pair)
        values |= {"parts": parts, "pair": [row(item) for item in pair]}
        return self._renderer.page("diff.html", request, marked=2, **values)

    def _place(self, request: Request) -> _Place | None:
        found = self._hub.tunnel(request.path_params["prx"], request.path_params["name"])
        return None if found is None else _Place(*found)

    def _no_tunnel(self, request: Request) -> Response:
        return self._renderer.page("missing.html", request, status=404, name=printable(request.path_params["name"])[:80])

    def _trouble(self, request: Request, place: _Place, error: PrxError) -> Response:
        status = _STATUS.get(error.code, 200)
        trouble = "" if error.code == "inspection_off" else _words(error, place.seen)
        off = error.code == "inspection_off"
        return self._renderer.page("no-request.html", request, status=status, trouble=trouble, off=off, **place.values())


def _words(error: PrxError, seen: Seen) -> str:
    if seen.gone_at is not None:
        return (
            "prx does not answer: how it is now is not known."
            if seen.silent
            else "prx is not running, and what passed was kept in its memory."
        )
    return printable(f"{error.message}{f' ({error.hint})' if error.hint else ''}")


def _before(found: dict[str, Any], near: list[dict[str, Any]]) -> int | None:
    """Return the newest earlier request with the same method and path, to compare with."""

    def kind(item: dict[str, Any]) -> tuple[object, ...]:
        return item["method"], item["path"].partition("?")[0], item["own"]

    return max((item["id"] for item in near if item["id"] < found["id"] and kind(item) == kind(found)), default=None)
