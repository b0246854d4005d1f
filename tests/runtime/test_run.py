"""One run of a child, from its start to its end."""

from __future__ import annotations

import asyncio
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


async def test_a_child_that_never_answers_is_asked_less_and_less(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of children that do nothing cost little: each is asked within a tenth of the time that it has been silent."""
    clock = ManualClock()
    context = TunnelContext.create("web", TunnelSettings(), shared(tmp_path, clock))
    run = Run(1, context, lambda _: None, "quic", 1)
    asked: list[float] = []

    async def ask(*, quick_checks: bool) -> bool:
        asked.append(clock.monotonic())
        return False

    monkeypatch.setattr(run, "_ask_child", ask)
    began = clock.monotonic()
    async with asyncio.TaskGroup() as group:
        watch = group.create_task(run.watch(), name="watch")
        await pass_time(clock, 300)
        assert [round(at - began) for at in asked[:9]] == list(range(1, 10))
        assert 40 < len(asked) < 60
        run._child.has_answered = True
        before = len(asked)
        await pass_time(clock, 60)
        watch.cancel()
    assert 28 < len(asked) - before < 62


async def pass_time(clock: ManualClock, seconds: int) -> None:
    """Have so much time pass, tenth by tenth, with a turn of the loop for each."""
    for _ in range(10 * seconds):
        await asyncio.sleep(0)
        clock.advance(0.1)
