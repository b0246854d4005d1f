"""Keep requests on disk while the service is down, and hand them over in order when it is back.

Theory of operation. A request is answered 202 only after it is on disk (`prx.traffic.spool`), file and folder synced. Before
it is written to the service it is renamed, so that its name says how often that was started; after the answer it is removed.
So whatever ends prx, each request is handed over at least once, in order, and one that may have arrived before carries
`X-PRX-Retry`.

A service that says 502, 503 or 504 is not back yet: the request waits on. So does it if connections are accepted and dropped,
as a container's proxy or `ssh -L` does for a service that is down. Only if the service answers other requests, and this one
gets no answer again and again, is it set aside as `.failed`, and said, so that it does not hold up the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from prx import __version__
from prx.core.errors import PrxError
from prx.core.own_mark import CAUGHT, RETRY
from prx.traffic.framing import End, Framing, Head
from prx.traffic.own import without_own_headers
from prx.traffic.relay import Target
from prx.traffic.replay import send
from prx.traffic.spool import Spool, SpoolFullError
from prx.traffic.tee import Copier

TRIES: Final = 5
"""Tries without an answer after which the service is asked for something else, to tell which of the two is at fault."""

PAUSE: Final = 1.0  # seconds before the second try; twice as long before each further one
LONGEST_PAUSE: Final = 30.0
LATER: Final = frozenset({502, 503, 504})
"""Statuses that say the service is not there yet, in the words of a proxy in front of it."""

_PROBE: Final = f"GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: prx/{__version__}\r\nConnection: close\r\n\r\n".encode()
_PROBE_SECONDS: Final = 30.0


class Catcher:
    """Takes requests for a service that is down, and hands them over; `run` it. `target` returns where the service is now."""

    def __init__(self, spool: Spool, copier: Copier, target: Callable[[], Target], log: Callable[[str, str], None]) -> None:
        self._spool, self._copier, self._target, self._log = spool, copier, target, log
        self._lock = asyncio.Lock()
        self._news = asyncio.Event()
        self._news.set()
        self._said = ""  # the last trouble, which is said once
        self._unanswered = ""  # the request that the service did not answer though it answers others
        self._tries = 0  # of the oldest one, when it was last read

    @property
    def waiting(self) -> int:
        """Return how many requests wait: as long as there are any, those that come later wait behind them."""
        return len(self._spool)

    async def take(self, raw: bytes) -> None:
        """Keep a request; raise SpoolFullError or OSError."""
        async with self._lock:
            if not self._spool:
                self._log("warn", "the service is down: requests are kept, and handed over when it is back")
            try:
                await asyncio.to_thread(self._spool.add, raw)
            except SpoolFullError:
                self._say(f"no more requests are kept: {len(self._spool)} wait")
                raise
            except OSError as error:
                self._say(f"requests cannot be kept: {error.strerror or error}")
                raise
            self._said = ""
        self._news.set()

    async def run(self) -> None:
        """Hand over what waits, as soon as the service takes it; forever."""
        while True:
            await self._news.wait()
            count = 0
            while self._spool:
                try:
                    count += await self._hand_over()
                except PrxError:
                    await asyncio.sleep(min(LONGEST_PAUSE, PAUSE * 2 ** min(self._tries, TRIES)))
                except Exception as error:  # noqa: BLE001 - whatever it is, those that wait are not given up
                    self._say(f"kept requests cannot be handed over: {getattr(error, 'strerror', None) or error!r}")
                    await asyncio.sleep(PAUSE)
            self._news.clear()
            if self._spool:
                self._news.set()
            if count:
                self._log("info", f"the service is back: {count} kept requests were handed over")

    def _say(self, text: str) -> None:
        if text != self._said:
            self._log("error", text)
        self._said = text

    async def _hand_over(self) -> int:
        """Hand over the oldest one; return how many that were. Raises PrxError if the service is down."""
        try:
            async with self._lock:
                name, raw, self._tries = await asyncio.to_thread(self._spool.oldest)
        except FileNotFoundError:
            self._log("error", "a kept request was removed by another program, and is not handed over")
            self._spool.forget()
            return 0
        if not is_request(raw):
            return await self._set_aside("a kept file holds no whole request any more")
        if self._tries >= TRIES:
            if not await self._is_well():
                raise PrxError("the service is down")
            if name == self._unanswered:
                return await self._set_aside(f"a kept request was sent {self._tries} times without an answer")
        head, blank, body = raw.partition(b"\r\n\r\n")
        first, _, rest = without_own_headers(head + blank).partition(b"\r\n")
        mark = f"{CAUGHT}: 1\r\n" + (f"{RETRY}: {self._tries}\r\n" if self._tries else "")
        if self._tries >= TRIES:
            self._unanswered = name
        answer = await send(first + b"\r\n" + mark.encode() + rest + body, self._target(), self._copier, before=self._begin)
        if answer.status in LATER:
            raise PrxError(f"the service answers {answer.status}")
        async with self._lock:
            await asyncio.to_thread(self._spool.done)
        return 1

    async def _is_well(self) -> bool:
        try:
            return (await send(_PROBE, self._target(), self._copier, own=True, seconds=_PROBE_SECONDS)).status not in LATER
        except PrxError:
            return False

    async def _set_aside(self, why: str) -> int:
        self._log("error", f"{why}, and is set aside")
        async with self._lock:
            await asyncio.to_thread(self._spool.done, failed=True)
        return 0

    async def _begin(self) -> None:
        async with self._lock:
            await asyncio.to_thread(self._spool.begin)
        self._tries += 1


def is_request(raw: bytes) -> bool:
    """Return whether `raw` is one whole request and nothing more; a power cut may leave less of it."""
    framing = Framing(of_requests=True)
    pieces = list(framing.feed(raw))
    ends = [isinstance(piece, End) for piece in pieces]
    return bool(pieces) and isinstance(pieces[0], Head) and ends.count(True) == 1 and ends[-1] and framing.between
