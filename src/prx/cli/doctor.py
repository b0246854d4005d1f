"""`prx doctor`."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from prx.cli.config import run_commands_option
from prx.core.errors import PrxError, UsageError, refused

if TYPE_CHECKING:
    from prx.config.load import Loaded
    from prx.logs.redact import Redactor


@click.command()
@click.argument("target", required=False, metavar="[PORT|HOST:PORT|URL]")
@click.option("-c", "--config", "file", type=click.Path(path_type=Path, dir_okay=False), help="The configuration file.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--report",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the findings, the versions and the configuration into a file, without secrets.",
)
@click.option("--lab", is_flag=True, help="Only what `prx start --lab` needs: no Internet, no account.")
@run_commands_option
def doctor(target: str | None, file: Path | None, report: Path | None, *, as_json: bool, lab: bool, run_commands: bool) -> int:
    """Find out what is wrong with the machine, the network or the set-up.

    Of the tunnels in the configuration, or of one to the local address that is given. Takes up to 15 seconds. Changes nothing,
    and runs nothing but `cloudflared --version`.

    \b
    Exit codes: 0 nothing failed (there may be warnings)
                1 a check failed
                2 the configuration has mistakes
    """  # noqa: D301 - \b tells click to keep the lines of a paragraph
    from prx.app.load_config import load_configuration
    from prx.app.own_mark import own_mark_for
    from prx.cli.ending import run
    from prx.doctor import report as writing
    from prx.doctor.context import Context
    from prx.doctor.examine import examine
    from prx.ui.say import show

    loaded = load_configuration(file, os.environ, run_commands=run_commands, local_addr=_local_addr(target))
    redactor = _redactor(loaded)
    marked = partial(own_mark_for, redactor=redactor)
    findings = run(examine(Context(loaded.config, os.environ, lab=lab, own_mark=marked)))
    if as_json:
        click.echo(writing.to_json(findings, redactor))
    else:
        for line in writing.lines(findings, redactor):
            show(line, hang=writing.WORDS_AT)
    if report is not None:
        from prx.config.render import show as render

        try:
            writing.write_report(report, findings, render(loaded, origins=True), redactor)
        except OSError as error:
            raise refused(f"the report cannot be written to {report}: {error.strerror}", error, kind=PrxError) from error
    return 1 if writing.has_failed(findings) else 0


def _local_addr(target: str | None) -> str:
    from prx.config.local_addr import LocalAddr

    try:
        return "" if target is None else str(LocalAddr.parse(target))
    except ValueError as error:
        raise UsageError(f"{target!r} is not a local address: expected {error}", hint="prx doctor 8080") from error


async def examined() -> str:
    """Return the findings as JSON, without secrets."""
    from prx.app.load_config import load_configuration
    from prx.app.own_mark import own_mark_for
    from prx.doctor import report as writing
    from prx.doctor.context import Context
    from prx.doctor.examine import examine

    loaded = load_configuration(None, os.environ)
    redactor = _redactor(loaded)
    context = Context(loaded.config, os.environ, own_mark=partial(own_mark_for, redactor=redactor))
    return writing.to_json(await examine(context), redactor)


def _redactor(loaded: Loaded) -> Redactor:
    """Return what knows every secret of the configuration, in every form."""
    from prx.app.load_config import secret_forms
    from prx.logs.redact import Redactor

    return Redactor(secret_forms(loaded, os.environ))
