"""Permissions of API tokens: the rows that calls need, by the names of Cloudflare's permission groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

Level: TypeAlias = Literal["Read", "Write"]


@dataclass(frozen=True)
class Row:
    """A line of the dashboard's form; `groups` are the names that it goes by, the usual one first."""

    key: str
    groups: tuple[str, ...]
    levels: tuple[Level, ...] = ("Read", "Write")

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its permission groups."""
        return tuple(f"{group} {level}" for group in self.groups for level in self.levels)


@dataclass(frozen=True)
class Need:
    """What a call needs: a row, to read or to write."""

    row: Row
    level: Level

    @property
    def names(self) -> frozenset[str]:
        """The permission groups of which one is enough: to write includes to read."""
        levels: tuple[Level, ...] = ("Write",) if self.level == "Write" else ("Read", "Write")
        return frozenset(f"{group} {level}" for group in self.row.groups for level in levels)

    @property
    def lacking(self) -> frozenset[str]:
        """What a token may lack to be refused: this permission, or the row as a whole, by whatever name."""
        return frozenset(name for group in self.row.groups for name in (group, f"{group} {self.level}"))

    @property
    def name(self) -> str:
        """The usual name of the permission group."""
        return f"{self.row.groups[0]} {self.level}"


TUNNEL: Final = Row("tunnel", ("Cloudflare Tunnel", "Cloudflare One Connector: cloudflared", "Cloudflare One Connectors"))
ZONE: Final = Row("zone", ("Zone",))
DNS: Final = Row("dns", ("DNS",))
APPS: Final = Row("apps", ("Access: Apps and Policies",))
SERVICE_TOKENS: Final = Row("service_tokens", ("Access: Service Tokens",))
ORGANIZATION: Final = Row("organization", ("Access: Organizations, Identity Providers, and Groups",))
ACCOUNT: Final = Row("account", ("Account Settings",))
OAUTH: Final = Row("oauth", ("OAuth Client",))

ROWS: Final = (TUNNEL, ZONE, DNS, APPS, SERVICE_TOKENS, ORGANIZATION, ACCOUNT, OAUTH)
NAMES: Final = tuple(name for row in ROWS for name in row.names)
ALL: Final = frozenset(f"{row.groups[0]} Write" for row in ROWS)


def read(row: Row) -> Need:
    """Need a row to read."""
    return Need(row, "Read")


def write(row: Row) -> Need:
    """Need a row to write."""
    return Need(row, "Write")


def named(name: str) -> str:
    """Read the name of a row or of a permission group, with spaces or `_`; ValueError if there is none."""
    plain = name.replace("_", " ").lower()
    for row in ROWS:
        for known in (*row.groups, *row.names):
            if known.lower() == plain:
                return known
    raise ValueError(f"unknown permission {name!r}; expected one of {', '.join(NAMES)}, or a row such as {DNS.groups[0]}")


def parse(names: list[str] | tuple[str, ...]) -> frozenset[str]:
    """Read names of permission groups; ValueError names one that does not exist here."""
    known = {name.lower(): name for name in NAMES}
    for name in names:
        if name.lower() not in known:
            raise ValueError(f"unknown permission {name!r}; expected one of {', '.join(NAMES)}")
    return frozenset(known[name.lower()] for name in names)
