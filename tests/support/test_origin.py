"""The services of the tests leave nothing behind, whenever they end."""

from __future__ import annotations

import asyncio
import gc
import socket
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from tests.support.origin import run_origin
from tests.support.servers import Servers, forever


@asynccontextmanager
async def odd_server() -> AsyncIterator[int]:
    """Run a server that says nothing, and yield its port."""
    servers = Servers()
    yield (await servers.start(lambda *_: forever())).port
    await servers.close()


@asynccontextmanager
async def origin() -> AsyncIterator[int]:
    """Run the local service, and yield its port."""
    async with run_origin() as running:
        yield running.port


@pytest.mark.parametrize("steps", range(8))
@pytest.mark.parametrize("service", [origin, odd_server])
def test_a_visitor_who_comes_as_it_ends_is_let_go(service: Callable[[], AbstractAsyncContextManager[int]], steps: int) -> None:
    """A connection that was accepted so many steps of the loop before the end is closed, started to be served or not."""

    async def end_in_the_middle() -> None:
        async with service() as port:
            visitor.connect(("127.0.0.1", port))  # the kernel takes it; the loop has yet to see it
            for _ in range(steps):
                await asyncio.sleep(0)

    with warnings.catch_warnings(record=True) as left, socket.socket() as visitor:
        warnings.simplefilter("always")
        asyncio.run(end_in_the_middle())
        gc.collect()
    assert [str(warning.message) for warning in left] == []
