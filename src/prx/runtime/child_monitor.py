"""One connector as it is seen from outside: its log, its own endpoints and its counters, folded into evidence.

Its counters are read by several parts, so they are read here, and kept: a part that can do with a reading of a moment ago gets
that one.
"""

from __future__ import annotations

from prx.backends.base import Counters, Readiness
from prx.core.evidence import Connector
from prx.runtime.admission import Admission
from prx.runtime.alarm import Alarm
from prx.runtime.attention import Attention
from prx.runtime.context import TunnelContext
from prx.runtime.observer import ConnectorObserver
from prx.runtime.probes.connector import ConnectorEndpoints, Reply

ANSWER_WITHIN = 1.5  # seconds
AGAIN_WITHIN = 1.0  # seconds, for a child that has not answered


class ChildMonitor:
    """The child of one run, which began speaking `protocol` and answers on the loopback port `port`; `close` it at its end.

    lost: set while no connection is ready. has_answered: one of its endpoints has, ever. refused_at: the monotonic second at
    which it last refused a question, -inf before. logged_url: the public URL that its log has named, empty until then.
    """

    def __init__(self, context: TunnelContext, protocol: str, port: int) -> None:
        admission = Admission() if context.policy.quick else context.admission
        self.observer = ConnectorObserver(context.name, protocol, context.clock.monotonic(), admission)
        self.lost = Alarm()
        self.logged_url = ""
        self.has_answered = False
        self.refused_at = float("-inf")
        self._context = context
        self._endpoints = ConnectorEndpoints(port)
        self._silent_at: float | None = None
        self._reading: tuple[float, Counters] | None = None
        self._group = context.group
        context.shared.ways.add(self._group, self.counters)

    @property
    def counted(self) -> Counters:
        """What the child had counted when that was read last."""
        return Counters() if self._reading is None else self._reading[1]

    def close(self) -> None:
        """Forget what outlives a check: the child has ended."""
        self._context.shared.ways.remove(self._group, self.counters)
        self._endpoints.close()

    async def counters(self, *, max_age: float = 0.0) -> Counters | None:
        """Return the child's counters, read now or at most `max_age` seconds ago; None if they cannot be read.

        Read now means asked now: an answer to what was asked ahead may have been given before what is to be counted.
        """
        now = self._context.clock.monotonic
        if self._reading is not None and max_age > 0 and now() - self._reading[0] <= max_age:
            return self._reading[1]
        reply = await self._ask(self._context.client.endpoints.counters, ahead=max_age > 0)
        return None if reply is None else self._keep(reply)

    def ask_ahead(self, *, counters: bool = False) -> None:
        """Send the question of the next `check_ready`, which comes a few milliseconds later and finds the answer at hand.

        `counters`: ask for these in its place, for `has_counted`; an answer shows as well that the child is alive.
        """
        endpoints = self._context.client.endpoints
        if path := (counters and endpoints.counters) or endpoints.ready:
            self._endpoints.ask(path)

    def has_counted(self) -> bool:
        """Return whether the counters that were asked for ahead are at hand; if so they are the newest reading."""
        path = self._context.client.endpoints.counters
        reply = self._endpoints.at_hand(path) if path else None
        if reply is None:
            return False
        self._keep(reply)
        return True

    def _keep(self, reply: Reply) -> Counters:
        now, counters = self._context.clock.monotonic(), self._context.client.parse_counters(reply.body)
        self._reading = now, counters
        self.observer.see_counters(now, counters)
        return counters

    async def check_ready(self, *, max_age: float = 0.0) -> bool:
        """Ask how many connections are ready; return whether the tunnel came up or went down since the last time.

        A child that does not answer is asked once more at once, and one that is silent already is not waited for for long: that
        it is stopped is to be shown within five seconds. If prx itself was held up meanwhile, or could not ask, no
        answer is no sign of the child's. `max_age`: if it fell silent so many seconds ago at most,
        it is not asked again. One that has never been ready is: it may have come up a moment ago.
        """
        if self._silent_at is not None and self._context.clock.monotonic() - self._silent_at <= max_age:
            return False
        at_hand = self._at_hand()
        changed = await self._ask_ready() if at_hand is None else self._see(at_hand)
        (self.lost.clear if self.observer.ready else self.lost.set)()
        return changed

    def _at_hand(self) -> Readiness | None:
        """Return the answer to what was asked ahead, None if it has not come or cannot be understood: it is asked for then."""
        client = self._context.client
        reply = self._endpoints.at_hand(client.endpoints.ready) if client.endpoints.ready else None
        return client.parse_ready(reply.status, reply.body) if reply else None

    def _see(self, readiness: Readiness) -> bool:
        self.has_answered, self._silent_at = True, None
        return self.observer.see_readiness(self._context.clock.monotonic(), readiness)

    async def _ask_ready(self) -> bool:
        changed = False
        if not self.has_answered and self._context.client.endpoints.ready and self._endpoints.is_refused():
            self.refused_at = now = self._context.clock.monotonic()
            return self.observer.see_readiness(now, None, asked=now)  # it has yet to come up: hundreds may at once
        for timeout in (ANSWER_WITHIN, AGAIN_WITHIN) if self.observer.answers else (AGAIN_WITHIN,):
            asked = self._context.clock.monotonic()
            with Attention() as attention:
                readiness = await self._readiness(timeout)
            now = self._context.clock.monotonic()
            if readiness is None and self._endpoints.unasked:
                break
            if readiness is None and attention.lapsed and self.observer.excuse(now):
                continue
            changed |= self.observer.see_readiness(now, readiness, asked=asked)
            self._silent_at = now if self.observer.ever_ready and not self.observer.answers else None
            if changed or readiness is not None or not self.observer.ever_ready:
                break
        return changed

    async def _readiness(self, timeout: float) -> Readiness | None:
        client = self._context.client
        if not client.endpoints.ready:
            self.has_answered = True  # by its log, which is all that there is
            return Readiness(self.observer.connections, "")
        reply = await self._endpoints.get(client.endpoints.ready, timeout=timeout)
        self.has_answered |= reply is not None
        return client.parse_ready(reply.status, reply.body) if reply else None

    async def url(self) -> str:
        """Return the public URL that the child was given, empty while it has none."""
        client, site = self._context.client, self._context.shared.site
        reply = await self._ask(client.endpoints.url)
        found = client.parse_url(reply.status, reply.body, site) if reply else ""
        return found or self.logged_url

    async def route_mismatch(self) -> str:
        """Return how the rules pushed to the child fail to lead to the service; empty if they lead there, or there are none."""
        client = self._context.client
        reply = await self._ask(client.endpoints.rules)
        return client.route_mismatch(reply.status, reply.body) if reply else ""

    async def _ask(self, path: str, *, ahead: bool = True) -> Reply | None:
        reply = await self._endpoints.get(path, timeout=AGAIN_WITHIN, ahead=ahead) if path else None
        self.has_answered |= reply is not None
        return reply

    def evidence(self) -> Connector:
        """Return what is known of the child now."""
        if self.observer.ready:
            self._context.phases.reached("connected")
        wait = self._context.client.longest_wait(self.observer.rounds)
        return self.observer.evidence(self._context.clock.monotonic(), wait)
