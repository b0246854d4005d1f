"""What the parts of the runtime work with: `Shared` is one for a whole prx, `TunnelContext` one for each tunnel.

A part that needs something new finds it here: it is a field of one of the two, set in `prx.runtime.supervisor` or below.

A tunnel's context changes in place when the configuration does, so that everything that watches a living child goes by the new
settings at once. If the child has to be replaced, the tunnel goes on with another context (`TunnelContext.successor`), and the
old child keeps to its end the one that it was started with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from prx.backends import create
from prx.backends.base import Backend, Client, Counters, EdgeSite
from prx.config.schema import TunnelSettings
from prx.core.diagnosis import Policy
from prx.core.errors import PermanentError
from prx.core.events import Fact, Log, Phase
from prx.runtime.admission import Admission
from prx.runtime.bus import Bus
from prx.runtime.delivery import Ways, add_up
from prx.runtime.fixed_ports import FixedPorts
from prx.runtime.host.clock import Clock
from prx.runtime.host.network import Network
from prx.runtime.persistent_state import PersistentState
from prx.runtime.probes.access import ServiceToken
from prx.runtime.probes.edge import EdgeWatch
from prx.runtime.probes.resolver import Resolver
from prx.runtime.process.orphans import ChildLedger
from prx.runtime.process.spawn_limit import SpawnRateLimiter


@dataclass(slots=True)
class Shared:
    """What all tunnels of one prx share.

    private: a directory of prx's own: the child's HOME, and its empty configuration. inherited: the environment of prx.
    jitter: draws a number from 0 to 1. child_settings: what a tunnel's connector is given in place of the user's settings.
    recheck: has the configuration checked again. service_token: changes with a reload. moves(name, group): returns whether
    another tunnel than `name` is to serve `group`. awaited(name, child): returns the name of the one that is to serve what a
    child does that was started with that context, and does not yet; empty if there is none. counted: by tunnel, what its
    children had counted that have ended.
    """

    site: EdgeSite
    clock: Clock
    network: Network
    bus: Bus
    state: PersistentState
    ledger: ChildLedger
    edge: EdgeWatch
    ways: Ways
    private: Path
    inherited: Mapping[str, str]
    jitter: Callable[[], float]
    spawn_limiter: SpawnRateLimiter
    recheck: Callable[[], None]
    service_token: ServiceToken | None
    own_mark: str = ""
    child_settings: Callable[[str, TunnelSettings], TunnelSettings] = lambda _name, settings: settings
    moves: Callable[[str, str], bool] = lambda _name, _group: False
    awaited: Callable[[str, TunnelContext], str] = lambda _name, _child: ""
    counted: dict[str, Counters] = field(default_factory=dict)
    ports: FixedPorts = field(default_factory=FixedPorts)
    _resolvers: dict[tuple[str, ...], Resolver] = field(default_factory=dict)

    def keep_count(self, name: str, last: Counters) -> None:
        """Add what a child of a tunnel has counted that has ended."""
        self.counted[name] = add_up((self.counted.get(name), last)) or last

    def resolver(self, doh: Sequence[str]) -> Resolver:
        """Return the one that asks the servers `doh`; tunnels with the same ones share it."""
        if (servers := tuple(doh)) not in self._resolvers:
            self._resolvers[servers] = Resolver(servers, clock=self.clock)
        return self._resolvers[servers]


class Phases:
    """The steps of a start: each is published once, with the time since the start began."""

    def __init__(self, tunnel: str, bus: Bus, clock: Clock) -> None:
        self._tunnel = tunnel
        self._bus = bus
        self._clock = clock
        self.restart()

    def restart(self) -> None:
        """Begin again: another child is started."""
        self._reached: set[str] = set()
        self._began = self._clock.monotonic()

    def reached(self, phase: str, detail: str = "") -> None:
        """Publish that the start has come to `phase`, unless it was published before."""
        if phase not in self._reached:
            self._reached.add(phase)
            elapsed = self._clock.monotonic() - self._began
            self._bus.publish(Phase(tunnel=self._tunnel, phase=phase, elapsed_ms=round(elapsed * 1000, 1), detail=detail))


@dataclass(slots=True)
class TunnelContext:
    """One tunnel: its name, what the user wants of it, and what follows from that. Made by `create`.

    connector: which of the tunnel's connectors this is for, counted from 0; each has a context of its own (`of_connector`).
    admission: what the edge has said to its children.
    """

    name: str
    settings: TunnelSettings
    backend: Backend
    policy: Policy
    resolver: Resolver
    phases: Phases
    shared: Shared
    connector: int = 0
    admission: Admission = field(default_factory=Admission)

    @classmethod
    def create(cls, name: str, settings: TunnelSettings, shared: Shared) -> TunnelContext:
        """Return the context of the tunnel `name`."""
        return cls._of(name, settings, Phases(name, shared.bus, shared.clock), shared)

    @classmethod
    def _of(cls, name: str, settings: TunnelSettings, phases: Phases, shared: Shared, connector: int = 0) -> TunnelContext:
        backend = create(shared.child_settings(name, settings))
        policy = Policy(
            expect=settings.expected_status,
            startup_timeout=settings.startup_timeout_secs,
            protocol_is_free=len(backend.protocols(shared.site, connector)) > 1,
            quick=backend.url_is_temporary,
            path=settings.health_check_path,
            watched=backend.client is None,
        )
        resolver = shared.resolver(settings.doh or shared.site.doh)
        return cls(name, settings, backend, policy, resolver, phases, shared, connector)

    def successor(self, settings: TunnelSettings) -> TunnelContext:
        """Return another context of this tunnel, for a child that is started with `settings`."""
        return self._of(self.name, settings, self.phases, self.shared, self.connector)

    def of_connector(self, connector: int) -> TunnelContext:
        """Return the same for connector number `connector`."""
        return self._of(self.name, self.settings, self.phases, self.shared, connector)

    def take(self, settings: TunnelSettings) -> None:
        """Go on with `settings`, which do not concern the child."""
        new = self.successor(settings)
        self.settings, self.backend, self.policy, self.resolver = settings, new.backend, new.policy, new.resolver

    @property
    def clock(self) -> Clock:
        """The clock of this prx."""
        return self.shared.clock

    @property
    def client(self) -> Client:
        """The client of a tunnel that has one."""
        client = self.backend.client
        assert client is not None
        return client

    @property
    def protocols(self) -> tuple[str, ...]:
        """What this connector may speak with the edge, best first."""
        return self.backend.protocols(self.shared.site, self.connector)

    @property
    def group(self) -> str:
        """What the connectors of one tunnel have in common: the tunnel's id, or the name of a tunnel with one connector."""
        return group_of(self.name, self.backend)

    def publish(self, fact: Fact) -> None:
        """Publish a fact about this tunnel; one that is about a connector is about this one."""
        if self.connector and hasattr(fact, "connector"):
            fact = replace(fact, connector=self.connector)  # type: ignore[call-arg]  # it has the field
        self.shared.bus.publish(fact)

    def log(self, level: str, message: str, **fields: object) -> None:
        """Publish a line of prx's own log about this tunnel."""
        self.publish(Log(tunnel=self.name, level=level, message=message, fields=fields))

    def redact(self, line: str) -> str:
        """Return a whole line without the secrets in it."""
        return self.shared.bus.redactor.line(line)


def group_of(name: str, backend: Backend) -> str:
    """Return the group (`TunnelContext.group`) of a tunnel."""
    try:
        return backend.tunnel_id or name
    except PermanentError:  # a malformed token: said when the child is to be started
        return name
