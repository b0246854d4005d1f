"""Verify what the login service of protected quick tunnels asserts: a JWT, signed with one of its published keys.

`GET LOGIN/.well-known/jwks.json` within 5 seconds; keys are kept for a day, and asked for at most once a minute, whatever key
a stranger names. The service signs with ES256 and speaks of itself as `iss`, of us as `cloudflared-quick-tunnel` (cloudflared's
published source, 2026.9.3). Times are the guard's matter.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from prx.core.parsing import parse_json
from prx.lab.connector.fetch import FetchError, fetch

AUDIENCE: Final = "cloudflared-quick-tunnel"
_TIMEOUT: Final = 5.0  # seconds
_KEEP: Final = 24 * 3600.0  # seconds
_PAUSE: Final = 60.0  # seconds
_MOST: Final = 1 << 20  # bytes


class Assertions:
    """A check of one login service's assertions; `now` returns monotonic seconds."""

    def __init__(self, login: str, *, now: Callable[[], float]) -> None:
        self._login = login
        self._now = now
        self._keys: dict[str, Any] = {}
        self._asked: float | None = None
        self._fetched: float | None = None
        self._lock = asyncio.Lock()

    async def verify(self, assertion: str) -> dict[str, Any]:
        """Return the claims; ValueError if nothing proves them."""
        import jwt  # noqa: PLC0415 - only protected tunnels need it

        try:
            kid = jwt.get_unverified_header(assertion).get("kid")
            claims: dict[str, Any] = jwt.decode(
                assertion,
                await self._key(str(kid)),
                algorithms=["ES256"],
                audience=AUDIENCE,
                issuer=self._login,
                options={"verify_exp": False, "verify_iat": False, "verify_nbf": False},
            )
        except jwt.PyJWTError as error:
            raise ValueError(str(error)) from None
        return claims

    async def _key(self, kid: str) -> Any:
        async with self._lock:
            old = self._fetched is None or self._now() - self._fetched > _KEEP
            may_ask = self._asked is None or self._now() - self._asked >= _PAUSE
            if (old or kid not in self._keys) and may_ask:
                self._asked = self._now()
                self._keys, self._fetched = await self._fetch(), self._now()
        if kid not in self._keys:
            raise ValueError("the assertion is signed with a key that the login service does not publish")
        return self._keys[kid]

    async def _fetch(self) -> dict[str, Any]:
        import jwt  # noqa: PLC0415 - see verify

        try:
            async with asyncio.timeout(_TIMEOUT):
                status, body = await fetch("GET", f"{self._login}/.well-known/jwks.json", limit=_MOST)
            if status != 200:
                raise ValueError(f"the login service answered {status} instead of its keys")
            keys = jwt.PyJWKSet.from_dict(parse_json(body)).keys
        except (FetchError, TimeoutError, jwt.PyJWTError, AttributeError, TypeError) as error:
            raise ValueError(f"no keys of the login service: {error}") from None
        return {str(key.key_id): key.key for key in keys if key.algorithm_name == "ES256"}
