"""A group of commands that imports none of them until it runs: `prx --help` and the fast commands stay fast."""

from __future__ import annotations

import importlib
from dataclasses import dataclass

import click


@dataclass(frozen=True, slots=True)
class Lazy:
    """Where a command lies (`module:attribute`) and the line that `--help` shows for it."""

    where: str
    help: str


class LazyGroup(click.Group):
    """A group whose commands are a table; `--help` is written from the table alone."""

    def __init__(self, *, table: dict[str, Lazy], **settings: object) -> None:
        super().__init__(**settings)  # type: ignore[arg-type]  # click.Group's own keywords, handed through
        self.table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, in the order of the table."""
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command; None if there is none of that name."""
        if cmd_name not in self.table:
            return None
        module, _, attribute = self.table[cmd_name].where.partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in self.table.items()])

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; for an unknown word, say which ones come close."""
        name = args[0]
        if name not in self.table and not name.startswith("-"):
            import difflib

            near = difflib.get_close_matches(name, self.table, n=1)
            also = f"did you mean `prx {near[0]}`?" if near else f"commands: {', '.join(self.table)}"
            ctx.fail(f"there is no command {name!r}\n{also}")
        return super().resolve_command(ctx, args)
