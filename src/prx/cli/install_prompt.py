"""What `prx start` offers on a terminal if there is no cloudflared: to install it, as `prx install cloudflared` does.

Nothing is downloaded unasked: there must be a person to ask, and the answer must be yes. The event loop waits for the answer,
as it does for signals: Ctrl-C at the question is a stop like any other.
"""

from __future__ import annotations

import asyncio
import os
import sys
import termios
from collections.abc import Mapping

import click

from prx.app.options import StartOptions
from prx.config.schema import CloudflareSettings, Config
from prx.install.programs import find_client, programs_dir
from prx.ui.errors import print_note

_USUAL = CloudflareSettings().cloudflared_path
_LONGEST_ANSWER = 1024  # bytes


async def offer_client(config: Config, options: StartOptions, environ: Mapping[str, str]) -> None:
    """Ask whether to install cloudflared, if a tunnel needs it, it is not there, and a person can answer; install it on yes.

    Raise what `install_cloudflared` raises. On no, nothing changes: the start goes on and says what is missing.
    """
    if _is_missing(config, options, environ) and _can_be_asked(options):
        await _offer(environ)


def _is_missing(config: Config, options: StartOptions, environ: Mapping[str, str]) -> bool:
    """Return whether a tunnel waits for the usual cloudflared (the lab has a connector of its own)."""
    paths = {item.cloudflare.cloudflared_path for item in config.tunnels.values() if item.backend == "cloudflare"}
    return not options.lab and _USUAL in paths and find_client(_USUAL, environ) is None


def _can_be_asked(options: StartOptions) -> bool:
    """Return whether a person is there: a script's streams are no terminal, and a job in the background cannot read."""
    if options.as_json or options.quiet or sys.stdin is None or sys.stderr is None:
        return False
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    try:
        return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except OSError:  # a terminal that is not ours to read
        return False


async def _offer(environ: Mapping[str, str]) -> None:
    from prx.cli.install import install_into
    from prx.install.pinned import RELEASES, SIZE, pinned_for
    from prx.install.platform import this_machine

    machine = this_machine()
    release = pinned_for(machine)
    asset = release.assets.get(machine)
    if asset is None:
        return
    folder = programs_dir(environ)
    print_note("There is no cloudflared on this machine. prx can install it, as `prx install cloudflared` does:")
    print_note(f"  version {release.version}, {SIZE}, from {RELEASES}")
    print_note(f"  into {folder}")
    print_note(f"  used only once its SHA-256 has been verified ({asset.sha256})")
    termios.tcflush(sys.stdin.fileno(), termios.TCIFLUSH)  # what was typed before the question is no answer to it
    click.echo("Download it now? [y/N] ", nl=False, err=True)
    if await _answer() in {"y", "yes"}:
        await install_into(folder)


async def _answer() -> str:
    """Return the line that is typed next, in lower case; empty at the end of the input (Ctrl-D)."""
    terminal = sys.stdin.fileno()
    loop = asyncio.get_running_loop()
    typed = asyncio.Event()
    loop.add_reader(terminal, typed.set)
    try:
        await typed.wait()
    except asyncio.CancelledError:
        print_note("")  # the question's line is left
        raise
    finally:
        loop.remove_reader(terminal)
    line = os.read(terminal, _LONGEST_ANSWER)
    if not line.endswith(b"\n"):
        print_note("")
    return line.decode(errors="replace").strip().lower()
