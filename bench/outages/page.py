"""The page `docs/reference/outages.md`, from a run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from bench.outages.cases import CASES
from bench.outages.earlier import EarlierPage, Group, runs_of
from bench.outages.judge import TOLERANCE, faults
from bench.outages.results import NEVER, Played, Row, Run

HEAD = """# Outages, side by side

Measured by `make outages`, which writes this page: prx and bare cloudflared as connectors of the same lab, with the same
service, at the same time. {client}

* **kept**: runs in which the URL from before serves at the end
* **back**: seconds from the outage's end to the first visitor served; for what has no end, from its beginning to the
  first visitor served after the first one lost; ∞: not within {watched:g} s
* **lost**: requests lost after the outage's end, at 20 a second; a request is lost unless a 2xx comes within 10 s.
  Visitors ask the newest URL that they were told. **during**: part of the requests lost before that. If several
  prx and as many bare cloudflared share a lab, each is asked 5 times a second, and what is lost counts four times
* **restarts**: connectors that prx has started since the outage began
* **verdict**: what `prx status` shows, in seconds since the outage began, of the run in the middle

Of several runs of a cell, *back*, *lost* and *restarts* are medians: cloudflared chooses its own waits by chance. QUIC is what
both do by default (`protocol = "auto"` of prx). prx must keep the URL as often as bare cloudflared does, serve at most
{tolerance:g} s later, and come back where bare cloudflared never does. ✗ marks what does not hold, ? what fewer than
{enough} runs show not to hold. Scenes in which the bench itself was more than {late:g} s late with a request are left out.
"""
EARLIER_ROWS = """Rows marked *earlier* were measured at an earlier date, with the prx of that date, and not since.
The table that follows shows the earlier runs of a kind if they are more than those since.
"""

ENOUGH = 5  # runs, below which a median of waits that cloudflared draws by chance says little
LATE = 2.0  # seconds; less than the tolerance by far


def groups(scenes: Iterable[Played]) -> dict[Group, list[Played]]:
    """Put the scenes of one cell together."""
    found: dict[Group, list[Played]] = defaultdict(list)
    for scene in scenes:
        if scene.outcomes and scene.lag <= LATE:
            plan = scene.plan
            found[plan.case, plan.seconds, plan.mode, plan.transport].append(scene)
    return found


def rows(scenes: Iterable[Played]) -> tuple[Row, Row]:
    """Return the rows of prx and of bare cloudflared."""
    outcomes = [one for scene in scenes for one in scene.outcomes]
    return Row.of(one for one in outcomes if one.subject == "prx"), Row.of(one for one in outcomes if one.subject == "bare")


def failing_cells(run: Run) -> list[Group]:
    """List the cells in which something does not hold."""
    return sorted(group for group, scenes in groups(run.scenes).items() if faults(*rows(scenes)))


def failing(run: Run) -> list[str]:
    """List what does not hold, one line each."""
    titles = {case.name: case.title for case in CASES}
    lines = []
    for (case, seconds, mode, transport), scenes in sorted(groups(run.scenes).items()):
        cell = f"{titles[case]}, {_span(seconds)}, {mode}, {_transport(transport)}"
        lines += [f"{cell}: {fault}" for fault in faults(*rows(scenes))]
    return lines


def render(run: Run, before: str = "") -> str:
    """Write the page; rows of a page from `before` stay if their cell was not measured again."""
    earlier = EarlierPage(before)
    found = groups(run.scenes)
    client = f"{run.client}." if run.real else f"**No real cloudflared was given: both use {run.client}.**"
    parts = [HEAD.format(client=f"{client} {run.about}", watched=run.watched, tolerance=TOLERANCE, enough=ENOUGH, late=LATE)]
    if earlier.rows.keys() - found.keys():
        parts.append(EARLIER_ROWS)
    parts.append("\n".join(["## All durations together", "", *_together(found, earlier)]) + "\n")
    for case in CASES:
        mine = {key: scenes for key, scenes in found.items() if key[0] == case.name}
        old = {key: cells for key, cells in earlier.rows.items() if key[0] == case.name and key not in mine}
        if mine or old:
            parts.append("\n".join([f"## {case.title}", "", *_table(mine, old)]) + "\n")
    parts += list(_remarks(run, earlier))
    return "\n".join(parts)


def _table(mine: dict[Group, list[Played]], old: dict[Group, list[str]]) -> Iterator[str]:
    pairs = [f"{name}: prx, bare" for name in ("kept", "back", "lost", "during")]
    heads = ["outage", "tunnel", "over", *pairs, "restarts", "verdict", ""]
    yield f"| {' | '.join(heads)} |"
    yield "|---" * len(heads) + "|"
    for key in sorted([*mine, *old]):
        yield f"| {' | '.join(old[key] if key in old else _row(key, mine[key]))} |"


def _row(key: Group, scenes: list[Played]) -> list[str]:
    _, seconds, mode, transport = key
    prx, bare = rows(scenes)
    wrong = "; ".join(faults(prx, bare))
    return [
        _span(seconds),
        mode,
        _transport(transport),
        f"{prx.kept}/{prx.count}, {bare.kept}/{bare.count}",
        f"{_seconds(prx.back)}, {_seconds(bare.back)}",
        f"{prx.lost:g}, {bare.lost:g}",
        f"{prx.during:.0%}, {bare.during:.0%}" if seconds else "",
        f"{prx.restarts:g}",
        prx.verdicts,
        f"{'✗' if min(prx.count, bare.count) >= ENOUGH else '?'} {wrong}" if wrong else "",
    ]


def _together(found: dict[Group, list[Played]], earlier: EarlierPage) -> Iterator[str]:
    heads = ["outage", "tunnel", "over", "runs", "kept: prx, bare", "back: prx, bare", "lost: prx, bare", "restarts"]
    yield f"| {' | '.join(heads)} |"
    yield "|---" * len(heads) + "|"
    for case in CASES:
        for mode in case.modes:
            for transport in case.transports:
                mine = [
                    one for key, scenes in found.items() if (key[0], *key[2:]) == (case.name, mode, transport) for one in scenes
                ]
                before = earlier.together.get((case.name, mode, transport))
                if before and runs_of(before) > len([one for scene in mine for one in scene.outcomes]) / 2:
                    yield f"| {' | '.join(before)} |"
                elif mine:
                    prx, bare = rows(mine)
                    cells = (
                        case.title,
                        mode,
                        _transport(transport),
                        f"{prx.count}",
                        f"{prx.kept}, {bare.kept}",
                        f"{_seconds(prx.back)}, {_seconds(bare.back)}",
                        f"{prx.lost:g}, {bare.lost:g}",
                        f"{prx.restarts:g}",
                    )
                    yield f"| {' | '.join(cells)} |"


def _remarks(run: Run, earlier: EarlierPage) -> Iterator[str]:
    missing = list(_missing(run, earlier))
    if missing:
        yield "\n".join(["## Durations not measured", "", *(f"* {line}" for line in missing)]) + "\n"
    skipped = {(scene.plan.case, scene.skipped) for scene in run.scenes if scene.skipped}
    if skipped:
        yield "\n".join(["## Not measured", "", *(f"* {case}: {why}" for case, why in sorted(skipped))]) + "\n"
    lags = sorted(scene.lag for scene in run.scenes if scene.outcomes)
    if lags:
        middle = lags[len(lags) // 2]
        late = sum(lag > LATE for lag in lags)
        yield (
            f"The bench sent its requests at most {lags[-1]:.1f} s late, in the median scene {middle:.1f} s."
            f" {late} of {len(lags)} scenes are left out, because it was more than {LATE:g} s late.\n"
        )
    failed = [scene for scene in run.scenes if scene.failed]
    if failed:
        lines = (
            f"* {one.plan.case}, {_span(one.plan.seconds)}, {one.plan.mode}, {one.plan.transport}: {one.failed}"
            for one in failed
        )
        yield "\n".join(["## Runs without a result", "", *lines]) + "\n"


def _missing(run: Run, earlier: EarlierPage) -> Iterator[str]:
    """Name what a case has and neither the run nor the page before."""
    found = groups(run.scenes).keys() | earlier.rows.keys()
    for case in CASES:
        for mode in case.modes:
            for transport in case.transports:
                spans = [_span(one) for one in case.durations if (case.name, one, mode, transport) not in found]
                if spans:
                    yield f"{case.title}, {mode}, {_transport(transport)}: {', '.join(spans)}"


def _span(seconds: float) -> str:
    return f"{seconds:g} s" if seconds else "for good"


def _seconds(seconds: float) -> str:
    return "∞" if seconds == NEVER else f"{seconds:.1f}"


def _transport(name: str) -> str:
    return {"quic": "QUIC", "http2": "HTTP/2"}[name]
