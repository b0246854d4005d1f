"""`prx requests`: what visitors asked for, of a tunnel that is inspected."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import click

from prx.cli.find_running import Target, config_option, select
from prx.cli.seconds import Seconds
from prx.core.errors import NotReadyError

_POLL = 20.0  # seconds that one question of `-f` may wait
_LARGE = 15.0  # seconds that a large body may take beyond the usual


class _Group(click.Group):
    """`prx requests [OPTIONS]` lists; `prx requests show ID` shows one."""


@click.group(cls=_Group, invoke_without_command=True)
@click.option("-f", "--follow", is_flag=True, help="Go on, and show each request as it has been answered.")
@click.option("--filter", "wanted", default="", metavar="WORDS", help="method:POST path:/hook status:5xx body:x header:x")
@click.option("--wait", "waits_for", metavar="WORDS", help="Wait for one such as 'POST /hook' to come; exit code 4 without.")
@click.option(
    "--timeout", type=Seconds(0, 3600), default=60.0, show_default=True, metavar="SECONDS", help="How long --wait waits."
)
@click.option(
    "-n", "--last", type=click.IntRange(0, 1_000_000), default=100, show_default=True, metavar="N", help="How many are listed."
)
@click.option("--all", "own", is_flag=True, help="Show prx's own health checks, too.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@click.option("--tunnel", metavar="NAME", help="The tunnel, if several are running.")
@config_option
@click.pass_context
def requests(ctx: click.Context, /, **options: Any) -> None:
    """Show what visitors asked for, and what the service answered.

    The tunnel must be inspected: `prx start --inspect`. Secrets are hidden, as in the log.

    \b
      prx requests -f --filter 'status:5xx'    as they come
      prx requests show 12                     all of one
      prx requests --wait 'POST /hook'         in a script
    """  # noqa: D301 - \b tells click to keep the lines of a paragraph
    ctx.obj = options
    if ctx.invoked_subcommand is not None:
        return
    with select(options["config"], options["tunnel"]) as target:
        if options["waits_for"] is not None:
            _wait(target, options)
            return
        for found in _listed(target, options):
            click.echo(json.dumps(found) if options["as_json"] else line(found))


def _listed(target: Target, options: dict[str, Any]) -> Iterator[dict[str, Any]]:
    common = {"tunnel": target.tunnel, "filter": options["wanted"], "own": options["own"]}
    answer = target.running.client.ask("requests", limit=options["last"], **common)
    yield from answer["requests"]
    while options["follow"]:
        answer = target.running.client.ask("requests", wait=_POLL, limit=1000, positions=answer["positions"], **common)
        yield from answer["requests"]


def _wait(target: Target, options: dict[str, Any]) -> None:
    common = {"tunnel": target.tunnel, "filter": options["waits_for"]}
    now = target.running.client.ask("requests", limit=1, **common, own=True)["positions"]
    ask = {"wait": options["timeout"], "positions": now, "limit": 1, "oldest": True}
    found = target.running.client.ask("requests", **ask, **common)["requests"]
    if not found:
        raise NotReadyError(f"no request such as {options['waits_for']!r} has come within {options['timeout']:g} s")
    click.echo(json.dumps(found[0]) if options["as_json"] else line(found[0]))


@requests.command("show")
@click.argument("number", type=int, metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; bodies are base64.")
@click.option("--curl", "form", flag_value="curl", help="Print a curl command that sends it to the service again.")
@click.option("--script", "form", flag_value="script", help="Print a Python script that does.")
@click.option("--har", "form", flag_value="har", help="Print an HTTP archive (HAR 1.2).")
@click.pass_context
def show(ctx: click.Context, number: int, as_json: bool, form: str | None) -> None:
    """Show all that is kept of a request; secrets are hidden in every form."""
    options = ctx.obj
    with select(options["config"], options["tunnel"]) as target:
        found = target.running.client.ask("request", wait=_LARGE, id=number, tunnel=target.tunnel)["request"]
        tunnels = {item["name"]: item["local_addr"] for item in target.running.about["tunnels"]}
    if form is not None:
        click.echo(_exported(found, form, tunnels[found["tunnel"]]))
        return
    if as_json or options["as_json"]:
        click.echo(json.dumps(found))
        return
    from prx.traffic.shown import lines

    for text in lines(found):
        click.echo(text)


def _exported(found: dict[str, Any], form: str, local_addr: str) -> str:
    from prx.config.local_addr import LocalAddr
    from prx.traffic import export

    base_url = LocalAddr.parse(local_addr).url
    if form == "har":
        return export.as_har([found], base_url)
    return (export.as_curl if form == "curl" else export.as_script)(found, base_url)


def line(found: dict[str, Any]) -> str:
    """Return one line of the list."""
    from prx.logs.text import printable

    took = "" if found["duration_ms"] is None else f"{found['duration_ms']:.0f} ms"
    marks = [*found["notes"]]
    if found["replay_of"]:
        marks.insert(0, f"replay of {found['replay_of']}")
    if found["signature"]:
        marks.insert(0, found["signature"])
    if found["messages"]:
        marks.insert(0, f"{found['messages']} messages")
    text = f"{found['id']:>5}  {found['at'][11:23]}  {found['status'] or '…':>3}  {found['method']:<6} {found['path']}  {took}"
    return printable("  ".join([text, *marks]))
