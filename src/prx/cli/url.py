"""`prx url`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from prx.cli.find_running import all_running, choose, complete_names, config_option
from prx.cli.seconds import Seconds
from prx.control.client import NotRunningError
from prx.core.deadline import Deadline
from prx.core.errors import NotReadyError, PermanentError, UsageError
from prx.core.states import State
from prx.core.verdicts import standing, summary

_LOOK_EVERY = 0.1  # seconds; only while no prx is there yet: from then on the answer comes by itself


@click.command()
@click.argument("name", required=False, shell_complete=complete_names)
@click.option("--wait", type=Seconds(0, 3600), default=0.0, metavar="SECS", help="Wait for it, at most this long.")
@click.option("--qr", is_flag=True, help="Print a QR code of it, too.")
@config_option
def url(name: str | None, wait: float, config: Path | None, *, qr: bool) -> None:
    """Print the verified public URL.

    NAME is a tunnel, or the local address that it serves; needed only if several are running.

    \b
    Exit codes: 0 printed · 2 NAME is missing or unknown
                3 prx is not running (any more), or the tunnel failed for good
                4 no URL is verified (in time)
    """  # noqa: D301 - \b tells click to keep the lines of a paragraph
    deadline = Deadline(time.monotonic, wait)
    ended: NotRunningError | None = None  # the last prx that was asked, and may have a successor
    while True:
        try:
            found = _ask(name, deadline, config)
        except NotRunningError as error:
            ended = error if error.pid else ended
            if deadline.is_over:
                raise ended or error from None
            time.sleep(_LOOK_EVERY)
        else:
            click.echo(found)
            if qr:
                _print_code(found)
            return


def _print_code(url: str) -> None:
    import segno

    from prx.ui.errors import print_note

    segno.make(url, error="L", micro=False).terminal(compact=True)
    if ".localhost" in url:
        print_note("this URL is the lab's: it opens on this machine only")


def _ask(name: str | None, deadline: Deadline, config: Path | None) -> str:
    with all_running(config) as found:
        target = choose(found, name, config)
        tunnels = [item["name"] for item in target.running.about["tunnels"]]
        if target.tunnel is None and len(tunnels) != 1:
            raise UsageError(f"{len(tunnels)} tunnels are running: {', '.join(tunnels)}", hint="prx url NAME")
        tunnel = target.tunnel or tunnels[0]
        wait = deadline.left
        answer = target.running.client.ask("url", tunnel=tunnel, wait=wait)
        if tunnel in answer["urls"]:
            return str(answer["urls"][tunnel])
        raise _not_ready(tunnel, answer["pending"][tunnel])


def _not_ready(tunnel: str, pending: dict[str, Any]) -> PermanentError | NotReadyError:
    why = summary(pending["verdict"], pending["reason"])
    if pending["state"] == State.FAILED:
        return PermanentError(f"tunnel {tunnel!r} failed: {why}", hint=pending["hint"])
    now = standing(pending["state"], pending["verdict"], pending["reason"])
    return NotReadyError(f"tunnel {tunnel!r} has no verified URL: it is {now}", hint=pending["hint"] or "prx url --wait 60")
