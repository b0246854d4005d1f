"""An edge, a local service, and a connector that joins them."""

import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from tests.lab.connector.bench import Bench
from tests.lab.connector.child import BUILTIN, token
from tests.lab.connector.http2_edge import Http2Edge
from tests.lab.connector.mini_edge import MiniEdge
from tests.lab.connector.quic_edge import QuicEdge
from tests.support.origin import Origin, run_origin

REAL = os.environ.get("PRX_TEST_CLOUDFLARED", "")


@pytest.fixture(params=["builtin", pytest.param("cloudflared", marks=pytest.mark.real)])
def command(request: pytest.FixtureRequest) -> Sequence[str]:
    """Return the command of each connector in turn: this one, and the real one if there is one."""
    if request.param == "builtin":
        return BUILTIN
    if not REAL:
        pytest.skip("PRX_TEST_CLOUDFLARED names no cloudflared")
    return (REAL,)


@pytest.fixture(params=["http2", "quic"])
def protocol(request: pytest.FixtureRequest) -> str:
    """Return each protocol in turn."""
    return str(request.param)


@pytest.fixture
async def edge(tmp_path: Path, protocol: str) -> AsyncIterator[MiniEdge]:
    """Yield a running edge."""
    kind = QuicEdge if protocol == "quic" else Http2Edge
    async with kind(tmp_path).running() as running:
        yield running


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    """Yield a running local service."""
    async with run_origin() as running:
        yield running


@pytest.fixture
def bench(edge: MiniEdge, origin: Origin, command: Sequence[str], tmp_path: Path) -> Bench:
    """Return an edge and a local service, and each connector in turn to join them."""
    config, token_file = tmp_path / "config.yml", tmp_path / "token"
    config.write_text("{}")
    token_file.write_text(token())
    return Bench(edge, origin, command, tmp_path, config, token_file)
