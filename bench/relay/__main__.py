"""What inspection costs, and what its relay does under load: `python -m bench.relay [--write] [SECONDS]`, `make relay`.

Ends with 1 if fewer than 10,000 requests a second pass, more than 150 µs are added at the median, or a scene is not as it
should be.
`--write` writes `docs/reference/relay.md`.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from bench.relay.scenes import SCENES, raise_limits
from bench.relay.speed import Row, speeds, table

LEAST = 10_000  # requests a second
ROOM = 1.5  # times as many have to pass without the relay, for a bound to be the relay's
SATURATED = 0.7  # of a core: the relay, and not other programs, was the bound
MOST_ADDED = 150  # µs at the median of one visitor
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "relay.md"
HEAD = """# What inspection costs

Measured by `make relay`, which writes this page: the relay of `prx start --inspect` on loopback, with the service, the visitor
and the relay each in a process of its own. Only ratios and differences carry over to another machine.
"""


async def main(seconds: float, *, write: bool) -> int:
    """Measure everything; return 1 if something is not as promised."""
    raise_limits()
    load = os.getloadavg()[0]
    rows, kept = await speeds(seconds)
    print(table(rows), kept, sep="\n", flush=True)
    missed = verdicts(rows)
    print(starved(rows))
    lines = []
    for name, scene in SCENES.items():
        try:
            said = await scene()
        except AssertionError as error:
            said = f"not as promised: {error}"
            missed.append(f"{name}: {error}")
        lines.append(f"| {name} | {said} |")
        print(lines[-1], flush=True)
    print(*(f"missed: {line}" for line in missed), sep="\n")
    if write:
        PAGE.write_text(page(rows, lines, load), encoding="utf-8")
    return 1 if missed else 0


def verdicts(rows: list[Row]) -> list[str]:
    """Return which bounds are missed."""
    most = max(row.through[0] for row in rows)
    found = [] if most >= LEAST or starved(rows) else [f"{most:,.0f} requests a second pass, expected {LEAST:,}"]
    if rows[0].added > MOST_ADDED:
        found.append(f"{rows[0].added:.0f} µs are added at the median, expected at most {MOST_ADDED}")
    return found


def starved(rows: list[Row]) -> str:
    """Return why requests a second could not be measured: other programs had the cores; empty if they could."""
    bare, busiest, cheapest = max(row.bare[0] for row in rows), max(row.busy for row in rows), min(row.cpu for row in rows)
    if (bare > ROOM * LEAST and busiest > SATURATED) or 1e6 / cheapest < LEAST:
        return ""
    had = f"Other programs had the cores: {bare:,.0f} requests a second passed without the relay; it had {busiest:.0%} of one"
    return f"{had}. By the CPU time of a request, a core carries {1e6 / cheapest:,.0f} a second."


def page(rows: list[Row], lines: list[str], load: float) -> str:
    """Return the page of the documentation."""
    cores = len(os.sched_getaffinity(0))
    return (
        f"{HEAD}\n{table(rows)}\n\n"
        f"{cores} cores, which {load:.1f} other programs wanted on average when it began; the best of three rounds. "
        f"{starved(rows)}\n\n"
        "## Under load\n\n| | measured |\n|---|---|\n" + "\n".join(lines) + "\n"
    )


if __name__ == "__main__":
    words = [word for word in sys.argv[1:] if word != "--write"]
    sys.exit(asyncio.run(main(float(words[0]) if words else 2.0, write="--write" in sys.argv)))
