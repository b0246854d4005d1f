"""The probe and cloudflared agree on which answers are answers: one table, held against both."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.lab.edge.cloudflared import run_cloudflared
from tests.runtime.probes.odd_answers import ODD_ANSWERS, Odd
from tests.support.servers import Served, Servers
from tests.support.wire import get

from prx.lab import Lab, LabConfig
from prx.runtime.probes import head
from prx.runtime.probes.origin import probe_origin


class OddService:
    """Serves row N of the table at /N, and then closes in an orderly way: a reset would hide what was sent."""

    def __init__(self) -> None:
        self.served = Served(0)
        self.closed = asyncio.Event()

    async def start(self, servers: Servers) -> str:
        """Listen; return the URL."""
        self.served = await servers.start(self._answer)
        return self.served.url

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = int(self.served.heads[-1].split()[1].strip(b"/") or 0)
        writer.write(ODD_ANSWERS[number].raw)
        writer.write_eof()
        with contextlib.suppress(OSError):
            await reader.read()
        self.closed.set()

    async def ask(self, lab: Lab, number: int) -> int:
        """Visit row `number`; return once the connector has let its connection go, so that it is not used again."""
        self.closed.clear()
        reply = await get(lab, lab.tunnels()[0].hostname, f"/{number}")
        await self.closed.wait()
        return reply.status


async def test_the_probe_judges_as_the_table_says(servers: Servers) -> None:
    """What cloudflared passes on is an answer for the probe too; what it refuses is reported in words, and is none."""
    service = OddService()
    await service.start(servers)
    for number, odd in enumerate(ODD_ANSWERS):
        seen = await probe_origin("127.0.0.1", service.served.port, f"/{number}")
        assert (odd.name, seen.listening, seen.status) == (odd.name, True, odd.status)
        assert bool(seen.error) is (odd.status is None)


@pytest.mark.real
@pytest.mark.parametrize("protocol", ["http2", "quic"])
async def test_cloudflared_judges_as_the_table_says(servers: Servers, protocol: str, tmp_path: Path) -> None:
    """The table is what the real program does: a visitor gets the status, or 502."""
    service = OddService()
    url = await service.start(servers)
    async with Lab.start(LabConfig()) as lab:
        flags = ("--url", url, "--protocol", protocol)
        async with run_cloudflared(lab, tmp_path, *flags):
            await lab.wait_for(lambda lab: any(tunnel.connections for tunnel in lab.tunnels()))
            got = {odd.name: await service.ask(lab, number) for number, odd in enumerate(ODD_ANSWERS)}
    assert got == {odd.name: odd.status or 502 for odd in ODD_ANSWERS}


@pytest.mark.parametrize("odd", [odd for odd in ODD_ANSWERS if len(odd.raw) < 1000], ids=lambda odd: odd.name)
def test_a_head_is_the_same_in_pieces(odd: Odd) -> None:
    """A head that comes byte by byte is judged as the whole one, and no part of it is taken for an answer too soon."""

    def judged(buffer: bytes) -> object:
        try:
            return head.split(buffer)
        except ValueError as error:
            return type(error), str(error)

    whole = judged(odd.raw)
    parts = [judged(odd.raw[:end]) for end in range(len(odd.raw) + 1)]
    first = next((part for part in parts if part is not None), None)
    assert (first is None) is (whole is None)
    if isinstance(whole, tuple) and isinstance(first, tuple):
        assert first[0] == whole[0]


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(raw: bytes) -> None:
    """Whatever comes, the reader gives a head, waits, or refuses."""
    for begin in (b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nA: b\r\n"):
        with contextlib.suppress(head.NotHttpError, head.MalformedError):
            assert head.split(begin + raw) is None or (begin + raw).count(b"\n") >= 2


async def test_a_head_without_an_end_is_bounded(servers: Servers) -> None:
    """Headers that never end are refused by size, long before the time is over."""

    async def pour(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            writer.write(b"X-A: " + b"b" * 10_000 + b"\r\n")
            await writer.drain()

    served = await servers.start(pour)
    seen = await probe_origin("127.0.0.1", served.port)
    assert (seen.listening, seen.status) == (True, None)
    assert "its headers have more than 128 KiB" in seen.error
