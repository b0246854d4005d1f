"""What the pages say beside states and history: why, what visitors ask for, that a tunnel flaps, what each verdict means."""

from __future__ import annotations

import html
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.web.conftest import Scene, ScriptedPrx
from tests.web.states import UP

from prx.core.conditions import CONDITIONS
from prx.core.flapping import Flaps
from prx.core.states import State
from prx.core.traffic import TrafficStatus
from prx.core.verdicts import Verdict
from prx.logs.records import LogRecord
from prx.web.views import moment, time_of_day


async def text_of(web: Scene, path: str = "/") -> str:
    """Return what a page says, as a reader without a script finds it."""
    answer = await web.ask(path)
    assert answer.status_code == 200
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", " ", answer.text.partition("<main")[2])))


async def test_the_page_says_why(web: Scene) -> None:
    """The page of a tunnel has what `prx why` says; one whose prx does not know it says that, and shows all else."""
    prx = ScriptedPrx()
    prx.track(**UP | {"state": State.DEGRADED, "verdict": Verdict.ORIGIN_DOWN, "reason": "refused", "hint": "start it"})
    await web.start("prx-1", prx)
    shown = await text_of(web)
    assert "verdict origin_down – the local service does not answer why refused" in shown
    assert "you can start it" in shown
    other = ScriptedPrx()
    other.track("other", **UP)
    other.stories = lambda name=None: [{"name": name}]  # type: ignore[method-assign]  # of another version
    await web.start("prx-2", other)
    assert "prx cannot be asked just now" in await text_of(web, "/tunnels/prx-2/other")


async def test_traffic_and_flapping_are_shown(web: Scene) -> None:
    """What visitors ask for is shown as `prx status` counts it, unless it is stopped; so is that a tunnel comes and goes."""
    prx = ScriptedPrx()
    now = web.dashboard.hub.wall()
    more = {"traffic": TrafficStatus(12, 1, 3), "flaps": Flaps(well=True, falls=(now - 60, now - 40, now - 20))}
    prx.track("one", **UP | more)
    prx.track("two", **UP | {"traffic": TrafficStatus(), "flaps": Flaps(falls=(now - 60,))})
    prx.track("three", state=State.IDLE, traffic=TrafficStatus(7))
    await web.start("prx-1", prx)
    shown = await text_of(web)
    assert "12 requests · 1 error in 5 min, 3 in the last one" in shown
    assert "0 requests in 5 min" in shown
    assert "7 requests" not in shown
    assert shown.count("It comes and goes") == 1


async def test_every_verdict_is_explained(web: Scene) -> None:
    """The page of verdicts has each with its title and what prx does; those that may replace a connector say so."""
    shown = await text_of(web, "/verdicts")
    for verdict, condition in CONDITIONS.items():
        assert f"{verdict} {condition.title} " in shown
    assert shown.count("replaces the connector if a fresh one would get through") == 3


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have the machine's clock two hours ahead of UTC, in a zone called PRX."""
    monkeypatch.setenv("TZ", "PRX-2")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("elsewhere")
async def test_all_times_are_of_one_clock(web: Scene, tmp_path: Path) -> None:
    """The log shows the machine's own time as the rest of the page does, with the date of another day, and names the zone."""
    at = "2026-11-28T22:30:00.123Z"
    fields = {"error": "refused"}
    (tmp_path / "log").write_text(LogRecord(at, "", "info", "a line", "prx", fields=fields).to_json() + "\n")
    prx = ScriptedPrx(log=str(tmp_path / "log"))
    prx.track(**UP)
    await web.start("prx-1", prx)
    shown = await text_of(web)
    assert "00:30:00 info a line: refused" in shown
    assert "those of this machine (PRX)" in shown


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize(
    ("text", "short", "exact"),
    [
        ("1970-01-01T00:30:00.123Z", "02:30:00", "02:30:00.123"),
        ("1970-01-01T23:30:00.123Z", "2 Jan 01:30:00", "01:30:00.123"),
        ("1969-12-31T22:30:00Z", "00:30:00", "00:30:00.000"),
        ("yesterday, at about noon", "yesterday, at about", "at about noo"),
        ("", "", ""),
    ],
)
def test_the_time_of_a_record(text: str, short: str, exact: str) -> None:
    """It has its date on another day than today; what is no time stays as it is."""
    assert (moment(text, 0.0), time_of_day(text)) == (short, exact)
