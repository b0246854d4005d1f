"""A mirror for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.install.mirror import Mirror


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    """Yield a mirror that ends with the test."""
    mirror = Mirror()
    yield mirror
    mirror.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder to install into, which does not exist yet."""
    return tmp_path / "data" / "bin"
