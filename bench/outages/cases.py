"""The outages: how each begins and how it ends, on a scene. Both subjects suffer the same at the same time."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from bench.room.scene import Scene
from bench.room.subject import Mode, Transport, signal_all

Act = Callable[[Scene, float], Awaitable[None]]

DURATIONS: Final = (5.0, 11.0, 15.0, 30.0, 60.0, 120.0, 300.0)
REFUSED: Final = DURATIONS[:-1]
SERVICE: Final = (5.0, 15.0, 60.0)
FOR_GOOD: Final = (0.0,)  # what has no end, or is over in a moment: times count from its beginning


@dataclass(frozen=True)
class Case:
    """One kind of outage. `durations` in seconds; `fault`: one that the lab must know.

    watch: how long to look on at most, in seconds, if that is not what the command line says.
    """

    name: str
    title: str
    begin: Act
    end: Act
    durations: tuple[float, ...] = DURATIONS
    modes: tuple[Mode, ...] = ("quick", "named")
    transports: tuple[Transport, ...] = ("quic", "http2")
    fault: str = ""
    needs_network: bool = False
    watch: float = 0.0


async def _nothing(_scene: Scene, _seconds: float) -> None:
    pass


async def _faults(scene: Scene, _seconds: float, *lines: str) -> None:
    for line in lines:
        await scene.lab.fault(line)


def _fault(*lines: str) -> Act:
    return lambda scene, seconds: _faults(scene, seconds, *lines)


async def _mend(scene: Scene, _seconds: float) -> None:
    scene.need_network.mend("away")


async def _cut_tcp(scene: Scene, _seconds: float) -> None:
    if scene.setup.transport == "http2":
        await scene.lab.fault("drop all")
    scene.need_network.cut("away", scene.lab.edge_ports, protocols="tcp")


async def _cut_one(scene: Scene, _seconds: float) -> None:
    """Cut off the edge address that most subjects have their first connection to; the lab calls its addresses lab01, lab02 ….

    A subject that has none there suffers nothing.
    """
    held = {watched.subject.hostname: await scene.lab.connections(watched.subject.hostname) for watched in scene.watched}
    first = Counter(min(held[name], key=lambda one: int(one["index"]))["location"] for name in held)
    location = str(first.most_common(1)[0][0])
    for name, connections in held.items():
        for one in connections:
            if one["location"] == location:
                await scene.lab.fault(f"drop index={one['index']} hostname={name}")
    scene.need_network.cut("away", {scene.lab.edge_ports[int(location[3:]) - 1]})


async def _network_away(scene: Scene, _seconds: float) -> None:
    lab, network = scene.lab, scene.need_network
    network.link(up=False)
    network.cut("away", [*lab.edge_ports, lab.public_port, lab.quick_port, lab.control_port])


async def _network_back(scene: Scene, _seconds: float) -> None:
    scene.need_network.mend("away")
    scene.need_network.link(up=True)


async def _cut_doh(scene: Scene, _seconds: float) -> None:
    scene.need_network.cut("away", [scene.lab.control_port], protocols="tcp")


async def _forget(scene: Scene, _seconds: float) -> None:
    for watched in scene.watched:
        await scene.lab.fault(f"forget {watched.subject.hostname}")
    await scene.lab.fault("drop all")


async def _service_down(scene: Scene, _seconds: float) -> None:
    await scene.origin.down()


async def _service_up(scene: Scene, _seconds: float) -> None:
    await scene.origin.up()


async def _answers(scene: Scene, _seconds: float, mode: str) -> None:
    await scene.origin.answer(mode)


async def _signal(scene: Scene, _seconds: float, number: signal.Signals) -> None:
    signal_all([watched.subject.child for watched in scene.watched], number)
    await asyncio.sleep(0)


def _answer(mode: str) -> Act:
    return lambda scene, seconds: _answers(scene, seconds, mode)


def _to_child(number: signal.Signals) -> Act:
    return lambda scene, seconds: _signal(scene, seconds, number)


def _refused(kind: str) -> Case:
    return Case(
        f"refused-{kind}",
        f"Connections dropped, registrations refused ({kind})",
        _fault(f"reject-registration {kind}", "drop all"),
        _fault("clear reject-registration"),
        REFUSED,
    )


CASES: Final = (
    Case("edge", "Edge away: dropped, and refused", _fault("refuse", "drop all"), _fault("clear refuse")),
    Case("edge-tcp", "Edge away over TCP only", _cut_tcp, _mend, needs_network=True),
    Case("edge-udp", "Edge away over UDP only", _fault("udp-blocked"), _fault("clear udp-blocked")),
    Case("edge-one", "The edge address in use away", _cut_one, _mend, needs_network=True),
    Case("edge-silent", "Edge silent: nothing is refused, nothing is answered", _fault("stall"), _fault("clear stall")),
    Case("unrouted", "Edge unroutable for visitors (530)", _fault("unroute"), _fault("clear unroute")),
    Case("network", "This machine's network away", _network_away, _network_back, needs_network=True),
    Case("dns", "Public DNS denies the name", _fault("nx-domain"), _fault("clear nx-domain"), fault="nx-domain"),
    Case("doh", "DNS over HTTPS unreachable", _cut_doh, _mend, needs_network=True),
    *(_refused(kind) for kind in ("unauthorized", "retryable", "duplicate")),
    Case("forgotten", "The quick tunnel is forgotten", _forget, _nothing, FOR_GOOD, ("quick",), fault="forget"),
    Case("service-down", "Service down: its port refuses", _service_down, _service_up, SERVICE),
    Case("service-hung", "Service hung: it accepts and never answers", _answer("hang"), _answer("ok"), SERVICE),
    Case("service-500", "Service answers 500", _answer("status 500"), _answer("ok"), SERVICE),
    Case("service-slow", "Service slow: 5 s for each answer", _answer("slow 5"), _answer("ok"), SERVICE),
    Case("killed", "Connector killed (SIGKILL)", _to_child(signal.SIGKILL), _nothing, FOR_GOOD, watch=90),
    Case("frozen", "Connector frozen (SIGSTOP)", _to_child(signal.SIGSTOP), _nothing, FOR_GOOD, watch=90),
    Case("udp-gone", "UDP blocked for good", _fault("udp-blocked"), _nothing, FOR_GOOD, transports=("quic",), watch=270),
)
BY_NAME: Final = {case.name: case for case in CASES}
