"""Send a datagram until an answer comes: for questions over UDP, where both may be lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

_AGAIN_AFTER = 0.5  # seconds


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

    `address` is an IP address. The question is sent every half second.
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
