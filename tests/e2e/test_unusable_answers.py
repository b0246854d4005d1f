"""Answers that are of no use to visitors, through a real connector: who is to blame, and that nothing is restarted."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

from tests.e2e.world import world
from tests.support.servers import Servers

from prx.core.status import TunnelStatus
from prx.lab import Lab
from prx.testing.clock import ManualClock

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
LARGE = b"".join(b"X-%d: %b\r\n" % (number, b"a" * 1000) for number in range(140))
ANSWERS = {
    "a circle": (b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n", "origin_error", "to the same URL again"),
    "half a body": (b"HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\nhalf", "origin_error", "answers 200 and breaks off"),
    "headers for no edge": (
        b"HTTP/1.1 200 OK\r\n" + LARGE + b"Content-Length: 2\r\n\r\nok",
        "origin_down",
        "more than 128 KiB; visitors get 520",
    ),
    "another protocol": (b"220 mail.example.com ESMTP Postfix\r\n", "origin_down", "is a mail server (SMTP)"),
}


def _is_told(words: str, status: TunnelStatus) -> bool:
    return words in status.reason


async def test_it_is_the_services_and_costs_no_restart(
    lab: Lab, clock: ManualClock, tmp_path: Path, connector: str, servers: Servers
) -> None:
    """The verdict names the service, in plain words, one kind of answer after the other, and all is well after them."""
    answers = [OK]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answers[-1])
        writer.write_eof()
        await reader.read()

    served = await servers.start(answer)
    async with world(lab, clock, tmp_path, connector=connector, port=served.port, protocols=("quic",)) as here:
        await here.live(lambda status: status.verdict == "healthy")
        for raw, verdict, words in ANSWERS.values():
            answers.append(raw)
            status = await here.leap(200, until=partial(_is_told, words))
            assert words in status.reason
            assert (status.state, status.verdict, here.restarts) == ("degraded", verdict, 0)
        answers.append(OK)
        status = await here.leap(200, until=lambda status: status.verdict == "healthy")
        assert (status.state, here.restarts) == ("ready", 0)
