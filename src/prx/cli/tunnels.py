"""`prx tunnels`: the tunnels of the account, and who runs them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from prx.cli.setup import SigningIn, sign_in, sign_in_options
from prx.logs.text import printable
from prx.ui.errors import print_note
from prx.ui.say import show

if TYPE_CHECKING:
    from prx.cloudflare_api.calls import Api
    from prx.cloudflare_api.credentials import Credentials


@click.command(cls=SigningIn)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@sign_in_options
def tunnels(as_json: bool, **flags: Any) -> None:
    """List the tunnels at Cloudflare, with their state and their connectors."""
    from prx.app.cloudflare.signing_in import api_for, credentials_for, keeping_of

    how = sign_in(flags)
    credentials = credentials_for(how, os.environ, keeping_of(os.environ), Path())
    with api_for(credentials) as api:
        found = [_described(api, account, tunnel) for account in _accounts(api, credentials) for tunnel in api.tunnels(account)]
    if as_json:
        click.echo(json.dumps({"tunnels": found}))
        return
    if not found:
        print_note("there are no tunnels; prx setup makes one")
    for line in table(found):
        show(line)


def _accounts(api: Api, credentials: Credentials) -> list[str]:
    if credentials.account_id:
        return [credentials.account_id]
    return list(dict.fromkeys(zone.account_id for zone in api.zones()))


def _described(api: Api, account: str, tunnel: Any) -> dict[str, Any]:
    from prx.cloudflare_api.wishes import hostname_of_tunnel

    up = tunnel.status in {"healthy", "degraded"}
    connectors = api.connectors(account, tunnel.id) if up else []
    return {
        "id": tunnel.id,
        "name": tunnel.name,
        "status": tunnel.status,
        "hostname": hostname_of_tunnel(tunnel.name),
        "created_at": tunnel.created_at,
        "account_id": account,
        "connectors": [item.to_json() for item in connectors],
    }


def table(found: list[dict[str, Any]]) -> list[str]:
    """Return one line for each tunnel: name, state, connectors, id."""
    names = max((len(item["name"]) for item in found), default=0)
    return [
        printable(f"{item['name']:<{names}}  {item['status'] or 'unknown':<8}  {_connectors(item)}  {item['id']}")
        for item in found
    ]


def _connectors(item: dict[str, Any]) -> str:
    said = [f"{one['version']} at {', '.join(one['addresses']) or 'an unknown address'}" for one in item["connectors"]]
    return "; ".join(said) or "no connector"
