"""Faults of an edge as plain values: inject them into a lab, clear them again.

    lab.inject(RejectRegistration("unauthorized", times=2))
    lab.inject(Refuse())
    lab.clear(Refuse)

A fault either acts once, at `inject` (those in `ONCE`), or lasts until it is cleared or used up. Injecting a lasting fault
again replaces the one of the same class. Seconds are those of the lab's clock. Faults of the wire (those in `WIRE`) act on
the bytes or datagrams of every connection, live and later ones, or of those at edge address number `slot` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any, Final, Literal, TypeAlias, TypeVar, get_args

from prx.lab.edge.faults.api_faults import Api, ApiHides, SlowDns
from prx.lab.edge.faults.visitor_faults import Dns, DohError, RefuseVisitors
from prx.lab.edge.names import full_name
from prx.lab.edge.registry import Connection
from prx.lab.protocol.rpc.registration import Rejected

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
class DropAfter:
    """Drop each connection some seconds after it came (live ones: from now), or once so many bytes have passed on it.

    Bytes are those inside TLS, over QUIC those of datagrams. Over QUIC the connector gets no notice: no datagram passes any
    more.
    """

    seconds: float | None = None
    bytes: int | None = None
    slot: int | None = None

    def __post_init__(self) -> None:
        if self.seconds is None and self.bytes is None:
            raise ValueError("DropAfter needs seconds or bytes")


@dataclass(frozen=True, slots=True)
class Delay:
    """Delay bytes or datagrams in both directions, in their order; `jitter` is the most that chance adds."""

    seconds: float
    jitter: float = 0.0
    slot: int | None = None


@dataclass(frozen=True, slots=True)
class SlowRead:
    """Read so many bytes per second from each connection and no more, so that what a connector sends is held back.

    Over QUIC these are the bytes of streams; what a connection's windows hold already is taken, and credit is withheld.
    """

    rate: int
    slot: int | None = None

    def __post_init__(self) -> None:
        if self.rate <= 0:
            raise ValueError(f"SlowRead: the rate is {self.rate}; expected bytes per second, 1 or more")


@dataclass(frozen=True, slots=True)
class Garble:
    """Change one byte in about `every`, in both directions, inside TLS: what arrives is no HTTP/2 any more.

    Over QUIC the frames of packets are changed before they are protected; outside of that it would be mere loss (`Lose`).
    """

    every: int = 1000
    slot: int | None = None

    def __post_init__(self) -> None:
        if self.every <= 0:
            raise ValueError(f"Garble: every is {self.every}; expected 1 or more bytes")


@dataclass(frozen=True, slots=True)
class Lose:
    """Lose one UDP datagram in about `every`, in both directions; HTTP/2 is not touched, for TCP would only be slower."""

    every: int = 20
    slot: int | None = None

    def __post_init__(self) -> None:
        if self.every <= 0:
            raise ValueError(f"Lose: every is {self.every}; expected 1 or more datagrams")


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


_TIMEOUT_SECONDS: Final = 20.0
_TOO_LARGE: Final = (1 << 20) + 1  # bytes; cloudflared reads a MiB (2026.9.3)

RejectKind: TypeAlias = Literal["permanent", "retryable", "unauthorized", "duplicate"]


@dataclass(frozen=True, slots=True)
class RejectRegistration:
    """Refuse registrations: all of them or the next `times`, of any connection or of `index`."""

    kind: RejectKind = "permanent"
    times: int | None = None
    index: int | None = None

    def __post_init__(self) -> None:
        _check_word(self.kind, _REJECTIONS)

    def answer(self) -> Rejected:
        """Return the reason sent to the connector; its reaction depends on the text alone (see `Rejected`)."""
        return _REJECTIONS[self.kind]


_REJECTIONS: Final[dict[RejectKind, Rejected]] = {
    "permanent": Rejected("Tunnel not found", should_retry=False),
    "retryable": Rejected("Edge is draining, try again later", retry_after=1.0, should_retry=True),
    "unauthorized": Rejected("Unauthorized: Invalid tunnel secret", should_retry=False),
    "duplicate": Rejected("EDUPCONN", should_retry=True),
}


@dataclass(frozen=True, slots=True)
class DelayRegistration:
    """Answer registrations only after `seconds`; cloudflared waits 5 s (`--rpc-timeout`)."""

    seconds: float


QuickKind: TypeAlias = Literal["error", "page", "no_id", "timeout", "json", "empty", "too_large", "unprotected"]


@dataclass(frozen=True, slots=True)
class QuickService:
    """Answer requests for quick tunnels wrongly, all of them or the next `times`, each after `delay` seconds.

    `kind`: `error` is what the real service sends with `status` (429: plain text, else a page); `page` is HTML with any
    status; `json` is an error of its API with any status; `no_id` is JSON without a tunnel in it, as with an error that
    comes as 200; `empty` is no body, `too_large` more than the MiB that cloudflared reads; `unprotected` is a tunnel, but
    without the protection that was asked for; `timeout` is no answer within the 15 s that cloudflared waits. `body`, if
    given, is sent as it is.
    """

    status: int = 429
    kind: QuickKind = "error"
    body: str | None = None
    content_type: str = "text/plain; charset=UTF-8"
    delay: float = 0.0
    times: int | None = None

    def __post_init__(self) -> None:
        _check_word(self.kind, get_args(QuickKind))

    @property
    def waits(self) -> float:
        """Seconds until the answer."""
        return self.delay or (_TIMEOUT_SECONDS if self.kind == "timeout" else 0.0)

    def answer(self) -> tuple[int, str, str]:
        """Return status, content type and body."""
        if self.body is not None:
            return self.status, self.content_type, self.body
        if self.kind in ("json", "no_id"):
            code = 1015 if self.status == 429 and self.kind == "json" else 1101
            body = f'{{"success":false,"result":null,"errors":[{{"code":{code},"message":"error"}}]}}'
            return self.status, "application/json", body
        if self.kind in ("empty", "too_large"):
            return self.status, "application/json", " " * (_TOO_LARGE if self.kind == "too_large" else 0)
        if self.kind == "error" and self.status == 429:
            return self.status, "text/plain; charset=UTF-8", "error code: 1015"
        page = f"<!DOCTYPE html><html><head><title>{self.status}</title></head><body>{self.status}</body></html>"
        return self.status, "text/html; charset=UTF-8", page


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
)
SELECT: Final = get_args(Select)
ONCE: Final = (*SELECT, Forget)
WIRE: Final = get_args(Wire)
KINDS: Final[dict[str, type[Any]]] = {kind.__name__: kind for kind in get_args(Fault)}

_F = TypeVar("_F")


def concerns(name: str | None, hostname: str) -> bool:
    """Return whether a fault's `hostname`, full or bare, means this host name; None means all."""
    return name is None or full_name(name) == hostname


def _check_hostname(name: str | None) -> None:
    if name is not None:
        full_name(name)


def _check_word(word: str, known: Collection[str]) -> None:
    if word not in known:
        raise ValueError(f"unknown kind {word!r}; expected one of {', '.join(known)}")


class Faults:
    """The lasting faults that act now, at most one of each class."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._active: dict[type[Any], tuple[Any, float]] = {}
        self._lasts: dict[type[Any], float] = {}
        self._uses: dict[type[Any], int] = {}

    def __iter__(self) -> Iterator[Fault]:
        for kind in list(self._active):
            fault = self.active(kind)
            if fault is not None:
                yield fault

    def times(self, fault: Fault) -> dict[str, float]:
        """Return for how many seconds a fault that acts is meant, and how many are left; nothing if no end is known.

        With a count of occasions also how many are left.
        """
        kind = type(fault)
        entry = self._active.get(kind)
        lasts = self._lasts.get(kind, getattr(fault, "for_seconds", None))
        told: dict[str, float] = {}
        if entry is not None and lasts is not None:
            told = {"for_seconds": lasts, "seconds_left": round(max(0.0, entry[1] + lasts - self._clock()), 1)}
        if (times := getattr(fault, "times", None)) is not None:
            told["times_left"] = times - self._uses.get(kind, 0)
        return told

    def add(self, fault: Fault, lasts: float | None = None) -> None:
        """Set a fault; `lasts`: after how many seconds it will be removed, for those who ask."""
        self._active[type(fault)] = (fault, self._clock())
        self._lasts.pop(type(fault), None)
        if lasts is not None:
            self._lasts[type(fault)] = lasts
        self._uses[type(fault)] = 0

    def remove(self, kind: type[Any]) -> bool:
        """Clear a fault; return whether it acted."""
        return self._active.pop(kind, None) is not None

    def active(self, kind: type[_F]) -> _F | None:
        """Return the fault of this class if it acts now."""
        entry = self._active.get(kind)
        if entry is None:
            return None
        fault, since = entry
        lasts = getattr(fault, "for_seconds", None)
        if lasts is not None and self._clock() - since >= lasts:
            del self._active[kind]
            return None
        return fault  # type: ignore[no-any-return]  # keyed by its own class

    def use(self, kind: type[_F], *, index: int | None = None) -> _F | None:
        """Return the fault of this class if it acts on this occasion, and count that against its `times`."""
        fault = self.active(kind)
        if fault is None or getattr(fault, "index", None) not in (None, index):
            return None
        self._uses[kind] += 1
        times = getattr(fault, "times", None)
        if times is not None and self._uses[kind] >= times:
            del self._active[kind]
        return fault
