"""Faults of an edge as plain values: inject them into a lab, clear them again.

    lab.inject(RejectRegistration("unauthorized", times=2))
    lab.inject(Refuse())
    lab.clear(Refuse)

A fault either acts once, at `inject` (those in `ONCE`), or lasts until it is cleared or used up. Injecting a lasting fault
again replaces the one of the same class. Seconds are those of the lab's clock. Faults of the wire (those in `WIRE`) act on
the bytes or datagrams of every connection, live and later ones, or of those at edge address number `slot` alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from random import Random
from typing import Any, Final, TypeAlias, get_args

from prx.lab.edge.faults.answer_faults import DelayRegistration, QuickService, RejectRegistration
from prx.lab.edge.faults.api_faults import Api, ApiHides, SlowDns, ZoneState
from prx.lab.edge.faults.visitor_faults import Dns, DohError, RefuseVisitors
from prx.lab.edge.faults.wire_faults import Delay, DropAfter, Garble, Lose, SlowRead
from prx.lab.edge.names import full_name
from prx.lab.edge.registry import Connection

__all__ = [
    "BothBlocked",
    "Delay",
    "DelayRegistration",
    "Dns",
    "DohError",
    "Drop",
    "DropAfter",
    "ExpireCert",
    "Fault",
    "Forget",
    "Garble",
    "GoAway",
    "HalfClose",
    "Lose",
    "NxDomain",
    "QuickService",
    "Refuse",
    "RefuseVisitors",
    "RejectRegistration",
    "Reset",
    "SlowRead",
    "Stall",
    "UdpBlocked",
    "Unroute",
]


@dataclass(frozen=True, slots=True)
class _OnConnections:
    """Which live connections: those with this index, of this host name; `count` of them (the oldest, or at random), or all."""

    index: int | None = None
    hostname: str | None = None
    count: int | None = None
    random: bool = False

    def __post_init__(self) -> None:
        _check_hostname(self.hostname)

    def select(self, connections: Iterable[Connection], chance: Random) -> list[Connection]:
        """Choose from all live connections, the oldest first."""
        found = [
            connection
            for connection in connections
            if self.index in (None, connection.index) and concerns(self.hostname, connection.tunnel.hostname)
        ]
        if self.count is None:
            return found
        return chance.sample(found, min(self.count, len(found))) if self.random else found[: self.count]


@dataclass(frozen=True, slots=True)
class Drop(_OnConnections):
    """Drop live connections without a word."""


@dataclass(frozen=True, slots=True)
class GoAway(_OnConnections):
    """Announce on live connections that no new request comes, and close them once idle."""


@dataclass(frozen=True, slots=True)
class Reset(_OnConnections):
    """Break live connections with a TCP reset, over QUIC with a stateless reset (RFC 9000, 10.3)."""


@dataclass(frozen=True, slots=True)
class HalfClose(_OnConnections):
    """End the edge's direction of live connections and go on reading: a bare TCP FIN; over QUIC nothing arrives any more."""


@dataclass(frozen=True, slots=True)
class Forget:
    """Delete a tunnel at once: a quick one as Cloudflare forgets it, a named one as if deleted in the dashboard.

    Its connections are dropped, registrations refused as `Unauthorized: Tunnel not found`, its name answers 530/1033.
    """

    hostname: str

    def __post_init__(self) -> None:
        _check_hostname(self.hostname)


@dataclass(frozen=True, slots=True)
class Stall:
    """Fall silent: live connections are kept but neither read nor written, new ones are not answered."""


@dataclass(frozen=True, slots=True)
class ExpireCert:
    """Show connectors a certificate that expired an hour ago; live connections go on."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """Refuse new connections at every edge address (over QUIC: do not answer them); live connections go on."""


@dataclass(frozen=True, slots=True)
class UdpBlocked:
    """Drop every UDP datagram in both directions, also of live connections: QUIC is dead, HTTP/2 is not touched."""


@dataclass(frozen=True, slots=True)
class BothBlocked:
    """Swallow what goes to the edge over UDP and TCP: a dial is neither answered nor refused, live connections fall silent."""


@dataclass(frozen=True, slots=True)
class NxDomain:
    """Deny in DNS that names exist: for so many seconds (None: until cleared), all names or this one."""

    for_seconds: float | None = None
    hostname: str | None = None

    def __post_init__(self) -> None:
        _check_hostname(self.hostname)


@dataclass(frozen=True, slots=True)
class Unroute:
    """Lead visitors nowhere: all names or this one answer 530/1033, although connectors stay connected."""

    hostname: str | None = None

    def __post_init__(self) -> None:
        _check_hostname(self.hostname)


Select: TypeAlias = Drop | GoAway | Reset | HalfClose
Wire: TypeAlias = DropAfter | Delay | SlowRead | Garble | Lose
Fault: TypeAlias = (
    Select
    | Forget
    | Wire
    | Refuse
    | Stall
    | UdpBlocked
    | BothBlocked
    | ExpireCert
    | RejectRegistration
    | DelayRegistration
    | QuickService
    | NxDomain
    | Dns
    | DohError
    | Unroute
    | RefuseVisitors
    | Api
    | ApiHides
    | SlowDns
    | ZoneState
)
SELECT: Final = get_args(Select)
ONCE: Final = (*SELECT, Forget)
WIRE: Final = get_args(Wire)
KINDS: Final[dict[str, type[Any]]] = {kind.__name__: kind for kind in get_args(Fault)}


def concerns(name: str | None, hostname: str) -> bool:
    """Return whether a fault's `hostname`, full or bare, means this host name; None means all."""
    return name is None or full_name(name) == hostname


def _check_hostname(name: str | None) -> None:
    if name is not None:
        full_name(name)
