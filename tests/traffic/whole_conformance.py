"""The whole conformance table through the relay, compared byte by byte; ends with 1 if anything differs.

python -m tests.traffic.whole_conformance
"""

from __future__ import annotations

import asyncio
import sys

from tests.conformance.capabilities import CAPABILITIES
from tests.conformance.outcome import NotAvailableError
from tests.conformance.run import ask_all, surprises
from tests.conformance.scene import COLUMNS, MODES, Column
from tests.traffic.exact import exact_ways


async def ask(column: Column, mode: str) -> tuple[str, list[str]]:
    """Return a line about one column and mode, and what is not as without the relay."""
    async with exact_ways() as ways:
        try:
            outcomes = await ask_all(column, mode, CAPABILITIES, tell=lambda _: None, way=ways.lead)
        except NotAvailableError as error:
            return f"{column}, {mode}: not available: {error}", []
        found = surprises(column, CAPABILITIES, outcomes, mode) + ways.faults()
        connections = sum(len(relay.flows) // 2 for relay in ways.relays)
        rows = f"{len(outcomes)} rows, {connections} connections, {ways.carried / 1e6:,.0f} MB"
        return f"{column}, {mode}: {rows}, {len(found)} differences", found


async def main() -> int:
    """Ask all columns for everything."""
    differs = False
    for column in COLUMNS:
        for mode in MODES:
            said, found = await ask(column, mode)
            sys.stdout.write("\n  ".join([said, *found]) + "\n")
            sys.stdout.flush()
            differs |= bool(found)
    return int(differs)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
