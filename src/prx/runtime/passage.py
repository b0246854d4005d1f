"""Tell whether prx's own requests of the public URL come through this child at all.

Everybody who has a tunnel's token can run a connector of it, and the edge spreads requests over all of them. A connector that
was forgotten on another machine therefore answers now and then, with whatever runs there. The child counts every request
that it passes on; a request of ours that was answered while its counter stood still has taken another way.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from prx.core.diagnosis import EDGE_ERRORS
from prx.core.evidence import Public

TIMES_THAT_CONVINCE = 2


class Passage:
    """Watches the requests of one run of the child; `count` asks it how many it has passed on, None where it does not say."""

    def __init__(self, count: Callable[[], Awaitable[int | None]], warn: Callable[[str], None]) -> None:
        self._count = count
        self._warn = warn
        self._times = 0

    async def watch(self, request: Awaitable[Public], url: str) -> tuple[Public, bool]:
        """Await the request; return its answer, and whether it is known to have come another way.

        Answers that the edge may give by itself (its own errors but 502, Access) say nothing about the way.
        """
        before = await self._count()
        public = await request
        if public.status is None or public.access or public.status in EDGE_ERRORS - {502}:
            return public, False
        after = await self._count()
        elsewhere = before is not None and after == before
        self._times += elsewhere
        if elsewhere and self._times == TIMES_THAT_CONVINCE:
            self._warn(
                f"{url} is answered by another connector too, or by a cache or a Worker: {self._times} requests of prx did not"
                " come through this one. If the same token runs on another machine, visitors reach that machine now and then"
            )
        return public, elsewhere
