"""The last exchanges, bounded by count and by bytes."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterator

from prx.traffic.exchange import Exchange


class Ring:
    """Keeps at most `keep` exchanges of `most_bytes` together; the oldest go first. `changed` counts what came or went on.

    dropped: pieces of the copy that were not read, because they came too fast.
    """

    def __init__(self, keep: int, most_bytes: int) -> None:
        self.keep, self.most_bytes = keep, most_bytes
        self.dropped = self.seen = self._answered = 0
        self._exchanges: OrderedDict[int, Exchange] = OrderedDict()
        self._weights: dict[int, int] = {}
        self._bytes = 0
        self._waiting: set[asyncio.Future[None]] = set()

    def __iter__(self) -> Iterator[Exchange]:
        return iter(self._exchanges.values())

    def __len__(self) -> int:
        return len(self._exchanges)

    @property
    def bytes(self) -> int:
        """Return about how many bytes are kept."""
        return self._bytes

    def new(self, tunnel: str, began: float) -> Exchange:
        """Return a new exchange that is kept."""
        self.seen += 1
        exchange = Exchange(self.seen, tunnel, began)
        self._exchanges[exchange.id] = exchange
        self._weights[exchange.id] = exchange.weight
        self._bytes += exchange.weight
        self._make_room()
        return exchange

    def bound(self, keep: int, most_bytes: int) -> None:
        """Keep so many from now on, and let go of those that are too many already."""
        self.keep, self.most_bytes = keep, most_bytes
        self._make_room()

    def get(self, number: int) -> Exchange | None:
        """Return an exchange that is still kept."""
        return self._exchanges.get(number)

    def weigh(self, exchange: Exchange) -> None:
        """Take in that it has grown, and make room."""
        if exchange.id not in self._exchanges:
            return
        weight = exchange.weight
        self._bytes += weight - self._weights.get(exchange.id, 0)
        self._weights[exchange.id] = weight
        self._make_room()

    def _make_room(self) -> None:
        while len(self._exchanges) > self.keep or (self._bytes > self.most_bytes and len(self._exchanges) > 1):
            number, exchange = self._exchanges.popitem(last=False)
            self._bytes -= self._weights.pop(number)
            exchange.let_go()

    def finish(self, exchange: Exchange) -> None:
        """Take in that it has ended."""
        self.weigh(exchange)
        self.answer(exchange)

    def answer(self, exchange: Exchange) -> None:
        """Take in that its answer comes, or that none will, and wake those that wait."""
        if exchange.answered:
            return
        self._answered += 1
        exchange.answered = self._answered
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)

    def next_answer(self) -> asyncio.Future[None]:
        """Return what is done once another exchange has been answered, from this moment on; cancel it if it is of no use."""
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(waiting)
        waiting.add_done_callback(self._waiting.discard)
        return waiting
