"""`prx why`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import click

from prx.cli.find_running import all_running, choose, complete_names, config_option


@click.command()
@click.argument("name", required=False, shell_complete=complete_names)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@config_option
def why(name: str | None, config: Path | None, *, as_json: bool) -> None:
    """Explain the present verdict: what was seen, who decided, what is done next.

    NAME is a tunnel, or the local address that it serves; without it, every tunnel that runs.
    """
    from prx.logs.text import printable
    from prx.ui.why_lines import why_lines

    stories = ask(name, config)
    if as_json:
        click.echo(json.dumps({"tunnels": stories}))
        return
    width = shutil.get_terminal_size((100, 24)).columns
    for number, story in enumerate(stories):
        if number:
            click.echo()
        for line in why_lines(story, width):
            click.echo(printable(line))


def ask(name: str | None, config: Path | None) -> list[dict[str, Any]]:
    """Return the story of one tunnel, or of every one that runs."""
    with all_running(config, strict=name is None) as found:
        if name is None:
            return [story for running in found for story in running.client.ask("why")["tunnels"]]
        target = choose(found, name, config)
        stories: list[dict[str, Any]] = target.running.client.ask("why", tunnel=target.tunnel)["tunnels"]
        return stories
