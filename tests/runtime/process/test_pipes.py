"""How much of a full pipe is read at once."""

import asyncio
import fcntl
import os
import time

import pytest
from tests.support.waits import PATIENCE

from prx.runtime.process.pipes import CHUNK, FLOOD_CHUNK, QUICK_SECONDS, PipeReader

DATA = b"a line of a flood\n" * 50_000


@pytest.mark.parametrize(("seconds", "largest"), [(0.0, FLOOD_CHUNK), (2 * QUICK_SECONDS, CHUNK)], ids=["quick", "slow"])
async def test_a_flood_is_read_in_pieces_that_its_consumer_can_bear(seconds: float, largest: int) -> None:
    """Much is read at once only if that holds up nothing else: a consumer that needs time for its lines gets fewer."""
    read, write = os.pipe()
    fcntl.fcntl(read, fcntl.F_SETPIPE_SZ, 1024 * 1024)
    os.set_blocking(read, False)
    assert os.write(write, DATA) == len(DATA)
    os.close(write)
    blocks: list[bytes] = []
    closed = asyncio.Event()

    def on_block(name: str, block: bytes) -> int:
        began = time.thread_time()
        while time.thread_time() < began + seconds:
            pass
        blocks.append(block)
        return block.count(b"\n")

    def on_line(name: str, line: bytes) -> None:
        blocks.append(line + b"\n")

    reader = PipeReader("stderr", read, on_line, lambda _: closed.set(), lambda _: None, on_block=on_block)
    async with asyncio.timeout(PATIENCE):
        await closed.wait()
    assert b"".join(blocks) == DATA
    assert reader.stats.lines == 50_000
    assert largest / 2 < max(map(len, blocks)) <= largest + 100
