"""Find out from the connector's counters whether prx's own request of the public URL came through it, and who answered.

Every connector that runs with a tunnel's token is one of its ways in, and the edge spreads requests over all of them. The
connector counts each request as it passes it on, each status that the service returns, and each failure to get one. A request
of prx's that was answered while the counters stood still has ended at the edge, or has taken another way. Other tunnels of the
same prx that run with the same token are added up: they are ways of the same tunnel. If one of them came or went between two
readings, the two cannot be compared.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from prx.backends.base import Counters
from prx.core.evidence import Delivery

Read = Callable[[], Awaitable[Counters | None]]

SETTLE = 0.1  # seconds; the connector counts a status when the body is over, a moment after the visitor has seen the head


class Ways:
    """The connectors of one prx, by what makes them ways of one tunnel (its token's identity)."""

    def __init__(self) -> None:
        self._reads: dict[str, list[Read]] = {}

    def add(self, tunnel: str, read: Read) -> None:
        """Take note of a connector of `tunnel`."""
        self._reads.setdefault(tunnel, []).append(read)

    def remove(self, tunnel: str, read: Read) -> None:
        """Forget a connector."""
        if read in (reads := self._reads.get(tunnel, [])):
            reads.remove(read)
        if not reads:
            self._reads.pop(tunnel, None)

    def members(self, tunnel: str) -> tuple[Read, ...]:
        """Return which connectors of `tunnel` there are, as something to compare."""
        return tuple(self._reads.get(tunnel, ()))

    async def count(self, tunnel: str) -> Counters | None:
        """Return the sum of the counters of all connectors of `tunnel`; None if one of them could not be read."""
        members = self.members(tunnel)
        if len(members) == 1:  # no task for it
            return await members[0]()
        found = await asyncio.gather(*(read() for read in members))
        return None if None in found else add_up(found)


def add_up(found: Iterable[Counters | None]) -> Counters | None:
    """Return the sum of several connectors' counters, those that could not be read left out; None if none was."""
    counters = [item for item in found if item is not None]
    if not counters:
        return None
    codes = {code for item in counters for code in item.said}
    return Counters(
        requests=sum(item.requests for item in counters),
        request_errors=sum(item.request_errors for item in counters),
        in_flight=sum(item.in_flight for item in counters),
        said={code: sum(item.said.get(code, 0) for item in counters) for code in codes},
        registered=sum(item.registered for item in counters),
        rejected=sum(item.rejected for item in counters),
        duplicates=sum(item.duplicates for item in counters),
    )


class Watch:
    """Tells what came through the connectors of `tunnel` since `begin`."""

    def __init__(self, ways: Ways, tunnel: str) -> None:
        self._ways = ways
        self._tunnel = tunnel
        self._members: tuple[Read, ...] = ()
        self._before: Counters | None = None

    async def begin(self) -> None:
        """Read the counters."""
        self._members = self._ways.members(self._tunnel)
        self._before = await self._ways.count(self._tunnel)

    async def end(self) -> Delivery:
        """Read them again and compare; unknown if a connector came or went meanwhile."""
        after = await self._ways.count(self._tunnel)
        same = self._members == self._ways.members(self._tunnel)
        return compare(self._before, after) if same else Delivery()


def compare(before: Counters | None, after: Counters | None) -> Delivery:
    """Return what happened between two readings; unknown if either is missing."""
    if before is None or after is None:
        return Delivery()
    said = frozenset(code for code, count in after.said.items() if count > before.said.get(code, 0))
    failed = after.request_errors > before.request_errors
    begun = after.requests - before.requests
    ended = sum(after.said.values()) - sum(before.said.values())
    # one may be under way by chance; of a service that is slow, as many as before are
    answered = begun <= ended and after.in_flight <= 1 and not failed
    return Delivery(reached=begun > 0, said=said, failed=failed, answered=answered)
