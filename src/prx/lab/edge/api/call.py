"""One call of the API: what a handler gets, and what it may return."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from prx.lab.edge.api import errors
from prx.lab.edge.api.habits import Habits
from prx.lab.edge.api.permissions import Need
from prx.lab.edge.api.tokens import ApiToken
from prx.lab.edge.services.endpoint import Request


@dataclass(frozen=True)
class Call:
    """A call that may be made: `params` are the identifiers of its path."""

    request: Request = field(repr=False)
    params: dict[str, str]
    token: ApiToken
    habits: Habits

    @property
    def query(self) -> dict[str, str]:
        """The values of the query."""
        return self.request.query

    def body(self) -> dict[str, Any]:
        """Read the body as a JSON object; ApiError if it is none."""
        try:
            found = json.loads(self.request.body or b"{}")
        except (ValueError, RecursionError) as error:
            raise errors.bad_json(str(error)) from None
        if not isinstance(found, dict):
            raise errors.bad_json("expected an object")
        return found


@dataclass(frozen=True)
class Reply:
    """A result with a status, and with `result_info` if it is a list."""

    result: Any
    status: int = 200
    info: dict[str, Any] | None = None


Handler: TypeAlias = Callable[[Call], Any]


@dataclass(frozen=True)
class Route:
    """A call that exists; `needs` is None if any token may make it, `access`: only while Zero Trust is switched on."""

    method: str
    path: str
    needs: Need | None
    handler: Handler
    access: bool = False


def text(document: dict[str, Any], key: str, default: str | None = None) -> str:
    """Return a text of a body; ApiError if it is missing, and there is no default, or is no text."""
    value = document.get(key, default)
    if not isinstance(value, str):
        raise errors.invalid(f"{key}: expected a string")
    return value
