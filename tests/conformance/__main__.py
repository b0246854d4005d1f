"""`python -m tests.conformance`: ask all four columns for everything, print the table, write the page of the documentation."""

from __future__ import annotations

import asyncio
import sys

from tests.conformance.capabilities import CAPABILITIES
from tests.conformance.outcome import Verdict
from tests.conformance.page import PAGE, render, table
from tests.conformance.run import measure, surprises


def main() -> int:
    """Return 0 if everything that was measured is as it is known to be; the page is written when no column is missing."""
    results = asyncio.run(measure(tell=_tell))
    sys.stdout.write(f"{table(results)}\n")
    missing = [column for column, cells in results.items() if cells[0].verdict is Verdict.NOT_AVAILABLE]
    if missing:
        _tell(f"not measured: {', '.join(map(str, missing))}; so {PAGE.name} stays as it is")
    else:
        PAGE.write_text(render(results), encoding="utf-8")
    found = [line for column, outcomes in results.items() for line in surprises(column, CAPABILITIES, outcomes)]
    for line in found:
        _tell(f"unexpected: {line}")
    return 1 if found else 0


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
