"""What prx asks of a backend: pure functions about one kind of client program, and nothing that touches the world.

A `Backend` is one tunnel's settings, understood: what its URL is like, what may be shared, what a change of settings costs. Its
`client` is the program that keeps the tunnel up; a tunnel that others keep up has none. The runtime owns every process, socket
and clock, and knows no backend by its name. It calls, in this order: `check` and `program` before anything is spawned; `launch`
for the command; `parse_line` for every line that the child writes; the endpoint paths and parsers while the child lives;
`classify_exit` when it has ended.

Another backend is a module here and a row in `prx.backends.FACTORIES`. It subclasses both protocols: what has a default may be
left out by a client that has nothing of the kind. `tests/backends/test_wall.py` runs one that is all defaults.
"""

from __future__ import annotations

import enum
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from prx.core.evidence import ChildExit
from prx.core.exit_status import ExitStatus
from prx.core.launch import Launch
from prx.core.value import Value, value_class

if TYPE_CHECKING:
    from prx.config.schema import TunnelSettings

# Cloudflare's, Google's and Quad9's resolvers; the IPv6 addresses are for networks without IPv4.
PUBLIC_DOH = (
    "https://1.1.1.1/dns-query",
    "https://8.8.8.8/dns-query",
    "https://9.9.9.9/dns-query",
    "https://[2606:4700:4700::1111]/dns-query",
    "https://[2001:4860:4860::8888]/dns-query",
)


@value_class(frozen=True, slots=True, eq=False, repr=False)
class EdgeSite(Value):
    """Which edge the child connects to, and how its public side is reached. The defaults are Cloudflare itself.

    edge_addrs: HOST:PORT of each edge slot; empty means that the client finds the edge by itself. ca_file: CA of that edge.
    quick_service: base URL of the quick-tunnel service. public_scheme, public_port: how names are opened from outside.
    public_ca: CA file for the public side. doh: DNS-over-HTTPS URLs to ask for public names.
    quick_zone: the domain below which quick tunnels get their names; it leads to the same edge as they do.
    protocols: what this edge speaks, best first. local: everything is on this machine, so no network is needed. access_certs:
    where the keys of its Access are published; empty: where the team's issuer says. team_proxy: the proxy through which a
    client that knows no such setting finds them. joined: the control URL of a lab that another process runs and may end.
    """

    edge_addrs: tuple[str, ...] = ()
    ca_file: Path | None = None
    quick_service: str = ""
    public_scheme: str = "https"
    public_port: int = 443
    public_ca: Path | None = None
    doh: tuple[str, ...] = PUBLIC_DOH
    quick_zone: str = "trycloudflare.com"
    protocols: tuple[str, ...] = ("quic", "http2")
    local: bool = False
    access_certs: str = ""
    team_proxy: str = ""
    joined: str = ""

    def url(self, hostname: str) -> str:
        """Return the public URL of a host name, without a trailing slash."""
        standard = {"https": 443, "http": 80}[self.public_scheme] == self.public_port
        return f"{self.public_scheme}://{hostname}" + ("" if standard else f":{self.public_port}")


CLOUDFLARE = EdgeSite()


@value_class(frozen=True, slots=True, eq=False, repr=False)
class LaunchContext(Value):
    """What the runtime has prepared for one start of the child.

    program: argv prefix that runs the client. version: as the client says it, empty when it could not be asked.
    needs: variables without which the program cannot begin. metrics_port: a free loopback port.
    config_file: an empty configuration of our own. protocol: auto is resolved by now.
    """

    program: tuple[str, ...]
    version: str
    metrics_port: int
    config_file: Path
    home: Path
    protocol: str
    site: EdgeSite = CLOUDFLARE
    inherited: Mapping[str, str] = field(default_factory=dict)
    needs: Mapping[str, str] = field(default_factory=dict)


class LineKind(enum.StrEnum):
    """What a line of the child's log is about."""

    REGISTERED = "registered"
    LOST = "lost"
    UNREGISTERED = "unregistered"
    RETRYING = "retrying"
    DIAL_FAILED = "dial_failed"
    REJECTED = "rejected"
    UNAUTHORIZED = "unauthorized"
    TUNNEL_GONE = "tunnel_gone"  # the edge does not know the tunnel: it was deleted, or, a quick one, forgotten
    DUPLICATE = "duplicate"
    SERVE_ERROR = "serve_error"
    ORIGIN_ERROR = "origin_error"
    CONFIG_PUSHED = "config_pushed"
    QUICK_URL = "quick_url"  # the public URL that the client was given; see `Client.announced_url`
    QUICK_FAILED = "quick_failed"
    METRICS_UP = "metrics_up"
    PROTOCOL = "protocol"
    SHUTDOWN = "shutdown"
    FATAL = "fatal"
    PRECHECK = "precheck"
    USAGE = "usage"
    NOISE = "noise"  # frightens people and means nothing
    OTHER = "other"


@value_class(frozen=True, slots=True, eq=False, repr=False)
class LogLine(Value):
    """One line of the child's log, understood. `level` is debug, info, warn or error.

    connection: index of the connection that it is about. error: the `error` field. ends_round: the client now waits before it
    tries to connect again. fields: everything else that was there.
    """

    level: str
    message: str
    kind: LineKind = LineKind.OTHER
    connection: int | None = None
    location: str = ""
    protocol: str = ""
    error: str = ""
    ends_round: bool = False
    fields: Mapping[str, Any] = field(default_factory=dict)


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Readiness(Value):
    """What the child's own `/ready` says."""

    ready: int
    connector_id: str


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Endpoints(Value):
    """Paths that a child answers on its own loopback port; empty: it has no such path.

    ready: how many connections it has; a client without it is as ready as its log says (`LineKind.REGISTERED` and `LOST`).
    url: the public URL that it was given. rules: the routes that it was given. counters: see `Counters`.
    """

    ready: str = ""
    url: str = ""
    rules: str = ""
    counters: str = ""


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Counters(Value):
    """The counters of the child that are reliable, as totals of this run.

    requests: passed on to the service, counted as they begin; request_errors: those that it did not answer well; said: how
    often it gave each status. in_flight: requests under way.
    """

    requests: int = 0
    request_errors: int = 0
    in_flight: int = 0
    said: Mapping[int, int] = field(default_factory=dict)
    registered: int = 0
    rejected: int = 0
    duplicates: int = 0

    @property
    def failures(self) -> int:
        """How many requests the service has not answered, or answered with 500 and above."""
        return self.request_errors + sum(count for code, count in self.said.items() if code >= 500)


class Client(Protocol):
    """The program that keeps one tunnel up: how it is run, and what it says.

    stop_grace: seconds that it may take to end what is in flight after it was asked to stop. metrics_port: the loopback port
    that the user has fixed for its endpoints; 0: the runtime draws one. install_hint: what to do if there is no such program.
    landmarks: words of the lines that must be understood however many others come with them.
    """

    stop_grace: float
    metrics_port: int = 0
    install_hint: str = ""
    landmarks: tuple[str, ...] = ()
    endpoints: Endpoints = Endpoints()

    @abstractmethod
    def program(self) -> tuple[str, ...]:
        """Return the argv prefix that runs it, as the settings name it: the runtime finds its first word."""

    @abstractmethod
    def launch(self, context: LaunchContext) -> Launch:
        """Return the command, its whole environment, and the secret that it reads.

        PermanentError if this version of the program cannot do what the settings ask for.
        """

    @abstractmethod
    def parse_line(self, stream: str, line: str) -> LogLine:
        """Understand one line of `stream` ("stdout" or "stderr"), without its newline and without secrets; never raise."""

    @abstractmethod
    def classify_exit(self, end: ExitStatus, tail: Sequence[LogLine], *, age: float) -> ChildExit:
        """Return why the child ended, from its exit, its last lines and its age in seconds."""

    def announced_url(self, line: LogLine, site: EdgeSite) -> str:
        """Return the public URL that a line of kind `QUICK_URL` announces; empty if it is not to be trusted."""
        return ""

    def longest_wait(self, rounds: int) -> float:
        """Return the longest that the client waits between two tries to connect, in seconds, after `rounds` such waits."""
        return 0.0

    def parse_ready(self, status: int, body: bytes) -> Readiness | None:
        """Understand the answer of `endpoints.ready`; None if it is not one."""
        return None

    def parse_url(self, status: int, body: bytes, site: EdgeSite) -> str:
        """Return the public URL in the answer of `endpoints.url`; empty while there is none, or if it is not to be trusted."""
        return ""

    def parse_counters(self, body: bytes) -> Counters:
        """Understand the answer of `endpoints.counters`; unknown lines are ignored."""
        return Counters()

    def route_mismatch(self, status: int, body: bytes) -> str:
        """Return how the answer of `endpoints.rules` fails to lead to this tunnel's service; empty if it leads there."""
        return ""


class Backend(Protocol):
    """One tunnel's settings, as one kind of client understands them. Constructing it has no side effects.

    name, mode: as they stand in the configuration and in `prx status`. secrets: every form in which its secret may be seen.
    warnings: what the user should know about these settings at each start. url_is_temporary: the public URL dies with the
    child, so a restart costs it. has_replicas: connectors elsewhere may serve the same URL. has_known_edge: prx knows the edge
    of the provider: it may dial it, and infer from its addresses where a name leads.
    replicas: how many connectors are run; replicas_min: with fewer the tunnel is degraded. can_overlap: two connectors may
    serve at once, so that a new one is ready before the old one ends.
    """

    name: str
    mode: str
    secrets: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    url_is_temporary: bool = False
    has_replicas: bool = False
    has_known_edge: bool = False
    replicas: int = 1
    replicas_min: int = 1
    can_overlap: bool = False

    @property
    def client(self) -> Client | None:
        """The program that keeps the tunnel up; None if others do, and prx only watches the URL."""
        return None

    @property
    def tunnel_id(self) -> str:
        """What the connectors of one tunnel have in common; empty for a tunnel with one. PermanentError if it is malformed."""
        return ""

    @abstractmethod
    def check(self) -> None:
        """Raise PermanentError if the settings cannot work, before anything is spawned."""

    def can_overlap_with(self, old: Backend) -> bool:
        """Return whether a connector may come up beside one that `old` has started."""
        return self.can_overlap and old.can_overlap

    @abstractmethod
    def needs_new_child(self, old: Backend) -> bool:
        """Return whether a child that `old` has started must be replaced for these settings; it outlives any other change."""

    def fixed_url(self, site: EdgeSite) -> str:
        """Return the public URL if the configuration names it, else an empty string."""
        return ""

    def protocols(self, site: EdgeSite, connector: int = 0) -> tuple[str, ...]:
        """Return what connector number `connector` may speak with the edge, best first; an empty word if there is no choice."""
        return ("",)

    def lasting_name(self, hostname: str, site: EdgeSite) -> str:
        """Return a name that leads to the same edge as `hostname` and is sure to exist, for the system's own resolver."""
        return hostname

    def rate_limiter(self, site: EdgeSite) -> str:
        """Return what names the service that may refuse starts for a while; empty if there is none."""
        return ""


def service_keys(settings: TunnelSettings) -> tuple[object, ...]:
    """Return what a client is given about the local service: if it differs, a running child cannot go on."""
    trust = (settings.origin_tls_verify, settings.origin_ca, settings.origin_server_name)
    return (settings.local_addr, settings.host_header, trust)
