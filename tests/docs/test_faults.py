"""The page of faults names every fault once, and tests that exist."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
FAULTS = 53
TEST = re.compile(r"`(tests/[^`:\s]+\.py)::([^`]+)`")


def rows() -> list[tuple[int, str]]:
    """Return number and last cell of each row, in the order of the page."""
    text = (ROOT / "docs" / "explanation" / "faults.md").read_text(encoding="utf-8")
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if re.match(r"\| \d", line)]
    assert {len(row) for row in cells} == {4}
    return [(int(row[0]), row[3]) for row in cells]


def names_in(path: Path) -> Iterator[str]:
    """Yield what pytest collects from a file under a name of its own: functions, and classes also when they are assigned."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) if name.startswith("test_"):
                yield name
            case ast.ClassDef(name=name) | ast.Assign(targets=[ast.Name(id=name)]) if name.startswith("Test"):
                yield name


def test_every_fault_has_one_row() -> None:
    """Each of the 53 faults is there once, in order, with a test that holds it."""
    assert [number for number, _ in rows()] == list(range(1, FAULTS + 1))
    assert [number for number, held in rows() if not TEST.search(held)] == []


def test_what_no_test_holds_has_a_reason() -> None:
    """Nothing is left open: a part without a test is as it is by design, was tried by hand, or says what stands in the way."""
    assert [number for number, held in rows() if "Open" in held] == []
    words = [word for _, held in rows() for word in re.findall(r"\*\*([^*]+)\*\*", held)]
    assert set(words) == {"By design:", "Tried by hand:", "Not tried:"}


def test_the_tests_that_are_named_exist() -> None:
    """A test that is renamed or removed is missed here, whichever row names it."""
    named = {match for _, held in rows() for match in TEST.findall(held)}
    written = sum(held.count("tests/") for _, held in rows())
    assert written == sum(len(TEST.findall(held)) for _, held in rows()), "a test is written in another form"
    known = {file: set(names_in(ROOT / file)) if (ROOT / file).is_file() else set() for file, _ in named}
    assert sorted(f"{file}::{name}" for file, name in named if name not in known[file]) == []
