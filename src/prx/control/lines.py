"""The lines of the control socket, read and written within the limits of `prx.control.messages`."""

from __future__ import annotations

import asyncio

from prx.control.messages import REPLAY_BEGINS, REPLAY_LIMIT, REQUEST_LIMIT, Message, encode

REQUEST_SECONDS = 10.0  # from the first byte of a request to its newline
WRITE_SECONDS = 30.0  # a client that takes nothing for so long is dropped


async def read_request(reader: asyncio.StreamReader, patience: float, first: bytes = b"") -> bytes | None:
    """Return one line; None if the client closed between requests. Raises ValueError if it is too long or cut off.

    `patience` is the time in seconds that it may take to begin; `first` is its first byte, if that was read already.
    """
    async with asyncio.timeout(patience):
        first = first or await reader.read(1)
    if not first:
        return None
    try:
        async with asyncio.timeout(REQUEST_SECONDS):
            return await _rest_of(first, reader) if first != b"\n" else first
    except asyncio.IncompleteReadError as error:
        raise ValueError("it ends before its newline") from error


async def _rest_of(line: bytes, reader: asyncio.StreamReader) -> bytes:
    """Return a whole line; raise ValueError if it is longer than its kind may be."""
    pieces, size, limit = [line], len(line), REQUEST_LIMIT
    while True:
        try:
            return b"".join([*pieces, await reader.readuntil(b"\n")])
        except asyncio.LimitOverrunError as error:
            piece = await reader.readexactly(error.consumed)
            if len(pieces) == 1 and (line + piece).startswith(REPLAY_BEGINS):
                limit = REPLAY_LIMIT
            size += len(piece)
            if size > limit:
                raise ValueError(f"a request has at most {limit} bytes") from error
            pieces.append(piece)


async def send(writer: asyncio.StreamWriter, message: Message) -> None:
    """Write one message; TimeoutError if the client takes nothing for `WRITE_SECONDS`."""
    writer.write(encode(message))
    async with asyncio.timeout(WRITE_SECONDS):
        await writer.drain()
