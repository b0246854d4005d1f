"""Help that fits its terminal: examples and tables, whose lines stand as they are, are broken between words if need be."""

from __future__ import annotations

import re
import textwrap
from typing import Final

import click

_COLUMN: Final = re.compile(r"\S {2,}(?=\S)")  # where the second column of a table begins
_FURTHER: Final = 2
_WHOLE: Final = 1000  # characters of the sentence that a list of commands shows


class HelpFormatter(click.HelpFormatter):
    """click's own leaves lines that are to stay as they are as long as they are."""

    def write_text(self, text: str) -> None:
        """Write paragraphs; no line is wider than the terminal, unless one of its words is."""
        indent = " " * self.current_indent
        whole = click.wrap_text(text, self.width, initial_indent=indent, subsequent_indent=indent, preserve_paragraphs=True)
        self.write("\n".join(part for line in whole.split("\n") for part in fitted(line, self.width)))
        self.write("\n")


def fitted(line: str, width: int) -> list[str]:
    """Return a line in parts of at most `width`: further ones begin below its second column, or further in than the first."""
    if len(line) <= width:
        return [line]
    lead = len(line) - len(line.lstrip())
    column = _COLUMN.search(line)
    hang = column.end() if column is not None and column.end() <= width // 2 else lead + _FURTHER
    return textwrap.wrap(
        line.lstrip(),
        width,
        initial_indent=" " * lead,
        subsequent_indent=" " * hang,
        break_long_words=False,
        break_on_hyphens=False,
    )


class HelpContext(click.Context):
    """A context whose help is written so."""

    formatter_class = HelpFormatter


def dress(command: click.Command) -> click.Command:
    """Return a command whose help is written so, with the commands below it, whose lines in its list are not cut."""
    command.context_class = HelpContext
    if isinstance(command, click.Group):
        for below in command.commands.values():
            below.short_help = below.get_short_help_str(_WHOLE)
            dress(below)
    return command
