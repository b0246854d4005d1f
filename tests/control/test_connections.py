"""Connections to the control socket: many at once, long ones, and how each ends."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from pathlib import Path

import pytest
from tests.control.scripted import ScriptedPrx, raw

from prx.control import lines
from prx.control import server as server_module
from prx.control.client import Client
from prx.control.server import ControlServer
from prx.core.events import Log


async def test_one_connection_carries_many_requests(prx: ScriptedPrx, path: Path) -> None:
    """A client asks again on the same connection, and learns the pid of the other side from the kernel."""

    def talk() -> tuple[int, int]:
        with Client(path) as client:
            return client.ask("ping")["pid"], client.ask("ping")["pid"] - client.pid

    assert await asyncio.to_thread(talk) == (os.getpid(), 0)


async def test_events_are_streamed_and_a_slow_reader_is_told_what_it_missed(prx: ScriptedPrx, path: Path) -> None:
    """`events` gives one line per event; too many at once become one `dropped` with their number."""
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(b'{"do":"events"}\n')
    assert json.loads(await asyncio.wait_for(reader.readline(), 10)) == {"ok": True}
    for number in range(10):  # at once: the subscription holds 4
        prx.bus.publish(Log(tunnel="web", level="info", message=str(number)))
    lines = [json.loads(await asyncio.wait_for(reader.readline(), 10)) for _ in range(5)]
    assert [line["event"] for line in lines] == ["log"] * 4 + ["dropped"]
    assert lines[-1]["count"] == 6
    writer.close()
    await writer.wait_closed()


async def test_a_client_that_says_nothing_more_is_dropped(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that begins and does not end within its time ends the connection."""
    monkeypatch.setattr(lines, "REQUEST_SECONDS", 0.05)
    async with ControlServer(path, ScriptedPrx(), wall=lambda: 0.0):
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b'{"do":')
        assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize("sent", [b"", b'{"do":"ping"}\n', b'{"do":', b'{"do":"events"}\n'])
async def test_the_end_of_each_conversation_is_reported(path: Path, sent: bytes) -> None:
    """Whatever a client has asked, and however it leaves: what its requests needed may be free from then on."""
    served = asyncio.Event()
    async with ControlServer(path, ScriptedPrx(), wall=lambda: 0.0, served=served.set):
        _, writer = await asyncio.open_unix_connection(path)
        writer.write(sent)
        await writer.drain()
        writer.close()
        await asyncio.wait_for(served.wait(), 10)


KEEPS_BUSY = {
    "idle": b"",
    "half a request": b'{"do":',
    "has asked": b'{"do":"ping"}\n',
    "waits": b'{"do":"url","wait":3600}\n',
    "events": b'{"do":"events"}\n',
}


@pytest.mark.parametrize("kind", sorted(KEEPS_BUSY))
async def test_no_client_shuts_others_out(path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Whatever as many connections as there may be are doing, the next one is answered; the oldest has made room."""
    monkeypatch.setattr(server_module, "CONNECTION_LIMIT", 4)
    prx = ScriptedPrx()
    async with ControlServer(path, prx, wall=lambda: 0.0):
        connections = [await asyncio.open_unix_connection(path) for _ in range(4)]
        for _, writer in connections:
            writer.write(KEEPS_BUSY[kind])
        for _ in range(20):  # turns in which the server reads that
            await asyncio.sleep(0)
        assert (await raw(path, b'{"do":"ping"}\n'))["ok"]
        last = await asyncio.wait_for(connections[0][0].read(), 10)
        if kind in {"idle", "half a request"}:
            assert "more than 4" in json.loads(last)["error"]
        connections[3][1].write(b'{"do":"ping"}\n')
        if kind in {"idle", "has asked"}:
            assert json.loads(await asyncio.wait_for(connections[3][0].readline(), 10))["ok"]
        for _, writer in connections:
            writer.close()
            await writer.wait_closed()


async def test_ten_thousand_connections_shut_nobody_out(path: Path) -> None:
    """Ten thousand that connect and say nothing are taken in turn: a request among them is answered, no descriptor is lost."""
    prx = ScriptedPrx()
    async with ControlServer(path, prx, wall=lambda: 0.0):
        assert (await raw(path, b'{"do":"ping"}\n'))["ok"]
        before = _descriptors()
        for hundred in range(100):
            silent = []
            for _ in range(100):
                connection = socket.socket(socket.AF_UNIX)
                connection.setblocking(False)
                await asyncio.get_running_loop().sock_connect(connection, str(path))
                silent.append(connection)
            if hundred % 20 == 0:
                assert (await asyncio.wait_for(raw(path, b'{"do":"ping"}\n'), 10))["ok"]
            for connection in silent:
                connection.close()
        async with asyncio.timeout(10):
            while _descriptors() > before:  # noqa: ASYNC110 - the server closes them within a few turns of the loop
                await asyncio.sleep(0)


def _descriptors() -> int:
    return sum(1 for _ in Path("/dev/fd").iterdir())


async def test_who_rests_goes_before_who_is_answered(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that follows the events stays where another one only rests, old as it may be."""
    monkeypatch.setattr(server_module, "CONNECTION_LIMIT", 2)
    prx = ScriptedPrx()
    async with ControlServer(path, prx, wall=lambda: 0.0):
        follows = await asyncio.open_unix_connection(path)
        follows[1].write(b'{"do":"events"}\n')
        await asyncio.wait_for(follows[0].readline(), 10)
        rests = await asyncio.open_unix_connection(path)
        for _ in range(5):
            assert (await raw(path, b'{"do":"ping"}\n'))["ok"]
        assert "more than 2" in json.loads(await asyncio.wait_for(rests[0].read(), 10))["error"]
        prx.become("web", "ready")
        assert json.loads(await asyncio.wait_for(follows[0].readline(), 10))["event"] == "state_changed"
        for _, writer in (follows, rests):
            writer.close()
            await writer.wait_closed()


async def test_the_end_of_the_server_ends_every_conversation(path: Path) -> None:
    """A client that waits on the connection learns of the end of prx by the end of the connection; the socket is gone."""
    async with ControlServer(path, ScriptedPrx(), wall=lambda: 0.0):
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b'{"do":"events"}\n')
        await asyncio.wait_for(reader.readline(), 10)
    assert await asyncio.wait_for(reader.read(), 10) == b""
    writer.close()
    await writer.wait_closed()
    assert not path.exists()


async def test_a_stream_whose_client_is_gone_gives_its_seat_back_at_once(prx: ScriptedPrx, path: Path) -> None:
    """A hundred clients that subscribe and leave, while nothing happens, leave no subscription and refuse no other."""
    for _ in range(100):
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b'{"do":"events"}\n')
        assert json.loads(await asyncio.wait_for(reader.readline(), 10)) == {"ok": True}
        writer.close()
    async with asyncio.timeout(10):
        while prx.bus._subscriptions:  # noqa: ASYNC110 - each turn is one of the loop, in which the server may act
            await asyncio.sleep(0)


async def test_a_client_that_meets_the_end_of_prx_is_not_told_of_others(path: Path) -> None:
    """A connection that was taken and not served yet when prx ends is closed: it is no one too many."""
    async with ControlServer(path, ScriptedPrx(), wall=lambda: 0.0) as server:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            taken, _ = server._listening.accept()
            async with asyncio.TaskGroup() as group:
                conversation = group.create_task(server._serve(taken), name="met the end")
                server._take_a_seat(conversation, taken)
                conversation.cancel()
            await asyncio.sleep(0)
            assert client.recv(100) == b""
