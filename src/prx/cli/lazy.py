"""A group of commands that imports none of them until it runs: `prx --help` and the fast commands stay fast."""

from __future__ import annotations

import importlib

import click

from prx import __version__
from prx.app.memory import no_collection
from prx.cli.help import HelpContext, dress
from prx.core.value import Value, value_class


def _be_quiet(_context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted:
        from prx.ui.say import be_quiet

        be_quiet()


quiet_option = click.option(
    "-q", "--quiet", is_flag=True, expose_value=False, callback=_be_quiet, help="Say nothing but errors and warnings."
)


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Lazy(Value):
    """Where a command lies (`module:attribute`), and the line that `--help` shows for it. `quiet`: it takes -q."""

    where: str
    help: str
    quiet: bool = False


class LazyGroup(click.Group):
    """A group whose commands are a table; `--help` is written from the table alone."""

    context_class = HelpContext

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
        with no_collection():
            command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        if self.table[cmd_name].quiet and not any("-q" in param.opts for param in command.params):
            quiet_option(command)
        return dress(command)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in self.table.items()])

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; `help COMMAND` is `COMMAND --help`, `version` `--version`. An unknown word: say what is meant."""
        name, *others = args
        if name == "help" and name not in self.table:
            if not others:
                click.echo(ctx.get_help())
                ctx.exit()
            return self.resolve_command(ctx, [*others, "--help"])
        if name == "version" and name not in self.table:
            click.echo(f"prx {__version__}")
            ctx.exit()
        if name not in self.table and not name.startswith("-"):
            ctx.fail(f"there is no command {name!r}\n{self._meant(name, others)}")
        return super().resolve_command(ctx, args)

    def _meant(self, name: str, others: list[str]) -> str:
        import difflib

        from prx.ui.meant import meant_by_word

        if meant := meant_by_word(name, *others):
            return f"did you mean `{meant}`?"
        near = difflib.get_close_matches(name, self.table, n=1)
        return f"did you mean `prx {near[0]}`?" if near else f"commands: {', '.join(self.table)}"
