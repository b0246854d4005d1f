"""Which call a request is: by method and path, with identifiers of the right form."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from prx.lab.edge.api import errors
from prx.lab.edge.api.call import Route

_HEX: Final = re.compile(r"[0-9a-f]{32}")
_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_FORMS: Final = {"account": _HEX, "zone": _HEX, "record": _HEX, "client": re.compile(r"[A-Za-z0-9-]{1,64}")}  # others: UUIDs
_PARAMETER: Final = re.compile(r"\\\{(\w+)\\\}")


class Router:
    """All routes."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._routes = [(re.compile(_PARAMETER.sub(r"(?P<\1>[^/]+)", re.escape(route.path))), route) for route in routes]

    def find(self, method: str, path: str, bad_status: int) -> tuple[Route, dict[str, str]]:
        """Find the route of a request and the identifiers in its path; ApiError if there is none."""
        matches = [(route, match.groupdict()) for pattern, route in self._routes if (match := pattern.fullmatch(path))]
        good = [(route, params) for route, params in matches if _well_formed(params)]
        for route, params in good:
            if route.method == method:
                return route, params
        if good:
            raise errors.method_not_allowed(method)
        raise errors.bad_identifier(path, bad_status) if matches else errors.no_route(path)


def _well_formed(params: dict[str, str]) -> bool:
    return all(_FORMS.get(name, _UUID).fullmatch(value.lower()) for name, value in params.items())
