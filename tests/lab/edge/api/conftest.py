"""A client of the lab's API for every test of it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.lab.edge.api.client import Client, calling

from prx.lab import Lab


@pytest.fixture
async def api(lab: Lab) -> AsyncIterator[Client]:
    """A client that may do everything."""
    async with calling(lab) as client:
        yield client
