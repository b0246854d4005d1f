"""What a subject said, over time, and how that is written short."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sample:
    """What was shown at a time (monotonic seconds)."""

    at: float
    verdict: str
    state: str = ""


def compress(samples: Iterable[Sample], onset: float) -> str:
    """Write verdicts with their whole seconds since `onset`: `healthy 0–2 edge_lost 3–70`.

    The verdict of a second is the one that its last sample shows.
    """
    seconds: dict[int, str] = {}
    for sample in samples:
        if sample.at >= onset:
            seconds[int(sample.at - onset)] = sample.verdict
    spans: list[tuple[str, int, int]] = []
    for second, verdict in sorted(seconds.items()):
        if spans and spans[-1][0] == verdict:
            spans[-1] = (verdict, spans[-1][1], second)
        else:
            spans.append((verdict, second, second))
    return " ".join(f"{verdict} {first}" if first == last else f"{verdict} {first}–{last}" for verdict, first, last in spans)


def shown_at(samples: Sequence[Sample], at: float) -> Sample | None:
    """Return the last sample up to a time; None if there was none yet."""
    return next((sample for sample in reversed(samples) if sample.at <= at), None)
