"""The API below /api/v1: JSON for scripts and for the page's own script. `prx.web.openapi` describes it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import wraps
from pathlib import Path
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from prx.core.errors import NotReadyError, PrxError, UsageError
from prx.core.events import timestamp
from prx.core.shortage import lack_of
from prx.history.report import Report
from prx.web.guard import refusal
from prx.web.hub import Seen
from prx.web.journal import MOST_LINES, Wanted, lines, row
from prx.web.openapi import document
from prx.web.past import only
from prx.web.query import choice, known, number
from prx.web.sources import Sources
from prx.web.stream import Streams
from prx.web.traffic_api import TrafficApi

MOST_SECONDS: Final = 366 * 86400
_STATUS: Final = {2: 400, 4: 503}  # by the exit code that a command would end with
_STATUS_OF_CODE: Final = {"no_such_request": 404, "inspection_off": 409}

Endpoint = Callable[[Request], Awaitable[Response]]


def status_json(sources: Sources) -> dict[str, Any]:
    """Return every prx with its tunnels, and what the dashboard's own clients cost it."""
    hub, streams = sources.hub, sources.streams
    dashboard = {
        "streams": streams.open,
        "streams_cut": streams.cut,
        "events_dropped": hub.ring.dropped,
        "connections": len(sources.connections),
        "connections_refused": sources.connections.refused,
    }
    return {"at": timestamp(hub.wall()), "prx": [_prx_json(item) for item in hub.seen], "dashboard": dashboard}


def _prx_json(seen: Seen) -> dict[str, Any]:
    return {
        "key": seen.key,
        "pid": seen.pid,
        "version": str(seen.about.get("version", "")),
        "config": seen.config,
        "state": "running" if seen.gone_at is None else "silent" if seen.silent else "gone",
        "gone_since": None if seen.gone_at is None else timestamp(seen.gone_at),
        "restarted_at": None if seen.restarted_at is None else timestamp(seen.restarted_at),
        "tunnels": list(seen.tunnels),
    }


def routes(sources: Sources) -> list[Route]:
    """Return the routes of the API."""
    api = _Api(sources)

    def route(path: str, endpoint: Endpoint, *methods: str) -> Route:
        return Route(f"/api/v1{path}", _answered(endpoint), methods=list(methods or ("GET",)))

    return [
        route("/status", api.status),
        Route("/api/v1/events", _Events(sources.streams), methods=["GET"]),
        route("/logs", api.logs),
        route("/report", api.report),
        route("/openapi.json", api.openapi),
        *(route(path, endpoint, method) for path, endpoint, method in TrafficApi(sources).routes()),
        route("/tunnels/{name}/restart", api.restart, "POST"),
        route("/tunnels/{name}/stop", api.stop, "POST"),
        route("/reload", api.reload, "POST"),
        route("/doctor", api.doctor, "POST"),
    ]


def _answered(endpoint: Endpoint) -> Endpoint:
    """Return `endpoint` with its errors as JSON."""

    @wraps(endpoint)
    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except PrxError as error:
            text = "\n".join([error.message, *getattr(error, "problems", ())])
            return refusal(_STATUS_OF_CODE.get(error.code) or _STATUS.get(error.exit_code, 409), text, error.hint)
        except OSError as error:
            lack = lack_of(error)
            return refusal(503, f"it cannot be read: {error.strerror or error}", lack.hint if lack else "")

    return answer


class _Api:
    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._hub = sources.hub
        self._history = sources.history
        self._doctor = sources.doctor
        self._reloading: set[str] = set()  # a reload may run the programs of secrets: one at a time

    async def status(self, _request: Request) -> Response:
        return JSONResponse(status_json(self._sources))

    async def logs(self, request: Request) -> Response:
        wanted = wanted_of(request, lines=100)
        seen = self._seen(request, wanted.tunnel or None)
        if not seen.log:
            raise NotReadyError("where this prx logs is not known yet")
        found = await asyncio.to_thread(lines, Path(seen.log), wanted)
        return JSONResponse({"prx": seen.key, "lines": [row(item) for item in found]})

    async def report(self, request: Request) -> Response:
        known(request, {"since", "prx", "tunnel", "timeline"})
        past = await self._history.last(number(request, "since", 7 * 86400, least=1, most=MOST_SECONDS))
        whole = past.report
        found = only(whole.tunnels, request.query_params.get("tunnel"), request.query_params.get("prx"))
        timeline = choice(request, "timeline", "false", ("true", "false")) == "true"
        answer = Report(whole.since, whole.until, found, whole.missing).to_json(timeline=timeline)
        for item, shown in zip(found, answer["tunnels"], strict=True):
            shown["prx"] = item.key
        return JSONResponse(answer)

    async def openapi(self, _request: Request) -> Response:
        return JSONResponse(document())

    async def restart(self, request: Request) -> Response:
        return await self._act(request, "restart")

    async def stop(self, request: Request) -> Response:
        return await self._act(request, "stop")

    async def reload(self, request: Request) -> Response:
        known(request, {"prx"})
        seen = self._hub.find(request.query_params.get("prx"), None)
        if seen.key in self._reloading:
            raise PrxError("the configuration is being read just now", hint="wait for the answer")
        self._reloading.add(seen.key)
        try:
            await self._hub.act(seen, "reload")
        finally:
            self._reloading.discard(seen.key)
        return JSONResponse({"prx": seen.key, "done": "reload"})

    async def doctor(self, request: Request) -> Response:
        known(request, {"prx"})
        key = request.query_params.get("prx")
        seen = self._hub.find(key, None)
        return JSONResponse(
            {"prx": seen.key, **await self._doctor.examine(seen.config, _address(seen), lab=bool(seen.about.get("lab")))}
        )

    async def _act(self, request: Request, do: str) -> Response:
        known(request, {"prx"})
        name = request.path_params["name"]
        seen = self._hub.find(request.query_params.get("prx"), name)
        await self._hub.act(seen, do, name)
        return JSONResponse({"prx": seen.key, "tunnel": name, "done": do})

    def _seen(self, request: Request, tunnel: str | None) -> Seen:
        """Return the prx that is meant; one that is gone can still be read about."""
        key = request.query_params.get("prx")
        gone = next((item for item in self._hub.seen if item.key == key and item.gone_at is not None), None)
        return gone or self._hub.find(key, tunnel)


def _address(seen: Seen) -> str:
    """Return the address of the service of a prx that was started with one; empty if it is not known."""
    return next((address for one in seen.tunnels if isinstance(address := one.get("local_addr"), str)), "")


class _Events:
    """The stream of events, as an ASGI application: it takes no `Request`, whose `receive` it needs for itself."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        answer: ASGIApp | None
        try:
            known(request, {"after"})
            after = request.headers.get("last-event-id") or request.query_params.get("after")
            answer = self._streams.response(after)
            if answer is not None and scope["method"] == "HEAD":  # it has no body, and would never end
                answer = Response(media_type="text/event-stream")
        except UsageError as error:
            answer = refusal(400, error.message, error.hint)
        if answer is None:
            answer = refusal(503, f"{self._streams.most} streams of events are open already", "try again later")
        await answer(scope, receive, send)


def wanted_of(request: Request, *, lines: int) -> Wanted:
    """Return which lines of a log a request asks for; UsageError if that is not clear."""
    known(request, {"prx", "tunnel", "level", "text", "lines"})
    query = request.query_params
    return Wanted(
        choice(request, "level", "info", ("debug", "info", "warn", "error")),
        query.get("text", "")[:200],
        query.get("tunnel", ""),
        int(number(request, "lines", lines, least=1, most=MOST_LINES)),
    )
