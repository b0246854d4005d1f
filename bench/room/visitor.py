"""Visitors: requests at a steady rate, each on a connection of its own, each written down.

The rate is kept whatever the answers do: a request is sent when its time has come, not when the one before it is done. A
request is *lost* unless a 2xx has come within `PATIENCE` seconds.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import httpx2

PATIENCE: Final = 10.0  # seconds
_UNUSED = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # plain HTTP only: saves making one for each request


@dataclass(frozen=True, slots=True)
class Visit:
    """One request: when it was sent (monotonic), how long it took, the status (0: none in time), the URL."""

    sent: float
    seconds: float
    status: int
    url: str

    @property
    def served(self) -> bool:
        """Return whether a 2xx came in time."""
        return 200 <= self.status < 300

    @property
    def done(self) -> float:
        """When it was over."""
        return self.sent + self.seconds


class Visitors:
    """Ask the URL that `url` gives, `rate` times a second, from the address `source`; `visits` is in the order of sending."""

    def __init__(self, url: Callable[[], str], *, rate: float, source: str = "") -> None:
        self.rate = rate
        self._url = url
        self._source = source
        self._slots: list[Visit | None] = []
        self._stopped = False
        self.lag = 0.0  # seconds that the bench itself was late with a request, at most: the machine is too busy

    @property
    def visits(self) -> list[Visit]:
        """The requests that are over."""
        return [visit for visit in self._slots if visit is not None]

    async def run(self) -> None:
        """Send until `stop`; ends when every request is over."""
        due = time.monotonic()
        async with asyncio.TaskGroup() as group:
            while not self._stopped:
                self.lag = max(self.lag, time.monotonic() - due)
                group.create_task(self._visit(len(self._slots)), name="visit")
                self._slots.append(None)
                due = max(due + 1 / self.rate, time.monotonic() - 1)  # after a pause of the machine there is no burst
                await asyncio.sleep(max(0.0, due - time.monotonic()))

    def stop(self) -> None:
        """Send no more."""
        self._stopped = True

    async def _visit(self, slot: int) -> None:
        url, sent = self._url(), time.monotonic()
        status = 0
        try:
            async with asyncio.timeout(PATIENCE):
                status = await get(url, source=self._source) if url else 0
        except (OSError, TimeoutError, httpx2.HTTPError):
            status = 0
        self._slots[slot] = Visit(sent, time.monotonic() - sent, status, url)


async def get(url: str, *, source: str = "") -> int:
    """GET a public URL of a lab on this machine and return the status, once the whole answer is there."""
    where = urlsplit(url)
    transport = httpx2.AsyncHTTPTransport(local_address=source or None, verify=_UNUSED, trust_env=False)
    async with httpx2.AsyncClient(transport=transport, timeout=None) as client:
        headers = {"Host": where.netloc, "User-Agent": "visitor", "Connection": "close"}
        return (await client.get(f"http://127.0.0.1:{where.port or 80}/", headers=headers)).status_code


def lost(visits: Iterable[Visit], begin: float, end: float = float("inf")) -> int:
    """Count the requests lost among those sent in a span of time."""
    return sum(1 for visit in visits if begin <= visit.sent < end and not visit.served)


def first_served(visits: Iterable[Visit], after: float, *, lost_first: bool = False) -> float | None:
    """Return the seconds from `after` until the first visitor who came later was served; None if there was none.

    lost_first: visitors who were served before the first one was lost do not count, unless none was.
    """
    later = [visit for visit in visits if visit.sent >= after]
    if lost_first:
        first = min((visit.sent for visit in later if not visit.served), default=after)
        later = [visit for visit in later if visit.sent >= first]
    return min((visit.done - after for visit in later if visit.served), default=None)


@asynccontextmanager
async def visiting(url: Callable[[], str], *, rate: float, source: str = "") -> AsyncIterator[Visitors]:
    """Send visitors for the length of a block."""
    visitors = Visitors(url, rate=rate, source=source)
    async with asyncio.TaskGroup() as group:
        group.create_task(visitors.run(), name="visitors")
        try:
            yield visitors
        finally:
            visitors.stop()
