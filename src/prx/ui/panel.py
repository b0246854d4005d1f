"""What a terminal shows while prx runs: the way up with its timings, then the URL with a QR code. Renderables only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from prx.core.protocols import PROTOCOL_NAMES
from prx.core.states import State
from prx.core.status import TunnelStatus
from prx.logs.text import printable
from prx.ui.text import seconds

PHASES = ("spawned", "url", "connected", "dns", "verified")

_COLOURS = {
    State.READY: "green",
    State.DEGRADED: "yellow",
    State.STARTING: "cyan",
    State.BACKOFF: "yellow",
    State.FAILED: "red",
}
_DOWN = frozenset({State.IDLE, State.STOPPING})
_QR_BORDER = 2  # light modules around the code; the standard asks for 4, cameras are content with 2


@dataclass(slots=True)
class Progress:
    """How far one start has come: seconds since the start of the child, for each phase that was reached."""

    reached: dict[str, float] = field(default_factory=dict)

    def reach(self, phase: str, elapsed: float) -> None:
        """Note a phase; the first one begins a new start."""
        if phase == PHASES[0]:
            self.reached.clear()
        self.reached[phase] = elapsed


def panel(
    statuses: Sequence[TunnelStatus], progress: Mapping[str, Progress], *, now: float, size: tuple[int, int]
) -> RenderableType:
    """Return the whole panel for a terminal of `size` (columns, lines); `now` is wall-clock seconds."""
    parts = [_tunnel(status, progress.get(status.name, Progress()), now) for status in statuses]
    if len(statuses) == 1 and statuses[0].state.is_up and statuses[0].proven and ".localhost" not in statuses[0].url:
        code = qr_code(statuses[0].url, *size)
        parts.extend([Padding(code, (1, 0, 0, 2))] if code else [])
    if statuses:
        draining = any(status.state is State.STOPPING for status in statuses)
        words = "requests under way may finish · Ctrl-C again ends at once" if draining else "Ctrl-C stops"
        parts.append(Padding(Text(words, style="dim"), (1, 0, 0, 2)))
    return Padding(Group(*parts), (1, 0))


def _tunnel(status: TunnelStatus, progress: Progress, now: float) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", min_width=9)
    grid.add_column(overflow="fold")
    colour = _COLOURS.get(status.state, "default")
    title = Text(f"● {status.name}", style=f"bold {colour}") + Text(f"  {status.state}", style=colour)
    if status.url and status.proven and status.state.is_up:
        grid.add_row("public", Text(status.url, style=f"bold underline link {status.url}"))
    elif status.url and not status.proven and (status.state.is_up or status.state is State.STARTING):
        grid.add_row("public", Text(f"{status.url}  (not proven)", style="dim"))
    grid.add_row("local", Text(printable(status.local_addr)))
    if status.state in _DOWN:
        grid.add_row("", Text(printable(status.reason)))
    elif why := _why(status, now):
        grid.add_row("verdict", Text(why))
    if traffic := _traffic(status):
        grid.add_row("traffic", Text(traffic))
    if flapping := status.flaps.words(now):
        grid.add_row("", Text(flapping, style="yellow"))
    if progress.reached and status.state not in _DOWN:
        grid.add_row("start", _way_up(progress))
    return Padding(Group(title, Padding(grid, (0, 0, 0, 2))), (0, 0, 0, 2))


def _traffic(status: TunnelStatus) -> str:
    """Return "12 requests · 1 error · 4 connections, QUIC, ams"; empty if nothing is known, or nothing can come."""
    if status.traffic is None or not status.state.is_up:
        return ""
    connections = [item for connector in status.connectors for item in connector.connections]
    if not connections:
        return status.traffic.words()
    protocols = sorted({PROTOCOL_NAMES.get(item.protocol, item.protocol) for item in connections} - {""})
    places = sorted({item.location.rstrip("0123456789") for item in connections} - {""})
    count = f"{len(connections)} connection" + ("s" if len(connections) > 1 else "")
    return printable(f"{status.traffic.words()} · {', '.join([count, *protocols, *places])}")


def _why(status: TunnelStatus, now: float) -> str:
    parts = [status.summary()]
    if status.retry_at is not None:
        parts.append(f"next try in {seconds(max(0.0, round(status.retry_at - now)))}")
    if status.hint:
        parts.append(f"hint: {status.hint}")
    return printable("  ".join(part for part in parts if part))


def _way_up(progress: Progress) -> Text:
    line = Text()
    for phase in PHASES:
        if line:
            line.append(" → ", style="dim")
        if phase in progress.reached:
            line.append(f"{phase} ", style="green").append(seconds(progress.reached[phase]), style="dim")
        else:
            line.append(phase, style="dim")
    return line


def qr_code(url: str, columns: int, lines: int) -> Text | None:
    """Return a QR code of `url` in half blocks, dark on light whatever the terminal's colours; None if it does not fit."""
    import segno

    rows = [list(row) for row in segno.make(url, error="L", micro=False).matrix_iter(border=_QR_BORDER)]
    if len(rows[0]) + 4 > columns or len(rows) // 2 + 14 > lines:
        return None
    rows += [[0] * len(rows[0])] * (len(rows) % 2)
    pairs = zip(rows[::2], rows[1::2], strict=True)
    text = ["".join(_HALVES[bool(above), bool(below)] for above, below in zip(*pair, strict=True)) for pair in pairs]
    code = Text(no_wrap=True)
    for number, line in enumerate(text):
        code.append("\n" if number else "").append(line, style="black on white")
    return code


_HALVES = {(False, False): " ", (True, False): "▀", (False, True): "▄", (True, True): "█"}
