"""Play one storm: a program of its own, `python -m bench.storm.play PLAN SETTINGS`; the last line of stdout is the result.

Theory of operation. Episode after episode: calm until prx says healthy and visitors are served steadily, then a fault for a
while, then its end. The causes are drawn from a deck that is shuffled again when it is empty, so that each comes about equally
often. An episode lasts until visitors are served steadily again; what is lost in it after the fault's end is counted by the
state of prx. One that does not recover within `PATIENCE` is helped with `prx restart`, so that episodes stay independent, and
says so. A killed or frozen connector is a fault until the next one is started.
"""

from __future__ import annotations

import asyncio
import bisect
import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from bench.room.scene import Scene, staged
from bench.room.subject import Mode, Prx, Setup, Transport
from bench.room.timeline import Sample, compress, shown_at
from bench.room.visitor import Visit
from bench.storm.causes import CAUSES, Cause, judge
from bench.storm.records import Episode, Storm, StormPlan

RATE = 20.0
SAMPLE_EVERY = 0.25
JUDGED_AFTER = 10.0
STEADY = 3.0  # seconds of visitors served without a gap
PATIENCE = 120.0  # seconds until prx is helped
LASTS = (12.0, 40.0)
CALM = (3.0, 9.0)


@dataclass
class Span:
    """When an episode began, when its fault was over, and when visitors were served steadily again."""

    cause: Cause
    transport: str
    onset: float
    end: float
    starts: int  # connectors started before
    back: float | None = None
    by_hand: bool = False


def deck(causes: list[Cause], chance: random.Random) -> Iterator[Cause]:
    """Draw causes without end; each as often as any other."""
    while True:
        yield from chance.sample(causes, len(causes))


async def play(plan: StormPlan, settings: dict[str, Any]) -> Storm:
    """Play a storm. `settings`: program, namespace, only (names of causes; empty: all)."""
    chance = random.Random(plan.seed)
    setup = Setup(
        settings["program"],
        cast("Mode", plan.mode),
        cast("Transport", plan.transport),
        plan.interval,
        settings["namespace"],
    )
    began = time.monotonic()
    async with staged(setup, ("prx",), rate=RATE, every=SAMPLE_EVERY) as scene:
        prx = cast("Prx", scene.watched[0].subject)
        causes, skipped = await playable(scene, settings["only"])
        await recovered(scene, time.monotonic())
        size = measure(prx.process.pid)
        spans: list[Span] = []
        sizes: list[tuple[float, float, int]] = []
        cards = deck(causes, chance)
        while len(spans) < plan.episodes:
            await asyncio.sleep(chance.uniform(*CALM))
            lasts = chance.uniform(*LASTS)
            spans.append(await episode(scene, prx, await drawn(scene, prx, cards), lasts))
            sizes.append((round(time.monotonic() - began, 1), *measure(prx.process.pid)))
        grown = measure(prx.process.pid)
    visits, samples = scene.watched[0].visitors.visits, scene.watched[0].samples
    calm = calm_samples(samples, spans)
    return Storm(
        plan,
        tuple(recorded(spans, index, visits, samples, prx.starts, named=plan.mode == "named") for index in range(len(spans))),
        skipped,
        sent=len(visits),
        lost_calm=sum(1 for visit in visits if not visit.served and span_of(visit, spans) is None),
        calm_samples=len(calm),
        calm_alarms=tuple(sample.verdict for sample in calm if sample.verdict not in {"healthy", "?"}),
        rss_mb=(size[0], grown[0]),
        fds=(size[1], grown[1]),
        seconds=round(time.monotonic() - began, 1),
        sizes=tuple(sizes),
    )


async def playable(scene: Scene, only: list[str]) -> tuple[list[Cause], dict[str, str]]:
    """Return the causes that can be played here, and why others cannot."""
    found, skipped = [], {}
    for cause in CAUSES:
        if only and cause.name not in only:
            continue
        if cause.needs_network and scene.network is None:
            skipped[cause.name] = "this machine gives no network namespace"
        elif cause.fault and not await scene.lab.knows(cause.fault):
            skipped[cause.name] = f"the lab has no fault '{cause.fault}'"
        else:
            found.append(cause)
    return found, skipped


async def drawn(scene: Scene, prx: Prx, cards: Iterator[Cause]) -> Span:
    """Draw the next cause that makes sense with what the connector speaks now."""
    speaks = await transport_of(scene, prx)
    cause = next(card for card in cards if card.transport in ("", speaks))
    return Span(cause, speaks, 0.0, 0.0, len(prx.starts))


async def transport_of(scene: Scene, prx: Prx) -> str:
    """Return what the connector speaks."""
    connections = await scene.lab.connections(prx.hostname)
    return str(connections[0]["protocol"]) if connections else ""


async def episode(scene: Scene, prx: Prx, span: Span, lasts: float) -> Span:
    """Cause a fault, and wait until all is well again."""
    span.onset = time.monotonic()
    await span.cause.begin(scene)
    if span.cause.moment:
        span.end = span.onset
        await asyncio.sleep(max(0.0, span.onset + JUDGED_AFTER + 1 - time.monotonic()))
    else:
        await asyncio.sleep(max(0.0, span.onset + lasts - time.monotonic()))
        await span.cause.end(scene)
        span.end = time.monotonic()
    if not await recovered(scene, span.end):
        span.by_hand = True
        await prx.restart()
        await recovered(scene, span.end)
    span.back = time.monotonic()
    return span


async def recovered(scene: Scene, since: float) -> bool:
    """Wait until prx says healthy and visitors are served steadily; whether that came in time."""
    watched = scene.watched[0]
    limit = time.monotonic() + PATIENCE
    while time.monotonic() < limit:
        now = time.monotonic()
        well = bool(watched.samples) and watched.samples[-1].verdict == "healthy"
        if well and now >= since + STEADY and steady(watched.visitors.visits, now):
            return True
        await asyncio.sleep(0.5)
    return False


def steady(visits: list[Visit], now: float) -> bool:
    """Return whether all visitors of the last seconds have been served."""
    recent = [visit for visit in visits[-200:] if visit.sent >= now - STEADY]
    return len(recent) >= RATE * (STEADY - 1) and all(visit.served for visit in recent)


def served_at(visits: list[Visit], at: float) -> bool:
    """Return whether visitors are served around a moment: most of those of the last two seconds."""
    first, last = (bisect.bisect_left(visits, when, key=lambda visit: visit.sent) for when in (at - 2, at))
    recent = visits[first:last]
    return bool(recent) and sum(visit.served for visit in recent) * 2 > len(recent)


def span_of(visit: Visit, spans: list[Span]) -> Span | None:
    """Return the episode that a request belongs to: one that was under way at the onset does, too."""
    return next((span for span in spans if visit.done >= span.onset and visit.sent < (span.back or float("inf"))), None)


def calm_samples(samples: list[Sample], spans: list[Span]) -> list[Sample]:
    """Return the samples outside of all episodes, from the first one's calm on."""
    edges = [(span.onset, span.back or float("inf")) for span in spans]
    first = next((sample.at for sample in samples if sample.verdict == "healthy"), 0.0)
    return [
        sample
        for sample in samples
        if first <= sample.at < edges[-1][1] and not any(begin <= sample.at <= end for begin, end in edges)
    ]


def recorded(
    spans: list[Span], index: int, visits: list[Visit], samples: list[Sample], starts: list[float], *, named: bool = False
) -> Episode:
    """Put together what was seen of one episode."""
    span = spans[index]
    cause, back = span.cause, span.back or float("inf")
    at = span.onset + JUDGED_AFTER
    shown = shown_at(samples, at)
    verdict = shown.verdict if shown else "?"
    mine = [sample for sample in samples if span.onset <= sample.at <= back]
    grades = [
        (sample, judge(cause, sample.verdict, served=served_at(visits, sample.at), over=sample.at > span.end))
        for sample in mine
    ]
    rights = (sample.at for sample, grade in grades if grade == "right" and (sample.verdict != "healthy" or not cause.right))
    first_right = next(rights, None)
    began = [start for start in starts if span.onset < start <= back]
    during, after = losses(span, spans, visits, samples, fault_end(span, began))
    return Episode(
        cause=cause.name,
        transport=span.transport,
        seconds=round(span.end - span.onset, 1),
        shown=verdict,
        grade=judge(cause, verdict, served=served_at(visits, at)),
        first_right=None if first_right is None else round(first_right - span.onset, 1),
        accusations=tuple(sorted({sample.verdict for sample, grade in grades if grade == "false"})),
        restarts=len(began) - span.by_hand,
        needed=cause.restarts or sum(start >= span.end for start in began[:1] if named and cause.waits),
        lost_during=during,
        lost_after=after,
        back=round(back - span.end, 1),
        by_hand=span.by_hand,
        verdicts=compress(mine, span.onset),
        sent=sum(1 for visit in visits if span_of(visit, spans) is span),
    )


def fault_end(span: Span, began: list[float]) -> float:
    """Return when a fault was over: a dead or frozen connector is a fault until the next one is started."""
    if span.cause.moment and span.cause.restarts:
        return began[0] if began else float("inf")
    return span.end


def losses(
    span: Span, spans: list[Span], visits: list[Visit], samples: list[Sample], over: float
) -> tuple[int, dict[str, int]]:
    """Count the requests lost while the fault acted, and after it by the state of prx in which they were sent."""
    during, after = 0, Counter[str]()
    for visit in visits:
        if visit.served or span_of(visit, spans) is not span:
            continue
        if visit.sent < over:
            during += 1
        else:
            sample = shown_at(samples, visit.sent)
            after[sample.state if sample else "?"] += 1
    return during, dict(after)


def measure(pid: int) -> tuple[float, int]:
    """Return the resident memory in MB and the number of open files of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1), len(list(Path(f"/proc/{pid}/fd").iterdir()))


def main() -> None:
    """Play what the command line says."""
    plan, settings = StormPlan(**json.loads(sys.argv[1])), json.loads(sys.argv[2])
    print(json.dumps(asdict(asyncio.run(play(plan, settings)))))


if __name__ == "__main__":
    main()
