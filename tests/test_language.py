"""The language of the source: the rules of CONTRIBUTING.md ("Language") that a machine can check."""

import ast
import io
import re
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import prx


def is_python(path: Path) -> bool:
    """Return whether a file is a module, or a script of Python."""
    return path.suffix == ".py" or (path.parent.name == "scripts" and path.read_text().startswith("#!/usr/bin/env python"))


SOURCE = Path(prx.__file__).parent
REPOSITORY = Path(__file__).parents[1]
TESTS = sorted(path.name for path in (REPOSITORY / "tests").iterdir() if path.name[0] not in "._" and path.name != "data")
ROOMS = ["bench", "scripts", *(f"tests/{name}" for name in TESTS)]

# Cloudflare's own words, as its API sends them; a cause's code; a field's name in front of what it means
QUOTED = re.compile(r"perhaps your object identifier is invalid\?|no name told|\btold(?=:)|\bbegun`?:")

WORDS = {
    r"\b(nobody|somebody|whoever|anybody)\b": "a role: the caller, a visitor, another process; or the passive",
    r"\b(he|him|his)\b": "they, their",
    r"\banew\b": "again",
    r"\bfor ever\b": "forever",
    r"\bfor want of\b": "for lack of, without",
    r"\bbegun\b": "started",
    r"\b(nought|whence|thence|lest|alas|ere)\b": "the plain word",
    r"\bperhaps\b": "possibly",
    r"\bmend(s|ed|ing)?\b": "repair",
    r"(?<!\*)\btold\b": "got, reported, asked",
    r"\b(tell|say) whether\b": "Return whether",
    r"\b(it|they|prx|connector|service|client|which|that|log|lines?) (tells?|looks?)\b": "report, show; check, seem",
    r"\b(looks?|looked|looking) (at|into|through)\b": "check, read, probe",
    r"\b(bring|brings|brought|bringing)\b": "install, send, carry, cause",
    r"\b(None|empty|False|True|\w+Error|nothing|also|but|only|not|even),? where\b": "if",
    r"\bwhere (there (is|are|was|were) |nothing |nobody |no one |none |(it|that|this) (does|cannot|can) )": "if",
}
ANY = re.compile("|".join(WORDS), re.IGNORECASE)  # most texts have none: asked first, as it is one pass
PATTERNS = {re.compile(pattern, re.IGNORECASE): advice for pattern, advice in WORDS.items()}
_EXCEPTION = re.compile(r"# (?:noqa(?:: [A-Z0-9, ]+)?|type: ignore(?:\[[a-z, -]+\])?)$")
_NAME = re.compile(r"`[^`\n]*`")
_EXPRESSION = re.compile(r"\{[^{} ]+\}")  # a value in an f-string is a name
OPENINGS = {
    re.compile(r"Give (?!up\b)"): "Return, or Yield",
    re.compile(r"Whether\b"): "Return whether",
    re.compile(r"(Tell|Say) (how|why|what|which|who|when|where|if)\b"): "Return, Report",
    re.compile(r"Let\b"): "the verb itself: Allow, Have … done, Wake, Clear",
}


def texts(source: str) -> Iterator[tuple[int, str]]:
    """Yield each comment and string literal with its line; only what is read by people has a space in it."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in {tokenize.STRING, tokenize.COMMENT, getattr(tokenize, "FSTRING_MIDDLE", -1)} and " " in token.string:
            yield token.start[0], QUOTED.sub("", _EXPRESSION.sub("{}", token.string))


def prose(source: str) -> Iterator[tuple[int, str]]:
    """Yield each comment and docstring with its line, without names in backticks: other strings of a test are its data."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], _NAME.sub("``", token.string)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and (
            doc := ast.get_docstring(node, clean=False)
        ):
            yield node.body[0].lineno, QUOTED.sub("", _NAME.sub("``", doc))


def complaints(source: str, read: Callable[[str], Iterator[tuple[int, str]]] = texts) -> list[str]:
    """Return what is wrong with the words of a module that `read` finds, line by line."""
    found = [
        f"{line + text[: match.start()].count(chr(10))}: {match[0]!r}, expected {advice}"
        for line, text in read(source)
        if ANY.search(text)
        for pattern, advice in PATTERNS.items()
        for match in pattern.finditer(text)
    ]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (doc := ast.get_docstring(node)):
            found += [
                f"{node.lineno}: {match[0]!r}, expected {advice}" for p, advice in OPENINGS.items() if (match := p.match(doc))
            ]
    return found


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_words(path: Path) -> None:
    """Docstrings, comments and messages of a room that has been passed keep to the words of CONTRIBUTING.md."""
    assert complaints(path.read_text()) == []


def unexplained(source: str) -> list[str]:
    """Return the exceptions from a rule (`noqa`, `type: ignore`) with no reason behind them nor in a comment right above."""
    lines = source.splitlines()
    return [
        f"{number}: {match[0]}"
        for number, line in enumerate(lines, 1)
        if (match := _EXCEPTION.search(line)) and not lines[number - 2].lstrip().startswith("#")
    ]


def test_an_exception_has_its_reason() -> None:
    """A line that is excepted from a rule of ruff or mypy says why, in itself or in a comment right above."""
    assert {str(path): found for path in SOURCE.rglob("*.py") if (found := unexplained(path.read_text()))} == {}


def test_an_exception_without_a_reason_is_found() -> None:
    """A bare code is no reason; what stands behind it, or right above, is."""
    bare = "x = f()  # noqa: S105\ny = g()  # type: ignore[arg-type]\n"
    explained = "x = f()  # noqa: S105 - a name\n# bytes are a host, too\ny = g()  # type: ignore[arg-type]\n"
    assert [len(unexplained(source)) for source in (bare, explained)] == [2, 0]


@pytest.mark.parametrize("room", ROOMS)
def test_words_around_the_source(room: str) -> None:
    """Docstrings and comments of tests, benches and scripts keep to the same words; what a test feeds to prx is its own."""
    files = [path for path in (REPOSITORY / room, *(REPOSITORY / room).rglob("*")) if path.is_file() and is_python(path)]
    assert files
    assert {str(path): found for path in files if (found := complaints(path.read_text(), prose))} == {}


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
        ('"""It ended for want of memory."""', "for want of"),
        ("# the answer has begun", "begun"),
        ('x = "the log tells no more"', "log tells"),
        ('x = f"a look at {x} failed, as told"', "look at"),
        ("# this brings a token along", "brings"),
        ("# read also where it is a link", "also where"),
        ('def f() -> str:\n    """Say why it ended."""', "Say why"),
        ('def f() -> None:\n    """Let a fault act."""', "Let"),
    ],
)
def test_every_rule_finds_its_word(source: str, word: str) -> None:
    """A rule that finds nothing guards nothing: each is seen to complain, with the word that it found."""
    assert any(repr(word) in complaint for complaint in complaints(source)), complaints(source)


def test_data_of_a_test_is_no_prose() -> None:
    """Around the source only docstrings and comments count, with their lines: no string, and no name in backticks."""
    source = '"""What `told` is.\n\nAs told.\n"""\nx = "nobody is told"  # by somebody\n'
    assert [complaint.split(",")[0] for complaint in complaints(source, prose)] == ["5: 'somebody'", "3: 'told'"]


def test_names_and_codes_are_no_words() -> None:
    """Identifiers, keys and codes are contract, not language: one word without a space is left alone."""
    assert complaints('x = "mend"; his = {"nobody": 1}\n') == []
