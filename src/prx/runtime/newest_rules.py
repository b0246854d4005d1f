"""Why rules do not fit: whether Cloudflare holds newer ones, asked with CLOUDFLARE_API_TOKEN if that is set."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping

from prx.config.schema import TunnelSettings
from prx.core.errors import PrxError
from prx.core.tunnel_token import TokenError, TunnelToken

_VARIABLE = "CLOUDFLARE_API_TOKEN"
_PATIENCE = 8.0  # seconds; a check of health must not wait longer for what only explains


class NewestRules:
    """Asks once for each mismatch: the answer to the same one does not change before the mismatch itself does."""

    def __init__(self, settings: TunnelSettings, environ: Mapping[str, str] = os.environ) -> None:
        self._settings = settings
        self._environ = environ
        self._answered: tuple[str, str] = ("", "")

    async def explain(self, mismatch: str) -> str:
        """Return the mismatch, with what Cloudflare's API says of it, if it can be asked."""
        if not mismatch or not self._environ.get(_VARIABLE):
            return mismatch
        if self._answered[0] != mismatch:
            self._answered = (mismatch, await self._ask())
        return f"{mismatch}; {self._answered[1]}" if self._answered[1] else mismatch

    async def _ask(self) -> str:
        from prx.cloudflare_api.edge_view import arrival, read_edge_view  # noqa: PLC0415 - an HTTP client, for this rare case alone

        try:
            token = TunnelToken.decode(self._settings.cloudflare.token.reveal())
            async with asyncio.timeout(_PATIENCE):
                return arrival(await asyncio.to_thread(read_edge_view, self._environ, token.account_tag, str(token.tunnel_id)))
        except (PrxError, TokenError, TimeoutError):  # what only explains may be missing
            return ""
