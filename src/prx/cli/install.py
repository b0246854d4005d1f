"""`prx install`: install a program that prx works with."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from prx.core.errors import PrxError, UsageError
from prx.ui.errors import print_note

if TYPE_CHECKING:
    from prx.install.cloudflared import Installed
    from prx.install.fetch import Progress


@click.group()
def install() -> None:
    """Install a program that prx works with on this machine."""


@install.command()
@click.option(
    "--from",
    "source",
    metavar="URL|FILE",
    help="A mirror (URL/VERSION/NAME is downloaded), or the published file itself; checked all the same.",
)
@click.option("--upgrade", is_flag=True, help="Then wait until the tunnels that run it have changed over, and report each.")
@click.option("--rollback", is_flag=True, help="Go back to the version that was in use before; again: forward.")
def cloudflared(source: str | None, upgrade: bool, rollback: bool) -> None:
    """Download a pinned release of cloudflared, check its SHA-256, and put it into the data directory.

    Its path is printed to stdout. `prx start` uses it if there is no cloudflared in PATH. Nothing is replaced before the new
    file is complete, verified, and has said its version; the version before stays, for --rollback. Named tunnels that run the
    one before change over without a gap; a quick tunnel keeps it, because its URL would change: prx restart NAME.
    """
    from prx.install.programs import NAME, programs_dir

    if rollback and source:
        raise UsageError("--rollback downloads nothing", hint="leave out --from or --rollback")
    folder = programs_dir()
    with _followed(folder / NAME, wanted=upgrade) as changed_to:
        if rollback:
            changed_to(_go_back(folder))
        else:
            from prx.cli.ending import run

            changed_to(run(install_into(folder, source)).version)
        click.echo(folder / NAME)
    _warn_if_hidden()


async def install_into(folder: Path, source: str | None = None) -> Installed:
    """Install the pinned release from `source`, a mirror or a file (None: from where it is published), and report it."""
    from prx.install.cloudflared import install_cloudflared
    from prx.install.pinned import RELEASES

    base, file = (source or RELEASES, None) if source is None or "://" in source else (RELEASES, Path(source))
    with _shown_progress() as progress:
        done = await install_cloudflared(folder, base=base, file=file, progress=progress)
    how = "installed" if done.downloaded else "was there already, verified:"
    print_note(f"{how} cloudflared {done.version} ({done.asset.name}, SHA-256 {done.asset.sha256})")
    return done


def _go_back(folder: Path) -> str:
    """Go back to the version before, and return it."""
    from prx.install.programs import open_programs

    if not folder.is_dir():
        raise PrxError("prx has installed no cloudflared yet", hint="prx install cloudflared")
    with open_programs(folder) as programs:
        version = programs.rollback()
    print_note(f"cloudflared {version} is in use again")
    return version


@contextmanager
def _followed(link: Path, *, wanted: bool) -> Iterator[Callable[[str], None]]:
    """Yield what takes the version that is in use now; after the block report what the tunnels that run do with it."""
    if not wanted:
        yield lambda _: None
        return
    from prx.cli.upgrade import follow, outdated, users_of

    users, before, now = users_of(link), link.resolve(), list[str]()
    yield now.append
    concerned = users if link.resolve() != before else outdated(users, link)
    if not concerned:
        print_note("no tunnel that runs is concerned")
    follow(concerned, now[0])


def _warn_if_hidden() -> None:
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
