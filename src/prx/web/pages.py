"""The pages: HTML that can be read without a script. The script fetches the same pages again and replaces what has changed."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import io
from collections import deque
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs

import segno
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from prx.core.conditions import CONDITIONS
from prx.core.errors import PrxError
from prx.history.report import Report
from prx.logs.records import LEVELS
from prx.secrets.value import Secret
from prx.web.address import Listen
from prx.web.guard import cookie_name
from prx.web.hub import Seen
from prx.web.journal import Wanted, lines, shown
from prx.web.keys import COOKIE_SECONDS, Keys
from prx.web.past import HOURS, Past
from prx.web.render import Renderer
from prx.web.sources import Sources
from prx.web.views import does, story, view

STATIC: Final = {"prx.css": "text/css", "prx.js": "text/javascript"}
TRIES_A_MINUTE: Final = 10
_LOG_LINES: Final = 200


class Pages:
    """Everything that a person opens in a browser."""

    def __init__(self, sources: Sources, renderer: Renderer, keys: Keys, listen: Listen, password: Secret) -> None:
        self._sources = sources
        self._renderer = renderer
        self._keys = keys
        self._listen = listen
        self._password = password
        self._tries: deque[float] = deque(maxlen=TRIES_A_MINUTE)

    def routes(self) -> list[Route]:
        """Return the routes of the pages."""
        return [
            Route("/", self.overview),
            Route("/tunnels/{prx}/{name}", self.tunnel),
            Route("/tunnels/{prx}/{name}/qr.svg", self.qr),
            Route("/verdicts", self.verdicts),
            Route("/login", self.login, methods=["GET", "POST"]),
            Route("/static/{name}", self.static),
        ]

    # ------------------------------------------------------------------ what is shown

    async def overview(self, request: Request) -> Response:
        """Show every tunnel; a single one with everything that its own page has."""
        if "token" in request.query_params:  # a link of someone who has a session already
            return RedirectResponse("/", 303)
        hours, past, trouble = await self._past(request)
        seen = self._sources.hub.seen
        alone = sum(len(item.tunnels) for item in seen) == 1
        groups = [(item, [view(item, tunnel, past, with_chart=alone) for tunnel in item.tunnels]) for item in seen]
        only = next(((item, tunnels[0]) for item, tunnels in groups if tunnels), None) if alone else None
        more = await self._more(request, only[0], only[1].name) if only else {}
        return self._renderer.page("overview.html", request, hours=hours, groups=groups, alone=alone, trouble=trouble, **more)

    async def tunnel(self, request: Request) -> Response:
        """Show one tunnel."""
        hours, past, trouble = await self._past(request)
        found = self._sources.hub.tunnel(request.path_params["prx"], request.path_params["name"])
        if found is None:
            return self._renderer.page("missing.html", request, status=404, name=request.path_params["name"][:80])
        seen, tunnel = found
        shown = view(seen, tunnel, past, with_chart=True)
        more = await self._more(request, seen, shown.name)
        return self._renderer.page("tunnel.html", request, hours=hours, seen=seen, t=shown, trouble=trouble, **more)

    async def qr(self, request: Request) -> Response:
        """Draw the public URL of a tunnel as a QR code."""
        found = self._sources.hub.tunnel(request.path_params["prx"], request.path_params["name"])
        url = str(found[1].get("url", "")) if found else ""
        if not url or len(url) > 500:
            return Response("no URL", 404, media_type="text/plain")
        out = io.BytesIO()
        segno.make(url, micro=False).save(out, kind="svg", scale=6, border=3, light="#fff", dark="#000", xmldecl=False)
        return Response(out.getvalue(), media_type="image/svg+xml")

    async def verdicts(self, request: Request) -> Response:
        """Explain every verdict."""
        rows = [(code, item, does(code)) for code, item in CONDITIONS.items()]
        return self._renderer.page("verdicts.html", request, rows=rows)

    async def static(self, request: Request) -> Response:
        """Return the style sheet or the script."""
        name = request.path_params["name"]
        if name not in STATIC:
            return Response("not found", 404, media_type="text/plain")
        return Response(_static(name), media_type=STATIC[name])

    async def _past(self, request: Request) -> tuple[int, Past, str]:
        """Return how many hours are looked back on, the history, and why it cannot be read (empty: it can)."""
        text = request.query_params.get("hours", "24")
        hours = int(text) if text in {str(item) for item in HOURS} else 24
        try:
            return hours, await self._sources.history.last(hours * 3600), ""
        except OSError as error:
            now = self._sources.hub.wall()
            return hours, Past(Report(now - hours * 3600, now, ()), ()), f"the history cannot be read: {error.strerror}"

    async def _more(self, request: Request, seen: Seen, tunnel: str) -> dict[str, Any]:
        """Return what the page of one tunnel needs beside its view."""
        return {"story": await self._story(seen, tunnel), **await self._log(request, seen, tunnel)}

    async def _story(self, seen: Seen, tunnel: str) -> list[tuple[str, list[str]]]:
        """Return what `prx why` says; empty if prx cannot be asked, or does not know it."""
        if seen.gone_at is not None:
            return []
        try:
            return story(await self._sources.questions.story(seen, tunnel))
        except (PrxError, LookupError, TypeError):  # a prx of another version may say it in other words
            return []

    async def _log(self, request: Request, seen: Seen, tunnel: str) -> dict[str, Any]:
        """Return what the pane of the log needs."""
        level, text = request.query_params.get("level", "info"), request.query_params.get("text", "")[:200]
        level = level if level in LEVELS else "info"
        wanted = Wanted(level, text, tunnel, _LOG_LINES)
        try:
            found = await asyncio.to_thread(lines, Path(seen.log), wanted) if seen.log else []
            trouble = ""
        except OSError as error:
            found, trouble = [], f"the log cannot be read: {error.strerror}"
        return {"log": [shown(item) for item in found], "log_trouble": trouble, "level": level, "text": text, "levels": LEVELS}

    # ------------------------------------------------------------------ who comes in

    async def login(self, request: Request) -> Response:
        """Open the page for a link that works once, or for the password."""
        if request.method == "POST":
            return await self._with_password(request)
        token = request.query_params.get("token")
        if token is not None and self._keys.use_link(token):
            return self._welcome()
        return self._login_page(
            request, 401 if token is not None else 200, "That link was used, or is too old." if token else ""
        )

    async def _with_password(self, request: Request) -> Response:
        now = self._sources.hub.steady()
        if len(self._tries) == TRIES_A_MINUTE and now - self._tries[0] < 60:
            return self._login_page(request, 429, "Too many tries: wait a minute.")
        form = parse_qs((await request.body()).decode("utf-8", "replace"), max_num_fields=4)
        given = form.get("password", [""])[0]
        if self._password and _same(given, self._password.reveal()):
            return self._welcome()
        self._tries.append(now)
        return self._login_page(request, 401, "That is not the password.")

    def _welcome(self) -> Response:
        answer = RedirectResponse("/", 303)
        answer.set_cookie(
            cookie_name(self._listen), self._keys.cookie(), max_age=COOKIE_SECONDS, path="/", httponly=True, samesite="strict"
        )
        return answer

    def _login_page(self, request: Request, status: int, problem: str) -> Response:
        return self._renderer.page("login.html", request, status=status, problem=problem, with_password=bool(self._password))


def _same(one: str, other: str) -> bool:
    """Compare in a time that does not depend on either."""
    return hmac.compare_digest(hashlib.sha256(one.encode("utf-8", "replace")).digest(), hashlib.sha256(other.encode()).digest())


@cache
def _static(name: str) -> bytes:
    return files("prx.web").joinpath("static", name).read_bytes()
