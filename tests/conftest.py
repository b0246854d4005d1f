"""What every test shares: asyncio as the one event loop."""

import pytest


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Run every asynchronous test on asyncio, the loop that prx itself uses."""
    return "asyncio"
