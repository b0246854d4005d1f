"""Check the local service and the connector's counters between two health checks, at next to no cost.

Every quick check connects to the service and hangs up, and compares the connector's counters. Nothing is asked for over HTTP
while no visitor comes, so that an idle service's log stays empty; while visitors do come, one more GET is no noise, and shows a
service that takes connections and does not answer. Visitors who came in numbers and come no more may have been stopped on their
way: that, too, is only seen in public. A quick check judges nothing: it says that a health check is due.

A connection that the service does not accept stays in its queue, and is all that is left there: until it is accepted no other
is made, so that visitors find room in the queue when the service goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from socket import AF_INET, AF_INET6, SHUT_WR, socket
from typing import NamedTuple, Self

from prx.backends.base import Counters
from prx.config.schema import TunnelSettings
from prx.config.this_machine import is_this_machine
from prx.runtime.probes.accept_queue import Arrival
from prx.runtime.probes.connect import Endpoint, FailureKind, ProbeError, connected_to_one, is_address
from prx.runtime.probes.kept import connect_at_once
from prx.runtime.probes.origin import check_origin

CONNECT_WITHIN = 1.0  # seconds
ANSWER_WITHIN = 1.2  # seconds; for a service that usually takes a quarter of that at most
ACCEPT_WITHIN = (0.005, 0.05, 0.4)  # seconds: the waits before each look
STREAM = 10.0  # requests between two quick checks: of so many, by chance none would come once in twenty thousand
_GONE = {FailureKind.REFUSED, FailureKind.NO_ROUTE, FailureKind.TIMEOUT}


class QuickChecks:
    """The quick checks of one tunnel. `suspect`: the last one found something that a health check should not wait long for."""

    def __init__(self) -> None:
        self.suspect = False
        self.failing = False
        self._left: Arrival | None = None  # a connection that the service has not accepted
        self._ahead: _Knock | None = None  # one that was made for the next check
        self._well = True  # as the check was that came before the first quick check: a service that has ended since is news
        self._counters: Counters | None = None
        self._own = 0
        self._stream = 0.0  # requests between two quick checks, of late

    def begin(self, settings: TunnelSettings) -> None:
        """Connect and hang up for a `check` that comes some milliseconds later, and finds then what has become of it."""
        address, port = _addresses(settings.origin.host)[0], settings.origin.port
        local = self._left is None and is_address(address) and is_this_machine(address)
        self._ahead = _Knock.at(address, port) if local else None

    async def check(self, settings: TunnelSettings, counters: Counters | None, usual_ms: float | None, *, own: int = 0) -> bool:
        """Return whether something has changed since the last quick check, so that a health check is due at once.

        `settings`: the tunnel's, as they are now. `counters`: the connector's, None if they could not be read. `usual_ms`:
        how long the service usually takes to answer. `own`: how many of all requests so far were prx's own, no visitor's.
        `failing` says afterwards whether visitors, or prx itself, got errors meanwhile.
        """
        before, self._counters = self._counters, counters
        ours, self._own = max(0, own - self._own), own
        busy = before is not None and counters is not None and counters.requests - before.requests > ours
        if before is None or counters is None:
            self.failing = dry = False
        else:
            self.failing = before is not counters and counters.failures > before.failures
            dry = self._runs_dry(counters.requests - before.requests - ours)
        well = await self._is_well(settings, busy=busy, usual_ms=usual_ms)
        changed = well is not self._well or dry
        self._well = well
        self.suspect = not well or dry
        return changed

    def _runs_dry(self, came: int) -> bool:
        """Take in how many visitors have come since the last quick check; return whether a stream of them has stopped."""
        dry = came <= 0 and self._stream >= STREAM
        self._stream = 0.0 if dry else (self._stream + max(0, came)) / 2
        return dry

    async def _is_well(self, settings: TunnelSettings, *, busy: bool, usual_ms: float | None) -> bool:
        origin = settings.origin
        addresses = _addresses(origin.host)
        if not is_address(addresses[0]):
            return True  # a name: nothing is asked for it between two health checks
        if self._left is not None and self._left.to_port == origin.port and self._left.is_waiting():
            return False
        ahead, self._ahead = self._ahead, None
        if ahead is not None and ahead.port == origin.port:
            arrival, waits = ahead.end(), (0.0, *ACCEPT_WITHIN[1:])
        else:
            try:
                arrival, waits = await _arrive(addresses, origin.port), ACCEPT_WITHIN
            except ProbeError as error:
                self._left = None
                return error.trouble not in _GONE
        self._left = await _left_waiting(arrival, waits) if arrival is not None else None
        if self._left is not None:
            return False
        if busy and usual_ms is not None and usual_ms < ANSWER_WITHIN * 250:
            answer = await check_origin(settings, timeout=ANSWER_WITHIN)
            return not answer.silent
        return True


def _addresses(host: str) -> list[str]:
    return ["127.0.0.1", "::1"] if host == "localhost" else [host]


class _Knock(NamedTuple):
    """A connection to a service of this machine whose own direction was ended at once: nothing will be said.

    Without `sock` and `arrival` the service has broken it off before anything could be seen of it.
    """

    port: int
    sock: socket | None = None
    arrival: Arrival | None = None

    @classmethod
    def at(cls, address: str, port: int) -> Self | None:
        """Connect without a wait; None if that takes one, or does not succeed. What the service has taken is never None."""
        family = AF_INET6 if ":" in address else AF_INET
        try:
            sock = connect_at_once(family, address, port)
        except ConnectionResetError:
            return cls(port)
        except (OSError, OverflowError):
            return None
        try:
            own = sock.getsockname()  # before the end is announced: a quick service may hang up at once
            sock.shutdown(SHUT_WR)
        except OSError:
            sock.close()
            return cls(port)
        return cls(port, sock, Arrival(port, own[1], family))

    def end(self) -> Arrival | None:
        """Hang up, and return what may wait to be accepted; None if the service has said something, or has hung up as well."""
        if self.sock is None:
            return None
        try:
            self.sock.recv(1)
        except OSError:
            return self.arrival
        finally:
            self.sock.close()
        return None

    def leave(self) -> Arrival | None:
        """Hang up, whatever the service does, and return what may wait to be accepted."""
        if self.sock is not None:
            self.sock.close()
        return self.arrival


async def _arrive(addresses: Sequence[str], port: int) -> Arrival | None:
    """Connect to a service and hang up; return the connection if it can be seen whether it waits. ProbeError: none is taken."""
    local = is_this_machine(addresses[0])
    if local and (knock := _Knock.at(addresses[0], port)):
        return knock.leave()
    endpoints = [Endpoint(address, port) for address in addresses]
    async with connected_to_one(endpoints, timeout=CONNECT_WITHIN) as stream:
        return _arrival(stream.writer.get_extra_info("socket")) if local else None


def _arrival(sock: socket | None) -> Arrival | None:
    try:
        return None if sock is None else Arrival.of(sock)
    except OSError:
        return None


async def _left_waiting(arrival: Arrival, waits: Sequence[float]) -> Arrival | None:
    """Return the connection if the service does not accept it for a while; None if it does, or if the system does not say."""
    for wait in waits:
        if wait:
            await asyncio.sleep(wait)
        if not arrival.is_waiting():
            return None
    return arrival
