"""What a page written before says of cells that have not been measured again: those rows stay, and are marked as earlier."""

from __future__ import annotations

import re
from collections.abc import Iterator

from bench.outages.cases import CASES

Group = tuple[str, float, str, str]  # case, seconds, mode, transport
Kind = tuple[str, str, str]  # case, mode, transport

EARLIER = "earlier"
_TRANSPORTS = {"QUIC": "quic", "HTTP/2": "http2"}
_SECONDS = re.compile(r"([\d.]+) s")


class EarlierPage:
    """The rows of a page, as they stand there, without the bars at both ends; an empty text has none."""

    def __init__(self, text: str = "") -> None:
        self.rows: dict[Group, list[str]] = {}
        self.together: dict[Kind, list[str]] = {}
        names = {case.title: case.name for case in CASES}
        for title, cells in _cells(text):
            if title in names and len(cells) == 10 and cells[2] in _TRANSPORTS:
                long = _SECONDS.fullmatch(cells[0])
                self.rows[names[title], float(long[1]) if long else 0.0, cells[1], _TRANSPORTS[cells[2]]] = _marked(cells)
            elif len(cells) == 8 and cells[0] in names and cells[2] in _TRANSPORTS:
                self.together[names[cells[0]], cells[1], _TRANSPORTS[cells[2]]] = [
                    *cells[:3],
                    f"{runs_of(cells)} {EARLIER}",
                    *cells[4:],
                ]


def runs_of(together: list[str]) -> int:
    """Return how many runs a row of all durations counts."""
    return int(together[3].partition(" ")[0])


def _cells(text: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each row of each table with the title above it."""
    title = ""
    for line in text.splitlines():
        if line.startswith("## "):
            title = line.removeprefix("## ")
        elif line.startswith("| "):
            yield title, [cell.strip() for cell in line.strip().strip("|").split("|")]


def _marked(cells: list[str]) -> list[str]:
    return cells if cells[-1].startswith(EARLIER) else [*cells[:-1], f"{EARLIER} {cells[-1]}".strip()]
