"""What the account has, and all of its calls: the one place in which the parts of the stand-in meet."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from prx.lab.edge.api import configurations, tunnels
from prx.lab.edge.api.access.apps import Apps
from prx.lab.edge.api.access.front import ApplicationFronts
from prx.lab.edge.api.access.objects import Objects
from prx.lab.edge.api.access.store import TEAM, Store
from prx.lab.edge.api.call import Route
from prx.lab.edge.api.configurations import Configurations
from prx.lab.edge.api.dns import Dns
from prx.lab.edge.api.errors import ApiError
from prx.lab.edge.api.habits import Habits
from prx.lab.edge.api.journal import Journal
from prx.lab.edge.api.oauth.clients import OAuthClients
from prx.lab.edge.api.oauth.grants import Grants
from prx.lab.edge.api.oauth.service import OAuthService
from prx.lab.edge.api.records import TUNNEL_SUFFIX, Records
from prx.lab.edge.api.tokens import ApiTokens
from prx.lab.edge.api.tunnels import Tunnels
from prx.lab.edge.api.zones import ZONE_NAME, Zones
from prx.lab.edge.faults.active import ActiveFaults
from prx.lab.edge.faults.api_faults import ApiHides, SlowDns, ZoneState
from prx.lab.edge.registry import Registry, Tunnel


@dataclass(frozen=True)
class Edge:
    """What the account asks of the edge.

    `created` and `forget` report a tunnel that is there, and delete one; `push` sends a tunnel's configuration to its
    connectors; `management_token` makes a token for live logs. `wall` returns seconds since 1970.
    """

    created: Callable[[Tunnel], None]
    forget: Callable[[Tunnel], None]
    push: Callable[[Tunnel], None]
    management_token: Callable[[Tunnel, str], str]
    wall: Callable[[], float]


class Account:
    """One account with one zone; its tunnels are those of `registry`."""

    def __init__(self, registry: Registry, faults: ActiveFaults, edge: Edge) -> None:
        self._registry = registry
        self._faults = faults
        self.habits = Habits()
        self.enabled = True  # whether Zero Trust is switched on
        self.journal = Journal()
        self.tokens = ApiTokens(edge.wall)
        self.records = Records(ZONE_NAME, wall=edge.wall, routed=registry.route, delay=self._dns_delay, state=self._zone_state)
        self.tunnels = Tunnels(
            registry,
            created=edge.created,
            forget=edge.forget,
            management_token=edge.management_token,
            hidden=self._hidden,
        )
        self.zones = Zones(edge.wall(), self._zone_state)
        self.access = Store(edge.wall)
        self.fronts = ApplicationFronts(self.access, self.records, TEAM)
        self.oauth_clients = OAuthClients()
        self.grants = Grants(self.oauth_clients, self.tokens, edge.wall)
        self.oauth = OAuthService(self.oauth_clients, self.grants, self.tokens)
        self._created = edge.created
        self._parts = (
            self.zones,
            self.tunnels,
            Configurations(self.tunnels, edge.push, edge.wall),
            Dns(self.records, self.tunnels),
            Apps(self.access, self.records),
            Objects(self.access),
            self.oauth_clients,
        )

    def not_enabled(self) -> ApiError:
        """Refuse a call of Access while Zero Trust is not switched on."""
        return ApiError(int(self.habits.not_enabled), 9999, "access.api.error.not_enabled")

    def routes(self) -> list[Route]:
        """Return all calls."""
        return [route for part in self._parts for route in part.routes()]

    def tunnel_of(self, hostname: str) -> Tunnel:
        """Find the tunnel that a name in the zone leads to, or create one and a record for it."""
        tunnel = self._registry.find(hostname)
        if tunnel is None:
            tunnel = self._registry.create(hostname, remote=False)
            for record in self.records.of(hostname):
                self.records.remove(record.id)
            content = f"{tunnel.id}{TUNNEL_SUFFIX}"
            self.records.add({"type": "CNAME", "name": hostname, "content": content, "proxied": True}, self.habits)
            self._created(tunnel)
        return tunnel

    def state(self) -> dict[str, Any]:
        """Return all that the account has now, without what is deleted and without secrets, fit to be compared."""
        living = sorted(self.tunnels.living(), key=lambda tunnel: tunnel.id)
        return {
            "tunnels": [_tunnel(tunnel) for tunnel in living],
            "dns_records": [record.describe() for record in sorted(self.records, key=lambda record: record.id)],
            **self.access.state(),
            "oauth_clients": [client.describe() for _, client in sorted(self.oauth_clients.by_id.items())],
        }

    def exported(self) -> str:
        """Return the state as text: the same bytes if and only if the account has the same."""
        return json.dumps(self.state(), indent=2, sort_keys=True) + "\n"

    def _hidden(self, tunnel: Tunnel) -> bool:
        fault = self._faults.active(ApiHides)
        return fault is not None and tunnel.name.startswith(fault.prefix)

    def _zone_state(self) -> str:
        fault = self._faults.active(ZoneState)
        return "active" if fault is None else fault.is_now

    def _dns_delay(self) -> float:
        fault = self._faults.active(SlowDns)
        return 0.0 if fault is None else fault.seconds


def _tunnel(tunnel: Tunnel) -> dict[str, Any]:
    """Write what was made of a tunnel, without what comes and goes with its connections."""
    described = tunnels.describe(tunnel)
    settled = {key: described[key] for key in ("id", "name", "created_at", "config_src")}
    configuration = configurations.describe(tunnel)
    return {**settled, "version": configuration["version"], "config": configuration["config"]}
