"""The blocks of code on the pages, each with the mark above it that says how it is held.

    <!-- run by tests/a/test_b.py::test_c -->   that test runs it
    <!-- not run: REASON -->                    it cannot be run, and why
    <!-- file: NAME -->                         the commands of the page find it under this name

Without a mark `sh` and `console` are run as they stand, page by page, and `toml` is loaded as a configuration. Fences are
read as CommonMark has them (https://spec.commonmark.org/0.31.2/#fenced-code-blocks), so that none is overlooked; `loopholes`
names what a reader could type and no test would run.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
HELD = ("sh", "console", "python", "toml")
SHOWN = ("", "text", "ini", "yaml", "json", "mermaid")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
GENERATED = {"command-line.md"}  # the help of the commands, whose examples have no prompt
_FENCE = re.compile(r"(?P<indent>[ >\t]*)(?P<marks>`{3,}|~{3,})[ \t]*(?P<info>[^`]*)$")
_TYPED = re.compile(r"[ >\t]*\$ \S")
_COMMAND = re.compile(r"[ >\t]*(?:sudo )?(?:prx|make|pip|pipx|curl|docker|kubectl) [a-z0-9-]")
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
        name = self.page.relative_to(ROOT) if self.page.is_relative_to(ROOT) else self.page.name
        return f"{name}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    """Return every block of a page that is to be held."""
    return [block for block in _fenced(page)[0] if block.language in HELD or block.kind == "file"]


def loopholes(page: Path) -> list[str]:
    """Return where a page shows commands that no test holds: in a block of another language, or in none."""
    blocks, beside = _fenced(page)
    found = [f"{page.name}:{number}: a command outside of a block" for number, line in beside if _TYPED.match(line)]
    for block in blocks:
        if block.language not in HELD + SHOWN:
            found.append(f"{block.place}: {block.language!r}: write sh or console, or one of {', '.join(SHOWN)}")
        elif block.language in SHOWN and page.name not in GENERATED:
            typed = any(_TYPED.match(line) or _COMMAND.match(line) for line in block.text.splitlines())
            found += [f"{block.place}: a command in a block that is run by no test"] if typed else []
    return found


def _fenced(page: Path) -> tuple[list[Block], list[tuple[int, str]]]:
    """Return every block of a page, and the numbered lines beside them. A fence without an end goes to the end of the page."""
    found: list[Block] = []
    beside: list[tuple[int, str]] = []
    lines = page.read_text().split("\n")
    number = 0
    while number < len(lines):
        fence = _FENCE.match(lines[number])
        if fence is None:
            beside.append((number + 1, lines[number]))
            number += 1
            continue
        end = next((at for at in range(number + 1, len(lines)) if _closes(lines[at], fence["marks"])), len(lines))
        mark = _MARK.fullmatch(lines[number - 1].strip()) if number else None
        kind, words = (mark[1], mark[2]) if mark else ("", "")
        text = "\n".join(line.removeprefix(fence["indent"]) for line in lines[number + 1 : end]) + "\n"
        found.append(Block(page, number + 1, fence["info"].strip(), text, kind, words))
        number = end + 1
    return found, beside


def _closes(line: str, marks: str) -> bool:
    text = line.strip(" >\t")
    return len(text) >= len(marks) and set(text) == {marks[0]}


def all_blocks() -> list[Block]:
    """Return the blocks of every page."""
    return [block for page in PAGES for block in blocks_of(page)]
