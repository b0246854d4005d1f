"""The addresses of a tunnel's public name: looked up in public DNS, and kept while they serve."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from prx.core.evidence import Dns, DnsState, Unasked
from prx.runtime.context import TunnelContext
from prx.runtime.probes.resolver import by_system

ADDRESSES_LAST = 300.0  # seconds; an edge's addresses of a name hardly ever change
REFRESH_WITHIN = 3.0  # seconds that a check waits for the addresses to be looked up again
REFRESH_AGAIN_AFTER = 30.0  # seconds until the next try, if that gave none


class PublicName:
    """What is known of the addresses of one tunnel's public name. `proven`: the URL has answered through them."""

    def __init__(self, context: TunnelContext) -> None:
        self.proven = False
        self._context = context
        self._good: Dns | None = None
        self._until = 0.0
        self._warned = False

    @property
    def known(self) -> Dns | None:
        """The good addresses that are kept, None if there are none."""
        return self._good

    @property
    def is_old(self) -> bool:
        """Return whether the good addresses are to be looked up again."""
        return self._good is not None and self._context.clock.monotonic() >= self._until

    def expire(self) -> None:
        """Have the addresses looked up again: they may not be right any more."""
        self._until = 0.0

    async def resolve(self, name: str) -> Dns:
        """Return what is known of `name`; good addresses are kept for a while."""
        return self._good or self._keep(await self._look_up(name))

    async def refresh(self, name: str) -> Dns | None:
        """Look `name` up again beside the check that uses its last good addresses; None if they are young enough."""
        if not self.is_old:
            return None
        try:
            async with asyncio.timeout(REFRESH_WITHIN):
                found = await self._look_up(name)
        except TimeoutError:
            found = Dns(DnsState.UNKNOWN, detail="no answer in time")
        return self._keep(found)

    def _keep(self, found: Dns) -> Dns:
        now = self._context.clock.monotonic()
        if found.state is DnsState.RESOLVED:
            self._good, self._until = replace(found, known=self.proven), now + ADDRESSES_LAST
            self._warned = False
            return self._good
        if self._good is None or (found.state is DnsState.MISSING and not self.proven):
            return found
        if found.state is DnsState.UNKNOWN and not self._warned:
            self._warned = True
            what = "prx itself cannot ask public DNS" if found.unasked else "no public DNS service answers"
            self._context.log("warn", f"{what} ({found.detail}); prx goes on with the last good addresses")
        self._until = now + REFRESH_AGAIN_AFTER
        return replace(found, addresses=self._good.addresses, known=True)

    async def _look_up(self, name: str) -> Dns:
        """Ask public DNS for `name`; if none answers, find the way to the edge by a name that exists."""
        context = self._context
        found = await context.resolver.resolve(name)
        if found.state is not DnsState.UNKNOWN:
            return found
        other = await by_system(context.backend.lasting_name(name, context.shared.site))
        if other.state is DnsState.RESOLVED:
            return other
        unasked = other.unasked if other.unasked is Unasked.FOR_NOW else found.unasked
        return replace(found, detail=f"{found.detail}; {other.detail}", unasked=unasked)
