"""API tokens: minted, looked up, described.

Since 2026 a token is a prefix (`cfut_` of a user, `cfat_` of an account), 32 characters and a checksum of 8
(developers.cloudflare.com, "Token formats"). What OAuth hands out is looked up here as well.
"""

from __future__ import annotations

import re
import secrets
import string
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from prx.lab.edge.api import errors, permissions
from prx.lab.edge.api.permissions import Need
from prx.lab.edge.api.times import rfc3339

Kind: TypeAlias = Literal["user", "account", "oauth"]
_PREFIXES: Final[dict[Kind, str]] = {"user": "cfut_", "account": "cfat_", "oauth": "cfoat_"}
_ALPHABET: Final = string.ascii_letters + string.digits
_WORD: Final = re.compile(r"[A-Za-z0-9_.:~+/=-]{1,4096}")


@dataclass
class ApiToken:
    """A token: what it may do, and in which zones (None: all). `expires_at`: seconds since 1970."""

    value: str = field(repr=False)
    kind: Kind
    permissions: frozenset[str]
    zones: frozenset[str] | None = None
    id: str = field(default_factory=lambda: secrets.token_hex(16))
    status: Literal["active", "disabled", "expired"] = "active"
    expires_at: float | None = None

    def allows(self, need: Need) -> bool:
        """Return whether it may do what needs this permission."""
        return not self.permissions.isdisjoint(need.names)


class ApiTokens:
    """The tokens of an account; `wall` returns seconds since 1970."""

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._by_value: dict[str, ApiToken] = {}

    def mint(
        self,
        granted: frozenset[str] = permissions.ALL,
        *,
        kind: Kind = "user",
        zones: frozenset[str] | None = None,
        seconds: float | None = None,
    ) -> ApiToken:
        """Make a token, good for so many seconds (None: forever)."""
        expires_at = None if seconds is None else self._wall() + seconds
        token = ApiToken(new_value(_PREFIXES[kind]), kind, granted, zones, expires_at=expires_at)
        self._by_value[token.value] = token
        return token

    def revoke(self, value: str) -> None:
        """Revoke a token; harmless if there is none."""
        self._by_value.pop(value, None)

    def find(self, value: str) -> ApiToken | None:
        """Find a token by its value."""
        token = self._by_value.get(value)
        if token is not None and token.expires_at is not None and self._wall() >= token.expires_at:
            token.status = "expired"
        return token

    def of_header(self, header: str | None) -> ApiToken | None:
        """Find the token of an Authorization header; ApiError if that is missing or malformed."""
        if header is None:
            raise errors.not_signed_in()
        scheme, _, value = header.partition(" ")
        if scheme.lower() != "bearer" or not _WORD.fullmatch(value):
            raise errors.malformed_token()
        return self.find(value)


def verification(token: ApiToken) -> dict[str, Any]:
    """Write what a token may read of itself."""
    document: dict[str, Any] = {"id": token.id, "status": token.status}
    if token.expires_at is not None:
        document["expires_on"] = rfc3339(token.expires_at)
    return document


def new_value(prefix: str) -> str:
    """Make a secret with a prefix, 32 characters and a checksum of 8."""
    text = "".join(secrets.choice(_ALPHABET) for _ in range(32))
    return f"{prefix}{text}{zlib.crc32((prefix + text).encode()):08x}"
