"""The causes of a storm, and for each the verdicts that are right, and why. This table is the only place that says so.

Three classes of verdicts for each cause:

    right      true, and helpful, 10 s after the onset
    tolerated  not what is wanted, but no innocent part is blamed: a waiting word, or a second truth
    else       a false accusation

After a fault's end, what is not served yet may be called lost or unreachable, whatever the fault was. `healthy` is never an
accusation. It is right if visitors are served at that moment, whatever has happened: then the tunnel is well, or well again;
else it is stale. A restart is right where the cause needs one (`restarts`), and only so often.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from bench.room.scene import Scene
from bench.room.subject import signal_all

Act = Callable[[Scene], Awaitable[None]]

WAITING: Final = frozenset(("starting", "dns_pending"))
AFTERWARDS: Final = frozenset(("edge_lost", "unreachable"))
SILENT: Final = frozenset(("?", "-"))  # prx did not answer, or has no verdict yet
FLOOD_LINES: Final = 1_000_000


@dataclass(frozen=True)
class Cause:
    """One cause. `moment`: over at once. `fault`: one that the lab must know. `transport`: what the connector must speak.

    restarts: so many are needed. waits: it leaves the connector without connections, between tries of its own that come later
    and later: once the edge is back, to replace the connector of a named tunnel helps, and costs no URL.
    """

    name: str
    begin: Act
    end: Act
    right: frozenset[str]
    why: str
    tolerated: frozenset[str] = frozenset()
    restarts: int = 0
    waits: bool = False
    moment: bool = False
    fault: str = ""
    needs_network: bool = False
    transport: str = ""


def _lines(*lines: str) -> Act:
    async def act(scene: Scene) -> None:
        for line in lines:
            await scene.lab.fault(line)

    return act


def _answer(mode: str) -> Act:
    return lambda scene: scene.origin.answer(mode)


def _child(number: signal.Signals) -> Act:
    async def act(scene: Scene) -> None:
        signal_all([watched.subject.child for watched in scene.watched], number)

    return act


async def _nothing(_scene: Scene) -> None:
    pass


async def _origin_down(scene: Scene) -> None:
    await scene.origin.down()


async def _origin_up(scene: Scene) -> None:
    await scene.origin.up()


async def _all_down(scene: Scene) -> None:
    await _lines("refuse", "drop all")(scene)
    await scene.origin.down()


async def _all_up(scene: Scene) -> None:
    await scene.origin.up()
    await scene.lab.fault("clear refuse")


async def _freeze_lab(scene: Scene) -> None:
    scene.lab.freeze()


async def _thaw_lab(scene: Scene) -> None:
    scene.lab.thaw()


async def _network_away(scene: Scene) -> None:
    lab, network = scene.lab, scene.need_network
    network.link(up=False)
    network.cut("away", [*lab.edge_ports, lab.public_port, lab.quick_port, lab.control_port])


async def _network_back(scene: Scene) -> None:
    scene.need_network.mend("away")
    scene.need_network.link(up=True)


async def _doh_away(scene: Scene) -> None:
    scene.need_network.cut("away", [scene.lab.control_port], protocols="tcp")


async def _mend(scene: Scene) -> None:
    scene.need_network.mend("away")


async def _flood(scene: Scene) -> None:
    """Write lines into the child's own stderr, as fast as prx reads them."""
    child = scene.watched[0].subject.child
    await asyncio.to_thread(_write_lines, child, FLOOD_LINES)


def _write_lines(pid: int, count: int) -> None:
    block = b'{"level":"info","message":"a line of a flood","time":"2026-01-01T00:00:00Z"}\n' * 1000
    with open(f"/proc/{pid}/fd/2", "wb", buffering=0) as out:  # noqa: PTH123 - a pipe, not a file
        for _ in range(count // 1000):
            written = 0
            while written < len(block):
                written += os.write(out.fileno(), block[written:])


EDGE: Final = frozenset(("edge_lost",))
CAUSES: Final = (
    Cause(
        "child killed",
        _child(signal.SIGKILL),
        _nothing,
        frozenset(("crashed", "starting")),
        "it has ended by itself; 10 s later the next one is on its way or up",
        frozenset(("dns_pending",)),
        restarts=1,
        moment=True,
    ),
    Cause(
        "child frozen",
        _child(signal.SIGSTOP),
        _nothing,
        frozenset(("crashed", "edge_lost", "starting")),
        "nothing is connected any more, or it is being replaced; only a restart helps",
        frozenset(("dns_pending", "unreachable")),
        restarts=1,
        moment=True,
    ),
    Cause(
        "connections reset",
        _lines("reset all"),
        _nothing,
        EDGE,
        "until they are back, all connections are lost",
        waits=True,
        moment=True,
    ),
    Cause("edge down", _lines("refuse", "drop all"), _lines("clear refuse"), EDGE, "all connections are lost", waits=True),
    Cause(
        "edge and origin down",
        _all_down,
        _all_up,
        EDGE,
        "the first cause on the way in; the service is down as well, so saying that is true, too",
        frozenset(("origin_down",)),
        waits=True,
    ),
    Cause(
        "edge silent",
        _freeze_lab,
        _thaw_lab,
        frozenset(("edge_lost", "unreachable")),
        "over HTTP/2 the connector does not notice, so what is seen is a public URL that never answers",
        waits=True,
    ),
    Cause(
        "edge stalled",
        _lines("stall"),
        _lines("clear stall"),
        frozenset(("edge_lost", "unreachable")),
        "as a silent edge, while its public side answers",
        waits=True,
    ),
    Cause(
        "visitors unrouted",
        _lines("unroute"),
        _lines("clear unroute"),
        frozenset(("unreachable",)),
        "530 although connections are up: Cloudflare's doing",
    ),
    Cause(
        "UDP blocked, on QUIC",
        _lines("udp-blocked"),
        _lines("clear udp-blocked"),
        frozenset(("udp_blocked", "edge_lost", "unreachable")),
        "a URL that never answers until QUIC notices; then lost connections, and UDP is the cause once a TCP dial works",
        WAITING,
        restarts=1,
        transport="quic",
    ),
    Cause(
        "UDP blocked, on HTTP/2",
        _lines("udp-blocked"),
        _lines("clear udp-blocked"),
        frozenset(),
        "HTTP/2 needs no UDP: healthy",
        transport="http2",
    ),
    Cause("origin down", _origin_down, _origin_up, frozenset(("origin_down",)), "its port refuses"),
    Cause("origin hung", _answer("hang"), _answer("ok"), frozenset(("origin_down",)), "it accepts and never answers"),
    Cause("origin 500", _answer("status 500"), _answer("ok"), frozenset(("origin_error",)), "the service says it"),
    Cause(
        "origin hangs up on visitors",
        _answer("hang-up"),
        _answer("ok"),
        frozenset(("origin_down", "origin_error")),
        "the request reached it and was answered badly, although it answers here",
    ),
    Cause(
        "origin 500 for visitors",
        _answer("visitors 500"),
        _answer("ok"),
        frozenset(("origin_error",)),
        "the service says it to those who come through the tunnel",
    ),
    Cause(
        "offline",
        _network_away,
        _network_back,
        frozenset(("offline",)),
        "no route leads out of this machine",
        EDGE,
        waits=True,
        needs_network=True,
    ),
    Cause("DoH down", _doh_away, _mend, frozenset(), "the tunnel works: healthy", needs_network=True),
    Cause("log flood", _flood, _nothing, frozenset(), "the tunnel works: healthy", moment=True),
    Cause(
        "refused by Cloudflare",
        _lines("refuse-visitors challenge"),
        _lines("clear refuse-visitors"),
        frozenset(("edge_refused",)),
        "Cloudflare itself refuses the visitor; the tunnel is up",
        fault="refuse-visitors",
    ),
)
BY_NAME: Final = {cause.name: cause for cause in CAUSES}


def judge(cause: Cause, verdict: str, *, served: bool, over: bool = False) -> str:
    """Return whether a verdict is `right`, `stale`, `tolerated` or `false` while `cause` acts; `served`: visitors are.

    over: the fault has ended.
    """
    if verdict == "healthy":
        return "right" if served else "stale"
    if verdict in cause.right:
        return "right"
    if verdict in SILENT:
        return "stale"
    if over and not served and verdict in AFTERWARDS:
        return "tolerated"
    return "tolerated" if verdict in cause.tolerated | WAITING else "false"
