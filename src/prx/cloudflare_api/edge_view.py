"""Read one tunnel as Cloudflare sees it: which connectors run on its token, and whether the newest rules have arrived."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prx.cloudflare_api.calls import Api
from prx.cloudflare_api.client import Client
from prx.cloudflare_api.credentials import find_credentials
from prx.cloudflare_api.guards import obstacles_of
from prx.cloudflare_api.things import Configuration, Connector
from prx.core.errors import PrxError
from prx.secrets.sources import SecretSources


@dataclass(frozen=True, slots=True)
class EdgeView:
    """The connectors that the edge has connections of, and the rules that Cloudflare holds."""

    connectors: tuple[Connector, ...]
    configuration: Configuration

    @property
    def behind(self) -> tuple[Connector, ...]:
        """The connectors that say they run older rules; one that says nothing is unknown, not behind."""
        newest = self.configuration.version
        return tuple(item for item in self.connectors if item.config_version is not None and item.config_version < newest)

    def body(self) -> bytes:
        """Return the rules as a connector's `/config` shows them."""
        return json.dumps({"version": self.configuration.version, "config": dict(self.configuration.document)}).encode()

    def to_json(self) -> dict[str, Any]:
        """Return the public form."""
        return {
            "version": self.configuration.version,
            "arrived": not self.behind,
            "connectors": [item.to_json() for item in self.connectors],
        }


def read_edge_view(environ: Mapping[str, str], account: str, tunnel: str) -> EdgeView:
    """Ask with the token in CLOUDFLARE_API_TOKEN, quickly; PrxError if that is not to be had."""
    found = find_credentials(environ, SecretSources(environ=environ).resolve)
    with Client(found.token, base=found.base, patient=False) as client:
        api = Api(client)
        return EdgeView(tuple(api.connectors(account, tunnel)), api.configuration(account, tunnel))


def read_obstacles(environ: Mapping[str, str], hostname: str) -> list[str]:
    """Ask what of its zone keeps a host name from working, in words; PrxError if that cannot be had."""
    found = find_credentials(environ, SecretSources(environ=environ).resolve)
    with Client(found.token, base=found.base, patient=False) as client:
        api = Api(client)
        zone = api.find_zone(hostname)
        if zone is None:
            raise PrxError("the token sees no zone of this name", hint="let the token cover its zone (Zone Resources)")
        return list(obstacles_of(zone, api.delegations(zone, hostname), hostname))


def words(connector: Connector) -> str:
    """Return a connector in words: what it is, and where."""
    where = ", ".join(connector.addresses) or "an unknown address"
    return f"cloudflared {connector.version or 'of an unknown version'} at {where}"


def arrival(seen: EdgeView) -> str:
    """Return words on the arrival of the newest rules; empty if there are none, or no connector could have got them."""
    if not seen.configuration.version or not seen.connectors:
        return ""
    newest = f"the newest rules (version {seen.configuration.version})"
    if not seen.behind:
        return f"{newest} have arrived"
    late = "; ".join(f"{words(item)} has version {item.config_version}" for item in seen.behind)
    return f"{newest} have not arrived everywhere: {late}"
