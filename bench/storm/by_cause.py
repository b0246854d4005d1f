"""What storms cost by cause and phase, and how soon prx named the cause and was back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

from bench.storm.causes import CAUSES
from bench.storm.records import Episode

HEAD = (
    "true cause",
    "episodes",
    "requests sent / answered",
    "lost during / after the fault",
    "s to tell",
    "s to recover",
    "restarts done / needed",
)


def table(found: Sequence[Episode]) -> Iterator[str]:
    """Write the table: seconds as median – longest."""
    yield f"| {' | '.join(HEAD)} |"
    yield "|---" * len(HEAD) + "|"
    for cause in CAUSES:
        mine = [one for one in found if one.cause == cause.name]
        if mine:
            yield _row(cause.name, mine)
    yield _row("all", found)


def _row(name: str, found: Sequence[Episode]) -> str:
    during, after = sum(one.lost_during for one in found), sum(lost_after(one) for one in found)
    sent = sum(one.sent for one in found)
    cells = (
        name,
        f"{len(found)}",
        f"{sent} / {sent - during - after}" if sent else "not counted",
        f"{during} / {after}",
        _span([one.first_right for one in found if one.first_right is not None]),
        _span([one.back for one in found if one.back is not None]),
        f"{sum(one.restarts for one in found)} / {sum(one.needed for one in found)}",
    )
    return f"| {' | '.join(cells)} |"


def lost_after(episode: Episode) -> int:
    """Count the requests that were lost after the fault's end."""
    return sum(episode.lost_after.values())


def _span(seconds: Sequence[float]) -> str:
    return f"{median(seconds):g} – {max(seconds):g}" if seconds else "–"
