"""Keep what is known of the connections; readiness, diagnostics and the level of log lines are read from it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Any

from prx.lab.connector.log import Field, Level, Log
from prx.lab.connector.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Connected:
    """The location that a registered connection leads to."""

    protocol: str
    edge_ip: str
    location: str


@dataclass(slots=True)
class State:
    """The connector's ids and its registered connections by index."""

    tunnel_id: uuid.UUID
    metrics: Metrics
    quick_hostname: str = ""
    connector_id: uuid.UUID = field(default_factory=uuid.uuid4)
    connections: dict[int, Connected] = field(default_factory=dict)

    def connected(self, index: int, connection: Connected) -> None:
        """Note that a connection is registered."""
        self.connections[index] = connection
        self.metrics.located(index, connection.location)

    def gone(self, index: int) -> None:
        """Note that a connection is lost, or is being unregistered."""
        self.connections.pop(index, None)

    def leave(self) -> None:
        """Note that all connections will be unregistered: from now on `/ready` says that nothing is ready."""
        self.connections.clear()

    def configured(self, version: int) -> None:
        """Note which version of the configuration is in force; -1: that of the start."""
        self.metrics.put("orchestration_config_version", max(0, version))

    def log_trouble(self, log: Log, message: str, **fields: Field) -> None:
        """Log what went wrong with one connection: a warning while another is up, else an error."""
        log.write(Level.WARN if self.connections else Level.ERROR, message, **fields)

    def ready(self) -> tuple[int, dict[str, Any]]:
        """Return the status and body of `/ready`."""
        status = 200 if self.connections else 503
        return status, {
            "status": status,
            "readyConnections": len(self.connections),
            "connectorId": str(self.connector_id),
        }

    def diagnosis(self) -> dict[str, Any]:
        """Return the body of `/diag/tunnel`: only live connections; index 0 and protocol HTTP/2 (0) are left out."""
        connections = []
        for index, connection in sorted(self.connections.items()):
            entry: dict[str, Any] = {"isConnected": True}
            if connection.protocol == "quic":
                entry["protocol"] = 1
            entry["edgeAddress"] = connection.edge_ip
            if index:
                entry["index"] = index
            connections.append(entry)
        return {
            "tunnelID": str(self.tunnel_id),
            "connectorID": str(self.connector_id),
            "connections": connections,
            "icmp_sources": [],
        }
