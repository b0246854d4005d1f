"""What was seen in one round of looking: plain facts, gathered by the runtime, judged by `diagnosis`.

A part that was not checked in this round is None. Facts say what was seen, never what it means.
"""

from __future__ import annotations

import enum
from dataclasses import field

from prx.core.status_codes import CONNECTORS_OWN
from prx.core.value import Value, value_class


class ExitCause(enum.StrEnum):
    """Why a child ended, as far as its exit code and its last lines say."""

    CRASH = "crash"  # also: killed by a signal that we did not send, or an exit that nothing explains
    UPDATED = "updated"  # it replaced itself with a newer version and wants to be started again (exit code 11)
    RATE_LIMITED = "rate_limited"  # the quick-tunnel service answered 429
    REFUSED_QUICK = "refused_quick"  # the quick-tunnel service makes no tunnel for this network or address (403)
    NETWORK = "network"  # the network, DNS or the edge could not be reached
    AUTH = "auth"  # the token cannot work
    CONFIG = "config"  # the command line, a file or a port cannot work
    PORT_TAKEN = "port_taken"  # the metrics port that prx drew was taken meanwhile: draw another
    STOPPED = "stopped"  # it ended because we asked for it


@value_class(frozen=True, slots=True, eq=False, repr=False)
class ChildExit(Value):
    """How the child ended: exit code or signal number (one of them), the cause, and its own last words.

    refused: it gave up because the edge did not accept its first connection.
    """

    code: int | None
    signal: int | None
    cause: ExitCause
    detail: str = ""
    hint: str = ""
    refused: bool = False

    def words(self) -> str:
        """Return how it ended, in a few words."""
        how = f"killed by signal {self.signal}" if self.signal is not None else f"exit code {self.code}"
        return f"{how}: {self.detail}" if self.detail else how


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Connector(Value):
    """What the child's own endpoints and its log say. `age` and durations are seconds.

    answers: its metrics server answered in this round; silent_for: for how long it has not, 0 while it does.
    ready: connections that it calls ready. ever_ready: it had a ready connection at some time of this run and network.
    worked: it, or one before it with the same settings, has had one since prx began: the token is, or was, a good one.
    lost_for: for how long it has had none. quiet_for: for how long it has not been seen trying to connect; next_try_within:
    the longest that it may wait between two tries, as far as its log says.
    quic_dial_failures: QUIC dials that failed since a connection was last ready; quic_blocked: the last of them waited for an
    answer in vain, so packets are lost on the way, rather than something else being wrong.
    network_for: for how long this machine has had the network that it has, None if all connections were made in it.
    turned_away: since a connection was last ready the edge has refused one, for whatever reason.
    unauthorized_for: for how long the edge has rejected every registration as unauthorized, None when it does not.
    rejected: registrations that the edge rejected since a connection was last ready (from the counters: over QUIC the log
    keeps silent). rejected_for: for how long it does so; rejected_after: how long no connection had been ready before the
    first of them. tunnel_gone_for: for how long the edge has said that it does not know the tunnel, None when it does not.
    last_error: the last complaint in its log. lacks: what this machine had too little of just now for its connection to the
    service, in the system's words; empty if it has not said so.
    """

    age: float
    answers: bool
    ready: int
    ever_ready: bool = False
    worked: bool = False
    protocol: str = ""
    silent_for: float = 0.0
    lost_for: float = 0.0
    quiet_for: float = 0.0
    next_try_within: float = 320.0
    quic_dial_failures: int = 0
    quic_blocked: bool = True
    network_for: float | None = None
    turned_away: bool = False
    unauthorized_for: float | None = None
    rejected: int = 0
    rejected_for: float = 0.0
    rejected_after: float = 0.0
    tunnel_gone_for: float | None = None
    last_error: str = ""
    lacks: str = ""


class Reach(enum.StrEnum):
    """Whether something can be reached, as far as that was tried."""

    OPEN = "open"
    CLOSED = "closed"
    UNKNOWN = "unknown"


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Edge(Value):
    """What prx's own dial to the edge gave, while the connector has no connection.

    tcp: a TLS handshake over TCP; quic: an answer to a QUIC packet over UDP, which is UNKNOWN until one has ever come, because
    an edge need not answer it. *_open_for: seconds for which that has worked without a break. error: why TCP does not.
    gone_lab: the control URL of a lab of another process that is this edge, if that does not answer either; else empty.
    """

    tcp: Reach = Reach.UNKNOWN
    quic: Reach = Reach.UNKNOWN
    tcp_open_for: float = 0.0
    quic_open_for: float = 0.0
    error: str = ""
    gone_lab: str = ""

    @property
    def is_away(self) -> bool:
        """Return whether nothing of it can be reached, over either protocol."""
        return self.tcp is Reach.CLOSED and self.quic is not Reach.OPEN


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Delivery(Value):
    """What the connector's counters say of the time in which the public URL was asked. None: they could not be compared.

    reached: it passed on a request meanwhile, so the way through edge and connector works. said: statuses that the service
    gave through it meanwhile. failed: requests meanwhile that the service did not answer well. answered: it has answered all
    that came meanwhile, so that one which waits in vain has not come.
    """

    reached: bool | None = None
    said: frozenset[int] = frozenset()
    failed: bool = False
    answered: bool = field(default=False, compare=False)


# How long prx tries to prove a URL that it cannot ask for itself, before it is published unproven.
UNPROVEN_AFTER = 60.0  # seconds


class Unasked(enum.StrEnum):
    """Why prx itself could not ask, so that nothing is known of the other side.

    FOR_NOW: this machine has nothing left to ask with; another try may tell. AS_SET_UP: a setting, a file, a permission or a
    broken installation keeps prx from it until that is changed.
    """

    NO = ""
    FOR_NOW = "for now"
    AS_SET_UP = "as set up"


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Origin(Value):
    """What the local service does: `status` of its answer to GET, or why there was none.

    error: why there was no answer; beside a status, why that answer is not the service's real one (it speaks TLS).
    event_stream: its answer is a stream of events (text/event-stream), which quick tunnels hold back to its end.
    location: where its answer redirects to. silent: it took the connection and did not answer in time. broken_off: the body of
    its answer ends before its end, or cannot be read. hint: what helps against `error`, as far as the check knows that.
    unasked: why prx itself could not ask it, in words in `error`.
    circle: the public URLs through which a redirect of the service leads back to one of them; empty if that is not known.
    """

    address: str
    listening: bool
    status: int | None = None
    error: str = ""
    event_stream: bool = False
    location: str = ""
    silent: bool = False
    broken_off: bool = False
    hint: str = ""
    unasked: Unasked = Unasked.NO
    circle: tuple[str, ...] = ()

    @property
    def gives_no_answer(self) -> bool:
        """Return whether it was asked and gave none; of one that could not be asked nothing is known."""
        return self.status is None and bool(self.error) and not self.unasked


class DnsState(enum.StrEnum):
    """What public DNS says of the name."""

    RESOLVED = "resolved"
    MISSING = "missing"  # NXDOMAIN, or no address records
    UNKNOWN = "unknown"  # no resolver could be asked


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Dns(Value):
    """Public DNS, asked over HTTPS; `detail` says which resolver said what.

    known: the name was resolved before, with `addresses` if the present answer has none. unasked: why prx itself could not ask,
    in words in `detail`.
    """

    state: DnsState
    addresses: tuple[str, ...] = ()
    detail: str = ""
    known: bool = False
    unasked: Unasked = Unasked.NO


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Public(Value):
    """What a GET of the public URL gave: a status, or the error that came instead.

    access: the answer is Cloudflare Access's own (redirect to its login, or its 403), not the origin's.
    edge_error: Cloudflare's own error number on its error page (1033: no connector), when there was one.
    host_blocked: the origin's framework refused the public host name, and in these words.
    retry_after: seconds that the answer asks to wait. event_stream: it is a stream of events. sent_token: the request
    carried an Access service token. access_detail: what Access finds wrong with it, in words, if it says.
    by_cloudflare: Cloudflare's edge had the answer in hand (Server or CF-RAY). mitigated: its `cf-mitigated` header, such as
    "challenge". location: where the answer redirects to. silent: a connection was made and no answer came in time.
    waited: seconds that an answer was waited for, when none came. wants_tls: the page says that the service speaks TLS only.
    sets_cookie: the answer sets a cookie. broken_off: its body ended before its end. unasked: why prx itself could not ask,
    in words in `error`.
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
    access_detail: str = ""
    by_cloudflare: bool = True
    mitigated: str = ""
    location: str = ""
    silent: bool = False
    waited: float = 0.0
    wants_tls: bool = False
    sets_cookie: bool = False
    broken_off: bool = False
    unasked: Unasked = Unasked.NO


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Evidence(Value):
    """Everything that one round saw. `at` is monotonic seconds.

    began: when the round began, the same clock.
    exit: set when the child has ended; then the rest hardly matters.
    network_up: this machine has a network at all (None: not known).
    loopback_up: 127.0.0.1 can be used, seen if the connector does not answer there (None: not known).
    edge: prx's own dial to the edge, while no connection is ready.
    delivery: whether the public probe came through this connector.
    strays: why the addresses of the name do not lead to Cloudflare; empty when they do, or when that is not known.
    exposed: why strangers who reach the origin must not, if Access is required; empty when all is as it should be.
    route_mismatch: how the remotely configured ingress fails to lead to local_addr or hostname; empty when it does.
    """

    at: float
    url: str = ""
    began: float | None = None
    exit: ChildExit | None = None
    connector: Connector | None = None
    network_up: bool | None = None
    loopback_up: bool | None = None
    edge: Edge | None = None
    route_mismatch: str = ""
    exposed: str = ""
    origin: Origin | None = None
    dns: Dns | None = None
    public: Public | None = None
    delivery: Delivery = Delivery()
    strays: str = ""

    @property
    def goes_unproven(self) -> bool:
        """Return whether a URL that cannot be asked for from here is published unproven: prx has tried for long enough."""
        return bool(self.url) and (self.connector is None or self.connector.age >= UNPROVEN_AFTER)

    @property
    def lacks(self) -> str:
        """What the connector lacked to hand on the request of the URL, by its own log; empty if that is not why it failed."""
        public, delivery = self.public, self.delivery
        if self.connector is None or public is None or public.status != CONNECTORS_OWN or delivery.reached is False:
            return ""
        return "" if public.status in delivery.said else self.connector.lacks

    @property
    def lacking(self) -> str:
        """What this machine lacked to ask for the name, the URL or the service; empty if none of them had to be asked in vain.

        A connector without a connection is judged without them. Neither name nor URL has to be asked for without a network,
        nor the name while addresses of it are known, nor the service if the connector says itself why it could not ask it.
        """
        if self.connector is not None and not self.connector.ready:
            return ""
        dns, public, origin = self.dns, self.public, self.origin
        if self.network_up is not False:
            if dns is not None and dns.unasked is Unasked.FOR_NOW and not dns.addresses:
                return dns.detail
            if public is not None and public.unasked is Unasked.FOR_NOW:
                return public.error
        unasked = origin is not None and origin.unasked is Unasked.FOR_NOW and not self.lacks
        return origin.error if origin is not None and unasked else ""
