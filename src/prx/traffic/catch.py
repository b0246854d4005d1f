"""Keep requests on disk while the service is down, and hand them over in order when it is back.

Theory of operation. A request is answered 202 only after it is on disk, file and folder synced. Its name is its place in the
order and how often its delivery was started: `000000000012-000.req`. Before it is written to the service it is renamed
(`-001`), after the whole answer it is removed. So whatever ends prx, each request is handed over at least once, in order, and
one that may have arrived before carries `X-PRX-Retry`. One that breaks the service `TRIES` times is set aside as `.failed`,
and said, so that it does not hold up the others.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from prx.config.paths import ensure_private_dir
from prx.core.errors import PrxError
from prx.traffic.relay import Target
from prx.traffic.replay import send
from prx.traffic.tee import Copier

MOST: Final = 20_000  # requests that wait
MOST_BYTES: Final = 512 * 1024 * 1024
TRIES: Final = 5
PAUSE: Final = 1.0  # seconds between two tries


class SpoolFullError(Exception):
    """No more is kept."""


class Spool:
    """Requests in `folder`, oldest first; blocking, one caller at a time."""

    def __init__(self, folder: Path, *, most: int = MOST, most_bytes: int = MOST_BYTES) -> None:
        self._folder, self._most, self._most_bytes = ensure_private_dir(folder), most, most_bytes
        for left in folder.glob("*.part"):  # never answered 202
            left.unlink()
        self._names = sorted(path.name for path in folder.glob("*.req"))
        self._bytes = sum((folder / name).stat().st_size for name in self._names)
        every = [int(path.name[:12]) for path in folder.glob("*-*.*") if path.name[:12].isdigit()]
        self._next = max(every, default=0) + 1

    def __len__(self) -> int:
        return len(self._names)

    def add(self, raw: bytes) -> None:
        """Keep a request for good; raise SpoolFullError, or OSError if the disk does not take it."""
        if len(self._names) >= self._most or self._bytes + len(raw) > self._most_bytes:
            raise SpoolFullError
        name = f"{self._next:012d}-000.req"
        part = self._folder / f"{name}.part"
        try:
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor
                file.write(raw)
                file.flush()
                os.fsync(file.fileno())
            part.rename(self._folder / name)
            self._sync()
        except OSError:
            part.unlink(missing_ok=True)
            (self._folder / name).unlink(missing_ok=True)
            raise
        self._next += 1
        self._names.append(name)
        self._bytes += len(raw)

    def oldest(self) -> tuple[bytes, int]:
        """Return the oldest request, and how often its delivery was started."""
        name = self._names[0]
        return (self._folder / name).read_bytes(), int(name[13:16])

    def begin(self) -> None:
        """Note that the oldest one is about to be written to the service."""
        name = self._names[0]
        self._names[0] = f"{name[:12]}-{min(999, int(name[13:16]) + 1):03d}.req"
        (self._folder / name).rename(self._folder / self._names[0])
        self._sync()

    def done(self, *, failed: bool = False) -> None:
        """Remove the oldest one, or set it aside."""
        path = self._folder / self._names[0]
        size = path.stat().st_size
        path.rename(path.with_suffix(".failed")) if failed else path.unlink()
        self._sync()
        del self._names[0]
        self._bytes -= size

    def _sync(self) -> None:
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class Catcher:
    """Takes requests for a service that is down, and hands them over; `run` it. `target` returns where the service is now."""

    def __init__(self, spool: Spool, copier: Copier, target: Callable[[], Target], log: Callable[[str, str], None]) -> None:
        self._spool, self._copier, self._target, self._log = spool, copier, target, log
        self._lock = asyncio.Lock()
        self._news = asyncio.Event()
        self._news.set()

    @property
    def waiting(self) -> int:
        """Return how many requests wait: as long as there are any, those that come later wait behind them."""
        return len(self._spool)

    async def take(self, raw: bytes) -> None:
        """Keep a request; raise SpoolFullError or OSError."""
        async with self._lock:
            if not self._spool:
                self._log("warn", "the service is down: requests are kept, and handed over when it is back")
            await asyncio.to_thread(self._spool.add, raw)
        self._news.set()

    async def run(self) -> None:
        """Hand over what waits, as soon as the service takes it; forever."""
        while True:
            await self._news.wait()
            count = 0
            while self._spool:
                try:
                    await self._hand_over()
                    count += 1
                except (PrxError, OSError):
                    await asyncio.sleep(PAUSE)
            self._news.clear()
            if self._spool:
                self._news.set()
            if count:
                self._log("info", f"the service is back: {count} kept requests were handed over")

    async def _hand_over(self) -> None:
        async with self._lock:
            raw, tries = await asyncio.to_thread(self._spool.oldest)
        if tries >= TRIES:
            self._log("error", f"a kept request was sent {tries} times without an answer, and is set aside")
            async with self._lock:
                await asyncio.to_thread(self._spool.done, failed=True)
            return
        first, _, rest = raw.partition(b"\r\n")
        mark = b"X-PRX-Caught: 1\r\n" + (b"X-PRX-Retry: %d\r\n" % tries if tries else b"")
        await send(first + b"\r\n" + mark + rest, self._target(), self._copier, before=self._begin)
        async with self._lock:
            await asyncio.to_thread(self._spool.done)

    async def _begin(self) -> None:
        async with self._lock:
            await asyncio.to_thread(self._spool.begin)
