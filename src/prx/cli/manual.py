"""The manual, made from the help of the commands: `python -m prx.cli.manual man FOLDER`, `… page` (Markdown, to stdout).

man(7) pages: one for `prx`, one for each command with its subcommands. A page of the documentation: all of it.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from prx import __version__
from prx.cli.root import COMMANDS, cli

_LITERAL = "\b"  # click's mark of a paragraph whose lines are kept
_FILES = (
    ("./prx.toml", "the configuration of this folder, if there is one"),
    ("~/.config/prx/config.toml", "else this one ($XDG_CONFIG_HOME, $PRX_CONFIG)"),
    ("~/.local/share/prx", "logs, history, secrets and state ($XDG_DATA_HOME, $PRX_DATA_DIR)"),
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A command as the manual has it: its words, such as "prx secret set", and click's own description."""

    words: str
    command: click.Command
    context: click.Context

    @property
    def synopsis(self) -> str:
        """The command with its options and arguments."""
        return " ".join([self.words, *self.command.collect_usage_pieces(self.context)])

    def paragraphs(self) -> Iterator[tuple[bool, str]]:
        """Yield each paragraph of the help, and whether its lines are to be kept."""
        text = inspect.cleandoc(self.command.help or "")
        for part in re.split(r"\n\s*\n", text.partition("\f")[0]):
            literal = part.startswith(_LITERAL)
            lines = part.removeprefix(_LITERAL).strip("\n").split("\n")
            yield literal, "\n".join(lines) if literal else " ".join(line.strip() for line in lines)

    def options(self) -> Iterator[tuple[str, str]]:
        """Yield each option as it is written, with its help; hidden ones are left out."""
        for param in self.command.get_params(self.context):
            if isinstance(param, click.Option) and (record := param.get_help_record(self.context)) is not None:
                yield record

    def below(self) -> Iterator[Entry]:
        """Yield the subcommands."""
        if isinstance(self.command, click.Group):
            for name in self.command.list_commands(self.context):
                if (found := self.command.get_command(self.context, name)) is not None and not found.hidden:
                    yield Entry(f"{self.words} {name}", found, click.Context(found, parent=self.context, info_name=name))


def root() -> Entry:
    """Return `prx` itself, below which all commands are."""
    return Entry("prx", cli, click.Context(cli, info_name="prx", **cli.context_settings))


def everything(entry: Entry) -> Iterator[Entry]:
    """Yield a command and all that is below it."""
    yield entry
    for below in entry.below():
        yield from everything(below)


# ------------------------------------------------------------------ the pages of man


def man_pages() -> dict[str, str]:
    """Return every page by its file name."""
    pages = {"prx.1": "\n".join(_front_page()) + "\n"}
    for entry in root().below():
        pages[f"{entry.words.replace(' ', '-')}.1"] = "\n".join(_page(entry)) + "\n"
    return pages


def _front_page() -> Iterator[str]:
    entry = root()
    yield from _title("prx", "puts a local service on the Internet through Cloudflare Tunnel")
    yield from _about(entry)
    yield ".SH COMMANDS"
    for name, lazy in COMMANDS.items():
        yield from [".TP", f".BR prx\\-{name} (1)", _roff(lazy.help)]
    yield from _options(entry)
    yield from [".SH EXIT STATUS", _roff(cli.epilog or "").removeprefix("Exit codes: ")]
    yield ".SH FILES"
    for path, words in _FILES:
        yield from [".TP", f".I {_roff(path)}", _roff(words)]
    yield from [
        ".SH SEE ALSO",
        ", ".join(f"\\fBprx\\-{name}\\fR(1)" for name in ("start", "status", "config", "doctor", "lab")),
    ]


def _page(entry: Entry) -> Iterator[str]:
    name = entry.words.rpartition(" ")[2]
    yield from _title(entry.words.replace(" ", "-"), COMMANDS[name].help)
    yield from _about(entry)
    yield from _options(entry)
    if below := list(entry.below()):
        yield ".SH COMMANDS"
        for item in below:
            for one in everything(item):
                yield from [f".SS {_roff(one.synopsis)}", *_paragraphs(one), *_list(one)]
    yield from [".SH SEE ALSO", "\\fBprx\\fR(1)"]


def _title(name: str, words: str) -> Iterator[str]:
    yield f'.TH {_roff(name.upper())} 1 "" "prx {__version__}" "prx manual"'
    yield from [".SH NAME", f"{_roff(name)} \\- {_roff(words.rstrip('.'))}"]


def _about(entry: Entry) -> Iterator[str]:
    yield from [".SH SYNOPSIS", f".B {_roff(entry.synopsis)}", ".SH DESCRIPTION", *_paragraphs(entry)]


def _paragraphs(entry: Entry) -> Iterator[str]:
    for literal, text in entry.paragraphs():
        yield from [".PP", ".nf", *map(_roff, text.split("\n")), ".fi"] if literal else [".PP", _roff(text)]


def _options(entry: Entry) -> Iterator[str]:
    yield from [".SH OPTIONS", *_list(entry)]


def _list(entry: Entry) -> Iterator[str]:
    for option, words in entry.options():
        yield from [".TP", f".B {_roff(option)}", _roff(words)]


def _roff(text: str) -> str:
    """Return text that man(7) takes as it stands: no escape, no request at the beginning of a line, true hyphens."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("`", "\\(ga").replace("'", "\\(aq").replace('"', "\\(dq")
    return f"\\&{text}" if text.startswith((".", " ")) else text


# ---------------------------------------------------------------------- Markdown


def page() -> str:
    """Return the reference of the command line."""
    lines = [
        "# The command line",
        "",
        "Generated from the help of the commands by `make man`; `man prx` and `man prx-start` say the same, and so does",
        "`prx COMMAND --help`. What the output means is in [verdicts, events and exit codes](output.md).",
    ]
    for entry in everything(root()):
        lines += ["", f"{'##' if entry.words.count(' ') < 2 else '###'} {entry.words}", "", "```text", entry.synopsis, "```"]
        for literal, text in entry.paragraphs():
            lines += ["", *(["```text", text, "```"] if literal else [text])]
        if rows := list(entry.options()):
            lines += [
                "",
                "| option | what it does |",
                "|---|---|",
                *(f"| `{_cell(name)}` | {_cell(words)} |" for name, words in rows),
            ]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*")


def main() -> None:
    """Write what the command line asks for."""
    match sys.argv[1:]:
        case ["man", folder]:
            for name, text in man_pages().items():
                (Path(folder) / name).write_text(text)
        case ["page"]:
            click.echo(page(), nl=False)
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    main()
