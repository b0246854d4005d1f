"""`prx status`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click

from prx.cli.find_running import all_running, config_option
from prx.core.states import UP
from prx.core.traffic import TrafficStatus
from prx.core.verdicts import summary
from prx.logs.text import printable
from prx.ui.text import PROTOCOLS

_API_TOKEN = "CLOUDFLARE_API_TOKEN"  # noqa: S105 - the name of a variable


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@config_option
def status(as_json: bool, config: Path | None) -> int:
    """Show the tunnels that are running.

    \b
    Exit codes: 0 every tunnel is up (ready or degraded)
                1 at least one is not: starting, backoff, stopping, idle or failed
                3 prx is not running
                4 unknown: a prx is there and does not answer
    """  # noqa: D301 - \b tells click to keep the lines of a paragraph
    with all_running(config, strict=True) as found:
        answers = [(tunnel, running.about["config"]) for running in found for tunnel in running.client.ask("status")["tunnels"]]
    tunnels = [tunnel for tunnel, _ in answers]
    more = _from_account(answers) if os.environ.get(_API_TOKEN) else {}
    if as_json:
        click.echo(json.dumps({"tunnels": tunnels}))
    else:
        for number, line in enumerate(table(tunnels)):
            click.echo(line)
            for further in more.get(number, ()):
                click.echo(printable(further))
    return 0 if all(tunnel["state"] in UP for tunnel in tunnels) else 1


def _from_account(answers: list[tuple[dict[str, Any], str]]) -> dict[int, list[str]]:
    """Ask Cloudflare's API about the named tunnels: put what it says into each as `cloudflare`, and return it in words."""
    from prx.cli.status_account import lines, look_at

    found = {}
    for number, (tunnel, config) in enumerate(answers):
        seen = look_at(tunnel, config)
        if seen is not None:
            tunnel["cloudflare"] = seen.to_json()
            found[number] = list(lines(tunnel, seen))
    return found


def table(tunnels: list[dict[str, Any]]) -> list[str]:
    """Return one line for each tunnel: name, state, why, and the URL if one is verified."""
    names = max((len(tunnel["name"]) for tunnel in tunnels), default=0)
    states = max((len(tunnel["state"]) for tunnel in tunnels), default=0)
    return [printable(f"{tunnel['name']:<{names}}  {tunnel['state']:<{states}}  {_why(tunnel)}").rstrip() for tunnel in tunnels]


def _why(tunnel: dict[str, Any]) -> str:
    why = summary(tunnel["verdict"], tunnel["reason"])
    parts = [why] if why else []
    if tunnel["next_retry_in"] is not None:
        parts.append(f"next try in {tunnel['next_retry_in']:.0f} s")
    protocol = next((item["protocol"] for item in tunnel["connectors"] if item["protocol"]), "")
    if protocol:
        parts.append(f"over {PROTOCOLS.get(protocol, protocol)}")
    if traffic := tunnel.get("traffic"):
        parts.append(TrafficStatus(traffic["requests"], traffic["errors"]).words() + " in 5 min")
    if tunnel["url"] and (tunnel["state"] in UP or not tunnel["proven"]):
        parts.append(tunnel["url"] + ("" if tunnel["proven"] else " (not proven)"))
    return "  ".join(parts)
