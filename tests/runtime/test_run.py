"""One run of a child, from its start to its end."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.runtime.contexts import shared

from prx.backends.base import LaunchContext
from prx.config.schema import CloudflareSettings, TunnelSettings
from prx.core.errors import PermanentError
from prx.runtime.context import TunnelContext
from prx.runtime.process.spawn import SpawnError
from prx.runtime.run import Run
from prx.testing.clock import ManualClock


@pytest.mark.parametrize(
    ("version", "error"),
    [("2026.8.2", SpawnError), ("2019.1.0", PermanentError)],
    ids=["no such program", "too old for prx"],
)
async def test_a_connector_that_could_not_be_started_counts_for_nothing(
    tmp_path: Path, version: str, error: type[Exception]
) -> None:
    """A failed start leaves no way of the tunnel behind, whose counters would be unknown for as long as prx runs."""
    settings = TunnelSettings(cloudflare=CloudflareSettings(cloudflared_path="/no/such/program"))
    context = TunnelContext.create("web", settings, shared(tmp_path, ManualClock()))
    run = Run(1, context, lambda _: None, "quic", 1)
    launch = LaunchContext(("/no/such/program",), version, 1, tmp_path / "config.yml", tmp_path, "quic")
    with pytest.raises(error):
        await run.start(launch)
    assert context.shared.ways._reads == {}
