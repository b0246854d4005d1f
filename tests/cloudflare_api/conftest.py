"""A lab for a module, and one operator's machine for each test."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from tests.cloudflare_api.bench import Machine
from tests.cloudflare_api.standin import Stand, running

_NUMBERS = count(1)


@pytest.fixture(scope="module")
def stand() -> Iterator[Stand]:
    """Yield a lab with its API."""
    with running() as found:
        yield found


@pytest.fixture
def machine(stand: Stand, tmp_path: Path) -> Machine:
    """Return a machine on which nothing was set up yet."""
    return Machine(stand, tmp_path)


@pytest.fixture
def hostname() -> str:
    """Return a name that no other test uses."""
    return f"web{next(_NUMBERS)}.prx.localhost"
