"""A control server at a socket of the test's own, with a scripted prx behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.control.scripted import ScriptedPrx

from prx.control.server import ControlServer


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the control socket is."""
    return tmp_path / "web.sock"


@pytest.fixture
async def prx(path: Path) -> AsyncIterator[ScriptedPrx]:
    """Run a control server for two tunnels that are starting."""
    scripted = ScriptedPrx("web", "api")
    async with ControlServer(path, scripted, wall=lambda: 1_000.0):
        yield scripted
