"""What every test shares: asyncio as the one event loop, and no clock that judges how fast this machine is."""

import pytest
from hypothesis import HealthCheck, settings

# On a shared machine an example may be slow for reasons of its neighbours; the time-out per test still bounds it.
settings.register_profile("prx", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("prx")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Run every asynchronous test on asyncio, the loop that prx itself uses."""
    return "asyncio"
