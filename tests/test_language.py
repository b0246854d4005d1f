"""The language of the source: the rules of CONTRIBUTING.md ("Language") that a machine can check."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

import prx

SOURCE = Path(prx.__file__).parent

# Rooms that have not been passed yet; a room is taken out when it has, and none comes back.
EXCEPTIONS = frozenset({"app", "backends", "config", "lab", "runtime", "testing"})

WORDS = {
    r"\b(nobody|somebody|whoever|anybody)\b": "a role: the caller, a visitor, another process; or the passive",
    r"\b(he|him|his)\b": "they, their",
    r"\banew\b": "again",
    r"\bfor ever\b": "forever",
    r"\bperhaps\b": "possibly",
    r"\bmend(s|ed|ing)?\b": "repair",
    r"\b(tell|say) whether\b": "Return whether",
    r"\b(None|empty|False|\w+Error|nothing) where\b": "if",
    r"\bwhere there (is|are) (no|none|nothing|one)\b": "if",
}
PATTERNS = {re.compile(pattern, re.IGNORECASE): advice for pattern, advice in WORDS.items()}
OPENINGS = {re.compile(r"Give (?!up\b)"): "Return, or Yield", re.compile(r"Whether\b"): "Return whether"}


def rooms() -> list[Path]:
    """Return the modules of the rooms that have been passed."""
    return [path for path in sorted(SOURCE.rglob("*.py")) if path.relative_to(SOURCE).parts[0] not in EXCEPTIONS]


def texts(source: str) -> Iterator[tuple[int, str]]:
    """Yield each comment and string literal with its line; only what is read by people has a space in it."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in {tokenize.STRING, tokenize.COMMENT, getattr(tokenize, "FSTRING_MIDDLE", -1)} and " " in token.string:
            yield token.start[0], token.string


def complaints(source: str) -> list[str]:
    """Return what is wrong with the words of a module, line by line."""
    found = [
        f"{line + text[: match.start()].count(chr(10))}: {match[0]!r}, expected {advice}"
        for line, text in texts(source)
        for pattern, advice in PATTERNS.items()
        for match in pattern.finditer(text)
    ]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (doc := ast.get_docstring(node)):
            found += [
                f"{node.lineno}: {match[0]!r}, expected {advice}" for p, advice in OPENINGS.items() if (match := p.match(doc))
            ]
    return found


@pytest.mark.parametrize("path", rooms(), ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_words(path: Path) -> None:
    """Docstrings, comments and messages of a room that has been passed keep to the words of CONTRIBUTING.md."""
    assert complaints(path.read_text()) == []


@pytest.mark.parametrize(
    ("source", "word"),
    [
        ('"""Nothing that nobody reads."""', "nobody"),
        ("# begin anew, as told", "anew"),
        ('x = f"{1} cannot be mended here"', "mended"),
        ('def f() -> bool:\n    """Tell whether it runs."""', "Tell whether"),
        ('def f() -> str:\n    """Give the name."""', "Give "),
        ('def f() -> bool:\n    """Whether it runs."""', "Whether"),
        ('"""The name, empty where it has none."""', "empty where"),
        ('"""A file\n\nof his own."""', "his"),
    ],
)
def test_every_rule_finds_its_word(source: str, word: str) -> None:
    """A rule that finds nothing guards nothing: each is seen to complain, with the word that it found."""
    assert any(repr(word) in complaint for complaint in complaints(source)), complaints(source)


def test_names_and_codes_are_no_words() -> None:
    """Identifiers, keys and codes are contract, not language: one word without a space is left alone."""
    assert complaints('x = "mend"; his = {"nobody": 1}\n') == []


def test_exceptions_exist() -> None:
    """A room that is gone needs no exception."""
    assert {path.name for path in SOURCE.iterdir() if path.is_dir()} >= EXCEPTIONS
