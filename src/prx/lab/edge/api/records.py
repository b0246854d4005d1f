"""The DNS records of the zone: what they may contain, and where they lead. No calls here; see `dns`.

A record leads a name to a tunnel if it is a proxied CNAME to `TUNNEL_ID.cfargotunnel.com`. Proxied names resolve to the edge.
Unproxied, such a CNAME ends at addresses of Cloudflare's own that cannot be reached (fd10:aec2:5dae::/48).
"""

from __future__ import annotations

import ipaddress
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final
from uuid import UUID

import idna

from prx.lab.edge.api import errors
from prx.lab.edge.api.habits import Habits
from prx.lab.edge.api.times import rfc3339

TUNNEL_SUFFIX: Final = ".cfargotunnel.com"
UNREACHABLE: Final = "fd10:aec2:5dae::1"
_TYPES: Final = frozenset(("A", "AAAA", "CAA", "CNAME", "HTTPS", "MX", "NS", "PTR", "SRV", "SVCB", "TLSA", "TXT"))
_PROXIABLE: Final = frozenset(("A", "AAAA", "CNAME"))
_LABEL: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_MAX_NAME: Final = 253
_MAX_COMMENT: Final = 100  # characters, on the free plan
_TTL: Final = range(60, 86401)  # seconds


@dataclass(frozen=True)
class Record:
    """One record; times are seconds since 1970. `extra` is what else was given, such as a priority."""

    id: str
    name: str
    type: str
    content: str
    proxied: bool
    ttl: int
    comment: str | None
    created_on: float
    modified_on: float
    commented_on: float | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def leads_to_a_tunnel(self) -> bool:
        """Return whether its content is the name of a tunnel."""
        return self.type == "CNAME" and self.content.endswith(TUNNEL_SUFFIX)

    @property
    def tunnel(self) -> UUID | None:
        """The tunnel that it leads to; None if it leads elsewhere."""
        try:
            return UUID(self.content.removesuffix(TUNNEL_SUFFIX)) if self.leads_to_a_tunnel and self.proxied else None
        except ValueError:
            return None

    def same(self, other: Record) -> bool:
        """Return whether both say the same of a name."""
        return (self.name, self.type, self.content) == (other.name, other.type, other.content)

    def describe(self) -> dict[str, Any]:
        """Write it as the API does."""
        commented = {} if self.commented_on is None else {"comment_modified_on": rfc3339(self.commented_on)}
        return {
            "id": self.id,
            "name": self.name,
            "type": self.type,
            "content": self.content,
            "proxiable": self.type in _PROXIABLE,
            "proxied": self.proxied,
            "ttl": self.ttl,
            "settings": {},
            "meta": {},
            "comment": self.comment,
            "tags": [],
            **self.extra,
            "created_on": rfc3339(self.created_on),
            "modified_on": rfc3339(self.modified_on),
            **commented,
        }


class Records:
    """All records of a zone; `routed` gets after each change which names lead to which tunnels.

    `wall` returns seconds since 1970. `delay()` returns after how many of them a fresh record is seen in DNS, `state()` what
    the zone is: active, or as `ZoneState` has it.
    """

    def __init__(
        self,
        zone: str,
        *,
        wall: Callable[[], float],
        routed: Callable[[Mapping[str, UUID]], None],
        delay: Callable[[], float] = lambda: 0.0,
        state: Callable[[], str] = lambda: "active",
    ) -> None:
        self.zone = zone
        self._wall = wall
        self._routed = routed
        self._delay = delay
        self._state = state
        self._by_id: dict[str, Record] = {}
        self._visible_at: dict[str, float] = {}

    def __iter__(self) -> Iterator[Record]:
        return iter(self._by_id.values())

    def get(self, record_id: str) -> Record:
        """Find a record by its id; ApiError if there is none."""
        record = self._by_id.get(record_id)
        if record is None:
            raise errors.ApiError(404, 81044, "Record does not exist.")
        return record

    def of(self, name: str) -> list[Record]:
        """Return the records of a full name."""
        return [record for record in self._by_id.values() if record.name == name]

    def covers(self, hostname: str) -> bool:
        """Return whether a name lies in the zone."""
        return hostname == self.zone or hostname.endswith(f".{self.zone}")

    def visible(self, hostname: str) -> list[Record]:
        """Return what DNS has of a name now, by itself or by the closest wildcard; nothing if another server answers for it."""
        state = self._state()
        if state not in {"active", "paused"} or self.delegations(hostname):
            return []
        names = [hostname]
        parent = hostname.partition(".")[2]
        while self.covers(parent):
            names.append(f"*.{parent}")
            parent = parent.partition(".")[2]
        now = self._wall()
        for name in names:
            if found := [record for record in self.of(name) if self._visible_at.get(record.id, 0.0) <= now]:
                return [replace(record, proxied=record.proxied and state == "active") for record in found]
        return []

    def delegations(self, hostname: str) -> list[Record]:
        """Return the NS records below the zone's own name that give a name, or one above it, to other servers."""
        return [
            record
            for record in self._by_id.values()
            if record.type == "NS"
            and record.name != self.zone
            and (hostname == record.name or hostname.endswith(f".{record.name}"))
        ]

    def add(self, document: Mapping[str, Any], habits: Habits) -> Record:
        """Create a record; ApiError if it may not be."""
        now = self._wall()
        record = replace(self.read(document), id=secrets.token_hex(16), created_on=now, modified_on=now)
        return self._put(replace(record, commented_on=None if record.comment is None else now), habits)

    def change(self, record_id: str, document: Mapping[str, Any], habits: Habits, *, whole: bool) -> Record:
        """Change a record, `whole` or in what the document has; ApiError if it may not be."""
        old = self.get(record_id)
        base = {} if whole else {**old.describe(), **old.extra}
        now = self._wall()
        new = replace(self.read({**base, **document}), id=old.id, created_on=old.created_on, modified_on=now)
        return self._put(replace(new, commented_on=old.commented_on if new.comment == old.comment else now), habits)

    def remove(self, record_id: str) -> None:
        """Delete a record; ApiError if there is none."""
        self.get(record_id)
        del self._by_id[record_id]
        self._visible_at.pop(record_id, None)
        self._publish_routes()

    def all_or_nothing(self, change: Callable[[], Any]) -> Any:
        """Make several changes; ApiError leaves everything as it was."""
        before = dict(self._by_id)
        try:
            return change()
        except errors.ApiError:
            self._by_id = before
            self._publish_routes()
            raise

    def _put(self, record: Record, habits: Habits) -> Record:
        self._refuse_conflict(record, habits)
        if record.id not in self._by_id:
            self._visible_at[record.id] = self._wall() + self._delay()
        self._by_id[record.id] = record
        self._publish_routes()
        return record

    def _publish_routes(self) -> None:
        self._routed({record.name: record.tunnel for record in self._by_id.values() if record.tunnel is not None})

    def _refuse_conflict(self, new: Record, habits: Habits) -> None:
        others = [record for record in self.of(new.name) if record.id != new.id]
        if any(new.same(record) for record in others):
            texts = {"81058": "An identical record already exists.", "81057": "The record already exists."}
            raise errors.ApiError(400, int(habits.identical_record), texts[habits.identical_record])
        if others and (new.type == "NS") != all(record.type == "NS" for record in others):
            raise errors.ApiError(400, 81056, "NS records cannot exist on the same name as any other record type.")
        types = {record.type for record in others} & _PROXIABLE
        if new.type == "CNAME" and types == {"CNAME"}:
            texts = {"81054": "A CNAME record with that host already exists.", "81053": _HOST_TAKEN}
            raise errors.ApiError(400, int(habits.second_cname), texts[habits.second_cname])
        if (new.type == "CNAME" and types) or (new.type in _PROXIABLE and "CNAME" in types):
            raise errors.ApiError(400, 81053, _HOST_TAKEN)

    def read(self, document: Mapping[str, Any]) -> Record:
        """Read a record; ApiError says what is wrong with it."""
        kind, name, content = (_text(document, key) for key in ("type", "name", "content"))
        if kind not in _TYPES:
            raise errors.invalid(f"DNS Validation Error: type: {kind!r} is invalid.")
        proxied = document.get("proxied", False)
        if not isinstance(proxied, bool) or (proxied and kind not in _PROXIABLE):
            raise errors.ApiError(400, 9004, "This record type cannot be proxied.")
        full = self.full_name(name)
        return Record(
            id="",
            name=full,
            type=kind,
            content=_content(kind, content, full),
            proxied=proxied,
            ttl=_ttl(document, proxied=proxied),
            comment=_comment(document),
            created_on=0.0,
            modified_on=0.0,
            extra={key: document[key] for key in ("priority", "data") if key in document},
        )

    def full_name(self, name: str) -> str:
        """Complete a name with the zone, in lower case and Punycode; ApiError if it cannot be one."""
        try:
            full = ".".join(_ascii(label) for label in name.rstrip(".").lower().split("."))
        except idna.IDNAError:
            raise errors.ApiError(400, 9000, "DNS name is invalid.") from None
        if full == "@":
            full = self.zone
        if not self.covers(full):
            full = f"{full}.{self.zone}"
        first, _, rest = full.partition(".")
        labels = (rest if first == "*" else full).split(".")
        if len(full) > _MAX_NAME or not all(_LABEL.fullmatch(label) for label in labels):
            raise errors.ApiError(400, 9000, "DNS name is invalid.")
        return full


_HOST_TAKEN: Final = "An A, AAAA, or CNAME record with that host already exists."


def _ascii(label: str) -> str:
    return label if label.isascii() else idna.encode(label, uts46=True).decode()


def _text(document: Mapping[str, Any], key: str) -> str:
    value = document.get(key)
    if not isinstance(value, str) or not value:
        raise errors.invalid(f"DNS Validation Error: {key} is required.")
    return value


def _content(kind: str, text: str, name: str) -> str:
    if kind in ("A", "AAAA"):
        try:
            good = ipaddress.ip_address(text).version == (4 if kind == "A" else 6)
        except ValueError:
            good = False
        if not good:
            raise errors.ApiError(400, 9005, f"Content for {kind} record must be a valid IPv{4 if kind == 'A' else 6} address.")
    if kind == "CNAME":
        text = text.rstrip(".").lower()
        if not all(_LABEL.fullmatch(label) for label in text.split(".")) or len(text) > _MAX_NAME:
            raise errors.ApiError(400, 9007, "Content for CNAME record is invalid.")
        if text == name:
            raise errors.ApiError(400, 9039, "CNAME content cannot reference itself.")
    return text


def _ttl(document: Mapping[str, Any], *, proxied: bool) -> int:
    ttl = document.get("ttl", 1)
    if not isinstance(ttl, int) or isinstance(ttl, bool) or (ttl != 1 and ttl not in _TTL):
        raise errors.ApiError(400, 9021, "Invalid TTL. Must be between 60 and 86400 seconds, or 1 for Automatic.")
    return 1 if proxied else ttl


def _comment(document: Mapping[str, Any]) -> str | None:
    comment = document.get("comment")
    if comment is not None and (not isinstance(comment, str) or len(comment) > _MAX_COMMENT):
        raise errors.ApiError(400, 9300, f"DNS record comment must be at most {_MAX_COMMENT} characters long.")
    if document.get("tags"):
        raise errors.ApiError(400, 9302, "DNS record has 1 tag, exceeding the quota of 0.")
    return comment or None
