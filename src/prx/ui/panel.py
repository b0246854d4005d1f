"""What a terminal shows while prx runs: one line for each tunnel, its URL first, and more only if something is to be said.

Pure: statuses in, lines out, each as wide as the terminal at most. A URL alone may be wider: the terminal wraps it, and it
stays one word to select or click.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from rich.cells import cell_len
from rich.text import Text

from prx.core.numbers import counted
from prx.core.protocols import PROTOCOL_NAMES
from prx.core.states import State
from prx.core.status import TunnelStatus
from prx.logs.text import printable
from prx.ui.fitting import Block, fitted
from prx.ui.qr import qr_code
from prx.ui.text import seconds, wrapped

PHASES = ("spawned", "url", "connected", "dns", "verified")
QR_SECONDS = 300.0  # the code is shown so long, or until the first visitor came; `prx url --qr` shows it again

# Colours that can be read on a light background and on a dark one; what matters is said in words as well.
_COLOURS = {
    State.READY: "green",
    State.DEGRADED: "dark_orange3",
    State.STARTING: "cyan",
    State.BACKOFF: "dark_orange3",
    State.FAILED: "red",
}
_RANKS = {State.FAILED: 0, State.BACKOFF: 1, State.DEGRADED: 2, State.STOPPING: 3, State.STARTING: 4}
_DOWN = frozenset({State.IDLE, State.STOPPING})
_INDENT = "    "


@dataclass(slots=True)
class Progress:
    """How far one start has come: seconds since the start of the child, for each phase that was reached."""

    reached: dict[str, float] = field(default_factory=dict)

    def reach(self, phase: str, elapsed: float) -> None:
        """Note a phase; the first one begins a new start."""
        if phase == PHASES[0]:
            self.reached.clear()
        self.reached[phase] = elapsed

    def words(self) -> str:
        """Return "spawned 0.17 s → url 0.42 s → connected → dns → verified": first what was reached, as it came.

        At the end of the way nothing else comes: a named tunnel has no step for its URL, a URL that is watched no child.
        """
        came = [f"{phase} {seconds(at)}" for phase, at in sorted(self.reached.items(), key=lambda item: item[1])]
        missing = [phase for phase in PHASES if phase not in self.reached] if PHASES[-1] not in self.reached else []
        return " → ".join([*came, *missing])


def panel_lines(
    statuses: Sequence[TunnelStatus],
    progress: Mapping[str, Progress],
    *,
    now: float,
    size: tuple[int, int],
) -> list[Text]:
    """Return the lines for a terminal of `size` (columns, lines): fewer than it has.

    `now` is wall-clock seconds.
    """
    if not statuses:
        return []
    columns, lines = size
    several = len(statuses) > 1
    blocks = [
        _block(status, progress.get(status.name, Progress()), now, columns, several=several, pad=_pad(statuses, columns))
        for status in statuses
    ]
    frame = [Text(), *([_head(statuses)] if several else [])]
    foot = [Text()] if lines > 10 else []
    foot += _dim(wrapped(_last_words(statuses), columns, "  "))
    room = lines - 1 - len(frame) - len(foot)
    shown = fitted(blocks, room, columns)
    if not several and _wants_code(statuses[0], now):
        shown += _code(statuses[0].url, columns, room - len(shown))
    return (frame + shown + foot)[: max(1, lines - 1)]


def _head(statuses: Sequence[TunnelStatus]) -> Text:
    states = [status.state for status in statuses]
    others = [f"{states.count(state)} {state}" for state in State if state in states and state is not State.READY]
    return Text("  " + " · ".join([f"{states.count(State.READY)} of {len(states)} ready", *others]), style="bold")


def _last_words(statuses: Sequence[TunnelStatus]) -> str:
    if any(status.state is State.STOPPING for status in statuses):
        return "requests under way may finish · Ctrl-C again ends at once"
    return "Ctrl-C stops"


def _pad(statuses: Sequence[TunnelStatus], columns: int) -> int:
    """Return the width of the column of URLs, so that what follows them is in one column too."""
    return max((len(url) for status in statuses if len(url := _url(status)) < columns - 30), default=0)


def _url(status: TunnelStatus) -> str:
    """Return the URL to show: that of a tunnel that is up or on its way; the one of a dead child is no URL any more."""
    return printable(status.url) if status.state.is_up or (status.state is State.STARTING and not status.proven) else ""


def _block(status: TunnelStatus, progress: Progress, now: float, columns: int, *, several: bool, pad: int) -> Block:
    details = list(_details(status, progress, now, columns, several=several))
    head = _line(status, now, columns, several=several, pad=pad)
    return Block(head, details, _RANKS.get(status.state, 9))


def _line(status: TunnelStatus, now: float, columns: int, *, several: bool, pad: int) -> list[Text]:
    """Return the tunnel's line, and a second one if the URL leaves no room for its name."""
    colour = _COLOURS.get(status.state, "default")
    url = _url(status)
    facts = list(_facts(status, now, several=several, proven=status.proven or not url))
    if not url:
        mark = Text("  ● ", style=colour)
        return [_with(mark, [(status.name, "bold"), *facts[several:]], columns)]
    style = f"bold underline link {url}" if status.proven else "dim"
    if len(url) + 4 > columns:
        line = Text(url, style=style)
    else:
        line = Text("  ● ", style=colour) + Text(url, style=style)
        facts = [(("" if columns < len(url) + 40 else " " * (pad - len(url))) + facts[0][0], facts[0][1]), *facts[1:]]
    if cell_len(line.plain) + 2 + cell_len(facts[0][0]) > columns:
        return [line, _with(Text(_INDENT[:-2]), facts, columns)] if several or status.state is not State.READY else [line]
    return [_with(line, facts, columns)]


def _facts(status: TunnelStatus, now: float, *, several: bool, proven: bool) -> Iterator[tuple[str, str]]:
    """Yield what follows the URL, the most important first, each with its style."""
    if several:
        yield status.name, "bold"
    if not proven and status.state is not State.STARTING:
        yield "not verified yet", "dim"
    if status.state is not State.READY:
        yield str(status.state), _COLOURS.get(status.state, "default")
    yield f"→ {printable(status.local_addr)}", ""
    if status.state is State.READY and status.since is not None:
        yield f"up {seconds(max(0, round(now - status.since)))}", "dim"


def _with(line: Text, facts: Iterable[tuple[str, str]], columns: int) -> Text:
    """Return the line with the facts that fit."""
    for words, style in facts:
        gap = "" if line.plain.endswith("  ") or line.plain.endswith("● ") else "  "
        if cell_len(line.plain) + len(gap) + cell_len(words) > columns and line.plain.strip("● "):
            break
        line = line + Text(gap) + Text(words, style=style)
    line.truncate(columns, overflow="ellipsis")
    return line


def _details(status: TunnelStatus, progress: Progress, now: float, columns: int, *, several: bool) -> Iterator[Text]:
    """Yield the lines below the tunnel's own."""
    if status.state in _DOWN:
        yield from _plain([status.reason], columns)
        return
    if status.state is not State.READY or not several or status.lacks_connectors:
        yield from _plain([_why(status, now)], columns)
        yield from _dim(_wrapped([f"hint: {status.hint}" if status.hint else ""], columns))
    if status.state is State.STARTING and progress.reached:
        yield from _dim(_wrapped([progress.words()], columns))
    if not several:
        yield from _plain([_traffic(status)], columns)
    yield from _plain([status.flaps.words(now)], columns)


def _why(status: TunnelStatus, now: float) -> str:
    parts = [status.reason if status.verdict == status.state else status.summary()]
    if status.retry_at is not None:
        at = time.strftime("%H:%M:%S", time.localtime(status.retry_at))
        parts.append(f"try {status.attempt + 1} in {max(0, round(status.retry_at - now))} s, at {at}")
    return " · ".join(part for part in parts if part)


def _traffic(status: TunnelStatus) -> str:
    """Return "12 requests · 1 error · 4 connections, QUIC, ams"; empty if nothing is known, or nothing can come."""
    if status.traffic is None or not status.state.is_up:
        return ""
    connections = [item for connector in status.connectors for item in connector.connections]
    if not connections:
        return status.traffic.words()
    protocols = sorted({PROTOCOL_NAMES.get(item.protocol, item.protocol) for item in connections} - {""})
    places = sorted({item.location.rstrip("0123456789") for item in connections} - {""})
    count = counted(len(connections), "connection")
    return f"{status.traffic.words()} · {', '.join([count, *protocols, *places])}"


def _wants_code(status: TunnelStatus, now: float) -> bool:
    """Return whether a phone may want the URL just now: it is public, fresh, and no visitor has come yet."""
    if not (status.state.is_up and status.proven) or ".localhost" in status.url:
        return False
    visited = status.traffic is not None and status.traffic.requests > 0
    return not visited and (status.since is None or now - status.since < QR_SECONDS)


def _code(url: str, columns: int, room: int) -> list[Text]:
    code = qr_code(url, columns, room)
    return [] if code is None else [Text("  ") + line for line in code]


def _wrapped(texts: Iterable[str], columns: int) -> list[str]:
    return [line for text in texts if text for line in wrapped(printable(text), columns, _INDENT)]


def _plain(texts: Iterable[str], columns: int) -> list[Text]:
    return [Text(line) for line in _wrapped(texts, columns)]


def _dim(lines: Iterable[str]) -> list[Text]:
    return [Text(line, style="dim") for line in lines]
