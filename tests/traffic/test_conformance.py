"""With the relay between connector and service, a tunnel carries what it carries without it."""

from __future__ import annotations

import asyncio
import dataclasses
import resource

import pytest
from tests.conformance import scene as scene_module
from tests.conformance.capabilities import EVERY_DAY
from tests.conformance.outcome import NotAvailableError
from tests.conformance.run import ask_all, surprises
from tests.conformance.scene import COLUMNS
from tests.support.waits import PATIENCE
from tests.traffic.pieces import read_head, relaying, service

BUILTIN = [column for column in COLUMNS if column.connector == "builtin"]
REAL = [pytest.param(column, marks=pytest.mark.real) for column in COLUMNS if column.connector != "builtin"]


@pytest.mark.parametrize("column", [*BUILTIN, *REAL], ids=str)
async def test_a_column_is_the_same_with_the_relay(column: scene_module.Column, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every row of the conformance table that is asked each day has the result that it has without the relay."""
    arguments = scene_module._arguments

    async with relaying(1, keep=1000) as relay:

        def through(lab: object, folder: object, column: object, mode: str, port: int) -> list[str]:
            relay.target = dataclasses.replace(relay.target, port=port)
            return arguments(lab, folder, column, mode, relay.port)  # type: ignore[arg-type]

        monkeypatch.setattr(scene_module, "_arguments", through)
        try:
            outcomes = await ask_all(column, "quick", EVERY_DAY, tell=lambda _: None)
        except NotAvailableError as error:
            pytest.skip(str(error))
        assert surprises(column, EVERY_DAY, outcomes, "quick") == []
        relay.copier.read_all()
        assert len(relay.copier.ring) > 10
        notes = [note for item in relay.copier.ring for note in item.notes]
        assert not [note for note in notes if "could not be read" in note]


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
