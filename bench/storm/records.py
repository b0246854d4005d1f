"""What a storm leaves behind, as plain values and as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class StormPlan:
    """One storm: what its chance follows, how many episodes, and prx's settings."""

    seed: int
    episodes: int
    interval: float
    transport: str
    mode: str = "quick"


@dataclass(frozen=True, slots=True)
class Episode:
    """One fault. Times in seconds since its onset.

    shown: the verdict after 10 s; grade: `right`, `stale`, `tolerated` or `false`. first_right: when the first right one came.
    accusations: false verdicts shown meanwhile. lost_after: requests lost after its end, by prx's state. back: seconds from its
    end until visitors were served steadily. by_hand: prx had to be restarted by the bench. sent: requests sent in it.
    """

    cause: str
    transport: str
    seconds: float
    shown: str
    grade: str
    first_right: float | None
    accusations: tuple[str, ...]
    restarts: int
    needed: int
    lost_during: int
    lost_after: dict[str, int]
    back: float | None
    by_hand: bool
    verdicts: str
    sent: int = 0


@dataclass(frozen=True)
class Storm:
    """One storm, played.

    calm_…: samples in calm time, and those of them that were false alarms. rss_mb, fds: of prx, at the begin and the end.
    sizes: the same after each episode, as (seconds since the begin, MB, open files).
    """

    plan: StormPlan
    episodes: tuple[Episode, ...] = ()
    skipped: dict[str, str] = field(default_factory=dict)
    sent: int = 0
    lost_calm: int = 0
    calm_samples: int = 0
    calm_alarms: tuple[str, ...] = ()
    rss_mb: tuple[float, float] = (0.0, 0.0)
    fds: tuple[int, int] = (0, 0)
    seconds: float = 0.0
    failed: str = ""
    sizes: tuple[tuple[float, float, int], ...] = ()

    @staticmethod
    def from_json(document: dict[str, Any]) -> Storm:
        """Read what `asdict` has written."""
        rest = dict(document)
        plan = StormPlan(**rest.pop("plan"))
        episodes = tuple(Episode(**{**one, "accusations": tuple(one["accusations"])}) for one in rest.pop("episodes"))
        for name in ("calm_alarms", "rss_mb", "fds"):
            rest[name] = tuple(rest[name])
        rest["sizes"] = tuple(tuple(size) for size in rest.get("sizes", ()))
        return Storm(plan, episodes, **rest)


def save(storms: list[Storm], client: str, path: Path) -> None:
    """Write storms as JSON."""
    document = {"client": client, "storms": [asdict(storm) for storm in storms]}
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def load(path: Path) -> tuple[list[Storm], str]:
    """Read what `save` has written."""
    document = json.loads(path.read_text())
    return [Storm.from_json(one) for one in document["storms"]], document["client"]
