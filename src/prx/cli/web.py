"""`prx web`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from prx.core.errors import PermanentError, UsageError, shortage
from prx.core.shortage import lack_for_module

if TYPE_CHECKING:
    import socket

    from prx.web.server import Dashboard


_GIVES_WAY = 10  # of the nice values: when processors are scarce, the supervision of tunnels goes first


@click.command()
@click.option("--listen", metavar="HOST:PORT", help="Where it listens; without: `[web] listen`, else 127.0.0.1:4141.")
@click.option("-c", "--config", type=click.Path(path_type=Path, dir_okay=False), help="The configuration file.")
@click.option("--url", "only_url", is_flag=True, help="Print a link into the running dashboard; it works once, for 10 minutes.")
@click.option("--token", "only_token", is_flag=True, help="Print the token that scripts send to the API.")
@click.option("--child", is_flag=True, hidden=True)
@click.option("--names", default="", hidden=True)
@click.option("--password-file", default="", hidden=True)
def web(
    listen: str | None,
    config: Path | None,
    *,
    only_url: bool,
    only_token: bool,
    child: bool,
    names: str,
    password_file: str,
) -> int:
    """Show every tunnel of this user in the browser.

    It is a process of its own, which asks every prx that runs, and needs the extra `web`. It prints a link that opens the page
    once; then the browser keeps a session for 7 days. `prx start` runs it by itself if `[web] listen` is set.
    """
    from prx.config.paths import data_dir, ensure_private_dir
    from prx.runtime.host.clock import SystemClock
    from prx.web.keys import Keys, load_key

    wall = SystemClock().wall
    key = load_key(ensure_private_dir(data_dir()) / "web.key")
    if only_token:
        click.echo(Keys(key, wall).bearer())
        return 0
    where, password = _child(listen, names, password_file) if child else _settings(listen, config)
    if only_url:
        from prx.web.address import Listen

        click.echo(f"{Listen.parse(where[0]).url}?token={Keys(key, wall).link()}")
        return 0
    return _serve(where, password, key, quiet=child)


def _settings(listen: str | None, config: Path | None) -> tuple[tuple[str, tuple[str, ...]], str]:
    """Return where to listen, with the names that it is reached under, and the password, from options and configuration."""
    from prx.app.load_config import load_configuration
    from prx.config.checks import listen_address
    from prx.web.address import DEFAULT

    loaded = load_configuration(config, os.environ, run_commands=True).config.web
    try:
        where = listen_address(listen or loaded.listen or DEFAULT)
    except ValueError as error:
        raise UsageError(f"--listen: found {listen!r}, expected {error}") from error
    return (where, loaded.hosts), loaded.password.reveal()


def _child(listen: str | None, names: str, password_file: str) -> tuple[tuple[str, tuple[str, ...]], str]:
    """Return the same for the child of `prx start`, which hands the password over through a pipe."""
    password = Path(password_file).read_text() if password_file else ""
    return (listen or "", tuple(name for name in names.split(",") if name)), password


def _serve(where: tuple[str, tuple[str, ...]], password: str, key: bytes, *, quiet: bool) -> int:
    try:
        from prx.web.server import Dashboard, Settings, listen_on
    except ImportError as error:
        if (lack := lack_for_module(error)) is not None:
            raise shortage(lack) from error
        if (error.name or "").startswith("prx"):
            raise
        what = "is not installed" if isinstance(error, ModuleNotFoundError) else f"cannot be loaded: {error.msg}"
        raise PermanentError(f"the dashboard needs {error.name}, which {what}", hint="pip install 'prx-tunnel[web]'") from error
    from prx.app.hardening import forbid_dumps
    from prx.cli.ending import run
    from prx.config.paths import data_dir, runtime_dir
    from prx.history.recorder import history_folder
    from prx.runtime.host.clock import SystemClock
    from prx.secrets.value import Secret
    from prx.web.address import Listen

    forbid_dumps()
    with suppress(OSError):
        os.nice(_GIVES_WAY)
    listen = Listen.parse(*where)
    dashboard = Dashboard(
        Settings(listen, key, runtime_dir(), history_folder(data_dir()), SystemClock().wall, Secret(password))
    )
    listening = listen_on(listen)

    def ready() -> None:
        click.echo(listen.url if quiet else f"{listen.url}?token={dashboard.keys.link()}")
        sys.stdout.flush()

    run(_until_stopped(dashboard, listening, ready))
    return 0


async def _until_stopped(dashboard: Dashboard, listening: socket.socket, ready: Callable[[], None]) -> None:
    from prx.app.signals import Signals
    from prx.runtime.process.reaper import OrphanReaper
    from prx.ui.errors import print_note

    signals = Signals(stop=dashboard.stop, kill=lambda number: os._exit(128 + number), reload=lambda: None, say=print_note)
    with signals, OrphanReaper(()):
        await dashboard.serve(listening, ready)
