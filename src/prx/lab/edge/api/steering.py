"""What a test steers and reads of the account from another process: paths below `/api/` of the control endpoint."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from prx.lab.edge.api import permissions
from prx.lab.edge.api.account import Account
from prx.lab.edge.api.errors import ApiError
from prx.lab.edge.services.endpoint import Answer, Request

Action: TypeAlias = Callable[[Request], Awaitable[Answer]]


class Steering:
    """Reports and changes an account; ValueError says what is wrong with a request."""

    def __init__(self, account: Account) -> None:
        self._account = account

    def actions(self) -> Mapping[tuple[str, str], Action]:
        """Return what can be asked, by method and path."""
        return {
            ("GET", "/api/state"): self._state,
            ("GET", "/api/requests"): self._requests,
            ("DELETE", "/api/requests"): self._forget_requests,
            ("POST", "/api/tokens"): self._mint,
            ("POST", "/api/zero-trust"): self._switch_zero_trust,
            ("POST", "/api/oauth-clients"): self._register,
            ("POST", "/api/oauth-lifetime"): self._shorten,
            ("GET", "/api/habits"): self._habits,
            ("POST", "/api/habits"): self._change_habits,
        }

    async def _state(self, _request: Request) -> Answer:
        return Answer(200, self._account.exported().encode())

    async def _requests(self, _request: Request) -> Answer:
        return Answer.of(self._account.journal.describe())

    async def _forget_requests(self, request: Request) -> Answer:
        self._account.journal.clear()
        return await self._requests(request)

    async def _mint(self, request: Request) -> Answer:
        document = request.json()
        kind = document.get("kind", "user")
        if kind not in ("user", "account"):
            raise ValueError(f"'kind' is {kind!r}; expected user or account")
        granted = permissions.ALL
        if (names := document.get("permissions")) is not None:
            granted = permissions.parse(_texts(names, "permissions"))
        zones = None if document.get("zones") is None else frozenset(_texts(document["zones"], "zones"))
        token = self._account.tokens.mint(granted, kind=kind, zones=zones)
        return Answer.of({"token": token.value, "id": token.id, "permissions": sorted(granted)})

    async def _switch_zero_trust(self, request: Request) -> Answer:
        enabled = request.json().get("enabled")
        if not isinstance(enabled, bool):
            raise ValueError(f"'enabled' is {enabled!r}; expected true or false")  # noqa: TRY004 - the input is wrong
        self._account.enabled = enabled
        return Answer.of({"enabled": enabled})

    async def _register(self, request: Request) -> Answer:
        try:
            return Answer.of(self._account.oauth_clients.register(request.json()).describe())
        except ApiError as error:
            raise ValueError(error.message) from None

    async def _shorten(self, request: Request) -> Answer:
        seconds = request.json().get("seconds")
        if not isinstance(seconds, int | float) or seconds <= 0:
            raise ValueError(f"'seconds' is {seconds!r}; expected a number above 0")
        self._account.grants.lifetime = float(seconds)
        return Answer.of({"seconds": seconds})

    async def _habits(self, _request: Request) -> Answer:
        return Answer.of(self._account.habits.describe())

    async def _change_habits(self, request: Request) -> Answer:
        self._account.habits = self._account.habits.changed(request.json())
        return await self._habits(request)


def _texts(value: Any, name: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"{name!r} is no list of strings")
    return value
