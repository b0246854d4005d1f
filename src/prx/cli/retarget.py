"""`prx retarget`."""

from __future__ import annotations

from pathlib import Path

import click

from prx.cli.find_running import config_option, select
from prx.core.errors import UsageError
from prx.ui.errors import print_note


@click.command()
@click.argument("address", metavar="[PORT|HOST:PORT|URL]")
@click.argument("name", required=False)
@config_option
def retarget(address: str, name: str | None, config: Path | None) -> None:
    """Serve the same URL from another port.

    The tunnel must be inspected (`prx start --inspect`): then the connector does not notice, and a quick tunnel keeps its URL.
    What is under way ends at the old address. Until prx ends, reloads keep the new one.
    """
    from prx.config.local_addr import LocalAddr

    try:
        found = str(LocalAddr.parse(address))
    except ValueError as error:
        raise UsageError(f"{address!r} is not a local address: expected {error}", hint="prx retarget 3000") from error
    with select(config, name) as target:
        target.running.client.ask("retarget", tunnel=target.tunnel, addr=found)
    print_note(f"{found} serves it now")
