"""What a lab reports about its tunnels: snapshots, safe to keep."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ConnectionState:
    """One registered connection; `registered_at` is the lab's clock, `draining` follows an unregistration.

    `origin_ip`: the address that the connector dials from, as the edge sees it. `config_version`: of the remote configuration
    that the connector says it runs, 0 for none.
    """

    connector: str
    version: str
    index: int
    location: str
    protocol: str
    registered_at: float
    draining: bool
    origin_ip: str
    features: tuple[str, ...]
    config_version: int = 0


@dataclass(frozen=True, slots=True)
class TunnelState:
    """One tunnel; `config_version` is 0 until a configuration is pushed, `auth_mode` is "otp" for a protected quick tunnel.

    `hostname` is empty if no name leads to it; `name` is what the account calls it, empty for a quick one.
    """

    hostname: str
    tunnel_id: str
    quick: bool
    config_version: int
    connections: tuple[ConnectionState, ...]
    auth_mode: str = ""
    name: str = ""

    @property
    def connectors(self) -> frozenset[str]:
        """Ids of the connectors that have a live connection."""
        return frozenset(connection.connector for connection in self.connections)


@dataclass(frozen=True, slots=True)
class PushResult:
    """One connection's answer to a pushed configuration: the version it runs now, and its error or ''."""

    connector: str
    index: int
    applied: int
    error: str


@dataclass(frozen=True, slots=True)
class Protected:
    """What an app behind an Access front is configured with: team, audience tag, issuer, and the URL of the keys."""

    hostname: str
    team: str
    aud: str
    issuer: str
    certs_url: str
