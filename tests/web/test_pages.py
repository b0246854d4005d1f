"""What the pages say beside states and history: why, what visitors ask for, that a tunnel flaps, what each verdict means."""

from __future__ import annotations

import html
import re

from tests.web.conftest import Scene, ScriptedPrx
from tests.web.states import UP

from prx.core.conditions import CONDITIONS
from prx.core.flapping import Flaps
from prx.core.states import State
from prx.core.traffic import TrafficStatus
from prx.core.verdicts import Verdict


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
