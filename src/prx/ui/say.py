"""Words for people on stdout and stderr: wrapped between words on a terminal, as they are elsewhere, and silent if asked."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TextIO

import click

from prx.ui.text import wrapped

_quiet = False


def be_quiet() -> None:
    """Say nothing from now on but errors."""
    global _quiet  # noqa: PLW0603 - of this process: a command line is one run
    _quiet = True


def say(text: str) -> None:
    """Write talk to stderr, unless it is not wanted."""
    if not _quiet:
        complain(text)


def complain(text: str) -> None:
    """Write to stderr what has to be said in any case, if it takes it: it may be closed, or lead to a full disk.

    Names of files, and what others have written, may hold sequences that a terminal would act on: they are dropped.
    """
    if not text.replace("\n", "").isprintable():
        from prx.logs.text import printable

        text = "\n".join(map(printable, text.split("\n")))
    with suppress(OSError):
        terminal = sys.stderr is not None and sys.stderr.isatty()
        click.echo(_painted(on_screen(text, terminal=terminal), sys.stderr) if terminal else text, err=True)


def show(text: str, *, hang: int = 0) -> None:
    """Write data for people to stdout; on a terminal a broken line goes on at column `hang`, or a little further in."""
    terminal = sys.stdout.isatty()
    click.echo(_painted(on_screen(text, terminal=terminal, hang=hang), sys.stdout) if terminal else text)


def _painted(text: str, stream: TextIO) -> str:
    from prx.ui.colours import are_wanted, painted

    return "\n".join(map(painted, text.split("\n"))) if are_wanted(stream) else text


def on_screen(text: str, *, terminal: bool, hang: int = 0) -> str:
    """Return `text` in lines that fit a terminal: broken between words, the rest of a line further in than its beginning.

    hang: where the rest of a line begins; 0: two columns further in than the line.
    """
    if not terminal:
        return text
    import shutil  # only for a terminal: it loads the libraries of packed files

    columns = shutil.get_terminal_size().columns
    return "\n".join(part for line in text.split("\n") for part in _wrapped(line, columns, hang))


def _wrapped(line: str, columns: int, hang: int) -> list[str]:
    if len(line) <= columns:
        return [line]
    indent = " " * (len(line) - len(line.lstrip()))
    first, *rest = wrapped(line.strip(), columns, indent)
    more = " ".join(part.strip() for part in rest)
    return [first, *(wrapped(more, columns, " " * hang or f"{indent}  ") if more else [])]
