"""The tunnels that exist, and the live connections of each: who may register, and who gets the next request."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from uuid import UUID, uuid4

from prx.core.tunnel_token import TunnelToken
from prx.lab.edge.carrier import TunnelConnection
from prx.lab.edge.names import SUFFIX
from prx.lab.edge.state import ConnectionState, TunnelState
from prx.lab.protocol.rpc.registration import RegisterRequest

ACCOUNT_TAG = "1ab0" * 8  # 32 hexadecimal digits, as account tags have
MAX_QUICK = 1000  # quick tunnels without a connection beyond this number are forgotten, oldest first

_ADJECTIVES = (  # noqa: SIM905 - one word per line would bury what follows
    "amber brave calm clever crisp daily eager early fair fancy gentle golden happy honest jolly keen "
    "kind lively lucky merry mighty modern neat noble polite proud quick quiet rapid shiny silent smart "
    "solid steady sunny swift tidy warm"
).split()
_NOUNS = (  # noqa: SIM905 - one word per line would bury what follows
    "acorn anchor apple bridge brook candle canyon cedar cloud comet coral falcon fern forest garden "
    "glacier harbor hazel island lake lantern maple meadow mountain oak ocean otter panda pebble pine "
    "planet prairie river rocket stone valley"
).split()


REMEMBERED: Final = 32
REMEMBERED_SECONDS: Final = 180.0
"""For how long, and how many at most, connections that are gone are known as such. Cloudflare: "minutes"; not documented."""


@dataclass(eq=False)
class Connection:
    """A registered connection: what the connector said of itself, and the carrier below."""

    id: UUID
    tunnel: Tunnel
    request: RegisterRequest
    location: str
    carrier: TunnelConnection
    registered_at: float
    opened_at: float = 0.0  # seconds since 1970
    config_version: int = 0  # of the remote configuration that the connector says it runs
    draining: bool = False
    gone_at: float | None = None  # seconds since 1970
    cleaned: bool = False  # by the account: it is not remembered

    @property
    def connector(self) -> str:
        """The connector's own id."""
        return str(self.request.client_id)

    @property
    def index(self) -> int:
        """The connection's number in its connector."""
        return self.request.conn_index

    def snapshot(self) -> ConnectionState:
        """Return the connection's state, safe to keep."""
        return ConnectionState(
            connector=self.connector,
            version=self.request.version,
            index=self.index,
            location=self.location,
            protocol=self.carrier.protocol,
            registered_at=self.registered_at,
            draining=self.draining,
            origin_ip=self.carrier.peer,
            features=self.request.features,
            config_version=self.config_version,
        )


@dataclass(eq=False)
class Tunnel:
    """A tunnel: its name, its secret, its remote configuration (JSON, None until pushed) and its connections.

    hostname: a name that leads to it, empty if none does. name: what the account calls it; empty for a quick one. remote:
    whether its configuration lies in the account. breaks: how many times it has been without any connection. auth_mode: how a
    protected quick tunnel wants its visitors to prove who they are (otp: one-time PIN); empty for a public one. gone: the last
    connections that no longer exist. Times are seconds since 1970; active_at and inactive_at: when it last got its first
    connection, and lost its last one.
    """

    hostname: str
    quick: bool
    id: UUID = field(default_factory=uuid4)
    secret: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)
    name: str = ""
    remote: bool = False
    config: bytes | None = None
    config_version: int = 0
    configured_at: float | None = None
    created_at: float = 0.0
    deleted_at: float | None = None
    active_at: float | None = None
    inactive_at: float | None = None
    connections: list[Connection] = field(default_factory=list)
    gone: list[Connection] = field(default_factory=list)
    turn: int = 0
    breaks: int = 0
    auth_mode: str = ""

    def token(self) -> str:
        """Return the token that a connector runs this tunnel with."""
        return TunnelToken(ACCOUNT_TAG, self.id, self.secret).encode()

    def next_connections(self) -> Iterator[Connection]:
        """Yield the live connections, beginning with another one each time, so that load spreads evenly."""
        live = [connection for connection in self.connections if not connection.draining]
        self.turn += 1
        for offset in range(len(live)):
            yield live[(self.turn + offset) % len(live)]

    def leave(self, connection: Connection, now: float) -> None:
        """Take a connection away, and remember it for a while."""
        self.connections.remove(connection)
        connection.gone_at = now
        if not connection.cleaned:
            self.gone = [*self.gone, connection][-REMEMBERED:]
        if not self.connections:
            self.inactive_at = now

    def remembered(self, now: float) -> list[Connection]:
        """Return the connections that have gone in the last minutes, and whose connectors have not come back in their place."""
        back = {(connection.connector, connection.index) for connection in self.connections}
        return [
            connection
            for connection in self.gone
            if now - (connection.gone_at or 0.0) < REMEMBERED_SECONDS and (connection.connector, connection.index) not in back
        ]

    def snapshot(self) -> TunnelState:
        """Return the tunnel's state, safe to keep."""
        return TunnelState(
            hostname=self.hostname,
            tunnel_id=str(self.id),
            quick=self.quick,
            config_version=self.config_version,
            connections=tuple(connection.snapshot() for connection in self.connections),
            auth_mode=self.auth_mode,
            name=self.name,
        )


class Registry:
    """All tunnels of a lab, by host name and by id; `wall` returns seconds since 1970.

    A quick tunnel and one that the lab was asked a token for have a host name of their own. A tunnel of the account has none:
    DNS records lead names to it (`route`).
    """

    def __init__(self, wall: Callable[[], float] = lambda: datetime.now(UTC).timestamp()) -> None:
        self._wall = wall
        self._by_hostname: dict[str, Tunnel] = {}
        self._by_id: dict[UUID, Tunnel] = {}
        self._routes: dict[str, UUID] = {}
        self._former: dict[str, Tunnel] = {}  # those that no longer exist, oldest first
        self._deleted: dict[UUID, Tunnel] = {}  # those of the account that no longer exist, oldest first

    def __iter__(self) -> Iterator[Tunnel]:
        return iter(self._by_id.values())

    def now(self) -> float:
        """Return seconds since 1970."""
        return self._wall()

    @property
    def deleted(self) -> tuple[Tunnel, ...]:
        """The named tunnels that no longer exist, oldest first."""
        return tuple(self._deleted.values())

    def find(self, hostname: str) -> Tunnel | None:
        """Find the tunnel of a host name; case does not matter."""
        hostname = hostname.lower()
        own = self._by_hostname.get(hostname)
        target = self._target(hostname)
        return own if own is not None or target is None else self._by_id.get(target)

    def find_public(self, hostname: str) -> Tunnel | None:
        """Find the tunnel that the edge takes a host name for: one that no longer exists, too, which has no connection."""
        found = self.find(hostname) or self._former.get(hostname.lower())
        if found is None and self._target(hostname.lower()) is not None:
            return Tunnel(hostname.lower(), quick=False)  # a record leads to a tunnel that does not exist
        return found

    def route(self, routes: Mapping[str, UUID]) -> None:
        """Lead these host names, and no others, to the tunnels with these ids; `*.` before a name means all names below it."""
        self._routes = dict(routes)
        names = {target: hostname for hostname, target in reversed(self._routes.items())}
        for tunnel in self:
            if self._by_hostname.get(tunnel.hostname) is not tunnel:
                tunnel.hostname = names.get(tunnel.id, "")

    def _target(self, hostname: str) -> UUID | None:
        """Return the id that a host name is led to, by itself or by the closest wildcard above it."""
        found = self._routes.get(hostname)
        parent = hostname.partition(".")[2]
        while found is None and parent:
            found = self._routes.get(f"*.{parent}")
            parent = parent.partition(".")[2]
        return found

    def find_id(self, tunnel_id: UUID) -> Tunnel | None:
        """Find a tunnel by its id."""
        return self._by_id.get(tunnel_id)

    def named(self, hostname: str) -> tuple[Tunnel, bool]:
        """Find or create the named tunnel of `hostname` (as `full_name` writes it); True if it is new."""
        tunnel = self.find(hostname)
        if tunnel is not None:
            return tunnel, False
        return self._add(Tunnel(hostname.lower(), quick=False, name=hostname.lower())), True

    def create(self, name: str, *, remote: bool, secret: bytes | None = None) -> Tunnel:
        """Create a tunnel of the account, to which no host name leads yet."""
        tunnel = Tunnel("", quick=False, name=name, remote=remote)
        tunnel.secret = secret or tunnel.secret
        return self._add(tunnel)

    def new_quick(self) -> Tunnel:
        """Create a quick tunnel with a name of its own."""
        self._forget_old_quick()
        while True:
            tail = "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz0123456789") for _ in range(4))
            name = f"{secrets.choice(_ADJECTIVES)}-{secrets.choice(_NOUNS)}-{tail}{SUFFIX}"
            if name not in self._by_hostname and name not in self._former:
                return self._add(Tunnel(name, quick=True))

    def remove(self, tunnel: Tunnel) -> bool:
        """Take a tunnel away: it can register no more, and its name leaves DNS. False: it was gone already."""
        if self._by_id.pop(tunnel.id, None) is None:
            return False
        tunnel.deleted_at = self._wall()
        if self._by_hostname.get(tunnel.hostname) is tunnel:
            del self._by_hostname[tunnel.hostname]
            self._former[tunnel.hostname] = tunnel
        for name in list(self._former)[: max(0, len(self._former) - MAX_QUICK)]:
            del self._former[name]
        if not tunnel.quick:
            self._deleted[tunnel.id] = tunnel
        return True

    def _add(self, tunnel: Tunnel) -> Tunnel:
        tunnel.created_at = self._wall()
        if tunnel.hostname:
            self._former.pop(tunnel.hostname, None)
            self._by_hostname[tunnel.hostname] = tunnel
        self._by_id[tunnel.id] = tunnel
        return tunnel

    def _forget_old_quick(self) -> None:
        idle = [tunnel for tunnel in self if tunnel.quick and not tunnel.connections]
        for tunnel in idle[: max(0, len(idle) - MAX_QUICK + 1)]:
            self.remove(tunnel)
