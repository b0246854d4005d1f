"""Who the caller is, which account and which zone: `/user`, `/accounts`, `/zones`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from prx.lab.edge.api import errors, tokens
from prx.lab.edge.api.call import Call, Reply, Route
from prx.lab.edge.api.envelope import page
from prx.lab.edge.api.permissions import ACCOUNT, ZONE, read
from prx.lab.edge.api.times import rfc3339
from prx.lab.edge.registry import ACCOUNT_TAG

ACCOUNT_NAME: Final = "The lab's account"
ZONE_NAME: Final = "prx.localhost"
ZONE_ID: Final = "2ab0" * 8
_USER_ID: Final = "3ab0" * 8
_ORDERS: Final[dict[str, Callable[[str, str], bool]]] = {
    "equal": str.__eq__,
    "starts_with": str.startswith,
    "ends_with": str.endswith,
    "contains": str.__contains__,
}


class Zones:
    """The calls about the user, the account and the zone.

    `began` is when the account came to be, seconds since 1970; `state()` what the zone is: active, or as `ZoneState` has it.
    """

    def __init__(self, began: float, state: Callable[[], str] = lambda: "active") -> None:
        self._began = rfc3339(began)
        self._state = state

    def routes(self) -> list[Route]:
        """Return the calls."""
        return [
            Route("GET", "/user/tokens/verify", None, self._verify_user),
            Route("GET", "/accounts/{account}/tokens/verify", None, self._verify_account),
            Route("GET", "/user", None, lambda _call: {"id": _USER_ID, "email": "you@example.com"}),
            Route("GET", "/accounts", None, self._list_accounts),
            Route("GET", "/accounts/{account}", read(ACCOUNT), lambda _call: self._account()),
            Route("GET", "/zones", read(ZONE), self._list_zones),
            Route("GET", "/zones/{zone}", read(ZONE), lambda _call: self.zone()),
        ]

    def zone(self) -> dict[str, Any]:
        """Write the zone."""
        state = self._state()
        return {
            "id": ZONE_ID,
            "name": ZONE_NAME,
            "status": state if state in {"pending", "initializing", "moved"} else "active",
            "paused": state == "paused",
            "type": "partial" if state == "partial" else "full",
            "development_mode": 0,
            "account": {"id": ACCOUNT_TAG, "name": ACCOUNT_NAME},
            "name_servers": ["ada.ns.prx.localhost", "bob.ns.prx.localhost"],
            "original_name_servers": [],
            "original_registrar": None,
            "original_dnshost": None,
            "owner": {"id": None, "type": "user", "email": None},
            "meta": {"step": 2, "page_rule_quota": 3, "phishing_detected": False},
            "permissions": ["#dns_records:edit", "#dns_records:read", "#zone:read"],
            "plan": {"id": "0feeeeeeeeeeeeeeeeeeeeeeeeeeeeee", "name": "Free Website", "price": 0, "currency": "USD"},
            "created_on": self._began,
            "activated_on": None if state in {"pending", "initializing"} else self._began,
            "modified_on": self._began,
        }

    def _account(self) -> dict[str, Any]:
        settings = {"enforce_twofactor": False}
        return {
            "id": ACCOUNT_TAG, "name": ACCOUNT_NAME, "type": "standard", "settings": settings, "created_on": self._began
        }  # fmt: skip

    def _verify_user(self, call: Call) -> Reply:
        if call.token.kind != "user":
            raise errors.invalid_token()
        return Reply(tokens.verification(call.token))

    def _verify_account(self, call: Call) -> Reply:
        if call.token.kind != "account":
            raise errors.invalid_token()
        return Reply(tokens.verification(call.token))

    def _list_accounts(self, call: Call) -> Reply:
        if not call.token.allows(read(ACCOUNT)):
            if call.habits.accounts_unseen == "forbidden":
                raise errors.forbidden(call.habits.forbidden)
            return page(call, [])
        wanted = call.query.get("name", ACCOUNT_NAME)
        return page(call, [self._account()] if wanted in ACCOUNT_NAME else [])

    def _list_zones(self, call: Call) -> Reply:
        query, zone = call.query, self.zone()
        seen = call.token.zones is None or ZONE_ID in call.token.zones
        conditions = (
            seen,
            _named(query.get("name", ZONE_NAME)),
            query.get("account.id", ACCOUNT_TAG) == ACCOUNT_TAG,
            query.get("account.name", ACCOUNT_NAME) == ACCOUNT_NAME,
            query.get("status", zone["status"]) == zone["status"],
            query.get("type", zone["type"]) == zone["type"],
        )
        return page(call, [zone] if all(conditions) else [], most=50)


def _named(wanted: str) -> bool:
    """Return whether the zone's name is meant, with the operators of the list."""
    operator, colon, text = wanted.partition(":")
    if colon and operator in _ORDERS:
        return _ORDERS[operator](ZONE_NAME, text.lower())
    return wanted.lower() == ZONE_NAME
