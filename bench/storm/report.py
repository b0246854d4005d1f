"""What storms have shown: the matrix, the figures, the thresholds, and the page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from statistics import median
from typing import Final

from bench.storm import by_cause
from bench.storm.causes import BY_NAME, CAUSES
from bench.storm.records import Episode, Storm

RIGHT_WITHIN_10: Final = ((5.0, 0.97), (30.0, 0.90))  # by interval: at least so many of the episodes
LOST_AFTER: Final = 0.05  # of all requests lost in episodes, at most
LOST_CALM: Final = 0.001  # of all requests, at most
TOLD_WITHIN: Final = 20.0  # seconds from the onset to the first right verdict, if there was one
BACK_WITHIN: Final = 90.0  # seconds from a fault's end until visitors are served steadily
MEMORY_MB: Final = 15.0  # prx may grow by this much, and by so many open files
FILES: Final = 5
FLAT_MB: Final = 4.0  # the same from when everything has been used once to the end of a storm
FLAT_FILES: Final = 2
_MEASURED: Final = 12  # episodes that such a comparison takes
_SPAN: Final = 3  # episodes at the begin and at the end that are compared, at least


HEAD: Final = """# Storms

Random faults by seed, one after the other, with a whole prx in the lab. Connector: {client}. Visitors come at 20 a second;
the verdict is read from the control socket every 0.25 s. `make storm` plays them.

A verdict is *right* if it names the cause; *tolerated* if it is a waiting word or a second truth; *stale* if it is `healthy`
while visitors are not served; else it is a *false* accusation. [The table](../../bench/storm/causes.py) says which is which.
A restart is *needless* unless only a restart helps, or the connector of a named tunnel is replaced that waits for its own next
try although the fault is over: that costs no URL.
"""


def episodes(storms: Iterable[Storm]) -> list[Episode]:
    """List the episodes of all storms."""
    return [episode for storm in storms for episode in storm.episodes]


def share_right(found: list[Episode]) -> float:
    """Return the part of the episodes with a right verdict after 10 s."""
    return sum(one.grade == "right" for one in found) / len(found) if found else 1.0


def lost(found: Iterable[Episode]) -> tuple[int, int]:
    """Count the requests lost while faults acted, and after them."""
    listed = list(found)
    return sum(one.lost_during for one in listed), sum(sum(one.lost_after.values()) for one in listed)


def needless(found: Iterable[Episode]) -> list[Episode]:
    """List the episodes with more restarts than can help."""
    return [one for one in found if one.restarts > one.needed]


def missed(found: Iterable[Episode]) -> list[Episode]:
    """List the episodes that needed a restart and had none: a dead or frozen connector, or one that never came back alone."""
    return [one for one in found if one.restarts < one.needed and (BY_NAME[one.cause].moment or one.by_hand)]


def growth(storm: Storm) -> tuple[float, float]:
    """Return by how many MB and open files prx has grown since it was warm; 0 in a storm that is too short to tell.

    It is warm after a quarter of the storm, and after the first episode of each cause: the first flood fills the buffers.
    """
    quarter = len(storm.sizes) // 4
    causes = [one.cause for one in storm.episodes]
    warm = max(quarter, *(causes.index(cause) for cause in causes), 0)
    span = min(quarter, (len(storm.sizes) - warm) // 2)
    if len(storm.sizes) < _MEASURED or span < _SPAN:
        return 0.0, 0.0
    early, late = storm.sizes[warm : warm + span], storm.sizes[-span:]
    megabytes, files = (median(size[part] for size in late) - median(size[part] for size in early) for part in (1, 2))
    return round(megabytes, 1), files


def failing(storms: list[Storm]) -> list[str]:
    """List what does not hold, one line each."""
    found = episodes(storms)
    lines = [f"storm {storm.plan.seed}: no result: {storm.failed}" for storm in storms if storm.failed]
    for interval, least in RIGHT_WITHIN_10:
        mine = episodes(storm for storm in storms if storm.plan.interval == interval)
        if share_right(mine) < least:
            lines.append(
                f"right after 10 s at an interval of {interval:g} s: {share_right(mine):.0%}, expected {least:.0%} or more"
            )
    lines += [f"false accusation: {one.cause}: {', '.join(one.accusations)}" for one in found if one.accusations]
    lines += [
        f"false alarm in calm time, storm {storm.plan.seed}: {', '.join(sorted(set(storm.calm_alarms)))}"
        for storm in storms
        if storm.calm_alarms
    ]
    lines += [f"needless restart: {one.cause}: {one.restarts}, needed {one.needed}" for one in needless(found)]
    lines += [f"missing restart: {one.cause}: {one.restarts}, needed {one.needed}" for one in missed(found)]
    lines += list(_late(found))
    during, after = lost(found)
    if after > LOST_AFTER * (during + after):
        lines.append(f"lost after the fault's end: {after} of {during + after}, expected {LOST_AFTER:.0%} or less")
    return [*lines, *(line for storm in storms for line in _wrong_with(storm))]


def _late(found: Iterable[Episode]) -> Iterator[str]:
    for one in found:
        if one.first_right is not None and one.first_right > TOLD_WITHIN:
            yield f"told late: {one.cause}: after {one.first_right:g} s, expected {TOLD_WITHIN:g} s or less"
        if one.by_hand:
            yield f"helped by hand: {one.cause}: visitors were not served again by itself"
        elif one.back is not None and one.back > BACK_WITHIN:
            yield f"back late: {one.cause}: after {one.back:g} s, expected {BACK_WITHIN:g} s or less"


def _wrong_with(storm: Storm) -> Iterator[str]:
    if storm.lost_calm > LOST_CALM * storm.sent:
        yield f"lost in calm time, storm {storm.plan.seed}: {storm.lost_calm} of {storm.sent}, expected {LOST_CALM:.1%} or less"
    megabytes, files = growth(storm)
    grown = storm.rss_mb[1] - storm.rss_mb[0] > MEMORY_MB or storm.fds[1] - storm.fds[0] > FILES
    if grown or megabytes > FLAT_MB or files > FLAT_FILES:
        yield f"prx grows, storm {storm.plan.seed}: {_size(storm)}"


def render(storms: list[Storm], client: str) -> str:
    """Write the report."""
    parts = [HEAD.format(client=client), "\n".join(_totals(storms)) + "\n"]
    parts.append("\n".join(_figures(storms)) + "\n")
    parts.append("\n".join(["## By cause", "", *by_cause.table(episodes(storms))]) + "\n")
    parts.append("\n".join(["## True cause × verdict shown after 10 s", "", *_matrix(episodes(storms))]) + "\n")
    wrong = failing(storms)
    parts.append("\n".join(["## What does not hold", "", *([f"* {line}" for line in wrong] or ["nothing"])]) + "\n")
    skipped = {(name, why) for storm in storms for name, why in storm.skipped.items()}
    if skipped:
        parts.append("\n".join(["## Not played", "", *(f"* {name}: {why}" for name, why in sorted(skipped))]) + "\n")
    parts.append("\n".join(["## Episodes", "", *_episodes(storms)]) + "\n")
    return "\n".join(parts)


def below(page: str, before: str) -> str:
    """Put an earlier page below a new one: what it says was measured with the prx of its date, and stays."""
    title, _, rest = before.partition("\n")
    lines = (f"#{line}" if line.startswith("##") else line for line in rest.strip().splitlines())
    return f"{page}\n## Earlier: {title.removeprefix('# ').lower()}\n\n" + "\n".join(lines) + "\n"


def _totals(storms: list[Storm]) -> Iterator[str]:
    found = episodes(storms)
    for interval in sorted({storm.plan.interval for storm in storms}):
        mine = episodes(storm for storm in storms if storm.plan.interval == interval)
        yield f"* Interval {interval:g} s: {len(mine)} episodes, right after 10 s in {share_right(mine):.1%}"
    during, after = lost(found)
    accused = sum(bool(one.accusations) for one in found)
    yield f"* {accused} episodes with a false accusation at any time, {len(needless(found))} with a needless restart"
    yield f"* {after} of {during + after} lost requests ({after / max(1, during + after):.1%}) were sent after the fault's end"


def _figures(storms: list[Storm]) -> Iterator[str]:
    head = (
        "seed",
        "interval, over",
        "seconds / episodes",
        "right after 10 s",
        "requests / lost in calm",
        "lost during / after, by state",
        "restarts done / that help",
        "helped by hand",
        "alarms in calm, of samples",
        "prx MB, files: begin → end (since it was warm)",
    )
    yield f"| {' | '.join(head)} |"
    yield "|---" * len(head) + "|"
    yield from (_figures_of(storm) for storm in storms if not storm.failed)


def _figures_of(storm: Storm) -> str:
    during, after = lost(storm.episodes)
    states = Counter[str]()
    for one in storm.episodes:
        states.update(one.lost_after)
    by_state = ", ".join(f"{state} {count}" for state, count in states.most_common()) or "none"
    plan = storm.plan
    cells = (
        f"{plan.seed}",
        f"{plan.interval:g} s, {plan.transport}, {plan.mode}",
        f"{storm.seconds:.0f} / {len(storm.episodes)}",
        f"{share_right(list(storm.episodes)):.0%}",
        f"{storm.sent} / {storm.lost_calm}",
        f"{during} / {after} ({by_state})",
        f"{sum(one.restarts for one in storm.episodes)} / {sum(one.needed for one in storm.episodes)}",
        f"{sum(one.by_hand for one in storm.episodes)}",
        f"{len(storm.calm_alarms)} of {storm.calm_samples}",
        _size(storm),
    )
    return f"| {' | '.join(cells)} |"


def _size(storm: Storm) -> str:
    megabytes, files = growth(storm)
    since = f" ({megabytes:+g}, {files:+g})" if len(storm.sizes) >= _MEASURED else ""
    return f"{storm.rss_mb[0]}, {storm.fds[0]} → {storm.rss_mb[1]}, {storm.fds[1]}{since}"


def _matrix(found: list[Episode]) -> Iterator[str]:
    shown = sorted({one.shown for one in found})
    yield f"| true cause | {' | '.join(shown)} | first right after s |"
    yield "|---" * (len(shown) + 2) + "|"
    for cause in CAUSES:
        mine = [one for one in found if one.cause == cause.name]
        if not mine:
            continue
        cells = [_cell([one for one in mine if one.shown == verdict]) for verdict in shown]
        yield f"| {cause.name} | {' | '.join(cells)} | {_first(mine)} |"


def _cell(found: list[Episode]) -> str:
    """Write how many episodes, those that were right in bold."""
    right = sum(one.grade == "right" for one in found)
    others = Counter(one.grade for one in found if one.grade != "right")
    words = [f"**{right}**"] if right else []
    return " ".join([*words, *(f"{count} {grade}" for grade, count in others.items())])


def _first(found: list[Episode]) -> str:
    times = [one.first_right for one in found if one.first_right is not None]
    never = len(found) - len(times)
    words = [f"{min(times):g} – {median(times):g} – {max(times):g}"] if times else []
    return ", ".join([*words, *([f"never {never}"] if never else [])])


def _episodes(storms: list[Storm]) -> Iterator[str]:
    yield "| storm | cause | over | lasted | back | lost during / after | restarts | verdicts |"
    yield "|---|---|---|---|---|---|---|---|"
    for storm in storms:
        for one in storm.episodes:
            back = f"{one.back:g}{', by hand' if one.by_hand else ''}"
            lost_words = f"{one.lost_during} / {sum(one.lost_after.values())}"
            yield (
                f"| {storm.plan.seed} | {one.cause} | {one.transport} | {one.seconds:g} | {back} "
                f"| {lost_words} | {one.restarts} of {one.needed} | {one.grade}: {one.verdicts} |"
            )
