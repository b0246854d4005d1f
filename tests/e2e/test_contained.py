"""A defect in what prx does beside a child is reported, and costs neither the child nor its URL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.e2e.world import World, world
from tests.support.origin import HostedOrigin
from tests.support.visitor import get

from prx.core.events import ChildExited, Log
from prx.lab import Lab
from prx.runtime.child_monitor import ChildMonitor
from prx.runtime.probes.quick_checks import QuickChecks
from prx.runtime.run import Run
from prx.runtime.visitor_count import VisitorCount
from prx.testing.clock import ManualClock


def failing(*_: object, **__: object) -> Any:
    """Fail as a defect does."""
    raise ValueError("a defect")


def errors(here: World) -> list[str]:
    """Return what prx has reported as an error."""
    return [fact.message for fact in here.told(Log) if fact.level == "error"]


@pytest.mark.parametrize(
    ("part", "method"),
    [(QuickChecks, "check"), (QuickChecks, "begin"), (ChildMonitor, "counters"), (VisitorCount, "see")],
    ids=["a quick check", "its beginning", "the counters", "the count of visitors"],
)
async def test_the_watch_of_a_child_may_fail(
    lab: Lab,
    clock: ManualClock,
    tmp_path: Path,
    origin: HostedOrigin,
    monkeypatch: pytest.MonkeyPatch,
    part: type[object],
    method: str,
) -> None:
    """It is said once, and tried again; the child and the URL stay, and visitors notice nothing."""
    async with world(lab, clock, tmp_path, connector="builtin", port=origin.port) as here:
        url = (await here.live(lambda status: status.state == "ready")).url
        with monkeypatch.context() as patch:
            patch.setattr(part, method, failing)
            await here.live_until(lambda: bool(errors(here)))
            await here.leap(60)
        assert (here.restarts, here.status.state, here.status.url) == (0, "ready", url)
        watch = [text for text in errors(here) if text.startswith("the watch of the connector failed")]
        assert len(watch) == 1
        assert "ValueError: a defect" in watch[0]
        assert (await get(url)).status_code == 200


async def test_the_question_to_a_child_that_ends_may_fail(
    lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop is as graceful as ever."""
    async with world(lab, clock, tmp_path, connector="builtin", port=origin.port) as here:
        await here.live(lambda status: status.state == "ready")
        monkeypatch.setattr(Run, "counters", failing)
        here.supervisor.stop("web")
        await here.live(lambda status: status.state == "idle")
        (ended,) = here.told(ChildExited)
        assert (ended.result, ended.cause) == ("clean", "stopped")
        assert not any("supervision failed" in text for text in errors(here))
