"""`prx replay`."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import Any

import click

from prx.cli.find_running import config_option, select
from prx.core.errors import UsageError, refused

_SAFE = {"GET", "HEAD", "OPTIONS"}


@click.command()
@click.argument("number", type=int, required=False, metavar="[ID]")
@click.option("--edit", is_flag=True, help="Change it in $EDITOR first.")
@click.option("--times", type=click.IntRange(1, 1000), default=1, metavar="N", help="Send it N times, one after the other.")
@click.option(
    "--from-har", type=click.Path(path_type=Path, dir_okay=False, exists=True), help="Send what an HTTP archive holds."
)
@click.option("--yes", is_flag=True, help="Do not ask before a method that may change something.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@click.option("--tunnel", metavar="NAME", help="The tunnel, if several are running.")
@config_option
def replay(  # noqa: PLR0917 - click hands options over by name
    number: int | None,
    edit: bool,
    times: int,
    from_har: Path | None,
    yes: bool,
    as_json: bool,
    tunnel: str | None,
    config: Path | None,
) -> None:
    """Send a request to the service again.

    It goes to the service directly, not through Cloudflare, and carries X-PRX-Replay: ID. One whose body was cut is refused.
    The service has 100 seconds to begin its answer, as long as Cloudflare waits for it.
    """
    from prx.cli.requests import line
    from prx.traffic.replay import LONGEST

    if (number is None) == (from_har is None):
        raise UsageError("expected the ID of a request, or --from-har FILE", hint="prx requests lists them")
    with select(config, tunnel) as target:
        ask = target.running.client.ask
        if from_har is not None:
            jobs: list[dict[str, Any]] = [{"id": 0, "edit": item} for item in _archived(from_har)]
        else:
            found = ask("request", id=number, tunnel=target.tunnel)["request"]
            changed = _edited(found) if edit else None
            jobs = [{"id": number, "edit": changed, "method": found["method"]}]
        for job in jobs:
            method = str((job["edit"] or {}).get("method") or job.get("method"))
            if method not in _SAFE and not yes and sys.stdin.isatty():
                click.confirm(f"{method} may change something. Send it again?", abort=True, err=True)
            for _ in range(times):
                sent = ask("replay", wait=LONGEST + 10, id=job["id"], edit=job["edit"], tunnel=target.tunnel)["request"]
                click.echo(json.dumps(sent) if as_json else line(sent))


def _archived(file: Path) -> tuple[dict[str, Any], ...]:
    """Return the requests of an archive, and say what of it is none; UsageError if there is no request in it."""
    from prx.logs.text import printable
    from prx.traffic.export import from_har
    from prx.ui.errors import print_note

    archive = from_har(_text_of(file))
    for line in archive.passed_over:
        print_note(printable(f"note: {line}"))
    if not archive.requests:
        raise UsageError(f"{file} holds no HTTP request")
    return archive.requests


def _text_of(archive: Path) -> str:
    try:
        return archive.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{archive} is no HTTP archive (HAR 1.2): it is no UTF-8") from error
    except OSError as error:
        raise refused(f"{archive} cannot be read: {error.strerror}", error, kind=UsageError) from error


def _edited(found: dict[str, Any]) -> dict[str, Any]:
    """Return what the user makes of a request; a value that is hidden and stays as it is stands for the one that came."""
    body = base64.b64decode(found["request"]["body"])
    try:
        text = body.decode()
    except UnicodeDecodeError:
        text = None
    head = [f"{found['method']} {found['path']}", *(f"{name}: {value}" for name, value in found["request"]["headers"])]
    written = click.edit("\n".join([*head, "", "" if text is None else text]), extension=".http")
    if written is None:
        raise click.Abort
    top, _, rest = written.partition("\n\n")
    first, *lines = top.split("\n")
    method, _, path = first.strip().partition(" ")
    pairs = [(name.strip(), value.strip()) for name, _, value in (item.partition(":") for item in lines if item.strip())]
    edit: dict[str, Any] = {"method": method, "path": path, "headers": pairs}
    if text is not None:  # editors end a file with a newline
        rest = rest if text.endswith("\n") else rest.removesuffix("\n")
        if rest != text:  # else the one that came is sent, if it is kept whole
            edit["body"] = base64.b64encode(rest.encode()).decode()
    return edit
