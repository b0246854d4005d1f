"""Play one scene: a program of its own, `python -m bench.outages.play PLAN SETTINGS`; the last line of stdout is the result."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import asdict, replace
from typing import Any, NamedTuple, cast

from bench.outages.cases import BY_NAME, Case
from bench.outages.results import Outcome, Plan, Played
from bench.room.scene import Scene, Watched, staged
from bench.room.subject import Mode, Setup, Transport
from bench.room.timeline import compress
from bench.room.visitor import Visit, first_served, lost

BEFORE = 3.0  # seconds of calm, in which everyone is served
STEADY = 5.0  # seconds of visitors served without a gap: it is over
LONGER = 1.2  # an outage is watched for at least so many times its length: cloudflared's own waits double each time
RATE, RATE_CALM = 20.0, 4.0  # requests a second, of each subject: from the outage's end until it is over, and otherwise
MANY, MANY_CALM = 5.0, 2.0  # the same, if there are several of a kind: the bench shall not be what is measured


class Rates(NamedTuple):
    """Requests a second, of each subject: from the outage's end until it is over, and otherwise."""

    busy: float = RATE
    calm: float = RATE_CALM

    def scaled(self, one: Outcome) -> Outcome:
        """Count what came after the outage as if `RATE` a second had come."""
        factor = RATE / self.busy
        return replace(one, lost=round(one.lost * factor), sent=round(one.sent * factor))


async def play(plan: Plan, settings: dict[str, Any]) -> Played:
    """Play a plan. `settings`: program, namespace, after (seconds to watch at most), interval."""
    case = BY_NAME[plan.case]
    if case.needs_network and not settings["namespace"]:
        return Played(plan, skipped="this machine gives no network namespace (unshare --net)")
    setup = Setup(
        settings["program"],
        cast("Mode", plan.mode),
        cast("Transport", plan.transport),
        settings["interval"],
        settings["namespace"],
    )
    order = ["prx", "bare"] if plan.repeat % 2 else ["bare", "prx"]  # the one that starts first has no advantage in the end
    names = [name for name in order for _ in range(plan.copies)]
    rates = Rates() if plan.copies == 1 else Rates(MANY, MANY_CALM)
    async with staged(setup, names, rate=rates.calm, every=1.0) as scene:
        if case.fault and not await scene.lab.knows(case.fault):
            return Played(plan, skipped=f"the lab has no fault '{case.fault}'")
        await asyncio.sleep(BEFORE)
        urls = [watched.subject.url for watched in scene.watched]
        onset, end = await _act(scene, case, plan.seconds, rates)
        await _watch(scene, end, rates, max(case.watch or settings["after"], LONGER * plan.seconds))
        watched_until = time.monotonic()
    seen = [outcome(watched, url, onset, end, watched_until) for watched, url in zip(scene.watched, urls, strict=True)]
    outcomes = tuple(rates.scaled(one) for one in seen)
    return Played(plan, outcomes, lag=round(max(watched.visitors.lag for watched in scene.watched), 2))


async def _act(scene: Scene, case: Case, seconds: float, rates: Rates) -> tuple[float, float]:
    """Cause the outage; return when it began and when it was over (the same for what has no end)."""
    onset = time.monotonic()
    await case.begin(scene, seconds)
    if not seconds:
        _set_rate(scene, rates.busy)
        return onset, onset
    await asyncio.sleep(max(0.0, onset + seconds - time.monotonic()))
    await case.end(scene, seconds)
    end = time.monotonic()
    _set_rate(scene, rates.busy)
    return onset, end


def _set_rate(scene: Scene, rate: float) -> None:
    for watched in scene.watched:
        watched.visitors.rate = rate


async def _watch(scene: Scene, end: float, rates: Rates, at_most: float) -> None:
    """Look on until everyone is served again and stays so, or the time is over."""
    await asyncio.sleep(STEADY + 1)
    while time.monotonic() < end + at_most:
        now = time.monotonic()
        for watched in scene.watched:
            steady = is_steady(watched.visitors.visits, now, watched.visitors.rate)
            watched.visitors.rate = rates.calm if steady else rates.busy
        if all(watched.visitors.rate == rates.calm for watched in scene.watched):
            return
        await asyncio.sleep(1)


def is_steady(visits: list[Visit], now: float, rate: float) -> bool:
    """Return whether all who came in the last seconds, `rate` a second, have been served; the very last may be under way."""
    recent = [visit for visit in visits if now - STEADY <= visit.sent]
    return len(recent) >= rate * (STEADY - 1) and all(visit.served for visit in recent)


def outcome(watched: Watched, url: str, onset: float, end: float, until: float) -> Outcome:
    """Put together what one subject made of it."""
    visits = watched.visitors.visits
    after = [visit for visit in visits if visit.sent >= end]
    last = [visit for visit in after if visit.sent >= until - STEADY]
    serves = any(visit.served and visit.url == url for visit in last)
    back = first_served(visits, end, lost_first=end == onset)
    return Outcome(
        watched.subject.name,
        kept=watched.subject.url == url and serves,
        back=None if back is None or not any(visit.served for visit in last) else round(back, 2),
        lost=lost(after, end),
        sent=len(after),
        lost_during=lost(visits, onset, end),
        sent_during=sum(1 for visit in visits if onset <= visit.sent < end),
        restarts=sum(1 for start in watched.subject.starts if start > onset),
        verdicts=compress(watched.samples, onset),
    )


def main() -> None:
    """Play what the command line says."""
    plan, settings = Plan(**json.loads(sys.argv[1])), json.loads(sys.argv[2])
    print(json.dumps(asdict(asyncio.run(play(plan, settings)))))


if __name__ == "__main__":
    main()
