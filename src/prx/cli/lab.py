"""`prx lab`: the local edge by itself, for a cloudflared or a prx of one's own to connect to."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from prx.cli.ending import say
from prx.core.errors import PrxError

if TYPE_CHECKING:
    from prx.edge import Lab

CONTROL_VARIABLE = "PRX_LAB_CONTROL"


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON once it listens, and nothing else.")
@click.option("--public-port", type=click.IntRange(0, 65535), default=0, help="Where visitors come; 0: a free port.")
@click.option("--control-port", type=click.IntRange(0, 65535), default=0, help="Where `prx lab token` asks; 0: a free port.")
@click.pass_context
def lab(ctx: click.Context, as_json: bool, public_port: int, control_port: int) -> int | None:
    """Run a local edge: everything works without account and Internet.

    A real cloudflared connects to it with --edge, --cacert and --quick-service; names end in .localhost, so a browser opens
    them with no set-up. Ctrl-C ends it.
    """
    if ctx.invoked_subcommand is not None:
        return None
    import asyncio

    return asyncio.run(_run(as_json, public_port, control_port))


@lab.command()
@click.option("--hostname", required=True, metavar="NAME.localhost", help="The public name of the tunnel.")
@click.option(
    "--control", envvar=CONTROL_VARIABLE, required=True, metavar="URL", help=f"The lab's control URL [{CONTROL_VARIABLE}]."
)
def token(hostname: str, control: str) -> None:
    """Make a named tunnel in a running lab, or find it again; print its token."""
    click.echo(_post(control, "/token", {"hostname": hostname})["token"])


def description(lab: Lab) -> dict[str, Any]:
    """Return what `prx lab --json` prints."""
    return {
        "edge": list(lab.edge_addrs),
        "quick_service": lab.quick_service,
        "public": lab.public,
        "control": lab.control,
        "ca": str(lab.ca_file),
    }


async def _run(as_json: bool, public_port: int, control_port: int) -> int:
    import asyncio

    from prx.cli.signals import Signals
    from prx.edge import Lab, LabConfig

    over = asyncio.Event()
    config = LabConfig(public_port=public_port, control_port=control_port, on_event=None if as_json else _tell)
    with Signals(stop=over.set, kill=lambda number: os._exit(128 + number), reload=lambda: None):
        async with Lab.start(config) as running:
            facts = description(running)
            if as_json:
                click.echo(json.dumps(facts))
            else:
                _introduce(facts)
            await over.wait()
    return 0


def _introduce(facts: dict[str, Any]) -> None:
    edges = " ".join(f"--edge {address}" for address in facts["edge"])
    say("the lab listens; Ctrl-C ends it")
    say(f"  visitors     {facts['public']} (Host: NAME.localhost)")
    say(f"  control      {facts['control']}")
    say(f"  quick        cloudflared tunnel --protocol http2 {edges} \\")
    say(f"                 --cacert {facts['ca']} --quick-service {facts['quick_service']} --url http://127.0.0.1:8080")
    say(f"  named        prx lab token --control {facts['control']} --hostname NAME.localhost")


def _tell(event: Any) -> None:
    """Show one event of the lab on stderr."""
    from dataclasses import fields

    from prx.logs.text import printable

    words = " ".join(f"{item.name}={getattr(event, item.name)}" for item in fields(event))
    say(printable(f"{type(event).__name__} {words}"))


def _post(control: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    import http.client

    where = urlsplit(control)
    connection = http.client.HTTPConnection(where.hostname or "127.0.0.1", where.port or 80, timeout=5)
    try:
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read(1 << 20).decode(errors="replace")
    except OSError as error:
        raise PrxError(f"no lab answers at {control}: {error}", hint="`prx lab` prints its control URL") from error
    finally:
        connection.close()
    if answer.status != 200:
        raise PrxError(f"the lab refused: {answer.status} {text.strip()[:200]}")
    found = json.loads(text)
    assert isinstance(found, dict)
    return found
