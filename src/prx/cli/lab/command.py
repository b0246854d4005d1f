"""`prx lab`: the local edge by itself, for a cloudflared or a prx of one's own to connect to."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import IO, TYPE_CHECKING, Any

import click

from prx.app.lab_client import announced, limits_option
from prx.cli.lab import subcommands
from prx.core.errors import PrxError, UsageError, short_of
from prx.ui.errors import print_note

if TYPE_CHECKING:
    from prx.lab import Lab, LabConfig
    from prx.lab.edge.faults.script import Script
    from prx.lab.events import LabEvent

_PORT = click.IntRange(0, 65535)

_ABOUT_ADDRESSES = {errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES}


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON once it listens, and nothing else.")
@click.option(
    "--edge",
    multiple=True,
    metavar="HOST:PORT",
    help="Where connectors come, loopback only; give it once for each address. Without: four free ports.",
)
@click.option("--public-port", type=_PORT, default=0, help="Where visitors come; 0: a free port.")
@click.option("--public-https-port", type=_PORT, default=0, help="Where visitors come over HTTPS; 0: a free port.")
@click.option("--quick-service-port", type=_PORT, default=0, help="Where quick tunnels are asked for; 0: a free port.")
@click.option("--control-port", type=_PORT, default=0, help="Where `prx lab token` asks; 0: a free port.")
@click.option("--api-port", type=_PORT, default=0, help="Where the stand-in of Cloudflare's API listens; 0: a free port.")
@limits_option
@click.option(
    "--forget-after",
    metavar="TIME",
    default="2m",
    show_default=True,
    help="Delete a quick tunnel that has had no connection for that long, as Cloudflare does; `never`: keep it.",
)
@click.option(
    "--script", type=click.File("r"), help="Faults to act, and when; docs/reference/lab.md says how they are written."
)
@click.pass_context
def lab(
    ctx: click.Context,
    /,
    *,
    as_json: bool,
    edge: tuple[str, ...],
    public_port: int,
    public_https_port: int,
    quick_service_port: int,
    control_port: int,
    api_port: int,
    limits: str,
    forget_after: str,
    script: IO[str] | None,
) -> int | None:
    """Run a local edge: everything works without account and Internet.

    A real cloudflared connects to it with --edge, --cacert and --quick-service; names end in .localhost, so a browser opens
    them with no set-up. Ctrl-C ends it.
    """
    if ctx.invoked_subcommand is not None:
        return None
    from prx.app.hardening import require_folder
    from prx.cli.ending import run
    from prx.lab import LabConfig

    require_folder()
    forgetting = _seconds(forget_after)
    try:
        config = LabConfig(
            edge_addrs=edge or LabConfig.edge_addrs,
            public_port=public_port,
            public_https_port=public_https_port,
            quick_service_port=quick_service_port,
            control_port=control_port,
            api_port=api_port,
            limits=limits,
            forget_after=forgetting,
            on_event=None if as_json else _print_event,
        )
    except ValueError as error:
        raise UsageError(f"--edge {error}") from None
    return run(_run(config, None if script is None else _read_script(script), as_json=as_json))


for _command in subcommands.ALL:
    lab.add_command(_command)


def description(lab: Lab) -> dict[str, Any]:
    """Return what `prx lab --json` prints: these keys and no others, since scripts rely on them."""
    return {
        "edge": list(lab.edge_addrs),
        "quick_service": lab.quick_service,
        "public": lab.public,
        "control": lab.control,
        **lab.api_access(),
        "ca": str(lab.ca_file),
    }


async def _run(config: LabConfig, script: Script | None, *, as_json: bool) -> int:
    import asyncio

    from prx.app.signals import Signals
    from prx.runtime.process.reaper import OrphanReaper

    over = asyncio.Event()
    signals = Signals(stop=over.set, kill=lambda number: os._exit(128 + number), reload=lambda: None, say=print_note)
    with signals, OrphanReaper(()):
        async with _started(config) as running:
            with announced(running.control):
                if as_json:
                    click.echo(json.dumps(description(running)))
                else:
                    _introduce(running)
                if script is not None:
                    running.begin(script)
                await over.wait()
    return 0


@asynccontextmanager
async def _started(config: LabConfig) -> AsyncIterator[Lab]:
    """Run a lab for the length of an `async with`; PrxError if a port is taken."""
    from prx.lab import Lab

    async with AsyncExitStack() as stack:
        try:
            lab = await stack.enter_async_context(Lab.start(config))
        except OSError as error:
            if error.errno in _ABOUT_ADDRESSES and error.filename is None:
                raise PrxError(f"cannot listen: {error.strerror}", hint="another lab may run; choose other ports") from None
            if short := short_of(error):
                raise short from None
            words = (error.strerror or str(error)).lower()
            raise PrxError(f"the lab needs a few small files in the temporary folder: {words}", hint="set TMPDIR") from None
        yield lab


def _introduce(lab: Lab) -> None:
    edges = " ".join(f"--edge {address}" for address in lab.edge_addrs)
    print_note("the lab listens; Ctrl-C ends it")
    print_note(f"  visitors     {lab.public} or {lab.public_https} (Host: NAME.localhost)")
    print_note(f"  control      {lab.control}")
    print_note(f"  quick        cloudflared tunnel --protocol http2 {edges} \\")
    print_note(f"                 --cacert {lab.ca_file} --quick-service {lab.quick_service} --url http://127.0.0.1:8080")
    print_note("  named        prx lab token --hostname NAME.localhost")
    print_note(f"  API          {lab.api}, zone {lab.account.records.zone}; for other tools: prx lab env")


def _seconds(text: str) -> float | None:
    from prx.lab.edge.faults.notation import seconds

    if text == "never":
        return None
    try:
        found = seconds(text)
    except ValueError:
        found = 0.0
    if found <= 0:
        raise UsageError(f"--forget-after: found {text!r}, expected a time such as 90s or 5m, or never")
    return found


def _read_script(file: IO[str]) -> Script:
    from prx.lab.edge.faults.script import Script

    try:
        return Script.parse(file.read())
    except ValueError as error:
        raise UsageError(f"{file.name}: {error}") from None


def _print_event(event: LabEvent) -> None:
    """Show one event of the lab on stderr."""
    from prx.cli.lab.event_lines import line

    print_note(line(event))
