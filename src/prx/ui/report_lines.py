"""The report on the past as lines for people."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from prx.core.conditions import CONDITIONS
from prx.core.numbers import counted
from prx.core.protocols import PROTOCOL_NAMES
from prx.history.latency import percentile
from prx.history.report import Loss, Report, TunnelReport
from prx.ui.text import labelled, seconds

_LABEL: Final = 10
_WIDE: Final = 10_000
_TITLES: Final = {verdict.value: condition.title for verdict, condition in CONDITIONS.items()}


def report_lines(report: Report, columns: int = _WIDE) -> list[str]:
    """Return the lines of a report, one block for each tunnel, in rows of at most `columns`; times are local."""
    lines = [f"from {_moment(report.since)} to {_moment(report.until)} ({seconds(report.until - report.since)})"]
    if report.missing:
        records = "1 record is" if report.missing == 1 else f"{report.missing} records are"
        lines.append(f"{records} missing or damaged: the disk did not take them, or prx was killed")
    if report.ahead:
        lines.append(f"{report.ahead} records of a time that is still to come are left out: the clock was set back")
    if not report.tunnels:
        why = "" if report.ahead else ": no prx was running"
        lines.append(f"nothing is known of this time{why}")
    for tunnel in report.tunnels:
        lines += ["", f"{tunnel.tunnel}  {tunnel.local_addr}".rstrip()]
        for label, text in _rows(tunnel):
            lines += labelled(label, text, columns, _LABEL)
    return lines


def _rows(tunnel: TunnelReport) -> Iterator[tuple[str, str]]:
    yield "reachable", _reachable(tunnel)
    for number, loss in enumerate(tunnel.lost):
        yield "" if number else "lost", _loss(loss)
    if tunnel.restarts:
        yield "restarts", ", ".join(f"{item.cause} {item.count} ({_helped(item.helped)})" for item in tunnel.restarts)
    for number, change in enumerate(tunnel.urls):
        yield "" if number else "new URL", f"{_moment(change['at'])}  {change['url']}  (was {change['old']})"
    if tunnel.probes:
        yield "latency", _latency(tunnel)
    for number, link in enumerate(tunnel.links):
        protocol = PROTOCOL_NAMES.get(link.protocol, link.protocol)
        connections = "connection" if link.count == 1 else "connections"
        made = f"{link.count} {connections}" if link.count else "connected before"
        words = f"{link.location} {protocol}  {made}, {seconds(link.secs)} in all"
        yield "" if number else "edge", words


def _reachable(tunnel: TunnelReport) -> str:
    parts = [
        f"not watched for {seconds(tunnel.unwatched)}" if tunnel.unwatched >= 1 else "",
        f"stopped for {seconds(tunnel.stopped)}" if tunnel.stopped >= 1 else "",
    ]
    rest = f" ({', '.join(part for part in parts if part)})" if any(parts) else ""
    if tunnel.percent is None:
        return f"unknown{rest}"
    return f"{int(tunnel.percent * 100) / 100:.2f} % of the {seconds(tunnel.watched)} watched{rest}"


def _loss(loss: Loss) -> str:
    assert loss.longest is not None
    title = _TITLES.get(loss.cause, "")
    what = f"{loss.cause}: {title}" if title else loss.cause
    when = _moment(loss.longest.begin)
    if loss.count == 1:
        return f"{seconds(loss.secs)}  {what}, at {when}"
    return f"{seconds(loss.secs)}  {what}, {loss.count} times, the longest {seconds(loss.longest.secs)} at {when}"


def _helped(count: int) -> str:
    return "none helped" if count == 0 else f"{count} helped"


def _latency(tunnel: TunnelReport) -> str:
    known = [(percent, percentile(tunnel.buckets, percent)) for percent in (50, 95, 99)]
    values = " · ".join(f"p{percent} {value:.0f} ms" for percent, value in known if value is not None)
    probes = f"{counted(tunnel.probes, 'probe')}, {tunnel.failed_probes} failed"
    return f"{values} ({probes})" if values else probes


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M:%S")
