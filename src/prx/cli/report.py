"""`prx report`."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from prx.cli.find_running import complete_names
from prx.core.errors import PrxError, refused, unknown_tunnel

if TYPE_CHECKING:
    from prx.history.report import Report

_DAYS = re.compile(r"(?:(\d+)d)?(.*)", re.DOTALL)


class Span(click.ParamType):  # type: ignore[type-arg]  # generic in the stubs only
    """A span of time as seconds: `7d`, `12h`, `1d12h`, `90m`."""

    name = "span"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the seconds; fail with what is expected."""
        from prx.core.durations import LONGEST_SPAN, parse_duration
        from prx.core.numbers import whole

        if isinstance(value, float):
            return value
        match = _DAYS.fullmatch(str(value).strip())
        assert match is not None  # everything matches
        days = whole(match[1] or "0")
        try:
            rest = parse_duration(match[2]) if match[2] else 0.0
        except ValueError:
            rest = -1.0
        seconds = (days or 0) * 86400 + rest
        if days is None or rest < 0 or not 1 <= seconds <= LONGEST_SPAN:
            self.fail(f"found {value!r}, expected a span of time such as 12h, 7d or 1d12h", param, ctx)
        return seconds


@click.command()
@click.argument("name", required=False, shell_complete=complete_names)
@click.option("--since", type=Span(), default="7d", show_default=True, help="How far back, such as 12h, 7d or 1d12h.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--timeline", is_flag=True, help="With --json: each span of time and what it is put down to.")
def report(name: str | None, since: float, *, as_json: bool, timeline: bool) -> None:
    """Show how well the tunnels were reachable, and what was lost by which cause.

    From the history that prx keeps, whether it runs now or not. NAME is a tunnel, or the local address that it serves.
    """
    import shutil  # only here: it loads the libraries of packed files

    from prx.logs.text import printable
    from prx.ui.report_lines import report_lines
    from prx.ui.say import show

    found = made(name, since)
    if as_json:
        click.echo(json.dumps(found.to_json(timeline=timeline)))
        return
    columns = (shutil.get_terminal_size().columns,) if sys.stdout.isatty() else ()
    for line in report_lines(found, *columns):
        show(printable(line))


def made(name: str | None, since: float, *, folder: Path | None = None) -> Report:
    """Return the report of the last `since` seconds; PrxError if the history cannot be read.

    UsageError: it holds no such tunnel.
    """
    from prx.config.paths import data_dir, runtime_dir
    from prx.control.liveness import killed
    from prx.history.reader import read
    from prx.history.recorder import history_folder
    from prx.history.report import report as report_of
    from prx.runtime.host.clock import SystemClock

    until = SystemClock().wall()
    folder = folder or history_folder(data_dir())
    try:
        lives = read(folder, until - since)
    except OSError as error:
        raise refused(f"{error.filename or folder} cannot be read: {error.strerror}", error, kind=PrxError) from error
    whole = report_of(lives, until - since, until, killed=killed(runtime_dir()))
    if name is None:
        return whole
    wanted = [item for item in whole.tunnels if name in {item.tunnel, item.local_addr, item.local_addr.rpartition(":")[2]}]
    if not wanted:
        known = sorted({item.tunnel for item in whole.tunnels})
        raise unknown_tunnel(name, known, among="in the history of this time", hint="look further back with --since")
    return replace(whole, tunnels=tuple(wanted))
