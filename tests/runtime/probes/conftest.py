"""Servers that end with the test."""

from collections.abc import AsyncIterator

import pytest
from tests.runtime.probes.servers import Servers


@pytest.fixture
async def servers() -> AsyncIterator[Servers]:
    """Give a starter of servers."""
    starter = Servers()
    yield starter
    await starter.close()


@pytest.fixture
def unused_port() -> int:
    """Give a port that nobody listens on."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
