"""What was seen in one round of looking: plain facts, gathered by the runtime, judged by `diagnosis`.

A part that was not looked at in this round is None. Facts say what was seen, never what it means.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class ExitCause(enum.StrEnum):
    """Why a child ended, as far as its exit code and its last lines tell."""

    CRASH = "crash"  # also: killed by a signal that we did not send, or an exit that nothing explains
    UPDATED = "updated"  # it replaced itself with a newer version and wants to be started again (exit code 11)
    RATE_LIMITED = "rate_limited"  # the quick-tunnel service answered 429
    REFUSED_QUICK = "refused_quick"  # the quick-tunnel service makes no tunnel for this network or address (403)
    NETWORK = "network"  # the network, DNS or the edge could not be reached
    AUTH = "auth"  # the token cannot work
    CONFIG = "config"  # the command line, a file or a port cannot work
    PORT_TAKEN = "port_taken"  # the metrics port that prx drew was taken meanwhile: draw another
    STOPPED = "stopped"  # it ended because we asked for it


@dataclass(frozen=True, slots=True)
class ChildExit:
    """How the child ended: exit code or signal number (one of them), the cause, and its own last words."""

    code: int | None
    signal: int | None
    cause: ExitCause
    detail: str = ""
    hint: str = ""

    def words(self) -> str:
        """Say how it ended, in a few words."""
        how = f"killed by signal {self.signal}" if self.signal is not None else f"exit code {self.code}"
        return f"{how}: {self.detail}" if self.detail else how


@dataclass(frozen=True, slots=True)
class Connector:
    """What the child's own endpoints and its log say. `age` and durations are seconds.

    answers: its metrics server answered in this round. ready: connections that it calls ready.
    ever_ready: it had a ready connection at some time of this run.
    quic_dial_failures: QUIC dials that failed since a connection was last ready; other_dial_failures: the same, not QUIC.
    unauthorized_for: for how long the edge has rejected every registration as unauthorized, None when it does not.
    rejected: registrations that the edge rejected since a connection was last ready (from the counters: over QUIC the log
    keeps silent), and `last_error` is the last complaint in its log.
    """

    age: float
    answers: bool
    ready: int
    ever_ready: bool = False
    protocol: str = ""
    quic_dial_failures: int = 0
    other_dial_failures: int = 0
    unauthorized_for: float | None = None
    rejected: int = 0
    last_error: str = ""


@dataclass(frozen=True, slots=True)
class Origin:
    """What the local service does: `status` of its answer to GET, or why there was none.

    event_stream: its answer is a stream of events (text/event-stream), which quick tunnels hold back to its end.
    """

    address: str
    listening: bool
    status: int | None = None
    error: str = ""
    event_stream: bool = False


class DnsState(enum.StrEnum):
    """What public DNS says of the name."""

    RESOLVED = "resolved"
    MISSING = "missing"  # NXDOMAIN, or no address records
    UNKNOWN = "unknown"  # no resolver could be asked


@dataclass(frozen=True, slots=True)
class Dns:
    """Public DNS, asked over HTTPS; `detail` says which resolver said what."""

    state: DnsState
    addresses: tuple[str, ...] = ()
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Public:
    """What a GET of the public URL gave: a status, or the error that came instead.

    access: the answer is Cloudflare Access's own (redirect to its login, or its 403), not the origin's.
    edge_error: Cloudflare's own error number on its error page (1033: no connector), when there was one.
    host_blocked: the origin's framework refused the public host name, and in these words.
    retry_after: seconds that the answer asks to wait. event_stream: it is a stream of events. sent_token: the request
    carried an Access service token.
    """

    status: int | None
    error: str = ""
    access: bool = False
    edge_error: int | None = None
    host_blocked: str = ""
    latency_ms: float | None = None
    retry_after: int | None = None
    event_stream: bool = False
    sent_token: bool = False


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that one round saw. `at` is monotonic seconds.

    exit: set when the child has ended; then the rest hardly matters.
    network_up: this machine has a network at all (None: not looked at).
    exposed: why strangers who reach the origin must not, where Access is required; empty when all is as it should be.
    elsewhere: the public URL was answered, and not through this connector: another one of the same tunnel may have done it.
    route_mismatch: how the remotely configured ingress fails to lead to local_addr or hostname; empty when it does.
    """

    at: float
    url: str = ""
    exit: ChildExit | None = None
    connector: Connector | None = None
    network_up: bool | None = None
    route_mismatch: str = ""
    exposed: str = ""
    origin: Origin | None = None
    dns: Dns | None = None
    public: Public | None = None
    elsewhere: bool = False
