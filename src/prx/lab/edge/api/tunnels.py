"""Tunnels: `/accounts/{account}/cfd_tunnel`. The tunnels are those of the edge's registry, except quick ones."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from prx.lab.edge.api import errors
from prx.lab.edge.api.call import Call, Reply, Route, text
from prx.lab.edge.api.connectors import connector, connectors
from prx.lab.edge.api.envelope import page
from prx.lab.edge.api.permissions import TUNNEL, read, write
from prx.lab.edge.api.times import maybe, rfc3339
from prx.lab.edge.registry import ACCOUNT_TAG, Connection, Registry, Tunnel

BASE: Final = "/accounts/{account}/cfd_tunnel"
_ONE: Final = f"{BASE}/{{tunnel}}"
_MIN_SECRET: Final = 32  # bytes
_TAKEN: Final = "You already have a tunnel with this name. Either delete it or use a different name for your new tunnel."


class Tunnels:
    """The calls about tunnels and their connectors.

    `forget` deletes a tunnel and cuts its connections; `management_token(tunnel, resource)` makes a token for live logs;
    `hidden` returns which tunnels this caller may not see, as a granular role does.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        created: Callable[[Tunnel], None],
        forget: Callable[[Tunnel], None],
        management_token: Callable[[Tunnel, str], str],
        hidden: Callable[[Tunnel], bool],
    ) -> None:
        self._registry = registry
        self._created = created
        self._forget = forget
        self._management_token = management_token
        self._hidden = hidden

    def routes(self) -> list[Route]:
        """Return the calls."""
        return [
            Route("POST", BASE, write(TUNNEL), self._create),
            Route("GET", BASE, read(TUNNEL), self._list),
            Route("GET", _ONE, read(TUNNEL), lambda call: describe(self._any(call))),
            Route("PATCH", _ONE, write(TUNNEL), self._change),
            Route("DELETE", _ONE, write(TUNNEL), self._delete),
            Route("GET", f"{_ONE}/token", write(TUNNEL), lambda call: self._living(call).token()),
            Route("GET", f"{_ONE}/connections", read(TUNNEL), self._connections),
            Route("DELETE", f"{_ONE}/connections", write(TUNNEL), self._cut),
            Route("GET", f"{_ONE}/connectors/{{connector}}", read(TUNNEL), self._connector),
            Route("POST", f"{_ONE}/management", write(TUNNEL), self._manage),
            Route("POST", f"{_ONE}/management/logs", write(TUNNEL), lambda call: self._managed(call, "logs")),
            Route("POST", f"{_ONE}/management/admin", write(TUNNEL), lambda call: self._managed(call, "admin")),
            Route("POST", f"{_ONE}/management/host_details", write(TUNNEL), lambda call: self._managed(call, "host_details")),
        ]

    def living(self) -> Iterator[Tunnel]:
        """Yield the tunnels of the account, oldest first."""
        return (tunnel for tunnel in self._registry if not tunnel.quick)

    def find(self, tunnel_id: str) -> Tunnel:
        """Find a living tunnel; ApiError if there is none."""
        tunnel = self._registry.find_id(UUID(tunnel_id))
        if tunnel is None or tunnel.quick:
            raise errors.ApiError(404, 1003, "Tunnel not found")
        return tunnel

    def _living(self, call: Call) -> Tunnel:
        tunnel = self.find(call.params["tunnel"])
        if self._hidden(tunnel):
            raise errors.ApiError(404, 1003, "Tunnel not found")
        return tunnel

    def _any(self, call: Call) -> Tunnel:
        """Find a tunnel that may be deleted."""
        wanted = UUID(call.params["tunnel"])
        return next((tunnel for tunnel in self._registry.deleted if tunnel.id == wanted), None) or self._living(call)

    def _create(self, call: Call) -> Any:
        body = call.body()
        name, source = text(body, "name"), text(body, "config_src", "local")
        if not name.strip():
            raise errors.invalid("name: expected a name", 1002)
        if source not in ("cloudflare", "local"):
            raise errors.invalid(f"config_src: {source!r} is neither cloudflare nor local", 1002)
        if any(tunnel.name == name for tunnel in self.living()):
            raise errors.ApiError(409, 1013, _TAKEN)
        tunnel = self._registry.create(name, remote=source == "cloudflare", secret=_secret(body))
        self._created(tunnel)
        credentials = {
            "AccountTag": ACCOUNT_TAG,
            "TunnelID": str(tunnel.id),
            "TunnelName": tunnel.name,
            "TunnelSecret": base64.b64encode(tunnel.secret).decode(),
        }
        shown: dict[str, Any] = {"connections": []} if call.habits.created_with_connections == "yes" else {}
        return {**describe(tunnel), **shown, "token": tunnel.token(), "credentials_file": credentials}

    def _list(self, call: Call) -> Reply:
        tunnels = [*self.living(), *self._registry.deleted]
        found = [tunnel for tunnel in tunnels if not self._hidden(tunnel) and _wanted(tunnel, call.query)]
        found.sort(key=lambda tunnel: tunnel.created_at, reverse=True)
        return page(call, [describe(tunnel) for tunnel in found])

    def _change(self, call: Call) -> Any:
        tunnel, body = self._living(call), call.body()
        name = text(body, "name", tunnel.name)
        if any(other.name == name and other is not tunnel for other in self.living()):
            raise errors.ApiError(409, 1013, _TAKEN)
        secret = _secret(body)  # both values are good before one is taken
        tunnel.name, tunnel.secret = name, secret or tunnel.secret
        return describe(tunnel)

    def _delete(self, call: Call) -> Any:
        tunnel = self._living(call)
        held = [*tunnel.connections, *self._remembered(call, tunnel)]
        if held and call.query.get("cascade") != "true":
            raise errors.ApiError(400, 1022, f"Cannot delete tunnel because it has active connections: {len(held)}")
        self._forget(tunnel)
        return describe(tunnel)

    def _connections(self, call: Call) -> Any:
        tunnel = self._living(call)
        return connectors([*tunnel.connections, *self._remembered(call, tunnel)])

    def _remembered(self, call: Call, tunnel: Tunnel) -> list[Connection]:
        return tunnel.remembered(self._registry.now()) if call.habits.gone_connections == "remembered" else []

    def _cut(self, call: Call) -> Any:
        wanted = call.query.get("client_id")
        tunnel = self._living(call)
        tunnel.gone = [one for one in tunnel.gone if wanted is not None and one.connector != wanted.lower()]
        for connection in tuple(tunnel.connections):
            if wanted is None or hmac.compare_digest(connection.connector, wanted.lower()):
                connection.cleaned = True
                connection.carrier.abort("cleaned up by the account")
        return None if call.habits.cleaned == "null" else {}

    def _connector(self, call: Call) -> Any:
        tunnel = self._living(call)
        found = [one for one in tunnel.connections if one.connector == call.params["connector"].lower()]
        if not found:
            raise errors.ApiError(404, 1003, "Connector not found")
        return connector(found)

    def _manage(self, call: Call) -> Any:
        resources = call.body().get("resources")
        if not isinstance(resources, list) or not resources or not all(isinstance(one, str) for one in resources):
            raise errors.invalid('resources: expected a list such as ["logs"]', 1002)
        return self._managed(call, resources[0])

    def _managed(self, call: Call, resource: str) -> Any:
        tunnel = self._living(call)
        try:
            return self._management_token(tunnel, resource)
        except ValueError as error:
            raise errors.invalid(str(error), 1002) from None


def describe(tunnel: Tunnel) -> dict[str, Any]:
    """Write a tunnel; its connections have a list of their own (`connections` left these answers on 2026-10-05)."""
    return {
        "id": str(tunnel.id),
        "account_tag": ACCOUNT_TAG,
        "name": tunnel.name,
        "created_at": rfc3339(tunnel.created_at),
        "deleted_at": maybe(tunnel.deleted_at),
        "conns_active_at": maybe(tunnel.active_at) if tunnel.connections else None,
        "conns_inactive_at": maybe(tunnel.inactive_at),
        "status": status(tunnel),
        "tun_type": "cfd_tunnel",
        "config_src": source(tunnel),
        "remote_config": source(tunnel) == "cloudflare",
        "metadata": {},
    }


def source(tunnel: Tunnel) -> str:
    """Return where a tunnel's configuration lies: cloudflare or local."""
    return "cloudflare" if tunnel.remote or tunnel.config is not None else "local"


def status(tunnel: Tunnel) -> str:
    """Return what a tunnel's connections make of it: inactive, healthy, degraded or down."""
    if not tunnel.connections:
        return "inactive" if tunnel.active_at is None else "down"
    return "degraded" if all(connection.draining for connection in tunnel.connections) else "healthy"


def _secret(body: dict[str, Any]) -> bytes | None:
    """Read a secret in base64; None if none is given."""
    if body.get("tunnel_secret") in (None, ""):
        return None
    try:
        secret = base64.b64decode(text(body, "tunnel_secret"), validate=True)
    except (binascii.Error, ValueError):
        raise errors.invalid("tunnel_secret: expected base64", 1002) from None
    if len(secret) < _MIN_SECRET:
        raise errors.invalid(f"tunnel_secret: expected at least {_MIN_SECRET} bytes", 1002)
    return secret


def _wanted(tunnel: Tunnel, query: dict[str, str]) -> bool:
    """Return whether a list with this query has a tunnel; without `is_deleted` it has living ones only (since 2025-12-01)."""
    prefix, excluded = query.get("include_prefix", query.get("name_prefix", "")), query.get("exclude_prefix")
    conditions = (
        (tunnel.deleted_at is not None) == (query.get("is_deleted", "false") == "true"),
        query.get("name", tunnel.name) == tunnel.name,
        query.get("uuid", str(tunnel.id)).lower() == str(tunnel.id),
        query.get("status", status(tunnel)) == status(tunnel),
        tunnel.name.startswith(prefix),
        excluded is None or not tunnel.name.startswith(excluded),
        _at(query, "existed_at", lambda at: tunnel.created_at <= at and (tunnel.deleted_at is None or tunnel.deleted_at > at)),
        _at(query, "was_active_at", lambda at: _was_active(tunnel, at)),
        _at(query, "was_inactive_at", lambda at: tunnel.created_at <= at and not _was_active(tunnel, at)),
    )
    return all(conditions)


def _at(query: dict[str, str], key: str, fits: Callable[[float], bool]) -> bool:
    """Return whether a tunnel fits the time in a query, if there is one; ApiError if it is none."""
    if key not in query:
        return True
    try:
        at = datetime.fromisoformat(query[key])
    except ValueError:
        raise errors.invalid(f"{key}: {query[key]!r} is no time, expected RFC 3339", 1002) from None
    return fits((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())


def _was_active(tunnel: Tunnel, at: float) -> bool:
    """Return whether a tunnel had connections at a time; only its last spell of them is known."""
    return tunnel.active_at is not None and tunnel.active_at <= at and (tunnel.inactive_at is None or tunnel.inactive_at > at)
