"""Another service behind the same relay: what is under way ends at the old one, what begins goes to the new, none is lost."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from tests.support.waits import PATIENCE
from tests.traffic.pieces import Handler, read_head, relaying, service

from prx.testing.clock import ManualClock
from prx.traffic.catch import Catcher
from prx.traffic.gate import Gate
from prx.traffic.guard import GuardedRelay
from prx.traffic.relay import Target
from prx.traffic.spool import Spool

WAYS = ["inspected", "inspected and gated", "gated alone"]


def set_up(relay: GuardedRelay, way: str) -> None:
    """Have a relay inspect, guard, or both."""
    relay.copier.off = way == "gated alone"
    relay.gate = None if way == "inspected" else Gate(networks=["0.0.0.0/0"], now=ManualClock().monotonic)


def request(body: bytes = b"") -> bytes:
    """Return a request of a visitor whom the gate lets pass."""
    return b"POST / HTTP/1.1\r\nHost: a\r\nCF-Connecting-IP: 192.0.2.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def named(name: bytes, asked: asyncio.Event | None = None, go_on: asyncio.Event | None = None) -> Handler:
    """Return a service that answers with its name, request after request, each once it may."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await read_head(reader):
            if asked is not None:
                asked.set()
            if go_on is not None:
                await go_on.wait()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n" + name)

    return answer


@asynccontextmanager
async def visitor(relay: GuardedRelay) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Yield a connection as a connector keeps it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
    try:
        async with asyncio.timeout(PATIENCE):
            yield reader, writer
    finally:
        writer.transport.abort()


async def answer_of(reader: asyncio.StreamReader) -> bytes:
    """Return the name of the service that has answered."""
    await read_head(reader)
    return await reader.readexactly(3)


@pytest.mark.parametrize("way", WAYS)
async def test_a_connection_that_is_kept_leads_to_the_new_service(way: str) -> None:
    """The connector does not notice: its idle connection stays, and its next request is answered by the new service."""
    async with service(named(b"old")) as old, service(named(b"new")) as new, relaying(old) as relay:
        set_up(relay, way)
        async with visitor(relay) as (reader, writer):
            writer.write(request())
            assert await answer_of(reader) == b"old"
            for port, name in ((new, b"new"), (old, b"old"), (new, b"new")):
                relay.retarget(Target("127.0.0.1", port))
                for _ in range(2):
                    writer.write(request())
                    assert await answer_of(reader) == name


@pytest.mark.parametrize("way", WAYS)
async def test_what_is_under_way_ends_at_the_old_service(way: str) -> None:
    """A request that the old service has is answered by it, and the next one of the same connection by the new."""
    asked, go_on = asyncio.Event(), asyncio.Event()
    async with service(named(b"old", asked, go_on)) as old, service(named(b"new")) as new, relaying(old) as relay:
        set_up(relay, way)
        async with visitor(relay) as (reader, writer):
            writer.write(request())
            await asked.wait()
            relay.retarget(Target("127.0.0.1", new))
            await asyncio.sleep(0)
            go_on.set()
            assert await answer_of(reader) == b"old"
            writer.write(request())
            assert await answer_of(reader) == b"new"


@pytest.mark.parametrize("way", WAYS)
async def test_no_request_is_lost_however_close_it_follows(way: str) -> None:
    """A connection whose requests follow each other at once loses none while the service changes again and again."""
    async with service(named(b"old")) as old, service(named(b"new")) as new, relaying(old) as relay:
        set_up(relay, way)
        names = []
        async with visitor(relay) as (reader, writer):
            for number in range(60):
                writer.write(request())
                if number % 3 == 0:  # while it is on its way
                    relay.retarget(Target("127.0.0.1", (new, old)[number % 2]))
                names.append(await answer_of(reader))
        assert set(names) == {b"old", b"new"}
        assert names[-2:] == [b"old", b"old"]


async def test_a_body_half_of_which_has_come_goes_on_to_the_old_service() -> None:
    """A long upload is not torn in two."""
    got: dict[str, bytes] = {}

    def taking(name: str) -> Handler:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while await read_head(reader):
                got[name] = await reader.readexactly(8)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n" + name.encode())

        return answer

    async with (
        service(taking("old")) as old,
        service(taking("new")) as new,
        relaying(old) as relay,
        visitor(relay) as (reader, writer),
    ):
        whole = request(b"12345678")
        writer.write(whole[:-4])
        while not relay.copier.ring.seen:
            relay.copier.read_all()
            await asyncio.sleep(0)
        relay.retarget(Target("127.0.0.1", new))
        writer.write(whole[-4:])
        assert await answer_of(reader) == b"old"
        writer.write(whole)
        assert await answer_of(reader) == b"new"
    assert got == {"old": b"12345678", "new": b"12345678"}


@pytest.mark.parametrize("way", WAYS)
async def test_who_waits_for_a_service_that_does_not_accept_is_served_by_the_new_one(way: str) -> None:
    """A service that hangs is why it is replaced: the requests that wait for a connection to it go to the new one."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as hung:
        waiting = [socket.socket() for _ in range(4)]  # more than its queue holds
        for one in waiting:
            one.setblocking(False)
            with suppress(BlockingIOError):
                one.connect(hung.getsockname())
        async with service(named(b"new")) as new, relaying(0, target=Target(*hung.getsockname())) as relay:
            set_up(relay, way)
            async with visitor(relay) as (reader, writer):
                writer.write(request())
                while not relay.pairs:  # noqa: ASYNC110 - the relay has no event for it
                    await asyncio.sleep(0)
                relay.retarget(Target("127.0.0.1", new))
                assert await answer_of(reader) == b"new"
        for one in waiting:
            one.close()


async def test_a_webhook_that_is_being_caught_is_kept(tmp_path: Path) -> None:
    """A request whose body comes in while the service is down is kept and answered 202, though the service changes."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    async with relaying(port) as relay:
        spool = Spool(tmp_path / "caught")
        relay.catch = Catcher(spool, relay.copier, lambda: relay.target, lambda _level, _text: None)
        async with visitor(relay) as (reader, writer):
            whole = request(b"12345678")
            writer.write(whole[:-4])
            while not relay.held:  # noqa: ASYNC110 - the relay has no event for it
                await asyncio.sleep(0)
            relay.retarget(Target("127.0.0.1", port, server_name="another"))
            writer.write(whole[-4:])
            assert (await read_head(reader)).startswith(b"HTTP/1.1 202 ")
        assert len(spool) == 1


async def test_another_protocol_stays_where_it_began() -> None:
    """A WebSocket is a request under way, for as long as it is open."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        while data := await reader.read(100):
            writer.write(data)

    async with (
        service(echo) as old,
        service(named(b"new")) as new,
        relaying(old) as relay,
        visitor(relay) as (reader, writer),
    ):
        writer.write(b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        await read_head(reader)
        relay.retarget(Target("127.0.0.1", new))
        for _ in range(2):
            writer.write(b"\x81\x82abcd\x09\x0b")
            assert await reader.readexactly(8) == b"\x81\x82abcd\x09\x0b"


@pytest.mark.parametrize("way", WAYS)
async def test_an_idle_connection_to_the_old_service_is_closed(way: str) -> None:
    """The old service can end: nothing keeps it but what is under way. With a gate alone that is known at the next request."""
    closed = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nold")
        try:
            await reader.read()
        finally:
            closed.set()

    async with service(answer) as old, service(named(b"new")) as new, relaying(old) as relay:
        set_up(relay, way)
        async with visitor(relay) as (reader, writer):
            writer.write(request())
            assert await answer_of(reader) == b"old"
            relay.retarget(Target("127.0.0.1", new))
            if way == "gated alone":
                writer.write(request())
            await closed.wait()
