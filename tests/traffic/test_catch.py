"""What was answered 202 is handed over, in order, whatever ends meanwhile; and nothing twice without a mark."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.support.waits import PATIENCE, free_port
from tests.traffic.pieces import ask, read_head, relaying

from prx.traffic import catch as catch_module
from prx.traffic.catch import TRIES, Catcher, Spool, SpoolFullError
from prx.traffic.relay import Relay


def post(number: int) -> bytes:
    """Return a webhook."""
    return b"POST /hook/%d HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" % number


async def status(relay: Relay, raw: bytes) -> int:
    """Return the status that a visitor gets."""
    answer = await ask(relay.port, raw)
    assert isinstance(answer, bytes), answer
    return int(answer.split()[1])


@asynccontextmanager
async def catching(folder: Path, port: int) -> AsyncIterator[Relay]:
    """Run a relay to `port` that keeps requests in `folder`."""
    async with relaying(port) as relay, asyncio.TaskGroup() as group:
        catcher = Catcher(Spool(folder), relay.copier, lambda: relay.target, lambda _level, _text: None)
        relay.catch = catcher
        running = group.create_task(catcher.run())
        yield relay
        running.cancel()


@asynccontextmanager
async def receiver(port: int, wanted: int) -> AsyncIterator[list[bytes]]:
    """Run a service on `port`; leave when it has seen `wanted` requests, whose heads are in the list."""
    seen: list[bytes] = []
    enough = asyncio.Event()
    writers: list[asyncio.StreamWriter] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await read_head(reader)
            assert await reader.readexactly(3) == b"abc"
            seen.append(head)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
        except asyncio.IncompleteReadError:
            pass
        writer.close()
        writers.append(writer)
        if len(seen) >= wanted:
            enough.set()

    server = await asyncio.start_server(answer, "127.0.0.1", port)
    try:
        yield seen
        async with asyncio.timeout(PATIENCE):
            await enough.wait()
    finally:
        server.close()
        await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)


async def test_what_came_while_the_service_was_down_arrives_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is answered 202, and handed over once, marked, when the service is back; a GET is asked to come again."""
    monkeypatch.setattr(catch_module, "PAUSE", 0.02)
    port = free_port()
    async with catching(tmp_path / "caught", port) as relay:
        assert [await status(relay, post(number)) for number in range(20)] == [202] * 20
        assert await status(relay, b"GET / HTTP/1.1\r\n\r\n") == 503
        assert len(list((tmp_path / "caught").glob("*.req"))) == 20
        assert {path.stat().st_mode & 0o777 for path in (tmp_path / "caught").iterdir()} == {0o600}
        async with receiver(port, 20) as seen:
            pass
    assert [head.split()[1] for head in seen] == [b"/hook/%d" % number for number in range(20)]
    assert all(b"X-PRX-Caught: 1\r\n" in head and b"X-PRX-Retry" not in head for head in seen)


async def test_another_prx_hands_over_what_the_first_one_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a kill in the middle of a hand-over the request comes again, marked, before those that came later."""
    monkeypatch.setattr(catch_module, "PAUSE", 0.02)
    first = Spool(tmp_path / "caught")
    for number in range(3):
        first.add(b"POST /hook/%d HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc" % number)
    first.begin()  # and here it was killed
    (tmp_path / "caught" / "000000000009-000.req.part").write_bytes(b"half")
    port = free_port()
    async with catching(tmp_path / "caught", port) as relay:
        assert await status(relay, post(3)) == 202
        async with receiver(port, 4) as seen:
            pass
    assert [head.split()[1] for head in seen] == [b"/hook/%d" % number for number in range(4)]
    assert [b"X-PRX-Retry: 1" in head for head in seen] == [True, False, False, False]


def test_ten_thousand_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Order is kept over a restart, and what is beyond the bound is refused."""
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)  # of a real disk, ten thousand are minutes
    spool = Spool(tmp_path / "caught", most=10_000)
    for number in range(10_000):
        spool.add(b"%d" % number)
    with pytest.raises(SpoolFullError):
        spool.add(b"one more")
    again = Spool(tmp_path / "caught")
    for number in range(10_000):
        assert again.oldest() == (b"%d" % number, 0)
        again.done()
    assert list((tmp_path / "caught").iterdir()) == []


async def test_a_full_disk_is_no_202(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be kept is answered 503, and leaves nothing half written."""

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    async with catching(tmp_path / "caught", free_port()) as relay:
        monkeypatch.setattr(os, "fsync", full)
        assert await status(relay, post(1)) == 503
        assert list((tmp_path / "caught").iterdir()) == []


async def test_a_request_that_breaks_the_service_is_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not hold up the others for good, and it is still there."""
    monkeypatch.setattr(catch_module, "PAUSE", 0.01)
    port = free_port()
    tries = 0
    over = asyncio.Event()
    writers: list[asyncio.StreamWriter] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal tries
        head = await reader.read(65536)
        if b"/hook/1" in head:
            tries += 1
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            over.set()
        writer.close()
        writers.append(writer)

    async with catching(tmp_path / "caught", port) as relay:
        assert [await status(relay, post(number)) for number in (1, 2)] == [202, 202]
        server = await asyncio.start_server(answer, "127.0.0.1", port)
        async with asyncio.timeout(PATIENCE):
            await over.wait()
        server.close()
        await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)
        assert tries == TRIES
        assert len(list((tmp_path / "caught").glob("*.failed"))) == 1
