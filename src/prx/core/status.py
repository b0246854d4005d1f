"""What is known of each tunnel, as a fold over events: the same list of events always leads to the same status.

`status` is what `prx status --json` prints; `attempt`, waits and times come from events alone, so that a test, a dashboard or a
second process that reads the event stream can rebuild it.
"""

from __future__ import annotations

from dataclasses import asdict, field, replace
from typing import Any

from prx.core import events
from prx.core.events import Event, Fact
from prx.core.flapping import Flaps
from prx.core.states import State
from prx.core.traffic import WINDOW_SECONDS, TrafficStatus
from prx.core.value import Value, value_class
from prx.core.verdicts import FIRST_REQUEST, NO_CONNECTION, WELL, NoVerdict, Verdict, summary


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Connection(Value):
    """One connection between a connector and the edge."""

    index: int
    location: str
    protocol: str


@value_class(frozen=True, slots=True, eq=False, repr=False)
class ConnectorStatus(Value):
    """One running child. `connector` is its number in the tunnel; two have the same while one takes the place of the other."""

    pid: int
    version: str
    protocol: str = ""
    connections: tuple[Connection, ...] = ()
    connector: int = 0


@value_class(frozen=True, slots=True, eq=False, repr=False)
class ProbeStatus(Value):
    """The last check of the public URL."""

    status: int | None
    latency_ms: float | None
    at: float


@value_class(frozen=True, slots=True, eq=False, repr=False)
class TunnelStatus(Value):
    """Everything that is known of one tunnel. Times are wall-clock seconds since 1970.

    url: the public URL as far as it is known; `proven` once it was verified. told: it was given out as the tunnel's URL,
    because it is proven, or because it is connected and cannot be proven from here. retries: of each connector
    that waits its number, and when it is started again. replicas: how many connectors are wanted here, 0 if
    the URL is only watched; serving: how many of them serve, which cloudflared's own log may be too quiet to show.
    traffic: None as long as it is not known.
    inspected: what passes can be seen with `prx requests`. wanted: it was not asked to stop. configured: it was not taken out
    of the configuration, after which it is here only until it has ended.
    """

    name: str
    backend: str = ""
    mode: str = ""
    local_addr: str = ""
    state: State = State.IDLE
    verdict: Verdict | NoVerdict = ""
    reason: str = ""
    hint: str = ""
    url: str = ""
    proven: bool = False
    told: bool = False
    since: float | None = None
    restarts: int = 0
    attempt: int = 0
    retries: tuple[tuple[int, float], ...] = ()
    connectors: tuple[ConnectorStatus, ...] = ()
    last_probe: ProbeStatus | None = None
    traffic: TrafficStatus | None = None
    inspected: bool = False
    replicas: int = 1
    serving: int = 0
    flaps: Flaps = field(default_factory=Flaps)
    wanted: bool = True
    configured: bool = True

    def summary(self) -> str:
        """Return "verdict: reason", without the part that is empty."""
        return summary(self.verdict, self.reason)

    @property
    def retry_at(self) -> float | None:
        """When the next connector is started again, of those that wait for it; None if none does."""
        return min((at for number, at in self.retries if number < max(1, self.replicas)), default=None)

    @property
    def lacks_connectors(self) -> bool:
        """Return whether fewer than the several connectors that are wanted serve a tunnel that is up."""
        return self.state.is_up and self.replicas > 1 and self.serving < self.replicas

    def moved(self, by: float) -> TunnelStatus:
        """Return the same status after the wall clock was set `by` seconds ahead: what is kept gets its time by the new one."""
        probe = self.last_probe
        return replace(
            self,
            since=None if self.since is None else self.since + by,
            retries=tuple((number, at + by) for number, at in self.retries),
            last_probe=None if probe is None else replace(probe, at=probe.at + by),
            flaps=self.flaps.moved(by),
        )

    def to_json(self, now: float) -> dict[str, Any]:
        """Return the public form; `now` (wall clock, seconds) turns the time of the next try into a wait."""
        probe = self.last_probe
        return {
            "name": self.name,
            "backend": self.backend,
            "mode": self.mode,
            "state": self.state,
            "verdict": self.verdict,
            "reason": self.reason,
            "hint": self.hint,
            "url": self.url,
            "proven": self.proven,
            "local_addr": self.local_addr,
            "inspected": self.inspected,
            "configured": self.configured,
            "since": None if self.since is None else events.timestamp(self.since),
            "restarts": self.restarts,
            "attempt": self.attempt,
            "flaps": self.flaps.count(now),
            "next_retry_in": None if self.retry_at is None else round(max(0.0, self.retry_at - now), 1),
            "replicas": self.replicas,
            "serving": min(self.serving, self.replicas) if self.state.is_up else 0,
            "connectors": [_connector_json(connector) for connector in self.connectors],
            "last_probe": None
            if probe is None
            else {"status": probe.status, "latency_ms": probe.latency_ms, "at": events.timestamp(probe.at)},
            "traffic": None if self.traffic is None else {**asdict(self.traffic), "window_secs": WINDOW_SECONDS},
        }


def _connector_json(connector: ConnectorStatus) -> dict[str, Any]:
    return {
        "connector": connector.connector,
        "pid": connector.pid,
        "version": connector.version,
        "protocol": connector.protocol,
        "connections": [
            {"index": item.index, "location": item.location, "protocol": item.protocol}
            for item in sorted(connector.connections, key=lambda item: item.index)
        ],
    }


def fold(status: TunnelStatus, event: Event) -> TunnelStatus:
    """Return the status after `event`; facts about other tunnels change nothing."""
    fact = event.fact
    if fact.tunnel != status.name:
        return status
    return _fold_fact(status, fact, event.at)


def _fold_fact(status: TunnelStatus, fact: Fact, at: float) -> TunnelStatus:
    match fact:
        case events.StateChanged(new=new, reason=reason):
            status = replace(status, state=new, since=at, reason=reason or status.reason, flaps=_flaps_of(status, new, at))
            if new is State.IDLE:
                return replace(status, verdict="", hint="", url="", proven=False, told=False, retries=())
            waits = new is State.BACKOFF or (status.replicas > 1 and new not in {State.STOPPING, State.FAILED})
            return status if waits else replace(status, retries=())
        case events.VerdictChanged(new=new, reason=reason, hint=hint, serving=serving):
            return replace(status, verdict=new, reason=reason, hint=hint, serving=serving)
        case events.UrlChanged(url=url, proven=proven):
            return replace(status, url=url, proven=proven, told=True)
        case events.UrlKnown(url=url):
            return status if status.url == url else replace(status, url=url, proven=False, told=False)
        case events.RestartCancelled(attempt=attempt, connector=number):
            return replace(status, attempt=attempt, retries=_without(status.retries, number))
        case events.RestartScheduled(delay=delay, attempt=attempt, connector=number):
            return replace(status, attempt=attempt, retries=(*_without(status.retries, number), (number, at + delay)))
        case events.Log(fields={"in_flight": _}, message=message) if status.state is State.STOPPING:
            return replace(status, reason=message)  # what the end waits for
        case events.AttemptsForgotten():
            return replace(status, attempt=0)
        case events.Probed(status=code, latency_ms=latency, verdict=verdict):
            flaps = status.flaps.see(at, well=verdict in WELL)
            return replace(status, last_probe=ProbeStatus(code, latency, at), flaps=flaps)
        case _:
            return _fold_child(status, fact)


def _flaps_of(status: TunnelStatus, new: State, at: float) -> Flaps:
    """Return the flaps after a change of state: a fall is what was not asked for."""
    if new in {State.STOPPING, State.IDLE, State.STARTING}:
        return status.flaps.forget_well()
    return status.flaps.see(at, well=new is State.READY)


def _fold_child(status: TunnelStatus, fact: Fact) -> TunnelStatus:
    match fact:
        case events.ChildStarted(pid=pid, version=version, protocol=protocol, connector=number, restart=restart):
            connectors = (*status.connectors, ConnectorStatus(pid, version, protocol, connector=number))
            restarts = status.restarts + restart
            retries = _without(status.retries, number)
            return replace(status, connectors=_in_order(connectors), restarts=restarts, retries=retries)
        case events.Traffic(requests=requests, errors=errors, per_minute=rate):
            return replace(status, traffic=TrafficStatus(requests, errors, rate))
        case events.ChildExited(pid=pid):
            if status.mode == "quick":  # a quick URL dies with its child
                status = replace(status, url="", proven=False, told=False)
            left = tuple(item for item in status.connectors if item.pid != pid)
            return replace(status, connectors=left, traffic=status.traffic if left else None)
        case events.ConnectionRegistered(index=index, location=location, protocol=protocol):
            return _with_connection(status, fact, Connection(index, location, protocol))
        case events.ConnectionLost():
            return _with_connection(status, fact, None)
        case _:
            return status


def _without(retries: tuple[tuple[int, float], ...], number: int) -> tuple[tuple[int, float], ...]:
    return tuple((other, at) for other, at in retries if other != number)


def _in_order(connectors: tuple[ConnectorStatus, ...]) -> tuple[ConnectorStatus, ...]:
    return tuple(sorted(connectors, key=lambda item: item.connector))


def _with_connection(
    status: TunnelStatus, fact: events.ConnectionRegistered | events.ConnectionLost, connection: Connection | None
) -> TunnelStatus:
    """Return the status after a connection came (`connection`) or went (None); one of a child that is gone changes nothing."""
    of_number = [item for item in status.connectors if item.connector == fact.connector]
    connector = next((item for item in of_number if item.pid == fact.pid), of_number[-1] if of_number else None)
    if connector is None:
        return status
    others = tuple(item for item in connector.connections if item.index != fact.index)
    connections = (*others, connection) if connection else others
    protocol = connection.protocol if connection else connector.protocol
    new = replace(connector, connections=connections, protocol=protocol)
    seen = replace(status, connectors=tuple(new if item is connector else item for item in status.connectors))
    if status.verdict != Verdict.STARTING or _is_connected(seen) == _is_connected(status):
        return seen
    # the check that would say so waits for the first answer, and a service that is slow or hangs takes its whole time-out
    return replace(seen, reason=FIRST_REQUEST if _is_connected(seen) else NO_CONNECTION, hint="")


def _is_connected(status: TunnelStatus) -> bool:
    return any(connector.connections for connector in status.connectors)
