"""What one run of the child has shown so far: its log lines, its readiness and its counters, folded into evidence.

Pure: times come in as arguments. A run's observer is thrown away with the run.
"""

from __future__ import annotations

from prx.backends.base import Counters, LineKind, LogLine, Readiness
from prx.core.events import ConnectionLost, ConnectionRegistered
from prx.core.evidence import Connector
from prx.runtime.admission import Admission

# Lines after which readiness, or the service, has probably just changed.
_STIRRING = frozenset(
    {
        LineKind.REGISTERED,
        LineKind.LOST,
        LineKind.UNREGISTERED,
        LineKind.METRICS_UP,
        LineKind.QUICK_URL,
        LineKind.TUNNEL_GONE,
    }
)
_COMPLAINTS = frozenset(
    {LineKind.DIAL_FAILED, LineKind.REJECTED, LineKind.UNAUTHORIZED, LineKind.TUNNEL_GONE, LineKind.SERVE_ERROR}
)
_TRYING = frozenset({*_COMPLAINTS, LineKind.DUPLICATE, LineKind.REGISTERED, LineKind.RETRYING})

LACKS_FOR = 10.0  # seconds since the line that said so, as long as a request of prx may be under way
# A metrics server that is next to us and has not answered for so long does not run (see `prx.core.judge_connector`).
DEAF_AFTER = 2.0  # seconds
# A machine that holds up prx at every question must not hide forever that the child is stopped.
EXCUSED_FOR = 60.0  # seconds since the last answer


class ConnectorObserver:
    """Everything seen of one run of the tunnel `name`, which began at monotonic second `started` speaking `protocol`.

    admission: what the edge has said to the runs before it.
    """

    def __init__(self, name: str, protocol: str, started: float, admission: Admission | None = None) -> None:
        self.started = started
        self.ready = 0
        self.ever_ready = False
        self.rounds = 0  # waits between two rounds of connecting
        self._name = name
        self.protocol = protocol
        self._answers = False
        self._answered_at = started  # or excused: silence counts from here
        self._heard_at = started
        self._lost_at = started
        self._tried_at = started
        self._connected: dict[int, str] = {}
        self._quic_dials = 0
        self._quic_blocked = True
        self._admission = Admission() if admission is None else admission
        self._last_error = ""
        self._lacks, self._lacked_at = "", started
        self._lost_on_the_way = False  # its last try to connect, before the edge could refuse anything
        self._turned_away = False
        self._network_since: float | None = None  # None: a connection has been registered since
        self._rejected = 0
        self._rejected_before = 0  # rejections counted up to the last moment of readiness

    @property
    def answers(self) -> bool:
        """Return whether `/ready` answered when it was asked last."""
        return self._answers

    @property
    def has_tried(self) -> bool:
        """Return whether its log has ever spoken of a connection."""
        return self._tried_at > self.started

    @property
    def connections(self) -> int:
        """How many connections are up, as far as the log shows."""
        return len(self._connected)

    def see_line(self, now: float, line: LogLine) -> list[ConnectionRegistered | ConnectionLost]:
        """Take in a line of the log; return the facts about connections in it."""
        self.rounds += line.ends_round
        if line.kind in _TRYING and not line.ends_round:  # which repeats why the last try failed, at the end of a wait
            self._tried_at = now
        self._turned_away |= line.kind is LineKind.DUPLICATE and not self.ready
        if line.kind in _COMPLAINTS:
            self._complain(now, line)
        if line.kind is LineKind.ORIGIN_ERROR and (lacks := line.fields.get("lacks")):
            self._lacks, self._lacked_at = str(lacks), now
        if line.connection is None:
            return []
        if line.kind is LineKind.REGISTERED:
            self._connected[line.connection] = line.location
            self._network_since = None
            self.protocol = line.protocol or self.protocol
            fact = ConnectionRegistered(
                tunnel=self._name, index=line.connection, location=line.location, protocol=self.protocol
            )
            return [fact]
        if line.kind in {LineKind.LOST, LineKind.UNREGISTERED, LineKind.RETRYING, LineKind.SERVE_ERROR}:
            return self._lose(line.connection, line.error or line.message)
        return []

    def lose_all(self) -> list[ConnectionRegistered | ConnectionLost]:
        """Take in the end of the child; return the facts about connections that it means."""
        return [fact for index in list(self._connected) for fact in self._lose(index, "the connector ended")]

    def forget_network(self, now: float) -> None:
        """Take in that the machine has its network again, or another one: that QUIC worked before says nothing of this one."""
        self._network_since = now
        self.ever_ready = self.ready > 0
        self._quic_dials = 0

    def see_edge_away(self) -> None:
        """Take in that prx reaches nothing of the edge: if the child does not either, nothing refuses it meanwhile."""
        if self._lost_on_the_way:
            self._admission.forget_refusals()

    def stirs(self, line: LogLine) -> bool:
        """Return whether this line warrants a check at once."""
        return line.kind in _STIRRING

    def see_readiness(self, now: float, readiness: Readiness | None, *, asked: float | None = None) -> bool:
        """Take in an answer of `/ready` (None: none came); return whether the tunnel came up or went down by it.

        `asked`: when the question was sent, None if it was right after the answer before. Only while prx waits for an answer
        can it know of a silence.
        """
        before = self.ready
        if readiness is None and self._answers and asked is not None:
            self._answered_at = max(self._answered_at, asked)
        self._answers = readiness is not None
        if readiness is not None:
            self._answered_at = self._heard_at = now
            self.ready = readiness.ready
        elif now - self._answered_at >= DEAF_AFTER:
            self.ready = 0
        if before and not self.ready:
            self._lost_at = min(now, self._answered_at) if readiness is None else now
            self._tried_at = now
        if self.ready and self._answers:
            self._came_up()
        return (before > 0) != (self.ready > 0)

    def excuse(self, now: float) -> bool:
        """Take in a question that proves nothing, as prx itself was held up; return False if that has gone on for too long."""
        if now - self._heard_at >= EXCUSED_FOR:
            return False
        self._answered_at = now
        return True

    def _came_up(self) -> None:
        self.ever_ready = True
        self._quic_dials = 0
        self._admission.accept()
        self._turned_away = False
        self._last_error = ""
        self._rejected_before = self._rejected

    def see_counters(self, now: float, counters: Counters) -> None:
        """Take in the child's counters: over QUIC they are the only sign of a rejected registration."""
        if counters.rejected > self._rejected:
            self._rejected = counters.rejected
            if self._admission.rejected_since is None and not self.ready:
                self._last_error = ""  # of the loss: no line of the log says why it is rejected
            self._see_rejection(now)

    def _see_rejection(self, now: float) -> None:
        self._tried_at, self._lost_on_the_way = now, False
        if self._admission.rejected_since is None and not self.ready:
            self._admission.rejected_since = now

    def evidence(self, now: float, longest_wait: float) -> Connector:
        """Return what is known at monotonic second `now`; `longest_wait` is the client's own, between two tries, in seconds."""
        admission = self._admission
        return Connector(
            age=now - self.started,
            answers=self._answers,
            ready=self.ready,
            ever_ready=self.ever_ready,
            worked=admission.worked,
            network_for=_age(now, self._network_since),
            turned_away=self._turned_away or admission.refuses,
            protocol=self.protocol,
            silent_for=0.0 if self._answers else now - self._answered_at,
            lost_for=0.0 if self.ready else now - self._lost_at,
            quiet_for=now - self._tried_at,
            next_try_within=longest_wait,
            quic_dial_failures=self._quic_dials,
            quic_blocked=self._quic_blocked,
            unauthorized_for=_age(now, admission.unauthorized_since),
            rejected=self._rejected - self._rejected_before,
            rejected_for=_age(now, admission.rejected_since) or 0.0,
            rejected_after=0.0 if admission.rejected_since is None else max(0.0, admission.rejected_since - self._lost_at),
            tunnel_gone_for=_age(now, admission.gone_since),
            last_error=self._last_error,
            lacks=self._lacks if now - self._lacked_at <= LACKS_FOR else "",
        )

    def _complain(self, now: float, line: LogLine) -> None:
        self._lost_on_the_way |= line.kind is LineKind.DIAL_FAILED
        if line.kind is LineKind.DIAL_FAILED and "quic" in (line.protocol or self.protocol):
            self._quic_dials += 1
            self._quic_blocked = bool(line.fields.get("silent"))
        if line.kind is LineKind.UNAUTHORIZED and self._admission.unauthorized_since is None:
            self._admission.unauthorized_since = now
        if line.kind is LineKind.TUNNEL_GONE and self._admission.gone_since is None:
            self._admission.gone_since = now
        if line.kind in {LineKind.REJECTED, LineKind.UNAUTHORIZED, LineKind.TUNNEL_GONE}:
            self._see_rejection(now)
        if line.kind is not LineKind.SERVE_ERROR or not self._last_error:
            self._last_error = line.error or line.message

    def _lose(self, index: int, reason: str) -> list[ConnectionRegistered | ConnectionLost]:
        if self._connected.pop(index, None) is None:
            return []
        return [ConnectionLost(tunnel=self._name, index=index, reason=reason)]


def _age(now: float, since: float | None) -> float | None:
    return None if since is None else now - since
