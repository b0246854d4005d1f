"""A collector for a child, and a check after each test that nothing is left of any."""

import threading
from collections.abc import Iterator

import psutil
import pytest
from tests.runtime.process.children import Child, open_descriptors
from tests.support.waits import PATIENCE


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Fail a test that leaves a child (alive or zombie), a descriptor or a thread behind."""
    descriptors, threads = open_descriptors(), set(threading.enumerate())
    children = {child.pid for child in psutil.Process().children()}
    yield
    for thread in set(threading.enumerate()) - threads:
        thread.join(PATIENCE)
    left = {child for child in psutil.Process().children() if child.pid not in children}
    assert not left
    assert set(threading.enumerate()) <= threads
    assert open_descriptors().items() <= descriptors.items()  # an earlier test's may have gone meanwhile


@pytest.fixture
async def child() -> Child:
    """Return a collector for one child."""
    return Child()
