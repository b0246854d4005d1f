"""Ask a server over UDP whether it speaks QUIC, without a handshake.

A packet with a QUIC version that no server speaks is sent: a server answers it with the versions that it does (RFC 9000, 6.1).
That proves the way there and back. A server need not do so, so a silence proves nothing if no answer has ever come.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

from prx.runtime.probes.connect import Endpoint

_AGAIN_AFTER = 0.5  # seconds


async def speaks_quic(endpoint: Endpoint, *, timeout: float) -> bool:
    """Return whether a QUIC server answers at `endpoint` within `timeout` seconds."""
    question, own_id = _foreign_version()

    def negotiates(answer: bytes) -> bool:
        return len(answer) > 14 and answer[0] & 0x80 != 0 and answer[1:5] == bytes(4) and answer[6:14] == own_id

    return await ask_by_datagram(endpoint.address, endpoint.port, question, negotiates, timeout=timeout) is not None


def _foreign_version() -> tuple[bytes, bytes]:
    """Return a packet of a reserved version (RFC 9000, 15), as long as a first packet must be, and its source connection ID."""
    destination, source = os.urandom(8), os.urandom(8)
    head = b"\xc0\x1a\x2a\x3a\x4a" + b"\x08" + destination + b"\x08" + source
    return head.ljust(1200, b"\0"), source


class _Listener(asyncio.DatagramProtocol):
    def __init__(self, accept: Callable[[bytes], bool]) -> None:
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._accept = accept

    def datagram_received(self, data: bytes, _: tuple[str | Any, int]) -> None:
        if not self.answer.done() and self._accept(data):
            self.answer.set_result(data)

    def error_received(self, exc: Exception) -> None:
        """Take no notice: a closed port is silence, as a blocked one is."""


async def ask_by_datagram(
    address: str, port: int, question: bytes, accept: Callable[[bytes], bool], *, timeout: float
) -> bytes | None:
    """Return the first answer that `accept` takes, None when none comes within `timeout` seconds.

    `address` is an IP address. The question is sent every half second: it, or its answer, may be lost.
    """
    loop = asyncio.get_running_loop()
    try:
        transport, listener = await loop.create_datagram_endpoint(lambda: _Listener(accept), remote_addr=(address, port))
    except OSError:  # no route
        return None
    try:
        async with asyncio.timeout(timeout):
            while True:
                transport.sendto(question)
                done, _ = await asyncio.wait([listener.answer], timeout=_AGAIN_AFTER)
                if done:
                    return listener.answer.result()
    except TimeoutError:
        return None
    finally:
        transport.close()
