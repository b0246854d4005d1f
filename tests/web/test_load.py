"""Slow, dead and hostile clients: bounded in number, time and memory, and no other client notices."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from tests.support.waits import PATIENCE
from tests.web.conftest import Scene, ScriptedPrx, scene

from prx.core.events import Log
from prx.logs.records import LogRecord

CLIENTS, DEAD = 200, 50


async def eventually(fits: Callable[[], bool]) -> None:
    """Wait until something is so that only the server's own counters say."""
    async with asyncio.timeout(PATIENCE):
        while not fits():  # noqa: ASYNC110 - a counter sends no event
            await asyncio.sleep(0.01)


async def close(writers: Iterable[asyncio.StreamWriter]) -> None:
    """Close connections for good."""
    for writer in writers:
        writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()


async def open_stream(
    web: Scene, *, receive_buffer: int = 0, path: str = "/api/v1/events"
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a stream of events, and read its head only."""
    connection = socket.socket()
    if receive_buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.setblocking(False)
    await asyncio.get_running_loop().sock_connect(connection, (web.listen.host, web.listen.port))
    reader, writer = await asyncio.open_connection(sock=connection, limit=receive_buffer or 2**16)
    fields = (
        f"GET {path} HTTP/1.1",
        f"host: {web.listen.authority}",
        f"authorization: {web.bearer['authorization']}",
    )
    writer.write("\r\n".join((*fields, "", "")).encode())
    await reader.readuntil(b"\r\n\r\n")
    return reader, writer


async def test_two_hundred_streams_of_which_fifty_stop_reading(tmp_path: Path) -> None:
    """The 150 that read get every event; the 50 that do not are cut, and the server goes on."""
    async with scene(tmp_path / "run", write_seconds=0.5) as web:
        prx = ScriptedPrx()
        prx.track()
        await web.start("prx-1", prx)
        streams = await asyncio.gather(*(open_stream(web, receive_buffer=4096 * (number < DEAD)) for number in range(CLIENTS)))
        last = b"the very last one"

        async def read(reader: asyncio.StreamReader) -> bool:
            while line := await reader.readline():
                if last in line:
                    return True
            return False

        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
            reading = [group.create_task(read(reader)) for reader, _ in streams[DEAD:]]
            for number in range(60):  # few and large: 1.2 MB fill the buffers of those that do not read
                prx.publish(Log(tunnel="web", level="info", message=f"{number} " + "x" * 20_000))
                await web.until(lambda number=number: web.dashboard.hub.ring.number > number)
            await eventually(lambda: web.dashboard.streams.cut == DEAD)
            prx.publish(Log(tunnel="web", level="info", message=last.decode()))
        assert all(task.result() for task in reading)
        assert web.dashboard.streams.cut == DEAD
        assert (await web.ask("/api/v1/status")).status_code == 200
        await close(writer for _, writer in streams)
        await eventually(lambda: not web.dashboard.streams.open)


async def test_more_streams_than_there_may_be_are_refused(web: Scene) -> None:
    """One stream too many is refused, and takes no place."""
    web.dashboard.streams.most = 2
    streams = [await open_stream(web) for _ in range(2)]
    answer = await web.ask("/api/v1/events")
    assert (answer.status_code, "2 streams" in answer.json()["error"]) == (503, True)
    await close(writer for _, writer in streams)


async def test_many_connections_are_bounded(tmp_path: Path) -> None:
    """Connections beyond the bound are ended at once; when some end, others are served again."""
    async with scene(tmp_path / "run", most_connections=20) as web:
        idle = [await asyncio.open_connection(web.listen.host, web.listen.port) for _ in range(60)]
        async with asyncio.timeout(PATIENCE):
            await eventually(lambda: web.dashboard.connections.refused == 40)
            assert len(web.dashboard.connections) == 20
            await close(writer for _, writer in idle)
            await eventually(lambda: not len(web.dashboard.connections))
        assert (await web.ask("/login", headers={})).status_code == 200


async def test_a_connection_without_a_request_ends(web: Scene) -> None:
    """Who connects and sends nothing, or half a head, or one byte at a time, is cut when the time for a head is over."""
    web.dashboard.connections.head_seconds = 0.2
    first = await asyncio.open_connection(web.listen.host, web.listen.port)
    second = await asyncio.open_connection(web.listen.host, web.listen.port)
    second[1].write(b"GET / HTTP/1.1\r\nhost: ")
    third = await asyncio.open_connection(web.listen.host, web.listen.port)
    third[1].write(
        f"GET /login HTTP/1.1\r\nhost: {web.listen.authority}\r\n\r\nGET /lo".encode()
    )  # the second request is cut off
    async with asyncio.timeout(PATIENCE):
        for reader, writer in (first, second, third):
            with suppress(ConnectionResetError):
                await reader.read()
            await close([writer])


async def test_a_replay_to_those_that_do_not_read_costs_no_copies(web: Scene) -> None:
    """Forty dead streams that ask for everything that is kept hold a few kilobytes each, not all of it."""
    for number in range(500):
        web.dashboard.hub.ring.publish({"event": "log", "message": f"{number} " + "x" * 3000})
    streams = [await open_stream(web, receive_buffer=4096, path="/api/v1/events?after=x-0") for _ in range(40)]
    transports = list(web.dashboard.connections._open.values())
    await eventually(lambda: sum(item.get_write_buffer_size() > 0 for item in transports) >= 40)
    assert sum(item.get_write_buffer_size() for item in transports) < 40 * 128 * 1024
    await close(writer for _, writer in streams)


async def test_answers_that_are_not_read_are_bounded(web: Scene, tmp_path: Path) -> None:
    """Clients that ask for much and read nothing take memory up to a bound; then others wait until their time is over."""
    web.dashboard.connections.most_waiting, web.dashboard.connections.head_seconds = 100_000, 1.0
    line = LogRecord("2026-11-28T22:00:00Z", "", "info", "x" * 800, "prx").to_json()
    (tmp_path / "log").write_text(f"{line}\n" * 900)
    prx = ScriptedPrx(log=str(tmp_path / "log"))
    prx.track()
    await web.start("prx-1", prx)
    clients = [await open_stream(web, receive_buffer=4096, path="/api/v1/logs?lines=1000") for _ in range(2)]
    assert (await web.ask("/api/v1/status")).status_code == 503
    await eventually(lambda: not web.dashboard.connections.is_clogged)
    assert (await web.ask("/api/v1/status")).status_code == 200
    await close(writer for _, writer in clients)
