"""A steady stream of visitors: one request each, at a rate that answers do not slow down, and what became of every one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

PATIENCE: Final = 60.0  # seconds; what takes longer is lost


@dataclass(frozen=True, slots=True)
class Visit:
    """One request: when it began and ended (`time.monotonic`), its status, or None and why there was no answer."""

    began: float
    ended: float
    status: int | None
    error: str = ""


@dataclass(slots=True)
class Load:
    """What became of the requests so far."""

    visits: list[Visit] = field(default_factory=list)
    lag: float = 0.0  # seconds that a request was sent too late, at most: the machine is too busy

    @property
    def lost(self) -> list[Visit]:
        """Those that were not answered with 200."""
        return [visit for visit in self.visits if visit.status != 200]

    def words(self) -> str:
        """Return how many were sent, and what was lost."""
        return f"{len(self.visits)} sent, {len(self.lost)} lost: {[(v.status, v.error, v.ended - v.began) for v in self.lost]}"


@asynccontextmanager
async def load(url: str, rate: float) -> AsyncIterator[Load]:
    """Ask `url` `rate` times a second while the block runs; at its end every request has its answer, or an error."""
    found = Load()
    async with asyncio.TaskGroup() as group:
        sender = group.create_task(_send(group, url, rate, found), name="load")
        try:
            yield found
        finally:
            sender.cancel()


async def _send(group: asyncio.TaskGroup, url: str, rate: float, found: Load) -> None:
    due = time.monotonic()
    while True:
        found.lag = max(found.lag, time.monotonic() - due)
        group.create_task(_visit(url, found), name="visitor")
        due += 1 / rate
        await asyncio.sleep(max(0.0, due - time.monotonic()))


async def _visit(url: str, found: Load) -> None:
    began, status, error = time.monotonic(), None, ""
    try:
        async with asyncio.timeout(PATIENCE):
            status = await _ask(url)
    except (OSError, EOFError, ValueError, TimeoutError) as failure:
        error = repr(failure)
    found.visits.append(Visit(began, time.monotonic(), status, error))


async def _ask(url: str) -> int:
    """Return the status of one GET, once the whole answer is read."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection("127.0.0.1", parts.port or 80)
    try:
        path = parts.path or "/"
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read(-1)
    finally:
        writer.close()
    return int(answer.split(b" ", 2)[1])
