"""OAuth clients, the scopes that they may ask for, and `/accounts/{account}/oauth_clients`.

Which permissions a scope stands for is not published: the groups here follow its words.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from prx.lab.edge.api import errors
from prx.lab.edge.api.call import Call, Reply, Route, text
from prx.lab.edge.api.envelope import page
from prx.lab.edge.api.permissions import ACCOUNT, APPS, DNS, OAUTH, ORGANIZATION, SERVICE_TOKENS, TUNNEL, ZONE, Row, read, write
from prx.lab.edge.api.times import rfc3339

OFFLINE: Final = "offline_access"
_ROWS: Final[Mapping[str, tuple[Row, ...]]] = {
    "argotunnel": (TUNNEL,),
    "dns": (DNS,),
    "zone": (ZONE,),
    "account-settings": (ACCOUNT,),
    "access-acct": (ORGANIZATION, SERVICE_TOKENS, APPS),
    "zone-access": (APPS,),
    "user-details": (),
}
SCOPES: Final = {
    f"{name}.{level.lower()}": frozenset(f"{row.groups[0]} {level}" for row in rows)
    for name, rows in _ROWS.items()
    for level in ("Read", "Write")
}
LAB_CLIENT: Final = "prx-lab"
_PORTS: Final = (47831, 47832, 47833)  # those that `prx login` listens on


@dataclass(frozen=True)
class OAuthClient:
    """A public client: the addresses for its answers, and what it may ask for."""

    id: str
    name: str
    redirect_uris: tuple[str, ...]
    scopes: tuple[str, ...] = tuple(SCOPES)
    grant_types: tuple[str, ...] = ("authorization_code", "refresh_token")
    created_at: float = 0.0

    def describe(self) -> dict[str, Any]:
        """Write it as the API does."""
        return {
            "client_id": self.id,
            "client_name": self.name,
            "redirect_uris": list(self.redirect_uris),
            "scopes": list(self.scopes),
            "grant_types": list(self.grant_types),
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
            "visibility": "private",
            "created_at": rfc3339(self.created_at),
        }


def _lab_client() -> dict[str, OAuthClient]:
    uris = tuple(f"http://127.0.0.1:{port}/callback" for port in _PORTS)
    return {LAB_CLIENT: OAuthClient(LAB_CLIENT, "prx in the lab", uris)}


@dataclass
class OAuthClients:
    """The clients of the account; one is there from the beginning."""

    by_id: dict[str, OAuthClient] = field(default_factory=_lab_client)

    def routes(self) -> list[Route]:
        """Return the calls."""
        base = "/accounts/{account}/oauth_clients"
        return [
            Route("GET", "/oauth/scopes", None, lambda _call: [{"name": name} for name in (*SCOPES, OFFLINE)]),
            Route("GET", base, read(OAUTH), self._list),
            Route("POST", base, write(OAUTH), lambda call: self.register(call.body()).describe()),
            Route("GET", f"{base}/{{client}}", read(OAUTH), lambda call: self._find(call).describe()),
            Route("DELETE", f"{base}/{{client}}", write(OAUTH), self._delete),
        ]

    def register(self, document: dict[str, Any]) -> OAuthClient:
        """Register a client, with an id of the caller's choice if one is given; ApiError if it cannot be."""
        uris = _texts(document, "redirect_uris")
        scopes = _texts(document, "scopes") if "scopes" in document else tuple(SCOPES)
        grants = _texts(document, "grant_types") if "grant_types" in document else ("authorization_code", "refresh_token")
        for uri in uris:
            if urlsplit(uri).scheme not in ("http", "https") or "#" in uri:
                raise errors.invalid(f"redirect_uris: {uri} is none; custom schemes are not allowed", 12001)
        if unknown := set(scopes) - {*SCOPES, OFFLINE}:
            raise errors.invalid(f"scopes: unknown {min(unknown)}", 12001)
        if text(document, "token_endpoint_auth_method", "none") != "none":
            raise errors.invalid("token_endpoint_auth_method: this account has public clients only", 12001)
        client_id = text(document, "client_id", secrets.token_hex(16))
        client = OAuthClient(client_id, text(document, "client_name", "a client"), uris, scopes, grants)
        self.by_id[client.id] = client
        return client

    def _find(self, call: Call) -> OAuthClient:
        client = self.by_id.get(call.params["client"])
        if client is None:
            raise errors.ApiError(404, 12002, "OAuth client not found")
        return client

    def _list(self, call: Call) -> Reply:
        return page(call, [client.describe() for client in self.by_id.values()])

    def _delete(self, call: Call) -> Any:
        del self.by_id[self._find(call).id]
        return {"client_id": call.params["client"]}


def _texts(document: dict[str, Any], key: str) -> tuple[str, ...]:
    found = document.get(key)
    if not isinstance(found, list) or not found or not all(isinstance(item, str) for item in found):
        raise errors.invalid(f"{key}: expected a list of strings", 12001)
    return tuple(found)
