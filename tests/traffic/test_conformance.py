"""With the relay between connector and service, a tunnel carries what it carries without it."""

from __future__ import annotations

import asyncio
import resource

import pytest
from tests.conformance.capabilities import EVERY_DAY
from tests.conformance.outcome import NotAvailableError
from tests.conformance.run import ask_all, surprises
from tests.conformance.scene import COLUMNS, Column
from tests.support.waits import PATIENCE
from tests.traffic.exact import exact_ways
from tests.traffic.pieces import ask, read_head, relaying, service

from prx.traffic.pair import Side

BUILTIN = [column for column in COLUMNS if column.connector == "builtin"]
REAL = [pytest.param(column, marks=pytest.mark.real) for column in COLUMNS if column.connector != "builtin"]


@pytest.mark.parametrize("column", [*BUILTIN, *REAL], ids=str)
async def test_a_column_is_the_same_with_the_relay(column: Column) -> None:
    """Every row of the conformance table that is asked each day has the result that it has without, and every byte passes."""
    mode = "named" if column.protocol == "http2" else "quick"
    async with exact_ways() as ways:
        try:
            outcomes = await ask_all(column, mode, EVERY_DAY, tell=lambda _: None, way=ways.lead)
        except NotAvailableError as error:
            pytest.skip(str(error))
        assert surprises(column, EVERY_DAY, outcomes, mode) == []
        assert ways.faults() == []
        assert ways.carried > 10_000_000
        assert all(relay.copier.ring.seen for relay in ways.relays if relay.flows)


@pytest.mark.parametrize("fault", ["a byte less", "a byte changed", "twice"])
async def test_a_relay_that_is_not_exact_is_found(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What holds the promise would see it broken."""
    forward = Side.data_received

    def broken(side: Side, data: bytes) -> None:
        wrong = {"a byte less": data[:-1], "a byte changed": data[:-1] + b"!", "twice": data + data}[fault]
        forward(side, wrong)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nanswer")

    async with service(answer) as port, exact_ways() as ways:
        led = int((await ways.lead(f"http://127.0.0.1:{port}")).rpartition(":")[2])
        await ask(led, b"GET / HTTP/1.1\r\n\r\n")
        assert ways.faults() == []
        monkeypatch.setattr(Side, "data_received", broken)
        await ask(led, b"GET / HTTP/1.1\r\n\r\n")
        assert len(ways.faults()) == 2


async def test_a_thousand_idle_websockets() -> None:
    """A thousand connections that rest cost little, and each still carries its message."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 5000
    if hard < wanted:
        pytest.skip(f"this machine lets a process have {hard} descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n")
        while data := await reader.read(100):
            writer.write(data)

    try:
        async with service(answer, backlog=1024) as port, relaying(port) as relay:
            opened = []
            async with asyncio.timeout(PATIENCE):
                for _ in range(1000):
                    reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
                    writer.write(b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n")
                    await read_head(reader)
                    opened.append((reader, writer))
                for reader, writer in opened:
                    writer.write(b"\x81\x02hi")
                    assert await reader.readexactly(4) == b"\x81\x02hi"
            assert len(relay.pairs) == 1000
            for _, writer in opened:
                writer.transport.abort()
            await asyncio.sleep(0)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
