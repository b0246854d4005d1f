"""The management host: a name of the edge's own, behind which connectors answer for themselves (`cloudflared tail`).

A request to `management.argotunnel.com` has a token in the query (`access_token`), which names a tunnel, and possibly a
connector of it (`connector_id`). The edge checks the token and carries the request through that connector, which answers it
from a service of its own: it has no eye for the signature and trusts the edge in that (cloudflared 2026.8.2). Tokens are
signed with ES256.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from urllib.parse import parse_qs
from uuid import UUID

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from prx.lab.edge.registry import ACCOUNT_TAG, Registry, Tunnel

HOST: Final = "management.argotunnel.com"
_ALGORITHM: Final = "ES256"
_SECONDS: Final = 3600
_RESOURCES: Final = {"logs": ["logs", "ping"], "admin": ["admin"], "host_details": ["host_details"]}  # asked for → granted


class Management:
    """Makes tokens for the management host and finds which connector the holder of such a token may ask."""

    def __init__(self, registry: Registry, wall: Callable[[], float]) -> None:
        self._registry = registry
        self._wall = wall
        self._key = ec.generate_private_key(ec.SECP256R1())

    def token(self, tunnel: Tunnel, resource: str) -> str:
        """Return a token for a tunnel, good for an hour; ValueError if there is no such resource."""
        if resource not in _RESOURCES:
            raise ValueError(f"unknown resource {resource!r}; expected one of {', '.join(_RESOURCES)}")
        now = int(self._wall())
        claims = {
            "tun": {"id": str(tunnel.id), "account_tag": ACCOUNT_TAG},
            "actor": {"id": "prx-lab", "support": False},
            "res": _RESOURCES[resource],
            "iss": "tunnelstore",
            "iat": now,
            "exp": now + _SECONDS,
        }
        return jwt.encode(claims, self._key, algorithm=_ALGORITHM)

    def find(self, path: str) -> tuple[Tunnel, str] | None:
        """Return the tunnel that a request is for, and the connector or ''; None if it may ask none."""
        query = parse_qs(path.partition("?")[2])
        claims = self._read(query.get("access_token", [""])[-1])
        try:
            tunnel = None if claims is None else self._registry.find_id(UUID(claims["tun"]["id"]))
        except (KeyError, TypeError, ValueError):
            return None
        return None if tunnel is None else (tunnel, query.get("connector_id", [""])[-1])

    def _read(self, token: str) -> dict[str, Any] | None:
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                self._key.public_key(),
                algorithms=[_ALGORITHM],
                options={"verify_exp": False, "verify_iat": False},  # by the lab's clock, below
            )
        except jwt.PyJWTError:
            return None
        return claims if self._wall() < claims.get("exp", 0) else None
