"""The connectors of a tunnel as the API lists them: one entry for each, with its connections."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from prx.lab.edge.api.times import rfc3339
from prx.lab.edge.registry import Connection


def connectors(connections: Iterable[Connection]) -> list[dict[str, Any]]:
    """Write all connectors that connections belong to, the oldest first."""
    by_connector: dict[str, list[Connection]] = {}
    for connection in connections:
        by_connector.setdefault(connection.connector, []).append(connection)
    return [connector(connections) for connections in by_connector.values()]


def connector(connections: list[Connection]) -> dict[str, Any]:
    """Write one connector; its connections share one configuration, so the newest version that one reports is its own."""
    first = connections[0]
    return {
        "id": first.connector,
        "arch": first.request.arch,
        "config_version": max(connection.config_version for connection in connections),
        "features": list(first.request.features),
        "run_at": rfc3339(min(connection.opened_at for connection in connections)),
        "version": first.request.version,
        "conns": [_connection(connection) for connection in connections],
    }


def _connection(connection: Connection) -> dict[str, Any]:
    return {
        "id": str(connection.id),
        "uuid": str(connection.id),
        "client_id": connection.connector,
        "client_version": connection.request.version,
        "colo_name": connection.location,
        "is_pending_reconnect": connection.gone_at is not None,
        "opened_at": rfc3339(connection.opened_at),
        "origin_ip": connection.carrier.peer,
    }
