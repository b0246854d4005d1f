"""The table, for a terminal and for the documentation."""

from __future__ import annotations

from pathlib import Path

from tests.conformance.capabilities import CAPABILITIES
from tests.conformance.outcome import Outcome, Verdict
from tests.conformance.run import Results

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "conformance.md"

HEAD = """# What a tunnel carries

Measured through the lab by `make conformance`, which asks the real cloudflared and the builtin connector, each over HTTP/2 and
over QUIC, with a quick tunnel and with a named one, and writes this page. A cell is as good as the worse of the two tunnels.

* **ok**: bodies byte for byte, heads as described
* **not carried**: it does not arrive, and nothing else is disturbed
* **differs**: it arrives otherwise than described; what was seen stands below the table
* **not available**: the column could not be measured; the reason stands below the table
"""


def table(results: Results) -> str:
    """Give the table, a row for each capability; it is Markdown and can be read as it is."""
    width = max(len(row.title) for row in CAPABILITIES)
    heads = [str(column) for column in results]
    lines = [_line("capability".ljust(width), heads), _line("-" * width, ["-" * len(head) for head in heads])]
    for number, row in enumerate(CAPABILITIES):
        cells = [
            outcomes[number].verdict.value.ljust(len(head)) for head, outcomes in zip(heads, results.values(), strict=True)
        ]
        lines.append(_line(row.title.ljust(width), cells))
    return "\n".join(lines + _seen(results))


def render(results: Results) -> str:
    """Give the whole page."""
    return f"{HEAD}\n{table(results)}\n"


def _line(first: str, cells: list[str]) -> str:
    return f"| {first} | {' | '.join(cells)} |"


def _seen(results: Results) -> list[str]:
    """Say what was seen where it was not what is described, each thing once."""
    told: dict[str, dict[str, None]] = {}  # a dict keeps order, and each column once
    for column, outcomes in results.items():
        for row, outcome in zip(CAPABILITIES, outcomes, strict=True):
            if line := _explain(row.title, outcome):
                told.setdefault(line, {})[str(column)] = None
    return ["", *(f"* {line} ({', '.join(columns)})" for line, columns in told.items())] if told else []


def _explain(title: str, outcome: Outcome) -> str:
    if outcome.verdict is Verdict.NOT_AVAILABLE:
        return f"not available: {outcome.seen}"
    return f"{title}: {outcome.seen}" if outcome.seen else ""
