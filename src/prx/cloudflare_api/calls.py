"""The calls that prx makes, each with its words for errors and the permission that it takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prx.cloudflare_api.client import Call, Client
from prx.cloudflare_api.errors import ApiError, GoneError, InUseError
from prx.cloudflare_api.rights import Right
from prx.cloudflare_api.things import (
    Application,
    Configuration,
    Connector,
    Provider,
    Record,
    ServiceToken,
    Team,
    Tunnel,
    Zone,
)
from prx.secrets.value import Secret


class Api:
    """Cloudflare's API for one token. Methods raise ApiError (`prx.cloudflare_api.errors`)."""

    def __init__(self, client: Client) -> None:
        self.client = client

    # -- where ---------------------------------------------------------------------------------------------------

    def find_zone(self, hostname: str) -> Zone | None:
        """Return the zone of a host name: the longest suffix that is one; None if the token sees none.

        One that has moved away from Cloudflare counts if there is no other.
        """
        labels, moved = hostname.split("."), None
        for start in range(len(labels) - 1):
            name = ".".join(labels[start:])
            found = self.client.listed("/zones", f"look for the zone {name}", Right.ZONE_READ, name=name)
            zones = [zone for zone in map(Zone.read, found) if zone.name == name]
            if living := [zone for zone in zones if zone.status != "moved"]:
                return next((zone for zone in living if zone.status == "active"), living[0])
            moved = moved or next(iter(zones), None)
        return moved

    def zones(self) -> list[Zone]:
        """Return all zones that the token sees."""
        return [Zone.read(item) for item in self.client.listed("/zones", "list the zones", Right.ZONE_READ)]

    # -- tunnels -------------------------------------------------------------------------------------------------

    def tunnels(self, account: str, **filters: str) -> list[Tunnel]:
        """Return the tunnels that live."""
        path, params = f"/accounts/{account}/cfd_tunnel", {"is_deleted": "false", **filters}
        found = self.client.listed(path, "list the tunnels", Right.TUNNEL_READ, **params)
        return [Tunnel.read(item) for item in found if not item.get("deleted_at")]

    def create_tunnel(self, account: str, name: str) -> Tunnel:
        """Create a tunnel whose configuration Cloudflare holds."""
        body = {"name": name, "config_src": "cloudflare"}
        return Tunnel.read(
            self._do("POST", f"/accounts/{account}/cfd_tunnel", f"create the tunnel {name}", Right.TUNNEL_EDIT, body)
        )

    def delete_tunnel(self, account: str, tunnel: str) -> None:
        """Delete a tunnel; connections that the edge remembers are cleaned up first if they stand in the way."""
        path = f"/accounts/{account}/cfd_tunnel/{tunnel}"
        try:
            self._delete(path, "delete the tunnel", Right.TUNNEL_EDIT)
        except InUseError:
            self._delete(f"{path}/connections", "drop the tunnel's connections", Right.TUNNEL_EDIT)
            self._delete(path, "delete the tunnel", Right.TUNNEL_EDIT)

    def tunnel_token(self, account: str, tunnel: str) -> Secret:
        """Return the token that a connector runs the tunnel with."""
        path = f"/accounts/{account}/cfd_tunnel/{tunnel}/token"
        found = self.client.get(path, "get the tunnel's token", Right.TUNNEL_EDIT)
        if not isinstance(found, str) or not found:
            raise ApiError("get the tunnel's token", None, reason="the answer holds no token")
        return Secret(found)

    def connectors(self, account: str, tunnel: str) -> list[Connector]:
        """Return the connectors that the edge has connections of."""
        path = f"/accounts/{account}/cfd_tunnel/{tunnel}/connections"
        found = self.client.get(path, "look for the tunnel's connectors", Right.TUNNEL_READ) or []
        return [item for item in map(Connector.read, found) if item.connections]

    def configuration(self, account: str, tunnel: str) -> Configuration:
        """Return the rules that Cloudflare holds for a tunnel; of a new one they are empty."""
        path = f"/accounts/{account}/cfd_tunnel/{tunnel}/configurations"
        try:
            found = self.client.get(path, "read the tunnel's configuration", Right.TUNNEL_READ)
        except GoneError:
            return Configuration(0, {})
        return Configuration.read(found or {})

    def put_configuration(self, account: str, tunnel: str, document: Mapping[str, Any]) -> Configuration:
        """Replace the rules of a tunnel."""
        path = f"/accounts/{account}/cfd_tunnel/{tunnel}/configurations"
        return Configuration.read(
            self._do("PUT", path, "write the tunnel's configuration", Right.TUNNEL_EDIT, {"config": dict(document)})
        )

    # -- DNS -----------------------------------------------------------------------------------------------------

    def records(self, zone: str, name: str) -> list[Record]:
        """Return the records of a name that would stand in the way of a CNAME: A, AAAA, CNAME, NS."""
        path, what = f"/zones/{zone}/dns_records", f"look for the records of {name}"
        found = self.client.listed(path, what, Right.DNS_EDIT, name=name, include_shadow_metadata="true")
        return [item for item in map(Record.read, found) if item.name == name and item.type in {"A", "AAAA", "CNAME", "NS"}]

    def delegations(self, zone: Zone, name: str) -> list[Record]:
        """Return the NS records that give a part of the zone above a name to other servers; none is known without its name."""
        if name.removesuffix(f".{zone.name}").count(".") == 0 or not zone.name:
            return []
        path, what = f"/zones/{zone.id}/dns_records", f"look for delegations above {name}"
        found = map(Record.read, self.client.listed(path, what, Right.DNS_EDIT, type="NS"))
        return [item for item in found if item.type == "NS" and item.name != zone.name and name.endswith(f".{item.name}")]

    def create_record(self, zone: str, document: Mapping[str, Any]) -> Record:
        """Create a record."""
        what = f"create the DNS record {document['name']}"
        return Record.read(self._do("POST", f"/zones/{zone}/dns_records", what, Right.DNS_EDIT, document))

    def put_record(self, zone: str, record: str, document: Mapping[str, Any]) -> Record:
        """Replace a record."""
        what = f"change the DNS record {document['name']}"
        return Record.read(self._do("PUT", f"/zones/{zone}/dns_records/{record}", what, Right.DNS_EDIT, document))

    def delete_record(self, zone: str, record: str) -> None:
        """Delete a record."""
        self._delete(f"/zones/{zone}/dns_records/{record}", "delete the DNS record", Right.DNS_EDIT)

    # -- Access --------------------------------------------------------------------------------------------------

    def team(self, account: str) -> Team:
        """Return the Zero Trust organization; ZeroTrustOffError if there is none."""
        found = self.client.get(f"/accounts/{account}/access/organizations", "read the Zero Trust team", Right.TEAM_READ)
        return Team.read(found or {})

    def providers(self, account: str) -> list[Provider]:
        """Return the ways to log in."""
        path = f"/accounts/{account}/access/identity_providers"
        return [Provider.read(item) for item in self.client.listed(path, "list the ways to log in", Right.TEAM_READ)]

    def create_pin(self, account: str) -> Provider:
        """Allow a login with a one-time PIN by mail."""
        path, body = (
            f"/accounts/{account}/access/identity_providers",
            {"type": "onetimepin", "name": "One-time PIN", "config": {}},
        )
        return Provider.read(self._do("POST", path, "switch the one-time PIN on", Right.TEAM_EDIT, body))

    def delete_provider(self, account: str, provider: str) -> None:
        """Remove a way to log in."""
        path = f"/accounts/{account}/access/identity_providers/{provider}"
        self._delete(path, "switch the one-time PIN off", Right.TEAM_EDIT)

    def applications(self, account: str) -> list[Application]:
        """Return all Access applications of the account."""
        path = f"/accounts/{account}/access/apps"
        return [Application.read(item) for item in self.client.listed(path, "list the Access applications", Right.ACCESS_EDIT)]

    def create_application(self, account: str, document: Mapping[str, Any]) -> Application:
        """Create an application."""
        path, what = f"/accounts/{account}/access/apps", f"create the Access application {document['name']}"
        return Application.read(self._do("POST", path, what, Right.ACCESS_EDIT, document))

    def put_application(self, account: str, app: str, document: Mapping[str, Any]) -> Application:
        """Replace an application."""
        path, what = f"/accounts/{account}/access/apps/{app}", f"change the Access application {document['name']}"
        return Application.read(self._do("PUT", path, what, Right.ACCESS_EDIT, document))

    def delete_application(self, account: str, app: str) -> None:
        """Delete an application, with the policies inside it."""
        self._delete(f"/accounts/{account}/access/apps/{app}", "delete the Access application", Right.ACCESS_EDIT)

    def service_tokens(self, account: str) -> list[ServiceToken]:
        """Return the service tokens."""
        path = f"/accounts/{account}/access/service_tokens"
        return [
            ServiceToken.read(item) for item in self.client.listed(path, "list the service tokens", Right.SERVICE_TOKENS_EDIT)
        ]

    def create_service_token(self, account: str, name: str) -> tuple[ServiceToken, Secret]:
        """Create a service token, good for a year, and return it with its secret, which is never shown again."""
        path, body = f"/accounts/{account}/access/service_tokens", {"name": name, "duration": "8760h"}
        return _with_secret(self._do("POST", path, f"create the service token {name}", Right.SERVICE_TOKENS_EDIT, body))

    def rotate_service_token(self, account: str, token: ServiceToken) -> tuple[ServiceToken, Secret]:
        """Set a new secret for a service token; the old one ends at once."""
        path = f"/accounts/{account}/access/service_tokens/{token.id}/rotate"
        return _with_secret(self._do("POST", path, f"give {token.name} a new secret", Right.SERVICE_TOKENS_EDIT, {}), token)

    def refresh_service_token(self, account: str, token: str) -> None:
        """Have a service token be good for another year from now, with the secret that it has."""
        path = f"/accounts/{account}/access/service_tokens/{token}/refresh"
        self._do("POST", path, "have the service token go on for a year", Right.SERVICE_TOKENS_EDIT, {})

    def delete_service_token(self, account: str, token: str) -> None:
        """Delete a service token."""
        self._delete(
            f"/accounts/{account}/access/service_tokens/{token}", "delete the service token", Right.SERVICE_TOKENS_EDIT
        )

    # -- inside --------------------------------------------------------------------------------------------------

    def _do(self, method: str, path: str, what: str, right: Right, body: Mapping[str, Any]) -> dict[str, Any]:
        result = self.client.request(Call(method, path, what, right), body=body).result
        if not isinstance(result, dict):
            raise ApiError(what, None, reason="the answer holds no result")
        return result

    def _delete(self, path: str, what: str, right: Right) -> None:
        try:
            self.client.request(Call("DELETE", path, what, right))
        except GoneError:
            return


def _with_secret(document: Mapping[str, Any], known: ServiceToken | None = None) -> tuple[ServiceToken, Secret]:
    secret = document.get("client_secret")
    if not isinstance(secret, str) or not secret:
        raise ApiError("read the service token", None, reason="the answer holds no secret")
    token = ServiceToken.read(document)
    return (known if known is not None and not token.id else token), Secret(secret)
