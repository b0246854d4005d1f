"""`prx config`: check, show and begin a configuration."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from prx.config import paths
from prx.core.errors import PrxError, UsageError, refused
from prx.files.people import expanded
from prx.ui.say import complain

if TYPE_CHECKING:
    from prx.config.load import Loaded

_NOT_THERE = {
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.ELOOP,
}


config_option = click.option(
    "-c",
    "--config",
    "file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The configuration file, instead of PRX_CONFIG, ./prx.toml or the user's own.",
)


@click.group(help="Check and show the configuration, or write one to begin with.")
def config() -> None:
    """Hold the commands below."""


run_commands_option = click.option(
    "--run-commands", is_flag=True, help="Also run the programs of `cmd:` secrets; else nothing is executed."
)


@config.command()
@config_option
@run_commands_option
def check(file: Path | None, run_commands: bool) -> None:
    """Name every mistake, or say that there is none.

    Mistakes go to stderr and the exit code is 2. Secrets that the configuration refers to must be there; those that a program
    prints (`cmd:`) are checked with --run-commands only.
    """
    from prx.app.load_config import load_configuration
    from prx.app.unusable import unusable

    loaded = load_configuration(file, os.environ, run_commands=run_commands, also=lambda found: unusable(found, os.environ))
    for warning in loaded.warnings:
        complain(f"warning: {warning}")
    for line in not_run(loaded):
        complain(f"note: {line}")
    click.echo(_bytes(f"ok: {loaded.path or 'no file, the defaults'}"))


def not_run(loaded: Loaded) -> Iterator[str]:
    """Say of each secret that was not resolved what would have been run."""
    for name, reference in loaded.not_run.items():
        yield f"{name}: not resolved, {reference} was not run (--run-commands runs it)"


def _bytes(text: str | Path) -> bytes:
    """Return a line with the very bytes of the names in it, which need not be text."""
    return os.fsencode(text)


@config.command()
@config_option
@click.option("--origin", is_flag=True, help="Say behind each value where it came from.")
def show(file: Path | None, origin: bool) -> None:
    """Print what is in force as TOML, without secrets."""
    from prx.config.load import load
    from prx.config.render import show as render

    place = paths.find_config(file)
    loaded = load(place.path, os.environ, claim=place.claim) if place else load(None, os.environ)
    click.echo(_bytes(render(loaded, origins=origin)), nl=False)
    for line in not_run(loaded):
        complain(f"note: {line}")


@config.command()
@config_option
def init(file: Path | None) -> None:
    """Write a file in which every key is explained.

    It prints the path. Without -c and PRX_CONFIG it is the user's own file. An existing file is left alone.
    """
    from prx.config.render import template
    from prx.files.replace import write_new
    from prx.ui.errors import print_note

    path = _named(file)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=paths.PRIVATE_MODE)
    except OSError as error:
        raise refused(f"cannot write {path}: {(error.strerror or str(error)).lower()}", error, kind=UsageError) from error
    try:
        write_new(path, template().encode())
    except FileExistsError as error:
        hint = "prx config init -c FILE writes another"
        raise UsageError(f"{path} is already there and was left alone", hint=hint) from error
    except OSError as error:
        kind = UsageError if error.errno in _NOT_THERE else PrxError
        raise refused(f"cannot write {path}: {(error.strerror or str(error)).lower()}", error, kind=kind) from error
    click.echo(_bytes(path))
    if file is None:
        print_note("a file for this folder alone: prx config init -c prx.toml")


@config.command()
@config_option
def path(file: Path | None) -> None:
    """Print the path of the configuration file.

    It is the one that is read, or if there is none yet, the one that `init` writes.
    """
    found = paths.config_file(file)
    if found is None or not found.exists():
        complain("there is no such file yet; prx config init writes one")
    click.echo(_bytes(found or paths.user_config_file()))


@config.command()
def schema() -> None:
    """Print a JSON Schema of the file, for editors."""
    import json

    from prx.config.render import json_schema

    click.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))


def _named(file: Path | None) -> Path:
    named = os.environ.get("PRX_CONFIG", "")
    return file or (expanded(named) if named else paths.user_config_file())
