"""Read Cloudflare once, with GETs alone: everything that a plan is made from."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Final

from prx.cloudflare_api.calls import Api
from prx.cloudflare_api.errors import ApiError, MissingRightError
from prx.cloudflare_api.journal import Memory
from prx.cloudflare_api.things import Application, Configuration, Provider, Record, ServiceToken, Team, Tunnel, Zone
from prx.cloudflare_api.wishes import MARK, app_name, is_tunnel_name, target, token_name
from prx.core.errors import PrxError


@dataclass(frozen=True, slots=True)
class Local:
    """What this machine keeps: whether the secrets manager has the token of that tunnel, and what the file would become.

    secret: the entry for the tunnel's token; secret_tunnel: the id of the tunnel whose token is there (empty: none). entries:
    which there are of that one and of those that service tokens are to be kept in. client_ids: of the entries that service
    tokens were put in, the client id that stands beside each. in_use: those of them that the file names for itself.
    """

    secret: str
    secret_tunnel: str = ""
    entries: frozenset[str] = frozenset()
    client_ids: tuple[tuple[str, str], ...] = ()
    in_use: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class World:
    """What there is. tunnels: those that are prx's for this host name; records: those that stand on it.

    team, apps, tokens, providers are None if they were not read, or could not be (`unseen` says why). other_apps: how
    many applications stand before other names. delegations: NS records by which other servers answer for the name. ending: the
    ids of the service tokens that have ended, or do so within a month. no_zone: why no records could be read; else empty.
    """

    zone: Zone
    tunnels: tuple[Tunnel, ...]
    tunnel: Tunnel | None
    configuration: Configuration | None
    records: tuple[Record, ...]
    team: Team | None
    apps: tuple[Application, ...] | None
    tokens: tuple[ServiceToken, ...] | None
    providers: tuple[Provider, ...] | None
    local: Local
    unseen: str = ""
    other_apps: int = 0
    delegations: tuple[Record, ...] = ()
    ending: frozenset[str] = frozenset()
    no_zone: str = ""

    @property
    def fingerprint(self) -> str:
        """Return what changes when anything that the plan rests on changes: 16 hexadecimal digits."""
        text = json.dumps(_stable(asdict(self)), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


_MOVES_BY_ITSELF = frozenset({"status", "last_seen_at", "meta", "app_count"})


def _stable(value: object) -> object:
    """Return what is the same in every process: without what moves by itself, and with an order for sets."""
    if isinstance(value, dict):
        return {key: _stable(inner) for key, inner in value.items() if key not in _MOVES_BY_ITSELF}
    if isinstance(value, frozenset):
        return sorted(value)
    return [_stable(inner) for inner in value] if isinstance(value, list | tuple) else value


_SOON: Final = 30 * 86_400.0  # seconds; a token is good for a year


class NoZoneError(PrxError):
    """No zone that the token sees holds a host name: it is in none, or in one that has left the account, or is not covered."""


def find_zone(api: Api, hostname: str, *, cert_zone: Zone | None = None) -> Zone:
    """Return the zone of a host name; PrxError if the token sees none. cert_zone: the one that a cert.pem is for."""
    try:
        zone = api.find_zone(hostname)
    except MissingRightError:
        if cert_zone is None:
            raise
        return cert_zone
    if zone is None or (cert_zone is not None and zone.id != cert_zone.id):
        raise _no_zone(hostname, zone, cert_zone)
    return zone


def zone_to_leave(api: Api, hostname: str, memory: Memory, *, cert_zone: Zone | None = None) -> tuple[Zone, str]:
    """Return the zone of a host name that is taken back, and why none is seen; then it has no id, and the journal's account.

    What prx made beside the record can be taken away all the same. PrxError if the account is not known either.
    """
    try:
        return find_zone(api, hostname, cert_zone=cert_zone), ""
    except NoZoneError as error:
        if not memory.account_id:
            raise
        return Zone("", "", memory.account_id), error.message


def _no_zone(hostname: str, zone: Zone | None, cert_zone: Zone | None) -> PrxError:
    if cert_zone is not None:
        there = f" ({zone.name})" if zone is not None and zone.name else ""
        return PrxError(
            f"cert.pem works in one zone alone, and {hostname} is in another{there}",
            hint="`cloudflared tunnel login` makes one for that zone; an API token serves several",
        )
    return NoZoneError(
        f"no zone of your account holds {hostname}: none of its endings is a domain that the token sees",
        hint="add the domain at https://dash.cloudflare.com, or let the token cover its zone (Zone Resources)",
    )


def observe(
    api: Api,
    zone: Zone,
    hostname: str,
    memory: Memory,
    local: Local,
    *,
    access: bool,
    now: float = 0.0,
    no_zone: str = "",
) -> World:
    """Read everything around a host name. access: Access is wanted, so what cannot be seen of it is an error.

    now: seconds since 1970, by which a service token has ended or not. no_zone: see `zone_to_leave`.
    """
    account = zone.account_id
    tunnels = _tunnels(api, account, hostname)
    records = () if no_zone else tuple(api.records(zone.id, hostname))
    tunnel = chosen(tunnels, memory, records)
    configuration = api.configuration(account, tunnel.id) if tunnel else None
    seen = _access(api, account, hostname, memory, wanted=access)
    return World(
        zone,
        tunnels,
        tunnel,
        configuration,
        records,
        seen.team,
        None if seen.apps is None else tuple(app for app in seen.apps if _concerns(app, hostname)),
        seen.tokens,
        seen.providers,
        local,
        seen.unseen,
        sum(not _concerns(app, hostname) for app in seen.apps or ()),
        () if no_zone else tuple(api.delegations(zone, hostname)),
        frozenset(token.id for token in seen.tokens or () if token.ends_before(now + _SOON)),
        no_zone,
    )


def _tunnels(api: Api, account: str, hostname: str) -> tuple[Tunnel, ...]:
    found = api.tunnels(account, include_prefix=f"{MARK}-{hostname}-")
    return tuple(tunnel for tunnel in found if is_tunnel_name(tunnel.name, hostname))


def chosen(tunnels: tuple[Tunnel, ...], memory: Memory, records: tuple[Record, ...]) -> Tunnel | None:
    """Return the tunnel to go on with: that of the journal, else that which DNS leads to, else the only one.

    PrxError if several could be meant: which of them has a reason to be, only the operator knows.
    """
    for tunnel in tunnels:
        if tunnel.id == memory.tunnel_id or tunnel.name == memory.tunnel_name:
            return tunnel
    led_to = [tunnel for tunnel in tunnels if any(record.content == target(tunnel.id) for record in records)]
    candidates = led_to or list(tunnels)
    if len(candidates) > 1:
        names = ", ".join(f"{tunnel.name} ({tunnel.id})" for tunnel in candidates)
        raise PrxError(
            f"{len(candidates)} tunnels could be meant: {names}",
            hint="delete those that are not needed (Networking › Tunnels), then run the same command again",
        )
    return candidates[0] if candidates else None


@dataclass(frozen=True, slots=True)
class _Access:
    team: Team | None = None
    apps: tuple[Application, ...] | None = None
    tokens: tuple[ServiceToken, ...] | None = None
    providers: tuple[Provider, ...] | None = None
    unseen: str = ""


def _concerns(app: Application, hostname: str) -> bool:
    return app.guards(hostname) or app.name == app_name(hostname)


def _access(api: Api, account: str, hostname: str, memory: Memory, *, wanted: bool) -> _Access:
    """Read Access; if it is not wanted and cannot be seen, say so and go on."""
    needed = wanted or bool(memory.app_name or memory.service_tokens or memory.pin)
    try:
        team = api.team(account) if wanted else None
        apps = tuple(api.applications(account))
        needed = needed or any(app.name == app_name(hostname) for app in apps)  # another machine may have made it
        tokens = (
            tuple(t for t in api.service_tokens(account) if t.name.startswith(token_name(hostname, ""))) if needed else None
        )
        providers = tuple(api.providers(account)) if wanted or memory.pin else None
    except ApiError as error:  # whatever it is: nothing of the plan rests on it
        if needed:
            raise
        return _Access(unseen=error.message)
    return _Access(team, apps, tokens, providers)
