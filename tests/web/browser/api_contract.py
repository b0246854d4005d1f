"""The API keeps its own document, whatever it is asked: `make browser` runs this, with schemathesis."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import schemathesis
from schemathesis.checks import CHECKS
from tests.web.conftest import Scene
from tests.web.states import write_log
from tests.web.traffic import inspected, visited

from prx.web.examine import Doctor

EXAMPLES = 25
LEFT_OUT = {"unsupported_method", "positive_data_acceptance", "ignored_auth"}
"""Checks that do not hold here: TRACE is refused before the path is looked at; a name that fits the schema need not be a
tunnel's; and the headers given here are put back where it takes the token away (tests/web/test_security.py holds that)."""


def ask_everything(url: str, headers: dict[str, str]) -> int:
    """Ask every operation but the endless stream with what fits and what does not; return how many requests were made."""
    schema = schemathesis.openapi.from_url(f"{url}/api/v1/openapi.json", headers=headers)
    checks = [check for check in CHECKS.get_all() if check.__name__ not in LEFT_OUT]
    asked = 0
    for result in schema.exclude(path="/api/v1/events").get_all_operations():
        operation = result.ok()  # an invalid document is an error of this test

        @hypothesis.settings(
            max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(hypothesis.HealthCheck)
        )
        @hypothesis.given(case=operation.as_strategy())
        def probe(case: Any) -> None:
            nonlocal asked
            asked += 1
            case.call_and_validate(headers=headers, checks=checks)

        probe()
    return asked


@pytest.mark.filterwarnings("default")
@pytest.mark.timeout(200)
async def test_the_api_keeps_its_document(web: Scene, tmp_path: Path) -> None:
    """No request makes an answer that the document does not describe, and none an error of the server."""
    async with inspected(tmp_path / "caught", "web", log=str(write_log(tmp_path / "prx.log"))) as (prx, echo):
        await visited(prx, echo)
        await web.start("web-1", prx)
        web.dashboard._settings.doctor._command = ("sh", "-c", "echo '{}'", "sh")
        asked = await asyncio.to_thread(ask_everything, web.url, web.action)
        assert any(b"X-PRX-Replay" in head for head in echo.heads), "requests were sent again, too"
    assert asked >= 12 * EXAMPLES // 2
    assert Doctor is type(web.dashboard._settings.doctor)
