"""Words for people on stdout and stderr: wrapped between words on a terminal, as they are elsewhere, and silent if asked."""

from __future__ import annotations

import sys
from contextlib import suppress

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
    """Write to stderr what has to be said in any case, if it takes it: it may be closed, or lead to a full disk."""
    with suppress(OSError):
        click.echo(on_screen(text, terminal=sys.stderr is not None and sys.stderr.isatty()), err=True)


def show(text: str, *, style: dict[str, object] | None = None) -> None:
    """Write data for people to stdout; `style` is as `click.style` takes it, for a terminal with colours."""
    text = on_screen(text, terminal=sys.stdout.isatty())
    click.echo(click.style(text, **style) if style else text)  # type: ignore[arg-type]  # click's own keywords


def on_screen(text: str, *, terminal: bool) -> str:
    """Return `text` in lines that fit a terminal: broken between words, the rest of a line further in than its beginning."""
    if not terminal:
        return text
    import shutil  # only for a terminal: it loads the libraries of packed files

    columns = shutil.get_terminal_size().columns
    return "\n".join(part for line in text.split("\n") for part in _wrapped(line, columns))


def _wrapped(line: str, columns: int) -> list[str]:
    if len(line) <= columns:
        return [line]
    indent = " " * (len(line) - len(line.lstrip()))
    first, *rest = wrapped(line.strip(), columns, indent)
    more = " ".join(part.strip() for part in rest)
    return [first, *(wrapped(more, columns, f"{indent}  ") if more else [])]
