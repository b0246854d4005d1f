"""The connectors carry what they are known to carry: what is quick of the table, each day; all of it is `make conformance`."""

from __future__ import annotations

import re

import pytest
from tests.conformance.capabilities import CAPABILITIES, EVERY_DAY
from tests.conformance.outcome import NotAvailableError, Outcome, Verdict
from tests.conformance.page import DIFFERENCES, NOTES, PAGE, table
from tests.conformance.run import ask_all, surprises
from tests.conformance.scene import COLUMNS, MODES, Column

CELLS = [
    pytest.param(column, mode, id=f"{column.connector}-{column.protocol}-{mode}", marks=marks)
    for column in COLUMNS
    for mode in MODES
    for marks in [[pytest.mark.real] if column.connector == "cloudflared" else []]
]


@pytest.mark.parametrize(("column", "mode"), CELLS)
async def test_column(column: Column, mode: str) -> None:
    """A connector carries everything over a protocol that the table says it does, and nothing beyond it unnoticed."""
    try:
        outcomes = await ask_all(column, mode, EVERY_DAY, tell=lambda _: None)
    except NotAvailableError as error:
        pytest.skip(str(error))
    assert surprises(column, EVERY_DAY, outcomes, mode) == []


def test_page_is_current() -> None:
    """The page of the documentation has the rows and columns that there are, and no cell that is not as it is known to be."""
    measured, heading, written = PAGE.read_text(encoding="utf-8").partition("\n## What stands behind it\n")
    assert f"{heading}{written}" == f"{NOTES}\n{DIFFERENCES.read_text(encoding='utf-8')}"
    lines = [re.split(r"\s*\|\s*", line)[1:-1] for line in measured.splitlines() if line.startswith("|")]
    (_, *heads), _, *rows = lines
    assert heads == [str(column) for column in COLUMNS]
    assert rows == [[row.title, *(row.expected(column).value for column in COLUMNS)] for row in CAPABILITIES]


def test_nothing_is_called_ok_that_was_not_measured() -> None:
    """A column that cannot run shows that, and why, in every cell."""
    missing = Outcome(Verdict.NOT_AVAILABLE, "no such program")
    text = table({COLUMNS[0]: [missing] * len(CAPABILITIES)})
    assert "| ok" not in text
    assert text.count("| not available") == len(CAPABILITIES)
    assert "not available: no such program (cloudflared http2)" in text
