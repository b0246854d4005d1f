"""What every test shares: asyncio as the one event loop, no clock that judges how fast this machine is, a real cloudflared.

The real one is what `scripts/real-cloudflared` installs; PRX_TEST_CLOUDFLARED names another. `-m "not real"` leaves it out.
"""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from _pytest.runner import runtestprotocol
from hypothesis import HealthCheck, settings
from tests.support.servers import Servers
from tests.support.waits import free_port

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


@pytest.fixture
async def servers() -> AsyncIterator[Servers]:
    """Yield a starter of servers that end with the test."""
    starter = Servers()
    yield starter
    await starter.close()


@pytest.fixture
def unused_port() -> int:
    """Return a port on which nothing listens."""
    return free_port()


def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Grant a test against the real cloudflared a second try.

    Its goroutines race: which of three says the word about a lost connection, and whether a refused first registration ends it
    or leaves it hanging, differs from run to run. A test that fails twice has failed; those with the builtin connector have
    one try.
    """
    if item.get_closest_marker("real") is None:
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    reports = runtestprotocol(item, log=False, nextitem=nextitem)
    if any(report.failed for report in reports):
        item._initrequest()  # type: ignore[attr-defined]
        reports = runtestprotocol(item, log=False, nextitem=nextitem)
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True
