"""`prx status`."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

import click

from prx.cli.find_running import Target, all_running, choose, complete_names, config_option
from prx.control.client import NotRunningError, UnresponsiveError
from prx.core.errors import UsageError
from prx.core.states import UP

_API_TOKEN = "CLOUDFLARE_API_TOKEN"  # noqa: S105 - the name of a variable
_OF_PRX = ("pid", "version", "config", "dashboard")
_ANY_WIDTH = 10_000  # columns of a pipe or a file: one line stays one line
_WATCH_EVERY = 1.0  # seconds


@click.command()
@click.argument("name", required=False, shell_complete=complete_names)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--watch", is_flag=True, help="Show it again every second, until Ctrl-C.")
@config_option
def status(name: str | None, config: Path | None, *, as_json: bool, watch: bool) -> int:
    """Show the tunnels that are running.

    NAME is a tunnel, or the local address that it serves; without it, every tunnel that runs.

    \b
    Exit codes: 0 every tunnel, or NAME, is up (ready or degraded)
                1 at least one is not: starting, backoff, stopping, idle or failed
                  (one that was taken out of the configuration does not count)
                2 NAME is unknown
                3 prx is not running
                4 unknown: a prx is there and does not answer
    """  # noqa: D301 - \b tells click to keep the lines of a paragraph
    if watch and as_json:
        raise UsageError("--watch is for people, --json for programs", hint="prx start --json prints events as they come")
    if watch:
        _watch(config, name)
    try:
        answers = _ask(config, name)
    except NotRunningError:
        if as_json:
            click.echo(json.dumps({"tunnels": []}))
        raise
    tunnels = [tunnel for tunnel, _ in answers]
    more = _from_account(answers) if os.environ.get(_API_TOKEN) else {}
    if as_json:
        click.echo(json.dumps({"tunnels": tunnels}))
    else:
        for line in _lines(tunnels, more):
            click.echo(_on_screen(line))
    return _code(tunnels)


def _ask(config: Path | None, name: str | None) -> list[tuple[dict[str, Any], str]]:
    """Return every tunnel that runs, or the one that is meant with `name`, with the configuration file of its prx."""
    with all_running(config, strict=name is None) as found:
        targets = [Target(running, None) for running in found] if name is None else [choose(found, name, config)]
        return [
            (tunnel | {"prx": {key: target.running.about.get(key) for key in _OF_PRX}}, target.running.about["config"])
            for target in targets
            for tunnel in target.running.client.ask("status")["tunnels"]
            if target.tunnel in {None, tunnel["name"]}
        ]


def _from_account(answers: list[tuple[dict[str, Any], str]]) -> dict[int, list[str]]:
    """Ask Cloudflare's API about the named tunnels: put what it says into each as `cloudflare`, and return it in words."""
    from prx.cli.status_account import lines, read_account

    found = {}
    for number, (tunnel, config) in enumerate(answers):
        seen = read_account(tunnel, config)
        if seen is not None:
            tunnel["cloudflare"] = seen.to_json()
            found[number] = list(lines(tunnel, seen))
    return found


def _lines(tunnels: list[dict[str, Any]], more: dict[int, list[str]]) -> list[str]:
    from prx.runtime.host.clock import SystemClock
    from prx.ui.status_lines import dashboard_lines, status_lines

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else _ANY_WIDTH
    return [*status_lines(tunnels, width=width, now=SystemClock().wall(), more=more), *dashboard_lines(tunnels, width=width)]


def _on_screen(line: str) -> str:
    from prx.ui.colours import are_wanted, painted

    return painted(line) if are_wanted(sys.stdout) else line


def _code(tunnels: list[dict[str, Any]]) -> int:
    configured = [tunnel for tunnel in tunnels if tunnel.get("configured", True)]  # an older prx does not say so
    return 0 if all(tunnel["state"] in UP for tunnel in configured or tunnels) else 1


def _watch(config: Path | None, name: str | None) -> NoReturn:
    """Show the status again and again until a signal ends prx: in place on a terminal, else whenever it has changed."""
    from prx.ui.screen import is_smart_terminal

    in_place, last = is_smart_terminal(sys.stdout.fileno()), [""]
    while True:
        try:
            lines = _lines([tunnel for tunnel, _ in _ask(config, name)], {})
        except (NotRunningError, UnresponsiveError) as error:
            lines = [error.message]
        if in_place:
            room = shutil.get_terminal_size().lines - 1
            click.echo("\x1b[H" + "".join(f"{_on_screen(line)}\x1b[K\n" for line in lines[:room]) + "\x1b[J", nl=False)
        elif lines != last:
            click.echo("\n".join(lines))
        last = lines
        time.sleep(_WATCH_EVERY)
