"""What prx asks of a backend: pure functions about one kind of client program, and nothing that touches the world.

The runtime owns every process, socket and clock. It calls, in this order: `check` before anything is spawned; `launch` for
the command; `parse_line` for every line that the child writes; the endpoint paths and parsers while the child lives;
`classify_exit` when it has ended. One contract test suite runs against the scripted fake, the builtin connector and the real
program, so that all three stay honest.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from prx.core.evidence import ChildExit
from prx.core.exit_status import ExitStatus
from prx.core.launch import Launch

# Cloudflare's, Google's and Quad9's resolvers; the IPv6 addresses are for networks without IPv4.
PUBLIC_DOH = (
    "https://1.1.1.1/dns-query",
    "https://8.8.8.8/dns-query",
    "https://9.9.9.9/dns-query",
    "https://[2606:4700:4700::1111]/dns-query",
    "https://[2001:4860:4860::8888]/dns-query",
)


@dataclass(frozen=True, slots=True)
class EdgeSite:
    """Which edge the child connects to, and how its public side is reached. The defaults are Cloudflare itself.

    edge_addrs: HOST:PORT of each edge slot; empty means that the client finds the edge by itself. ca_file: CA of that edge.
    quick_service: base URL of the quick-tunnel service. public_scheme, public_port: how names are opened from outside.
    public_ca: CA file for the public side. doh: DNS-over-HTTPS URLs to ask for public names.
    quick_zone: the domain below which quick tunnels get their names; it leads to the same edge as they do.
    protocols: what this edge speaks, best first. local: everything is on this machine, so no network is needed.
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

    def url(self, hostname: str) -> str:
        """Return the public URL of a host name, without a trailing slash."""
        standard = {"https": 443, "http": 80}[self.public_scheme] == self.public_port
        return f"{self.public_scheme}://{hostname}" + ("" if standard else f":{self.public_port}")


CLOUDFLARE = EdgeSite()


@dataclass(frozen=True, slots=True)
class LaunchContext:
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
    QUICK_URL = "quick_url"
    QUICK_FAILED = "quick_failed"
    METRICS_UP = "metrics_up"
    PROTOCOL = "protocol"
    SHUTDOWN = "shutdown"
    FATAL = "fatal"
    PRECHECK = "precheck"
    USAGE = "usage"
    NOISE = "noise"  # frightens people and means nothing
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class LogLine:
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


@dataclass(frozen=True, slots=True)
class Readiness:
    """What the child's own `/ready` says."""

    ready: int
    connector_id: str


@dataclass(frozen=True, slots=True)
class Counters:
    """The counters of the child that tell the truth, as totals of this run.

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


class Backend(Protocol):
    """One kind of client, with the settings of one tunnel. Constructing it has no side effects."""

    name: str
    mode: str
    secrets: tuple[str, ...]

    @property
    def tunnel_id(self) -> str:
        """What the connectors of one tunnel have in common; empty for a tunnel with one. PermanentError if it is malformed."""

    def check(self) -> None:
        """Raise PermanentError when the settings cannot work, before anything is spawned."""

    def launch(self, context: LaunchContext) -> Launch:
        """Return the command, its whole environment, and the secret that it reads."""

    def fixed_url(self, site: EdgeSite) -> str:
        """Return the public URL where the configuration names it, else an empty string."""

    def parse_line(self, stream: str, line: bytes) -> LogLine:
        """Understand one line, without its newline, of `stream` ("stdout" or "stderr"); never raise."""

    def longest_wait(self, rounds: int) -> float:
        """Return the longest that the client waits between two tries to connect, in seconds, after `rounds` such waits."""

    def classify_exit(self, end: ExitStatus, tail: Sequence[LogLine], *, age: float) -> ChildExit:
        """Say why the child ended, from its exit, its last lines and its age in seconds."""

    def parse_ready(self, status: int, body: bytes) -> Readiness | None:
        """Understand the answer of `/ready`; None when it is not one."""

    def parse_quick_hostname(self, status: int, body: bytes) -> str:
        """Understand the answer of `/quicktunnel`; empty while there is no name yet, or when it is a name not to be trusted."""

    def parse_counters(self, body: bytes) -> Counters:
        """Understand the answer of `/metrics`; unknown lines are ignored."""

    def route_mismatch(self, status: int, body: bytes) -> str:
        """Say how the ingress in the answer of `/config` fails to lead to this tunnel's origin; empty when it leads there."""
