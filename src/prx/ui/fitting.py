"""Which lines of many tunnels a window has room for: all tunnels before any detail, and those in trouble first. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text


@dataclass(frozen=True, slots=True)
class Block:
    """A tunnel's lines: what is always shown, what is shown if there is room, and its rank: the lowest is shown first."""

    head: list[Text]
    details: list[Text]
    rank: int


def rows(lines: Sequence[Text], columns: int) -> int:
    """Return how many rows of a terminal these lines take."""
    return sum(max(1, -(-cell_len(line.plain) // columns)) for line in lines)


def fitted(blocks: Sequence[Block], room: int, columns: int) -> list[Text]:
    """Return the lines that fit into `room` rows, in the order of `blocks`; at the end "… and 38 more" if not all do."""
    by_rank = sorted(range(len(blocks)), key=lambda number: (blocks[number].rank, number))
    heads = [rows(block.head, columns) for block in blocks]
    left = room
    shown: set[int] = set()
    reserve = 1 if sum(heads) > room else 0
    for number in by_rank:
        if heads[number] + reserve > left:
            break
        shown.add(number)
        left -= heads[number]
    left -= reserve
    detailed: dict[int, int] = {}
    for number in by_rank:
        if number in shown and left > 0:
            detailed[number] = _that_fit(blocks[number].details, left, columns)
            left -= rows(blocks[number].details[: detailed[number]], columns)
    lines = [
        line
        for number, block in enumerate(blocks)
        if number in shown
        for line in [*block.head, *block.details[: detailed.get(number, 0)]]
    ]
    hidden = len(blocks) - len(shown)
    return [*lines, Text(f"  … and {hidden} more", style="dim")] if hidden else lines


def _that_fit(details: Sequence[Text], room: int, columns: int) -> int:
    return next((count for count in range(len(details), 0, -1) if rows(details[:count], columns) <= room), 0)
