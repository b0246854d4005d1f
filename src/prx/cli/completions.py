"""`prx completions SHELL`."""

from __future__ import annotations

import click

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_PRX_COMPLETE"  # the one that click's own scripts set when they ask for completions


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completions(shell: str) -> None:
    """Print the completion script of a shell.

    For example, for bash: eval "$(prx completions bash)"
    """
    from click.shell_completion import get_completion_class

    from prx.cli.root import cli

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(cli, {}, "prx", VARIABLE).source())
