"""Visitors count what is lost, and keep their rate."""

import asyncio

import pytest
from bench.room.visitor import Visit, first_served, lost, visiting

VISITS = [
    Visit(10.0, 0.1, 200, "a"),
    Visit(11.0, 10.0, 0, "a"),
    Visit(12.0, 0.2, 530, "a"),
    Visit(13.0, 4.0, 204, "b"),
    Visit(14.0, 0.5, 200, "b"),
]


def test_lost_is_what_got_no_2xx_in_time() -> None:
    """No answer and a 530 are lost, a 204 is not; the end of a span is outside of it."""
    assert (lost(VISITS, 0), lost(VISITS, 11.0, 12.0), lost(VISITS, 13.0)) == (2, 1, 0)


def test_the_first_one_served_is_the_first_to_have_its_answer() -> None:
    """A visitor who came later and was answered sooner counts; one who came before the outage's end does not."""
    assert first_served(VISITS, 10.5) == 4.0
    assert first_served(VISITS, 15.0) is None


def test_where_nothing_ends_the_first_one_lost_comes_before_the_first_one_served() -> None:
    """Who was served while a fault began does not count as the return; if no visit was lost, all count."""
    assert first_served(VISITS, 10.0) == pytest.approx(0.1)
    assert first_served(VISITS, 10.0, lost_first=True) == 4.5
    assert first_served(VISITS, 13.0, lost_first=True) == 1.5


async def test_visitors_come_at_their_rate_although_nobody_is_answered() -> None:
    """A service that hangs does not slow visitors down, and each of them is written down."""
    seen = asyncio.Event()
    count = 0
    release = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        await reader.readuntil(b"\r\n\r\n")
        count += 1
        if count == 5:
            seen.set()
        await release.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(hang, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with visiting(lambda: f"http://web.localhost:{port}", rate=500.0) as visitors:
            await seen.wait()
            release.set()
    assert len(visitors.visits) == count >= 5
    assert all(visit.served and visit.url == f"http://web.localhost:{port}" for visit in visitors.visits)
