"""The connectors that every end-to-end test runs with, and where it runs."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.e2e.bench import Bench
from tests.e2e.prx_process import clean_environment
from tests.support.origin import HostedOrigin, serving

from prx.lab import Lab, LabConfig
from prx.testing.clock import ManualClock


def real_cloudflared() -> str:
    """Return the real program, or skip the test."""
    path = os.environ.get("PRX_TEST_CLOUDFLARED", "")
    if not path:
        pytest.skip("PRX_TEST_CLOUDFLARED names no real cloudflared")
    return path


@pytest.fixture(params=["builtin", pytest.param("real", marks=pytest.mark.real)])
def connector(request: pytest.FixtureRequest) -> str:
    """Return the builtin connector, and the real one if there is one."""
    return "builtin" if request.param == "builtin" else real_cloudflared()


@pytest.fixture(params=["quick", "named"])
def mode(request: pytest.FixtureRequest) -> str:
    """Return both modes."""
    return str(request.param)


@pytest.fixture
def bench(tmp_path: Path, connector: str, mode: str) -> Bench:
    """Return a bench for each connector and mode, configured."""
    bench = Bench(tmp_path, clean_environment(tmp_path), connector, mode)
    bench.configure()
    return bench


@pytest.fixture
def quick_bench(tmp_path: Path, connector: str) -> Bench:
    """Return a bench for each connector, quick tunnels only."""
    bench = Bench(tmp_path, clean_environment(tmp_path), connector, "quick")
    bench.configure()
    return bench


@pytest.fixture
def origin() -> Iterator[HostedOrigin]:
    """Yield a running origin."""
    with serving() as server:
        yield server


@pytest.fixture
def clock() -> ManualClock:
    """Return virtual time."""
    return ManualClock()


@pytest.fixture
async def lab(clock: ManualClock) -> AsyncIterator[Lab]:
    """Yield a lab whose faults last by virtual time."""
    async with Lab.start(LabConfig(clock=clock.monotonic)) as lab:
        yield lab
