"""`prx logs`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from prx.cli.find_running import all_running, choose, complete_names, config_option
from prx.cli.report import Span
from prx.control.client import NotRunningError
from prx.core.errors import PrxError, unknown_tunnel

_STYLES: dict[str, dict[str, Any]] = {"debug": {"dim": True}, "warn": {"fg": 166}, "error": {"fg": "red"}}

if TYPE_CHECKING:
    from prx.logs.reader import Rest
    from prx.logs.records import LogRecord


@click.command()
@click.argument("name", required=False, shell_complete=complete_names)
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.option("-n", "--lines", type=click.IntRange(0, 1_000_000), default=50, show_default=True, help="How many lines.")
@click.option("--json", "as_json", is_flag=True, help="Print the records as JSON, one per line.")
@click.option(
    "--level",
    type=click.Choice(["debug", "info", "warn", "error"]),
    default="info",
    show_default=True,
    help="Only from this level on.",
)
@click.option("--all", "-v", "everything", is_flag=True, help="Also debug lines, and those of the connector that mean nothing.")
@click.option("--since", type=Span(), metavar="SPAN", help="Only the last 10m, 12h, 7d … of it, whatever -n says.")
@config_option
def logs(
    name: str | None,
    config: Path | None,
    *,
    follow: bool,
    lines: int,
    as_json: bool,
    level: str,
    everything: bool,
    since: float | None,
) -> None:
    """Show what prx and its children logged.

    Of the prx that runs; if none does, of the one that ran last. NAME is a tunnel, or the local address that it serves.
    The files are in the folder `logs` of the data directory ($PRX_DATA_DIR, or ~/.local/share/prx), one for each prx, with at
    most 10 MB and three older ones beside it (`FILE.log.1` …).
    """
    from prx.logs.order import in_order
    from prx.logs.reader import tail_and_rest

    path, tunnel = _find(name, config)
    shown = _Shown(tunnel, level, as_json=as_json, everything=everything)
    wanted = lines if everything and tunnel is None and since is None else 1_000_000  # a filter needs more to choose from
    stored, rest = tail_and_rest(path, wanted)
    kept = in_order(item for line in stored for item in shown.take(line))
    if not follow:
        rest.close()
        shown.check(path)
    if since is None:
        kept = kept[len(kept) - min(lines, len(kept)) :]
    else:
        first = _time_before(since)
        kept = [item for item in kept if item[0] >= first]
    _print(text for _, text in kept)
    if follow:
        from prx.cli.ending import run

        run(_follow(rest, shown))


def last_lines(name: str | None, lines: int, level: str) -> list[str]:
    """Return the last lines of one tunnel, or of all, sorted by time; raise UsageError if the log has no such tunnel."""
    from prx.logs.order import in_order
    from prx.logs.reader import tail

    path, tunnel = _find(name, None)
    shown = _Shown(tunnel, level, as_json=False, everything=False)
    kept = in_order(item for line in tail(path, 1_000_000) for item in shown.take(line))
    shown.check(path)
    return [text for _, text in kept[-lines:]]


class _Shown:
    """Which records are shown, and how."""

    def __init__(self, tunnel: str | None, level: str, *, as_json: bool, everything: bool) -> None:
        from prx.logs.records import LEVELS, Unfolder

        self._unfolder = Unfolder()
        self._levels = LEVELS if everything else LEVELS[LEVELS.index(level) :]
        self._everything = everything
        self.tunnels: set[str] = set()  # those that have been seen
        self._tunnel = tunnel
        self._as_json = as_json
        self._on_terminal = not as_json and sys.stdout.isatty()
        self._colours = self._on_terminal and not os.environ.get("NO_COLOR")

    def take(self, line: bytes) -> Iterator[tuple[str, str]]:
        """Yield time and text of what is to be printed of a stored line: nothing of one that is not wanted, or no record."""
        from prx.logs.records import is_below

        many = is_below(line) or b'"lines":' in line
        try:
            for record in self._unfolder.take(line):
                if record.tunnel:
                    self.tunnels.add(record.tunnel)
                noise = record.fields.get("kind") == "noise" and not self._everything
                if self._tunnel in {None, record.tunnel} and not noise and record.level in self._levels:
                    yield record.at, self._text(record, b"" if many else line)
        except ValueError:
            return  # cut off by a crash

    def check(self, path: Path) -> None:
        """Raise UsageError if a tunnel is wanted that has not been seen in the log `path`."""
        if self._tunnel is not None and self._tunnel not in self.tunnels:
            raise unknown_tunnel(self._tunnel, sorted(self.tunnels), among=f"in the log {path}")

    def _text(self, record: LogRecord, stored: bytes) -> str:
        if not self._as_json:
            return self._for_people(record)
        return stored.decode(errors="replace") if stored else record.to_json()

    def _for_people(self, record: LogRecord) -> str:
        from prx.ui.say import on_screen

        text = on_screen(_line(record), terminal=self._on_terminal)
        return click.style(text, **_STYLES.get(record.level, {})) if self._colours else text


def _time_before(seconds: float) -> str:
    """Return the time so many seconds ago, as records have it."""
    from prx.core.events import timestamp
    from prx.runtime.host.clock import SystemClock

    return timestamp(SystemClock().wall() - seconds)


def _line(record: LogRecord) -> str:
    from prx.logs.text import printable

    tunnel = f" {record.tunnel}:" if record.tunnel else ""
    source = "" if record.source == "prx" else f" {record.source} |"
    return printable(f"{record.at} {record.level:<5}{tunnel}{source} {record.words}")


def _find(name: str | None, config: Path | None) -> tuple[Path, str | None]:
    """Return the log file of the running prx that is meant, and the tunnel in it; else the file written last."""
    try:
        with all_running(config) as found:
            target = choose(found, name, config)
            return Path(target.running.about["log"]), target.tunnel
    except NotRunningError:
        return _latest(config), name


def _latest(config: Path | None) -> Path:
    from prx.app.log_file import log_file, log_folder
    from prx.config.paths import data_dir
    from prx.control.instance import instance_key
    from prx.files.presence import files_in, is_there

    folder = log_folder(data_dir())
    if config is not None:
        own = log_file(data_dir(), instance_key(config, ""))
        files = [own] if is_there(own) else []
    else:
        files = files_in(folder, ".log")
    newest = max(files, key=lambda path: path.stat().st_mtime, default=None)
    if newest is None:
        raise PrxError(f"there are no logs in {folder}", hint="they begin with the first `prx start`")
    return newest


async def _follow(rest: Rest, shown: _Shown) -> None:
    from prx.logs.reader import follow

    async for line in follow(rest):
        _print(text for _, text in shown.take(line))


def _print(texts: Iterable[str]) -> None:
    for text in texts:
        click.echo(text)
