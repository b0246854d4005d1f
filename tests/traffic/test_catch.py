"""What was answered 202 is handed over, in order, whatever ends meanwhile; and nothing twice without a mark."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.support.waits import PATIENCE, free_port
from tests.traffic.pieces import ask, read_head, relaying

from prx.traffic import catch as catch_module
from prx.traffic import guard as guard_module
from prx.traffic.catch import TRIES, Catcher
from prx.traffic.guard import GuardedRelay
from prx.traffic.relay import Relay
from prx.traffic.spool import Spool, SpoolFullError


def post(number: int) -> bytes:
    """Return a webhook."""
    return b"POST /hook/%d HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" % number


async def status(relay: Relay, raw: bytes) -> int:
    """Return the status that a visitor gets."""
    answer = await ask(relay.port, raw)
    assert isinstance(answer, bytes), answer
    return int(answer.split()[1])


@asynccontextmanager
async def catching(folder: Path, port: int, *, said: list[str] | None = None) -> AsyncIterator[GuardedRelay]:
    """Run a relay to `port` that keeps requests in `folder`; `said`: what it has to say."""
    async with relaying(port) as relay, asyncio.TaskGroup() as group:

        def log(_level: str, text: str) -> None:
            if said is not None:
                said.append(text)

        catcher = Catcher(Spool(folder), relay.copier, lambda: relay.target, log)
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
            if not head.startswith(b"GET / "):  # with which prx asks whether the service is well
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


async def test_a_connection_that_stays_open_overtakes_no_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that stops listening and finishes with its connections gets what comes on those behind the others."""
    monkeypatch.setattr(catch_module, "PAUSE", 0.02)
    direct: list[bytes] = []

    async def stopping(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                direct.append((await read_head(reader)).split()[1])
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(stopping, "127.0.0.1", 0)
    port = int(server.sockets[0].getsockname()[1])
    async with catching(tmp_path / "caught", port) as relay:
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        for number in range(2):
            writer.write(b"GET /%d HTTP/1.1\r\n\r\n" % number)
            assert (await read_head(reader)).split()[1] == b"200"
        server.close()
        assert await status(relay, post(0)) == 202
        writer.write(post(1))
        assert (await read_head(reader)).split()[1] == b"202"
        assert await reader.read() == b""
        writer.close()
        async with receiver(port, 2) as seen:
            pass
    assert direct == [b"/0", b"/1"]
    assert [head.split()[1] for head in seen] == [b"/hook/0", b"/hook/1"]


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
        assert again.oldest() == (f"{number + 1:012d}", b"%d" % number, 0)
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
    """If the service answers others, it does not hold them up for good, and it is still there."""
    monkeypatch.setattr(catch_module, "PAUSE", 0.001)
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
        if b"/hook/2" in head:
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
        assert tries == TRIES + 1  # the last one after the service has answered another request
        assert len(list((tmp_path / "caught").glob("*.failed"))) == 1


@pytest.mark.parametrize("status_line", [b"", b"HTTP/1.1 503 Service Unavailable", b"HTTP/1.1 502 Bad Gateway"])
async def test_a_proxy_in_front_of_a_service_that_is_down_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status_line: bytes
) -> None:
    """What accepts connections and drops them, or answers 503 to all, is down however often it is tried: all wait, in order."""
    monkeypatch.setattr(catch_module, "PAUSE", 0.001)
    port, dropped, enough = free_port(), 0, asyncio.Event()

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal dropped
        await read_head(reader)
        writer.write(status_line + b"\r\nContent-Length: 0\r\n\r\n" if status_line else b"")
        writer.close()
        await writer.wait_closed()
        dropped += 1
        if dropped == 5 * TRIES:
            enough.set()

    async with catching(tmp_path / "caught", port) as relay:
        assert [await status(relay, post(number)) for number in range(3)] == [202] * 3
        server = await asyncio.start_server(proxy, "127.0.0.1", port)
        async with asyncio.timeout(PATIENCE):
            await enough.wait()
        server.close()
        await server.wait_closed()
        async with receiver(port, 3) as seen:
            pass
        heads = [head for head in seen if b"/hook/" in head]
        assert [head.split()[1] for head in heads] == [b"/hook/%d" % number for number in range(3)]
        assert [b"X-PRX-Retry" in head for head in heads] == [True, False, False]
        assert not list((tmp_path / "caught").glob("*.failed"))


async def test_a_kept_file_that_is_removed_or_strange_holds_up_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What others do in the folder is no reason to stop handing over."""
    monkeypatch.setattr(catch_module, "PAUSE", 0.01)
    folder, port = tmp_path / "caught", free_port()
    Spool(folder)
    (folder / "notes.req").write_text("not ours")
    (folder / "000000000003-abc.req").write_text("not ours")
    async with catching(folder, port) as relay:
        assert [await status(relay, post(number)) for number in range(3)] == [202] * 3
        min(path for path in folder.glob("*-000.req")).unlink()
        async with receiver(port, 2) as seen:
            pass
        async with asyncio.timeout(PATIENCE):
            while relay.catch is not None and relay.catch.waiting:  # noqa: ASYNC110 - the last one is removed after its answer
                await asyncio.sleep(0.01)
    assert [head.split()[1] for head in seen] == [b"/hook/1", b"/hook/2"]
    assert {path.name for path in folder.iterdir()} == {"notes.req", "000000000003-abc.req"}


async def test_a_disk_that_fails_while_a_delivery_begins_counts_as_no_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is written to the service before the mark is on disk, and the request is not worn out by that."""
    monkeypatch.setattr(catch_module, "PAUSE", 0.001)
    port, failures = free_port(), 0
    sync = os.fsync

    def failing(descriptor: int) -> None:
        nonlocal failures
        if failures < 3 * TRIES:
            failures += 1
            raise OSError(errno.EIO, "Input/output error")
        sync(descriptor)

    async with catching(tmp_path / "caught", port) as relay:
        assert await status(relay, post(0)) == 202
        monkeypatch.setattr(os, "fsync", failing)
        async with receiver(port, 1) as seen:
            pass
    assert [b"X-PRX-Retry" in head for head in seen] == [False]


async def test_what_is_on_its_way_to_the_disk_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many large requests at once are asked to come again, before they fill the memory; afterwards there is room."""
    monkeypatch.setattr(guard_module, "HELD_LIMIT", 100_000)
    async with catching(tmp_path / "caught", free_port()) as relay:
        opened = []
        for _ in range(3):
            reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
            writer.write(b"POST /hook HTTP/1.1\r\nContent-Length: 60000\r\n\r\n" + b"x" * 40_000)
            opened.append((reader, writer))
        async with asyncio.timeout(PATIENCE):
            assert (await opened[2][0].readline()).split()[1] == b"503"
            for reader, writer in opened[:2]:
                writer.write(b"x" * 20_000)
                assert (await reader.readline()).split()[1] == b"202"
        for _, writer in opened:
            writer.close()
        assert await status(relay, post(1)) == 202
        assert relay.held == 0


WHOLE = b"POST /hook/7 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc"


def _file(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _link(path: Path, _content: bytes) -> None:
    (path.parent / "elsewhere").write_bytes(WHOLE.replace(b"/hook/7", b"/planted"))
    path.symlink_to("elsewhere")


def _folder(path: Path, _content: bytes) -> None:
    path.mkdir()


@pytest.mark.parametrize(
    ("name", "make", "content", "is_said"),
    [
        ("000000000001-000.req", _file, b"", True),  # a power cut
        ("000000000001-000.req", _file, WHOLE[:-1], True),  # a body that was cut
        ("000000000001-000.req", _file, WHOLE[:30], True),  # a head that was cut
        ("000000000001-000.req", _file, WHOLE + b"more", True),
        ("000000000001-000.req", _file, bytes(range(256)) * 20, True),
        ("000000000001-000.req", _link, b"", False),
        ("000000000001-000.req", _folder, b"", False),
        ("note.req", _file, b"mine", False),
        ("999999999999-000.req", _file, WHOLE, False),  # the number after it would have a digit more
        ("half.part", _folder, b"", False),
        ("\u00b2-000.req", _file, WHOLE, False),
    ],
)
async def test_what_lies_in_the_folder_holds_up_no_request(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    make: Callable[[Path, bytes], None],
    content: bytes,
    is_said: bool,
) -> None:
    """Whatever is found there, those that were kept are handed over, and what was kept and is none any more is said."""
    monkeypatch.setattr(catch_module, "PAUSE", 0.02)
    folder, port = tmp_path / "caught", free_port()
    said: list[str] = []
    Spool(folder).add(WHOLE)
    (folder / "000000000001-000.req").rename(folder / "000000000005-000.req")
    make(folder / name, content)
    async with catching(folder, port, said=said) as relay:
        assert await status(relay, post(8)) == 202
        async with receiver(port, 2) as seen:
            pass
    paths = {head.split()[1] for head in seen}
    assert {b"/hook/7", b"/hook/8"} <= paths
    assert b"/planted" not in paths
    assert any("set aside" in text for text in said) == is_said


async def test_who_need_not_wait_is_answered_while_others_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that is back answers a GET, a HEAD and a WebSocket at once, whatever waits for it; a POST stays behind."""
    monkeypatch.setattr(catch_module, "PAUSE", 0.02)
    port, seen = free_port(), []
    slow, arrived, all_there = asyncio.Event(), asyncio.Event(), asyncio.Event()
    writers: list[asyncio.StreamWriter] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        while True:
            try:
                head = await read_head(reader)
            except asyncio.IncompleteReadError:
                writer.close()
                return
            method = head.split()[0]
            seen.append(head.split()[1])
            if method == b"POST":
                await reader.readexactly(3)
                arrived.set()
                await slow.wait()
            if seen.count(b"/hook/7") + seen.count(b"/hook/8") == 2:
                all_there.set()
            if b"Upgrade" in head:
                writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: upgrade\r\n\r\n" + b"hi")
                writer.close()
                return
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async with catching(tmp_path / "caught", port) as relay:
        assert await status(relay, WHOLE) == 202
        server = await asyncio.start_server(answer, "127.0.0.1", port)
        async with asyncio.timeout(PATIENCE):
            await arrived.wait()  # and now it waits for the answer
            assert await status(relay, b"GET /page HTTP/1.1\r\nHost: x\r\n\r\n") == 200
            assert await status(relay, b"HEAD /page HTTP/1.1\r\nHost: x\r\n\r\n") == 200
            upgrade = b"GET /socket HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"
            assert await status(relay, upgrade) == 101
            reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)  # a GET, then a POST on one connection
            writer.write(b"GET /first HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await read_head(reader)).startswith(b"HTTP/1.1 200 ")
            writer.write(WHOLE.replace(b"/hook/7", b"/hook/8"))
            assert (await read_head(reader)).startswith(b"HTTP/1.1 202 ")
            writer.close()
            slow.set()
            await all_there.wait()
        server.close()
        for held in writers:
            held.close()
    assert seen == [b"/hook/7", b"/page", b"/page", b"/socket", b"/first", b"/hook/8"]
