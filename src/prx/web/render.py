"""Make a page from a template."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse

from prx import __version__
from prx.web.hub import Hub
from prx.web.past import HOURS
from prx.web.pictures import KIND_WORDS, WIDTH
from prx.web.views import clock, moment, span, zone


class Renderer:
    """Renders the templates; each page says when it was made and which event was the last one then."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._templates = _templates()

    def page(self, template: str, request: Request, *, status: int = 200, **values: Any) -> HTMLResponse:
        """Return a page."""
        ring = self._hub.ring
        text = self._templates.get_template(template).render(
            now=self._hub.wall(), event=ring.id_of(ring.number), version=__version__, request=request, **values
        )
        return HTMLResponse(text, status)


def _templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("prx.web"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"clock": clock, "span": span, "moment": moment, "query": _with_query}
    environment.globals |= {
        "hours_choices": HOURS,
        "kinds": KIND_WORDS,
        "bar_width": WIDTH,
        "hours_words": hours_words,
        "zone": zone,
    }
    return environment


def hours_words(hours: int) -> str:
    """Return how far back a picture goes."""
    return f"{hours} h" if hours < 48 else f"{hours // 24} days"


def _with_query(request: Request, **changes: Any) -> str:
    """Return the query of a request with some values changed."""
    kept = {name: value for name, value in request.query_params.items() if name in {"hours", "level", "text"}}
    return "?" + urlencode({**kept, **changes})
