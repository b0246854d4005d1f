"""What was measured, as plain values and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

NEVER: Final = float("inf")


@dataclass(frozen=True, slots=True)
class Plan:
    """One scene to be played; `repeat` tells the runs of one cell apart; so many `copies` of each subject meet the outage."""

    case: str
    seconds: float
    transport: str
    mode: str
    repeat: int
    copies: int = 1


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one subject made of one outage.

    kept: the URL serves at the end and is the one from before. back: seconds from the outage's end to the first visitor
    served; None: none was, as long as was watched. lost, sent: requests after the outage's end, as if 20 a second had been
    sent while it lasted; lost_during, sent_during: before it. verdicts: by seconds since it began.
    """

    subject: str
    kept: bool
    back: float | None
    lost: int
    sent: int
    lost_during: int
    sent_during: int
    restarts: int
    verdicts: str


@dataclass(frozen=True, slots=True)
class Played:
    """A scene that was played, or the reason why it was not (`skipped`), or what went wrong with the bench (`failed`).

    lag: seconds that the bench was late with a request, at most; what is measured on a machine that is too busy is its load.
    """

    plan: Plan
    outcomes: tuple[Outcome, ...] = ()
    skipped: str = ""
    failed: str = ""
    lag: float = 0.0

    @staticmethod
    def from_json(document: dict[str, Any]) -> Played:
        """Read what `asdict` has written."""
        outcomes = tuple(Outcome(**one) for one in document["outcomes"])
        return Played(Plan(**document["plan"]), outcomes, document["skipped"], document["failed"], document["lag"])


@dataclass(frozen=True)
class Run:
    """A whole run: what was run where, and all scenes."""

    client: str
    real: bool
    watched: float
    about: str
    scenes: tuple[Played, ...]

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n")

    @staticmethod
    def load(path: Path) -> Run:
        """Read what `save` has written."""
        document = json.loads(path.read_text())
        scenes = tuple(Played.from_json(one) for one in document.pop("scenes"))
        return Run(**document, scenes=scenes)


@dataclass(frozen=True, slots=True)
class Row:
    """The outcomes of one subject for one case, duration, transport and mode, put together."""

    count: int
    kept: int
    back: float  # median; NEVER counts
    lost: float
    during: float  # part of the requests during the outage that were lost, 0 to 1
    restarts: float
    verdicts: str  # of the run in the middle

    @staticmethod
    def of(outcomes: Iterable[Outcome]) -> Row:
        """Put outcomes together: medians, and the verdicts of the run in the middle."""
        ordered = sorted(outcomes, key=waited)
        return Row(
            len(ordered),
            sum(one.kept for one in ordered),
            median(waited(one) for one in ordered),
            median(one.lost for one in ordered),
            median(one.lost_during / max(1, one.sent_during) for one in ordered),
            median(one.restarts for one in ordered),
            ordered[(len(ordered) - 1) // 2].verdicts,
        )


def waited(outcome: Outcome) -> float:
    """Return the seconds until the first visitor served; NEVER if there was none."""
    return NEVER if outcome.back is None else outcome.back
