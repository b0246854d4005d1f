"""The calls about service tokens, identity providers and the organization."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, Final
from uuid import uuid4

from prx.lab.edge.api.access.store import ServiceToken, Store, duration, refused, unknown
from prx.lab.edge.api.call import Call, Reply, Route, text
from prx.lab.edge.api.envelope import page
from prx.lab.edge.api.permissions import ORGANIZATION, SERVICE_TOKENS, read, write

BASES: Final = ("/accounts/{account}/access", "/zones/{zone}/access")
_YEAR_SECONDS: Final = 365 * 86_400.0
_TYPES: Final = frozenset(
    (
        "azureAD", "centrify", "cloudflare", "facebook", "github", "google", "google-apps", "linkedin", "oidc", "okta",
        "onelogin", "onetimepin", "pingone", "saml", "yandex",
    )
)  # fmt: skip


class Objects:
    """The calls about what an account has once: its tokens for machines, its ways to log in, and itself."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def routes(self) -> list[Route]:
        """Return the calls."""
        return [route for base in BASES for route in self._routes(base)]

    def _routes(self, base: str) -> list[Route]:
        tokens, providers = f"{base}/service_tokens", f"{base}/identity_providers"
        one, provider = f"{tokens}/{{token}}", f"{providers}/{{provider}}"
        calls = [
            ("GET", tokens, read(SERVICE_TOKENS), self._list_tokens),
            ("POST", tokens, write(SERVICE_TOKENS), self._create_token),
            ("GET", one, read(SERVICE_TOKENS), lambda call: self._token(call).describe()),
            ("PUT", one, write(SERVICE_TOKENS), self._change_token),
            ("DELETE", one, write(SERVICE_TOKENS), self._delete_token),
            ("POST", f"{one}/rotate", write(SERVICE_TOKENS), self._rotate),
            ("POST", f"{one}/refresh", write(SERVICE_TOKENS), self._refresh),
            ("GET", providers, read(ORGANIZATION), self._list_providers),
            ("POST", providers, write(ORGANIZATION), self._create_provider),
            ("GET", provider, read(ORGANIZATION), self._provider),
            ("PUT", provider, write(ORGANIZATION), self._change_provider),
            ("DELETE", provider, write(ORGANIZATION), self._delete_provider),
            ("GET", f"{base}/organizations", read(ORGANIZATION), lambda _call: self._store.organization),
            ("PUT", f"{base}/organizations", write(ORGANIZATION), self._change_organization),
        ]
        return [Route(method, path, needs, handler, access=True) for method, path, needs, handler in calls]

    def _token(self, call: Call) -> ServiceToken:
        token = self._store.service_tokens.get(call.params["token"])
        if token is None:
            raise unknown("service_token", call.habits)
        return token

    def _list_tokens(self, call: Call) -> Reply:
        name, part = call.query.get("name"), call.query.get("search", "").lower()
        found = [
            token.describe()
            for token in self._store.service_tokens.values()
            if name in (None, token.name) and part in token.name.lower()
        ]
        return page(call, found)

    def _create_token(self, call: Call) -> Any:
        body = call.body()
        name = text(body, "name")
        if not name:
            raise refused("name is required")
        lasts = duration(text(body, "duration", "8760h"))
        now = self._store.wall()
        expires_at = None if lasts is None else now + lasts
        token = ServiceToken(name, text(body, "duration", "8760h"), now, expires_at, enabled=body.get("enabled", True) is True)
        self._store.service_tokens[token.id] = token
        return token.describe(secret=True)

    def _change_token(self, call: Call) -> Any:
        token, body = self._token(call), call.body()
        lasts = duration(text(body, "duration", token.duration))
        token.name, token.duration = text(body, "name", token.name), text(body, "duration", token.duration)
        token.enabled = body.get("enabled", token.enabled) is True
        token.expires_at = None if lasts is None else token.created_at + lasts
        token.updated_at = self._store.wall()
        if isinstance(body.get("client_secret_version"), int) and body["client_secret_version"] > token.version:
            token.rotate(_until(body))
            return token.describe(secret=True)
        return token.describe()

    def _rotate(self, call: Call) -> Any:
        token = self._token(call)
        token.rotate(_until(call.body()))
        token.updated_at = self._store.wall()
        return token.describe(secret=True)

    def _refresh(self, call: Call) -> Any:
        token = self._token(call)
        if token.expires_at is not None:
            token.expires_at = self._store.wall() + _YEAR_SECONDS
        token.updated_at = self._store.wall()
        return token.describe()

    def _delete_token(self, call: Call) -> Any:
        token = self._token(call)
        named = any(f'"{token.id}"' in json.dumps(policy) for policy in self._store.policies.values())
        if named and call.habits.delete_in_use == "refuse":
            raise refused("service token is in use by a policy")
        del self._store.service_tokens[token.id]
        return token.describe()

    def _list_providers(self, call: Call) -> Reply:
        found = list(self._store.identity_providers.values())
        return Reply(found) if call.habits.providers == "single" else page(call, found)

    def _provider(self, call: Call) -> dict[str, Any]:
        found = self._store.identity_providers.get(call.params["provider"])
        if found is None:
            raise unknown("identity_provider", call.habits)
        return found

    def _create_provider(self, call: Call) -> Any:
        body = call.body()
        if body.get("type") not in _TYPES:
            raise refused(f"unknown identity provider type {body.get('type')!r}")
        providers = self._store.identity_providers
        if body["type"] == "onetimepin" and any(one["type"] == "onetimepin" for one in providers.values()):
            raise refused("identity provider of type onetimepin already exists", 409)
        provider = {"id": str(uuid4()), "type": body["type"], "name": text(body, "name"), "config": body.get("config") or {}}
        providers[provider["id"]] = provider
        return provider

    def _change_provider(self, call: Call) -> Any:
        provider = self._provider(call)
        provider.update({key: value for key, value in call.body().items() if key in ("name", "config")})
        return provider

    def _delete_provider(self, call: Call) -> Any:
        provider = self._provider(call)
        del self._store.identity_providers[provider["id"]]
        return {"id": provider["id"]}

    def _change_organization(self, call: Call) -> Any:
        known = self._store.organization.keys() - {"created_at", "updated_at"}
        self._store.organization.update({key: value for key, value in call.body().items() if key in known})
        self._store.organization["updated_at"] = self._store.now()
        return self._store.organization


def _until(body: dict[str, Any]) -> float | None:
    """Read until when the former secret is good; None if it is good no longer."""
    if body.get("previous_client_secret_expires_at") is None:
        return None
    try:
        return datetime.fromisoformat(text(body, "previous_client_secret_expires_at")).timestamp()
    except ValueError:
        raise refused("previous_client_secret_expires_at is no time") from None
