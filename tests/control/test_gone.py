"""A client that has gone while it waited: prx does nothing for it any more, and one that listens gets its answer."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.control.scripted import ScriptedPrx

from prx.control.messages import Message, encode
from prx.control.server import ControlServer

WAITS: list[Message] = [
    {"do": "url", "wait": 3600},
    {"do": "url", "wait": 3600, "known": True, "tunnel": "web"},
    {"do": "requests", "wait": 3600},
    {"do": "requests", "wait": 0.5, "tunnel": "web", "filter": "POST /hook"},
]


class WaitingPrx(ScriptedPrx):
    """A prx in which no request comes until the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting, self.came, self.ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def traffic(self, request: Message) -> Message:
        self.waiting.set()
        try:
            await self.came.wait()
        finally:
            self.ended.set()
        return {"asked": request["do"]}

    def subscribe(self) -> Any:
        self.waiting.set()
        found = super().subscribe()
        close = found.close

        def closed() -> None:
            self.ended.set()
            close()

        found.close = closed  # type: ignore[method-assign]
        return found

    async def reload(self) -> list[str]:
        self.waiting.set()
        await self.came.wait()
        self.ended.set()
        return await super().reload()


@pytest.mark.parametrize("request_", WAITS, ids=str)
async def test_nothing_is_done_for_a_client_that_has_closed(path: Path, request_: Message) -> None:
    """Its wait ends with it, not after an hour in which each visitor's request would be searched for it."""
    prx, served = WaitingPrx(), asyncio.Event()
    async with ControlServer(path, prx, wall=lambda: 0.0, served=served.set), asyncio.timeout(20):
        _, writer = await asyncio.open_unix_connection(path)
        writer.write(encode(request_))
        await prx.waiting.wait()
        assert not prx.ended.is_set()
        writer.close()
        await prx.ended.wait()
        await served.wait()


async def test_nothing_is_done_for_a_client_that_was_killed(path: Path) -> None:
    """The kernel says so of a process that can say nothing."""
    prx = WaitingPrx()
    program = (
        "import socket, sys, time\n"
        "s = socket.socket(socket.AF_UNIX)\n"
        "s.connect(sys.argv[1])\n"
        's.sendall(b\'{"do":"requests","wait":3600}\\n\')\n'
        "time.sleep(60)\n"
    )
    async with ControlServer(path, prx, wall=lambda: 0.0), asyncio.timeout(20):
        with subprocess.Popen([sys.executable, "-c", program, str(path)]) as client:  # noqa: ASYNC220 - it is killed below
            await prx.waiting.wait()
            client.kill()
            await prx.ended.wait()


@pytest.mark.parametrize("request_", WAITS, ids=str)
async def test_a_client_that_listens_on_gets_its_answer(path: Path, request_: Message) -> None:
    """`socat` and `nc -N` end their half of the connection once they have asked."""
    prx = WaitingPrx()
    async with ControlServer(path, prx, wall=lambda: 0.0), asyncio.timeout(20):
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(encode(request_))
        writer.write_eof()
        await prx.waiting.wait()
        await asyncio.sleep(0.05)
        assert not prx.ended.is_set()
        prx.came.set()
        prx.become("web", "ready", "https://a.example.com")
        answer = json.loads(await reader.readline())
        assert answer["ok"]
        writer.close()


@pytest.mark.parametrize("request_", WAITS, ids=str)
async def test_the_same_connection_asks_again(path: Path, request_: Message) -> None:
    """What has waited on a connection leaves it as it was: the next question there is answered, and so is one after that."""
    prx = WaitingPrx()
    prx.came.set()
    prx.become("web", "ready", "https://a.example.com")
    async with ControlServer(path, prx, wall=lambda: 0.0), asyncio.timeout(20):
        reader, writer = await asyncio.open_unix_connection(path)
        for _ in range(3):
            writer.write(encode(request_))
            assert json.loads(await reader.readline())["ok"]
        writer.close()


async def test_nothing_is_done_for_a_client_that_breaks_the_connection_off(path: Path) -> None:
    """One that is gone before it has read an answer resets the connection (unix(7)), in place of an end."""
    prx = WaitingPrx()
    async with ControlServer(path, prx, wall=lambda: 0.0), asyncio.timeout(20):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(encode({"do": "ping"}) + encode({"do": "requests", "wait": 3600}))
            await prx.waiting.wait()
        await prx.ended.wait()


async def test_what_is_asked_meanwhile_is_answered_after_it(path: Path) -> None:
    """A connection carries any number of requests, also if the next one comes while the first one waits."""
    prx = WaitingPrx()
    async with ControlServer(path, prx, wall=lambda: 0.0), asyncio.timeout(20):
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(encode({"do": "requests", "wait": 60}))
        await prx.waiting.wait()
        writer.write(encode({"do": "restart", "tunnel": "web"}) + encode({"do": "ping"}))
        await asyncio.sleep(0.05)
        prx.came.set()
        answers = [json.loads(await reader.readline()) for _ in range(3)]
        assert [answer.get("asked") or "pid" in answer for answer in answers] == ["requests", False, True]
        assert prx.asked == [("restart", "web")]
        writer.close()


async def test_an_action_is_not_broken_off(path: Path) -> None:
    """A reload whose client has gone is carried out: half of one would be worse than none."""
    prx = WaitingPrx()
    async with ControlServer(path, prx, wall=lambda: 0.0), asyncio.timeout(20):
        client = socket.socket(socket.AF_UNIX)
        client.connect(str(path))
        client.sendall(encode({"do": "reload"}))
        await prx.waiting.wait()
        client.close()
        await asyncio.sleep(0.05)
        assert not prx.ended.is_set()
        prx.came.set()
        await prx.ended.wait()
