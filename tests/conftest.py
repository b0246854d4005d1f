"""What every test shares: asyncio as the one event loop, no clock that judges how fast this machine is, a real cloudflared.

The real one is what `scripts/real-cloudflared` has brought; PRX_TEST_CLOUDFLARED names another. `-m "not real"` leaves it out.
"""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

BROUGHT = Path(__file__).parents[1] / ".venv" / "real" / "cloudflared"
if BROUGHT.exists() and not os.environ.get("PRX_TEST_CLOUDFLARED"):
    os.environ["PRX_TEST_CLOUDFLARED"] = str(BROUGHT)  # before any test module reads it

# On a shared machine an example may be slow for reasons of its neighbours; the time-out per test still bounds it.
settings.register_profile("prx", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("prx")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Run every asynchronous test on asyncio, the loop that prx itself uses."""
    return "asyncio"
