"""Faults of an edge as plain values: inject them into a lab, clear them again.

    lab.inject(RejectRegistration("unauthorized", times=2))
    lab.inject(Refuse())
    lab.clear(Refuse)

A fault either acts once, at `inject` (`Drop`, `GoAway`), or lasts until it is cleared or used up (all others). Injecting
a lasting fault again replaces the one of the same class. Seconds are those of the lab's clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import MISSING, dataclass, fields
from typing import Any, Final, Literal, TypeAlias, TypeVar

from prx.protocol.registration import Rejected


@dataclass(frozen=True)
class Drop:
    """Drop live connections without a word: all, or those with this index, of this host name."""

    index: int | None = None
    hostname: str | None = None


@dataclass(frozen=True)
class GoAway:
    """Announce on live connections that no new request comes, and close them once idle; selected as for Drop."""

    index: int | None = None
    hostname: str | None = None


@dataclass(frozen=True)
class Stall:
    """Fall silent: live connections are kept but neither read nor written, new ones are not answered."""


@dataclass(frozen=True)
class Refuse:
    """Refuse new connections at every edge address (the ports are closed); live connections go on."""


RejectKind: TypeAlias = Literal["permanent", "retryable", "unauthorized", "duplicate"]


@dataclass(frozen=True)
class RejectRegistration:
    """Refuse registrations: all of them or the next `times`, of any connection or of `index`."""

    kind: RejectKind = "permanent"
    times: int | None = None
    index: int | None = None

    def answer(self) -> Rejected:
        """Give what the connector is told; its reaction hangs on the text alone (see `Rejected`)."""
        return _REJECTIONS[self.kind]


_REJECTIONS: Final[dict[RejectKind, Rejected]] = {
    "permanent": Rejected("Tunnel not found", should_retry=False),
    "retryable": Rejected("Edge is draining, try again later", retry_after=1.0, should_retry=True),
    "unauthorized": Rejected("Unauthorized: Invalid tunnel secret", should_retry=False),
    "duplicate": Rejected("EDUPCONN", should_retry=True),
}


@dataclass(frozen=True)
class DelayRegistration:
    """Answer registrations only after `seconds`; cloudflared waits 5 s (`--rpc-timeout`)."""

    seconds: float


@dataclass(frozen=True)
class QuickService:
    """Answer requests for quick tunnels with an error, all of them or the next `times`.

    `body` None: what the real service sends with that status (429: plain text, else a page). `delay` in seconds.
    """

    status: int = 429
    body: str | None = None
    content_type: str = "text/plain; charset=UTF-8"
    delay: float = 0.0
    times: int | None = None

    def answer(self) -> tuple[int, str, str]:
        """Give status, content type and body."""
        if self.body is not None:
            return self.status, self.content_type, self.body
        if self.status == 429:
            return self.status, "text/plain; charset=UTF-8", "error code: 1015"
        page = f"<!DOCTYPE html><html><head><title>{self.status}</title></head><body>{self.status}</body></html>"
        return self.status, "text/html; charset=UTF-8", page


@dataclass(frozen=True)
class NxDomain:
    """Deny in DNS that names exist: for so many seconds (None: until cleared), all names or this one."""

    for_seconds: float | None = None
    hostname: str | None = None


Fault: TypeAlias = Drop | GoAway | Stall | Refuse | RejectRegistration | DelayRegistration | QuickService | NxDomain
ONCE: Final = (Drop, GoAway)
KINDS: Final[dict[str, type[Any]]] = {
    kind.__name__: kind for kind in (Drop, GoAway, Stall, Refuse, RejectRegistration, DelayRegistration, QuickService, NxDomain)
}

_F = TypeVar("_F")


def from_json(document: dict[str, Any]) -> Fault:
    """Read a fault from `{"fault": NAME, FIELD: value, …}`; ValueError says what is wrong and what would be right."""
    values = dict(document)
    name = values.pop("fault", None)
    kind = KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise ValueError(f"unknown fault {name!r}; expected one of {', '.join(KINDS)}")
    allowed = {field.name for field in fields(kind)}
    if unknown := set(values) - allowed:
        raise ValueError(f"{name} has no field {min(unknown)!r}; it has {', '.join(sorted(allowed)) or 'none'}")
    for field in fields(kind):
        if field.name in values and not isinstance(values[field.name], _json_types(str(field.type))):
            raise ValueError(f"{name}: {field.name!r} is {values[field.name]!r}; expected {field.type}")
    if kind is RejectRegistration and values.get("kind", "permanent") not in _REJECTIONS:
        raise ValueError(f"unknown kind {values['kind']!r}; expected one of {', '.join(_REJECTIONS)}")
    try:
        fault: Fault = kind(**values)
    except TypeError:
        needed = ", ".join(field.name for field in fields(kind) if field.default is MISSING)
        raise ValueError(f"{name} needs {needed}") from None
    return fault


def _json_types(annotation: str) -> tuple[type, ...]:
    """Give the classes that a field's value may have when it comes from JSON."""
    classes = {"int": (int,), "float": (int, float), "None": (type(None),)}
    return tuple(kind for part in annotation.split(" | ") for kind in classes.get(part, (str,)))


class Faults:
    """The lasting faults that act now, at most one of each class."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._active: dict[type[Any], tuple[Any, float]] = {}
        self._uses: dict[type[Any], int] = {}

    def __iter__(self) -> Iterator[Fault]:
        for kind in list(self._active):
            fault = self.active(kind)
            if fault is not None:
                yield fault

    def add(self, fault: Fault) -> None:
        """Let a fault act from now on."""
        self._active[type(fault)] = (fault, self._clock())
        self._uses[type(fault)] = 0

    def remove(self, kind: type[Any]) -> bool:
        """Let a fault act no longer; whether it did."""
        return self._active.pop(kind, None) is not None

    def active(self, kind: type[_F]) -> _F | None:
        """Give the fault of this class if it acts now."""
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
        """Give the fault of this class if it acts on this occasion, and count that against its `times`."""
        fault = self.active(kind)
        if fault is None or getattr(fault, "index", None) not in (None, index):
            return None
        self._uses[kind] += 1
        times = getattr(fault, "times", None)
        if times is not None and self._uses[kind] >= times:
            del self._active[kind]
        return fault
