"""What was measured, what it should be, and both as a page."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.peers.scenes import Figures, medians

PAGE: Final = Path(__file__).parents[2] / "docs" / "reference" / "benchmarks.md"

Rows = dict[str, list[Figures]]  # of each subject, one for each round


@dataclass(frozen=True)
class Target:
    """What prx's figure should be at most.

    over: the subject whose median it is compared with, as a ratio, or with `plus` as a difference; empty: it stands by itself.
    """

    scene: str
    figure: str
    most: float
    over: str = ""
    plus: bool = False
    rise: str = ""  # the scene with one tunnel: what counts is what more tunnels add

    def reached(self, scenes: dict[str, Rows]) -> tuple[str, str, bool] | None:
        """Return prx's figure as a text, the target as a text, and whether it is met; None if it was not measured."""
        ours, theirs = self._of(scenes, "prx"), self._of(scenes, self.over) if self.over else 0.0
        if ours is None or theirs is None:
            return None
        if not self.over:
            return f"{ours:.3g}", f"≤ {self.most:g}", ours <= self.most
        if self.plus:
            return f"+ {ours - theirs:.0f}", f"≤ + {self.most:g} over {self.over}", ours - theirs <= self.most
        ratio = ours / max(theirs, 1e-9)
        return f"{ratio:.2f} ×", f"≤ {self.most:g} × {self.over}", ratio <= self.most

    def _of(self, scenes: dict[str, Rows], subject: str) -> float | None:
        found = _median(scenes, self.scene, subject, self.figure)
        if found is None or not self.rise:
            return found
        one = _median(scenes, self.rise, subject, self.figure)
        return None if one is None else found - one


def _median(scenes: dict[str, Rows], scene: str, subject: str, figure: str) -> float | None:
    rows = scenes.get(scene, {}).get(subject, [])
    found = medians(rows).get(figure)
    return None if found is None else found[0]


TARGETS: Final = (
    Target("one tunnel", "memory, MiB", 30),
    Target("one tunnel", "memory, MiB", 1.0, "supervisord"),
    Target("one tunnel", "idle CPU, ms a minute", 2.0, "supervisord"),
    Target("lines", "lines: seconds", 1.3, "supervisord"),
    Target("lines", "lines: said to be skipped", 0),
    Target("lines", "lines: leaks", 0),
    Target("start", "command to verified URL, ms", 400),
    Target("start", "child's start to verified, ms", 100, "cloudflared alone", plus=True),
    Target("1000 tunnels", "started, s", 0.3, "supervisord"),
    Target("1000 tunnels", "memory, MiB", 1.5, "supervisord", rise="1 tunnels"),
    Target("1000 tunnels", "idle CPU, % of a core", 3),
    Target("1000 tunnels", "stop after the last child, s", 1),
    Target("300 tunnels", "all die: worst status, ms", 100),
)


def save(file: Path, scenes: dict[str, Rows], about: dict[str, str]) -> None:
    """Keep all figures, for another page."""
    file.write_text(json.dumps({"about": about, "scenes": scenes}, indent=1))


def page(scenes: dict[str, Rows], about: dict[str, str], refused: list[str], notes: str) -> str:
    """Return the page of one run."""
    parts = [
        "# Beside other supervisors",
        "",
        "`make peers` measures this, and writes this page: prx beside programs that keep others running, in one run, the",
        "subjects in turn, medians and (least–most) of each. The machine is shared: only ratios within this run mean anything.",
        "",
        *(f"- {name}: {value}" for name, value in about.items()),
        *(f"- not measured: {reason}" for reason in refused),
        "",
        "## Targets",
        "",
        "| scene | figure | prx | target | |",
        "|---|---|--:|--:|---|",
    ]
    for target in TARGETS:
        found = target.reached(scenes)
        if found is not None:
            ours, wanted, met = found
            what = f"{target.figure}, over one" if target.rise else target.figure
            parts.append(f"| {target.scene} | {what} | {ours} | {wanted} | {'met' if met else '**missed**'} |")
    for scene, rows in scenes.items():
        parts += ["", f"## {scene[0].upper()}{scene[1:]}", "", *_table(rows)]
    return "\n".join(parts) + "\n" + (f"\n{notes.strip()}\n" if notes.strip() else "")


def _table(rows: Rows) -> list[str]:
    found = {subject: medians(figures) for subject, figures in rows.items()}
    names = list(dict.fromkeys(name for figures in found.values() for name in figures))
    out = [f"| | {' | '.join(names)} |", f"|---|{'--:|' * len(names)}"]
    for subject, figures in found.items():
        out.append(f"| {subject} | {' | '.join(_cell(figures.get(name)) for name in names)} |")
    return out


def _cell(found: tuple[float, float, float] | None) -> str:
    if found is None:
        return "–"
    median, least, most = found
    return f"{median:.3g} ({least:.3g}–{most:.3g})" if least != most else f"{median:.3g}"
