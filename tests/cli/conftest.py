"""A home for each test, in which nothing is left behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cli.home import Home


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """Yield an empty home; nothing that was started there outlives the test."""
    made = Home(tmp_path)
    yield made
    made.close()
