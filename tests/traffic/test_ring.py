"""What is kept of exchanges is bounded, and who waits for an answer hears of it."""

from __future__ import annotations

import asyncio

import pytest

from prx.traffic.exchange import BODY_LIMIT, MESSAGES, Exchange
from prx.traffic.filters import parse_filter
from prx.traffic.inspector import Inspector
from prx.traffic.ring import Ring
from prx.traffic.search import Search
from prx.traffic.tee import SERVICE, VISITOR, Copier, Tee

ASK = b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"
ROUND = 60_000
KEYS = b"Sec-WebSocket-Accept: x\r\n"
STREAMS = {
    "a WebSocket": (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" + KEYS + b"\r\n",
        b"\x81\x7e" + ROUND.to_bytes(2, "big") + b"x" * ROUND,
    ),
    "server-sent events": (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"%x\r\ndata: " % (ROUND + 8) + b"x" * ROUND + b"\n\n\r\n",
    ),
    "a long download": (b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n", b"x" * ROUND),
    "another protocol": (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: other\r\nConnection: Upgrade\r\n\r\n", b"x" * ROUND),
}


def held(exchange: Exchange) -> int:
    """Return how many bytes an exchange holds beside its heads."""
    bodies = len(exchange.request_body.kept) + len(exchange.answer_body.kept)
    return bodies + sum(len(message.data) for message in exchange.messages)


@pytest.mark.parametrize("what", STREAMS)
async def test_what_goes_on_after_it_made_room_keeps_nothing(what: str) -> None:
    """`keep_mb` bounds what is kept of streams as well that are open for days, however many there are."""
    ring = Ring(keep=5, most_bytes=64_000_000)
    copier = Copier(ring, "web", lambda: 0.0)
    begin, more = STREAMS[what]
    tees = []
    for number in range(20):
        tee = Tee(copier)
        upgrade = b"Upgrade: websocket\r\nConnection: Upgrade\r\n" if b" 101 " in begin else b""
        tee.take(VISITOR, 0.0, ASK[:-2] % number + upgrade + b"\r\n")
        tee.take(SERVICE, 0.0, begin)
        tees.append(tee)
    for _ in range(30):
        for tee in tees:
            tee.take(SERVICE, 0.0, more)
    exchanges = [tee.first for tee in tees if tee.first is not None]
    assert [held(item) for item in exchanges[:-5]] == [0] * 15
    assert sum(map(held, exchanges)) <= 5 * (2 * BODY_LIMIT + MESSAGES * 65536)
    if "messages" in what or "events" in what or "Web" in what:
        assert {len(item.messages) + item.more_messages for item in exchanges} == {30}
    else:
        assert {item.answer_body.size for item in exchanges} == {30 * ROUND}


async def test_less_is_kept_as_soon_as_less_is_to_be_kept() -> None:
    """A smaller `keep` or `keep_mb` in a reload needs no further request to take effect."""
    ring = Ring(keep=10, most_bytes=64_000_000)
    for number in range(10):
        exchange = ring.new("web", float(number))
        exchange.answer_body.add(b"x" * 500_000)
        ring.weigh(exchange)
    ring.bound(4, 64_000_000)
    assert [item.id for item in ring] == [7, 8, 9, 10]
    ring.bound(4, 1_200_000)
    assert [item.id for item in ring] == [9, 10]
    assert ring.bytes < 1_200_000


async def test_an_answer_wakes_who_has_just_begun_to_wait() -> None:
    """An answer that comes between the last look and the beginning of the wait is not missed: nothing may come after it."""
    ring = Ring(keep=10, most_bytes=1_000_000)
    looks = 0

    def answered() -> list[Exchange]:
        nonlocal looks
        looks += 1
        if looks == 2:  # what is ready already in this round of the loop comes first
            asyncio.get_running_loop().call_soon(lambda: ring.finish(ring.new("web", 1.0)))
        return [item for item in ring if item.answered]

    inspector = Inspector.__new__(Inspector)  # it needs nothing of itself for that
    search = Search(parse_filter(""), answered, lambda: inspector._any_answer({"web": ring}))
    await search.once()
    async with asyncio.timeout(5):
        await search.until(60)
    assert [item.id for item in search.fitting] == [1]


async def test_who_gives_up_leaves_nothing_behind() -> None:
    """A wait that is over is forgotten."""
    ring = Ring(keep=10, most_bytes=1_000_000)
    waits = [ring.next_answer() for _ in range(5)]
    for wait in waits[:3]:
        wait.cancel()
    await asyncio.sleep(0)
    assert len(ring._waiting) == 2
    ring.finish(ring.new("web", 1.0))
    await asyncio.gather(*waits[3:])
    await asyncio.sleep(0)
    assert not ring._waiting
