"""The requests that come over one connection, one after the other.

While an answer is waited for, the end of the connection is seen: a client that has gone, or was killed, is worked for no more.
One that has only said its last word, and reads on, gets its answer.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from prx.control.lines import read_request
from prx.control.messages import Message


class Incoming:
    """Reads from `reader`; `writer` is the other half of the same connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._early = b""  # the first byte of a request that came while another one was answered

    async def next(self, patience: float) -> bytes | None:
        """Return the next one, as `read_request` does."""
        first, self._early = self._early, b""
        return await read_request(self._reader, patience, first)

    async def while_there(self, work: Coroutine[Any, Any, Message]) -> Message:
        """Return what `work` returns; if the client goes before that, end the work and raise ConnectionResetError."""
        # a task group would wrap what the work raises, which is the answer
        working = asyncio.create_task(work, name="a waiting answer")  # noqa: TID251 - ended below
        watching = asyncio.create_task(self._watch(working), name="end of a waiting client")  # noqa: TID251 - ended below
        try:
            return await working
        except asyncio.CancelledError:
            if watching.done() and not watching.cancelled():
                raise ConnectionResetError("the client has gone") from None
            raise
        finally:
            working.cancel()
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)  # until it ends it holds the reader, which `next` needs

    async def _watch(self, working: asyncio.Task[Message]) -> None:
        with suppress(ConnectionError):  # a client that is killed before it has read an answer resets the connection
            self._early = await self._reader.read(1)
            if self._early or not _has_closed(self._writer):
                await asyncio.Event().wait()  # it asks on, or listens on
        working.cancel()


def _has_closed(writer: asyncio.StreamWriter) -> bool:
    """Return whether the other side has closed both directions, so that no answer can reach it."""
    poll = select.poll()
    poll.register(writer.get_extra_info("socket").fileno(), 0)
    return any(event & select.POLLHUP for _, event in poll.poll(0))
