"""What a round of checks counts as prx's own."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.runtime.contexts import shared

from prx.config.schema import TunnelSettings
from prx.runtime import health_check
from prx.runtime.context import TunnelContext
from prx.runtime.health_check import HealthChecker
from prx.runtime.probes.exposure import Exposure, Reach
from prx.testing.clock import ManualClock


@pytest.mark.parametrize(
    ("status", "own"),
    [(200, (1, 0)), (404, (1, 0)), (500, (1, 1)), (502, (1, 1)), (503, (1, 1)), (530, (0, 0)), (None, (1, 0))],
)
async def test_the_question_of_a_stranger_is_no_visitor_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int | None, own: tuple[int, int]
) -> None:
    """What the connector counts as a failure for prx itself is no visitor's error; what the edge answers it does not count."""

    async def answered(url: str, *_: object, **_options: object) -> Exposure:
        return Exposure(url, Reach.UNKNOWN, status)

    monkeypatch.setattr(health_check, "check_exposure", answered)
    checker = HealthChecker(TunnelContext.create("web", TunnelSettings(), shared(tmp_path, ManualClock())), None)
    checker.url = "https://a.example"
    await checker._exposed(("192.0.2.1",), 1.0)
    assert (checker.asked, checker.failed) == own
