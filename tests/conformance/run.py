"""Measuring: every capability in every column, quick and named; a cell is as good as the worse of the two."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from tests.conformance.capabilities import CAPABILITIES, Capability
from tests.conformance.outcome import NotAvailableError, Outcome, Verdict, worst
from tests.conformance.scene import COLUMNS, MODES, Column, Way, directly, scene

Results: TypeAlias = Mapping[Column, Sequence[Outcome]]


async def ask_all(
    column: Column, mode: str, rows: Sequence[Capability], tell: Callable[[str], None], way: Way = directly
) -> list[Outcome]:
    """Ask one connector, in one scene, for every row, in order."""
    outcomes = []
    async with scene(column, mode, way) as here:
        for row in rows:
            outcome = await row.ask(here)
            tell(f"{column}, {mode}: {row.title}: {outcome.verdict} {outcome.seen}".rstrip())
            outcomes.append(outcome)
    return outcomes


def surprises(column: Column, rows: Sequence[Capability], outcomes: Sequence[Outcome], *modes: str) -> list[str]:
    """Say, a line each, what is not as it is known to be in these modes; all of them if none is named."""
    return [
        f"{column}: {row.title}: {outcome.verdict} ({outcome.seen}), expected {expected}"
        for row, outcome in zip(rows, outcomes, strict=True)
        if outcome.verdict not in {expected := row.expected(column, *modes), Verdict.NOT_AVAILABLE}
    ]


async def measure(tell: Callable[[str], None]) -> Results:
    """Measure all columns."""
    return {column: await _measure_column(column, tell) for column in COLUMNS}


async def _measure_column(column: Column, tell: Callable[[str], None]) -> list[Outcome]:
    modes = []
    for mode in MODES:
        try:
            modes.append(await ask_all(column, mode, CAPABILITIES, tell))
        except NotAvailableError as error:
            return [Outcome(Verdict.NOT_AVAILABLE, str(error))] * len(CAPABILITIES)
        except AssertionError as error:
            return [Outcome(Verdict.DIFFERS, str(error))] * len(CAPABILITIES)
    return [_worse(*cells) for cells in zip(*modes, strict=True)]


def _worse(*cells: Outcome) -> Outcome:
    verdict = worst(cell.verdict for cell in cells)
    return next(cell for cell in cells if cell.verdict is verdict)
