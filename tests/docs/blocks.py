"""The blocks of code on the pages, each with the mark above it that says how it is held.

    <!-- run by tests/a/test_b.py::test_c -->   that test runs it
    <!-- not run: REASON -->                    it cannot be run, and why
    <!-- file: NAME -->                         the commands of the page find it under this name

Without a mark `sh` and `console` are run as they stand, page by page, and `toml` is loaded as a configuration.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
HELD = ("sh", "console", "python", "toml")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_MARK = re.compile(r"<!-- (not run|run by|file):? (.+) -->")


@dataclass(frozen=True, slots=True)
class Block:
    """One block: its page, the number of its first line, the language, the text, and its mark (kind and words)."""

    page: Path
    line: int
    language: str
    text: str
    kind: str
    words: str

    @property
    def place(self) -> str:
        """Where it stands."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    """Return every block of a page that is to be held."""
    found: list[Block] = []
    lines = page.read_text().split("\n")
    number = 0
    while number < len(lines):
        fence = re.match(r"( *)```(\w*)$", lines[number])
        if fence is None:
            number += 1
            continue
        end = next(at for at in range(number + 1, len(lines)) if lines[at].strip() == "```")
        mark = _MARK.fullmatch(lines[number - 1].strip()) if number else None
        kind, words = (mark[1], mark[2]) if mark else ("", "")
        if fence[2] in HELD or kind == "file":
            text = "\n".join(line.removeprefix(fence[1]) for line in lines[number + 1 : end]) + "\n"
            found.append(Block(page, number + 1, fence[2], text, kind, words))
        number = end + 1
    return found


def all_blocks() -> list[Block]:
    """Return the blocks of every page."""
    return [block for page in PAGES for block in blocks_of(page)]
