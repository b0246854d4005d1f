"""`prx config`: check, show and begin a configuration."""

from __future__ import annotations

import os
from pathlib import Path

import click

from prx.config import paths
from prx.core.errors import PrxError, UsageError

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


@config.command()
@config_option
def check(file: Path | None) -> None:
    """Name every mistake, or say that there is none.

    Mistakes go to stderr and the exit code is 2. Secrets that the configuration refers to must be there.
    """
    from prx.cli.configuration import load_configuration

    loaded = load_configuration(file, os.environ)
    for warning in loaded.warnings:
        click.echo(f"warning: {warning}", err=True)
    click.echo(f"ok: {loaded.path or 'no file, the defaults'}")


@config.command()
@config_option
@click.option("--origin", is_flag=True, help="Say behind each value where it came from.")
def show(file: Path | None, origin: bool) -> None:
    """Print what is in force as TOML, without secrets."""
    from prx.config.load import load
    from prx.config.render import show as render

    loaded = load(paths.config_file(file), os.environ)
    click.echo(render(loaded, origins=origin), nl=False)


@config.command()
@config_option
def init(file: Path | None) -> None:
    """Write a file in which every key is explained.

    It prints the path. Without -c and PRX_CONFIG it is the user's own file. An existing file is left alone.
    """
    from prx.config.render import template

    path = _named(file)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=paths.PRIVATE_MODE)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        if path.exists():
            hint = "prx config init -c FILE writes another"
            raise UsageError(f"{path} is already there and was left alone", hint=hint) from error
        raise UsageError(f"cannot write {path}: {(error.strerror or str(error)).lower()}") from error
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(template())
    except OSError as error:
        path.unlink(missing_ok=True)  # half a file would be taken for a configuration
        raise PrxError(f"cannot write {path}: {(error.strerror or str(error)).lower()}") from error
    click.echo(path)


@config.command()
@config_option
def path(file: Path | None) -> None:
    """Print the path of the configuration file.

    It is the one that is read, or where there is none yet, the one that `init` writes.
    """
    found = paths.config_file(file)
    if found is None or not found.exists():
        click.echo("there is no such file yet; prx config init writes one", err=True)
    click.echo(found or paths.user_config_file())


@config.command()
def schema() -> None:
    """Print a JSON Schema of the file, for editors."""
    import json

    from prx.config.render import json_schema

    click.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))


def _named(file: Path | None) -> Path:
    named = os.environ.get("PRX_CONFIG", "")
    return file or (Path(named).expanduser() if named else paths.user_config_file())
