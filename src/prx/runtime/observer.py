"""What one run of the child has shown so far: its log lines, its readiness and its counters, folded into evidence.

Pure: times come in as arguments. A run's observer is thrown away with the run.
"""

from __future__ import annotations

from prx.backends.base import Counters, LineKind, LogLine, Readiness
from prx.core.events import ConnectionLost, ConnectionRegistered, Fact
from prx.core.evidence import Connector

# Lines after which readiness has probably just changed.
_STIRRING = frozenset({LineKind.REGISTERED, LineKind.LOST, LineKind.UNREGISTERED, LineKind.METRICS_UP, LineKind.QUICK_URL})
_COMPLAINTS = frozenset({LineKind.DIAL_FAILED, LineKind.REJECTED, LineKind.UNAUTHORIZED, LineKind.SERVE_ERROR})


class ConnectorObserver:
    """Everything seen of one run of the tunnel `name`, which began at monotonic second `started` speaking `protocol`."""

    def __init__(self, name: str, protocol: str, started: float) -> None:
        self.started = started
        self.ready = 0
        self.ever_ready = False
        self._name = name
        self._protocol = protocol
        self._answers = False
        self._connected: dict[int, str] = {}
        self._quic_dials = 0
        self._other_dials = 0
        self._unauthorized_since: float | None = None
        self._last_error = ""
        self._rejected = 0
        self._rejected_before = 0  # rejections counted up to the last moment of readiness

    def see_line(self, now: float, line: LogLine) -> list[Fact]:
        """Take in a line of the log; return the facts about connections that it tells."""
        if line.kind in _COMPLAINTS:
            self._complain(now, line)
        if line.connection is None:
            return []
        if line.kind is LineKind.REGISTERED:
            self._connected[line.connection] = line.location
            self._protocol = line.protocol or self._protocol
            fact = ConnectionRegistered(
                tunnel=self._name, index=line.connection, location=line.location, protocol=self._protocol
            )
            return [fact]
        if line.kind in {LineKind.LOST, LineKind.UNREGISTERED, LineKind.RETRYING, LineKind.SERVE_ERROR}:
            return self._lose(line.connection, line.error or line.message)
        return []

    def lose_all(self) -> list[Fact]:
        """Take in the end of the child; return the facts about connections that it means."""
        return [fact for index in list(self._connected) for fact in self._lose(index, "the connector ended")]

    def stirs(self, line: LogLine) -> bool:
        """Tell whether it is worth looking at once after this line."""
        return line.kind in _STIRRING

    def see_readiness(self, readiness: Readiness | None) -> bool:
        """Take in an answer of `/ready` (None: none came); tell whether the tunnel came up or went down by it."""
        ready = readiness.ready if readiness else 0
        changed = (ready > 0) != (self.ready > 0)
        self._answers = readiness is not None
        self.ready = ready
        if ready:
            self.ever_ready = True
            self._quic_dials = self._other_dials = 0
            self._unauthorized_since = None
            self._last_error = ""
            self._rejected_before = self._rejected
        return changed

    def see_counters(self, counters: Counters) -> None:
        """Take in the child's counters: over QUIC they are the only sign of a rejected registration."""
        self._rejected = max(self._rejected, counters.rejected)

    def evidence(self, now: float) -> Connector:
        """Return what is known at monotonic second `now`."""
        unauthorized = self._unauthorized_since
        return Connector(
            age=now - self.started,
            answers=self._answers,
            ready=self.ready,
            ever_ready=self.ever_ready,
            protocol=self._protocol,
            quic_dial_failures=self._quic_dials,
            other_dial_failures=self._other_dials,
            unauthorized_for=None if unauthorized is None else now - unauthorized,
            rejected=self._rejected - self._rejected_before,
            last_error=self._last_error,
        )

    def _complain(self, now: float, line: LogLine) -> None:
        if line.kind is LineKind.DIAL_FAILED:
            if "quic" in (line.protocol or self._protocol):
                self._quic_dials += 1
            else:
                self._other_dials += 1
        if line.kind is LineKind.UNAUTHORIZED and self._unauthorized_since is None:
            self._unauthorized_since = now
        if line.kind is not LineKind.SERVE_ERROR or not self._last_error:
            self._last_error = line.error or line.message

    def _lose(self, index: int, reason: str) -> list[Fact]:
        if self._connected.pop(index, None) is None:
            return []
        return [ConnectionLost(tunnel=self._name, index=index, reason=reason)]
