"""`prx install`: install a program that prx works with."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from prx.core.errors import PrxError, UsageError
from prx.ui.errors import print_note

if TYPE_CHECKING:
    from prx.install.fetch import Progress


@click.group()
def install() -> None:
    """Install a program that prx works with on this machine."""


@install.command()
@click.option("--from", "base", metavar="URL", help="A mirror: URL/VERSION/NAME is downloaded, and checked all the same.")
@click.option("--rollback", is_flag=True, help="Go back to the version that was in use before; again: forward.")
def cloudflared(base: str | None, rollback: bool) -> None:
    """Download a pinned release of cloudflared, check its SHA-256, and put it into the data directory.

    Its path is printed to stdout. `prx start` uses it if there is no cloudflared in PATH. Nothing is replaced before the new
    file is complete and verified; the version before stays, for --rollback.
    """
    from prx.install.programs import programs_dir

    if rollback and base:
        raise UsageError("--rollback downloads nothing", hint="leave out --from or --rollback")
    if rollback:
        _go_back(programs_dir())
    else:
        import asyncio

        click.echo(asyncio.run(bring(programs_dir(), base)))
    _tell_if_hidden()


async def bring(folder: Path, base: str | None = None) -> Path:
    """Install the pinned release from the mirror `base` (None: from where it is published), report it, return its path."""
    from prx.install.cloudflared import install_cloudflared
    from prx.install.pinned import RELEASES

    with _shown_progress() as progress:
        done = await install_cloudflared(folder, base=base or RELEASES, progress=progress)
    how = "installed" if done.downloaded else "was there already, verified:"
    print_note(f"{how} cloudflared {done.version} ({done.asset.name}, SHA-256 {done.asset.sha256})")
    return done.path


def _go_back(folder: Path) -> None:
    from prx.install.programs import open_programs

    if not folder.is_dir():
        raise PrxError("prx has installed no cloudflared yet", hint="prx install cloudflared")
    with open_programs(folder) as programs:
        version = programs.rollback()
        print_note(f"cloudflared {version} is in use again")
        click.echo(programs.link)


def _tell_if_hidden() -> None:
    if found := shutil.which("cloudflared"):
        print_note(
            f"note: {found} comes first, as it is in PATH; to use the installed one, set cloudflared_path to the path above"
        )


@contextmanager
def _shown_progress() -> Iterator[Progress]:
    """Yield what is called with the bytes received and expected: a bar on a terminal, else nothing."""
    from prx.install.cloudflared import ignore_progress

    if not sys.stderr.isatty():
        yield ignore_progress
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("cloudflared"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task("cloudflared", total=None)
        yield lambda received, expected: bars.update(bar, completed=received, total=expected)
