"""One round of checks at a tunnel: gather the evidence, cheapest first, side by side, within one deadline.

The child's `/ready` is always asked. While no connection is ready, its counters are read and the edge is dialled; public DNS
and the public URL are asked only once one is, so that a fresh name is never asked for before it can exist. The origin is asked
only if the public answer is late or not the expected one, so that a healthy tunnel costs its origin one request an interval.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from prx.backends.base import Backend, Counters, EdgeSite
from prx.config.schema import TunnelSettings
from prx.core.evidence import Connector, Delivery, Dns, DnsState, Edge, Evidence, Origin, Public
from prx.runtime.delivery import SETTLE, Ways, compare
from prx.runtime.host.clock import Clock
from prx.runtime.host.network import Network
from prx.runtime.observer import ConnectorObserver
from prx.runtime.probes.access import ServiceToken, probe_headers
from prx.runtime.probes.addresses import strays
from prx.runtime.probes.connector import ConnectorEndpoints
from prx.runtime.probes.edge import EdgeWatch
from prx.runtime.probes.exposure import Reach, check_exposure
from prx.runtime.probes.origin import check_origin
from prx.runtime.probes.public import probe_public
from prx.runtime.probes.resolver import Resolver, by_system

ADDRESSES_LAST = 300.0  # seconds; Cloudflare's addresses of a name hardly ever change
ASK_ORIGIN_AFTER = 1.0  # seconds that a public answer may take before the service is asked beside it
FAST_LIMIT = 4.0  # seconds for an answer of a service that has just taken less than a quarter of it
SUSPECT_LIMIT = 1.5  # seconds, the same, if something else tells already that it does not answer
REFRESH_WITHIN = 3.0  # seconds that a check waits for the addresses to be looked up again
REFRESH_AGAIN_AFTER = 30.0  # seconds until the next try, if that gave none
TWIN_TIMES = 2  # answers past this connector that convince


@dataclass(frozen=True, slots=True)
class TunnelContext:
    """What does not change while a tunnel is looked at: who it is, and through whose eyes."""

    name: str
    settings: TunnelSettings
    backend: Backend
    site: EdgeSite
    clock: Clock
    resolver: Resolver
    network: Network
    edge: EdgeWatch
    ways: Ways
    way: str  # what makes connectors ways of one tunnel
    service_token: ServiceToken | None
    tell_phase: Callable[[str, str], None]
    tell_url: Callable[[str], None]
    warn: Callable[[str], None]


class HealthChecker:
    """Looks at one run of the child (or, without an observer, at a public URL that others keep up)."""

    def __init__(
        self, context: TunnelContext, observer: ConnectorObserver | None, endpoints: ConnectorEndpoints | None
    ) -> None:
        self.url = context.backend.fixed_url(context.site)
        self.asked = 0  # requests of the public URL that prx has made itself
        self.logged_hostname = ""  # of a quick tunnel, from its log
        self.usual_ms: float | None = None  # how long the last good answer took
        self._context = context
        self._observer = observer
        self._endpoints = endpoints
        self._good: Dns | None = None
        self._dns_until = 0.0
        self._proven = False
        self._exposure_known = False
        self._twins = 0
        self._warned_of_dns = False
        self._down = asyncio.Event()  # set while no connection is ready
        if endpoints is not None:
            context.ways.add(context.way, self.counters)

    def adopt(self, context: TunnelContext) -> None:
        """Look with other eyes from now on: the settings have changed."""
        self._context.ways.remove(self._context.way, self.counters)
        self._context = context
        if self._endpoints is not None:
            context.ways.add(context.way, self.counters)

    def close(self) -> None:
        """Let go of what outlives a check."""
        self._context.ways.remove(self._context.way, self.counters)

    def prove(self) -> None:
        """Take in that the URL was proven by the last check."""
        self._proven = True

    def forget_network(self) -> None:
        """Take in that the machine is in another network."""
        self._dns_until = 0.0
        if self._observer is not None:
            self._observer.forget_network()

    async def counters(self) -> Counters | None:
        """Read the child's counters; None if it does not tell them."""
        if self._endpoints is None or self._observer is None:
            return None
        reply = await self._endpoints.metrics()
        if reply is None:
            return None
        counters = self._context.backend.parse_counters(reply.body)
        self._observer.see_counters(self._context.clock.monotonic(), counters)
        return counters

    async def check_ready(self) -> bool:
        """Ask `/ready`; return whether the tunnel came up or went down since the last time.

        A metrics server that does not answer is asked once more at once: that it is stopped is to be known within seconds.
        """
        if self._observer is None or self._endpoints is None:
            return False
        changed = False
        for _ in range(2):
            reply = await self._endpoints.ready()
            readiness = self._context.backend.parse_ready(reply.status, reply.body) if reply else None
            changed |= self._observer.see_readiness(self._context.clock.monotonic(), readiness)
            if readiness is not None or not self._observer.ever_ready:
                break
        (self._down.clear if self._observer.ready else self._down.set)()
        return changed

    async def check(self, *, suspect: bool = False) -> Evidence:
        """Gather evidence, and never raise for what it meets.

        It takes the time-out of the health check and a second at most, and less for a service that is usually fast. `suspect`:
        something else tells already that the service does not answer, so that it is waited for shortly.
        """
        context = self._context
        began = context.clock.monotonic()
        await self.check_ready()
        if not self.url:
            await self._find_url()
        connected = self._observer is None or (self._observer.ready > 0)
        if not connected:
            edge, dns = await asyncio.gather(self._dial(), self._name_of_refused())
            return replace(self._evidence(began, edge=edge), dns=dns)
        evidence = self._evidence(began, edge=None)
        if not self.url:
            return evidence
        found = await self._unless_down(self._check_outside(evidence, suspect=suspect or evidence.network_up is False))
        return self._evidence(began, edge=await self._dial()) if found is None else found

    async def _unless_down(self, outside: Coroutine[Any, Any, Evidence]) -> Evidence | None:
        """Await a look at the outside; give it up, and return None, as soon as the last connection is lost."""
        async with asyncio.TaskGroup() as group:
            check = group.create_task(outside, name=f"{self._context.name}: outside")
            lost = group.create_task(self._down.wait(), name=f"{self._context.name}: lost")
            await asyncio.wait([check, lost], return_when=asyncio.FIRST_COMPLETED)
            for task in (check, lost):
                task.cancel()
        return None if check.cancelled() else check.result()

    def _evidence(self, began: float, *, edge: Edge | None) -> Evidence:
        context = self._context
        return Evidence(
            context.clock.monotonic(),
            self.url,
            began=began,
            connector=self._connector(),
            network_up=context.network.up(),
            edge=edge,
        )

    def _limit(self, *, suspect: bool) -> float:
        limit = self._context.settings.health_check_timeout_secs
        if self.usual_ms is None or self.usual_ms > FAST_LIMIT * 250:
            return limit
        return min(limit, SUSPECT_LIMIT if suspect and self.usual_ms < SUSPECT_LIMIT * 250 else FAST_LIMIT)

    async def _find_url(self) -> None:
        if self._endpoints is None:
            return
        reply = await self._endpoints.quick_tunnel()
        hostname = self._context.backend.parse_quick_hostname(reply.status, reply.body) if reply else ""
        if hostname or self.logged_hostname:
            self.take_hostname(hostname or self.logged_hostname)

    def take_hostname(self, hostname: str) -> None:
        """Take in the public host name of a quick tunnel."""
        if self.url:
            return
        self.url = self._context.site.url(hostname)
        self._context.tell_phase("url", self.url)
        self._context.tell_url(self.url)

    async def _dial(self) -> Edge:
        """Dial the edge while no connection is ready, and read the counters beside it: they tell of rejections."""
        if self._context.network.up() is False:
            return Edge()
        observer = self._observer
        quic = observer is not None and observer.protocol == "quic"
        edge, _ = await asyncio.gather(self._context.edge.dial(quic=quic), self._counters_if_alive())
        return edge

    async def _name_of_refused(self) -> Dns | None:
        """Look up the name of a quick tunnel that the edge refuses: if it is gone, the tunnel is deleted."""
        connector = self._connector()
        if connector is None or not connector.rejected or self._context.backend.mode != "quick" or not self._proven:
            return None
        return await self._context.resolver.resolve(urlsplit(self.url).hostname or "")

    async def _counters_if_alive(self) -> None:
        if self._observer is not None and self._observer.evidence(self._context.clock.monotonic(), 0).answers:
            await self.counters()

    def _connector(self) -> Connector | None:
        observer = self._observer
        if observer is None:
            return None
        if observer.ready:
            self._context.tell_phase("connected", "")
        return observer.evidence(self._context.clock.monotonic(), self._context.backend.longest_wait(observer.rounds))

    # ------------------------------------------------------------------ outside

    async def _check_outside(self, evidence: Evidence, *, suspect: bool) -> Evidence:
        limit = self._limit(suspect=suspect)
        dns, mismatch = await asyncio.gather(self._resolve(), self._route_mismatch())
        if not dns.addresses:
            return replace(evidence, at=self._context.clock.monotonic(), dns=dns, route_mismatch=mismatch)
        self._context.tell_phase("dns", ", ".join(dns.addresses))
        async with asyncio.TaskGroup() as group:
            exposed = group.create_task(self._exposed(dns.addresses, limit), name=f"{self._context.name}: exposure")
            refreshed = group.create_task(self._refresh(), name=f"{self._context.name}: dns")
            public, delivery, origin = await self._ask_both(dns.addresses, limit, suspect=suspect)
        if public.status is None:
            self._dns_until = 0.0  # perhaps the addresses are not right any more
        elif public.status in self._context.settings.expected_status or (origin is not None and origin.status == public.status):
            self.usual_ms = public.latency_ms
        far = public.status is None or public.status in _FAR_ERRORS
        self._note_twin(public, delivery)
        return replace(
            evidence,
            at=self._context.clock.monotonic(),
            connector=self._connector(),
            dns=refreshed.result() or dns,
            edge=await self._context.edge.dial(quic=False) if far and evidence.network_up is not False else None,
            public=public,
            delivery=delivery,
            origin=origin,
            strays=strays(urlsplit(self.url).hostname or "", dns.addresses, local=self._context.site.local),
            route_mismatch=mismatch,
            exposed=exposed.result(),
        )

    async def _ask_both(
        self, addresses: tuple[str, ...], limit: float, *, suspect: bool
    ) -> tuple[Public, Delivery, Origin | None]:
        """Ask the public URL, and the origin beside it if the answer is late or not the expected one, or expected to be so."""
        ways, way = self._context.ways, self._context.way
        self.asked += 1
        before = await ways.count(way)
        async with asyncio.TaskGroup() as group:
            asked = group.create_task(self._ask_public(addresses, limit), name=f"{self._context.name}: public")
            await asyncio.wait([asked], timeout=0 if suspect else min(ASK_ORIGIN_AFTER, limit / 2))
            late = None if asked.done() else group.create_task(self._ask_origin(limit), name=f"{self._context.name}: origin")
            public = await asked
            if public.status in self._context.settings.expected_status and not public.wants_tls:
                if late is not None:
                    late.cancel()
                return public, compare(before, await ways.count(way)), None
            origin = await (late or self._ask_origin(limit))
        after = await ways.count(way)
        delivery = compare(before, after)
        if delivery.reached and public.status not in delivery.said and not delivery.failed:
            await asyncio.sleep(SETTLE)
            delivery = compare(before, await ways.count(way))
        return public, delivery, origin

    def _note_twin(self, public: Public, delivery: Delivery) -> None:
        """Warn once of answers that come past this connector, though they are none that the edge gives by itself."""
        own = public.status is None or public.access or public.mitigated or public.edge_error or public.status >= 500
        if delivery.reached is False and self._context.backend.mode == "named" and not own and public.by_cloudflare:
            self._twins += 1
            if self._twins == TWIN_TIMES:
                self._context.warn(
                    f"{self.url} is answered by another connector too, or by a cache or a Worker: {self._twins} requests of prx"
                    " did not come through this one. If the same token runs on another machine, visitors reach that machine"
                    " now and then"
                )

    async def _exposed(self, addresses: tuple[str, ...], limit: float) -> str:
        """Ask once whether strangers reach the origin, and warn; where Access is required ask every time, and say why not."""
        context = self._context
        if self._exposure_known and not context.settings.require_access:
            return ""
        self.asked += 1
        exposure = await check_exposure(self.url, addresses, ca_file=context.site.public_ca, timeout=limit)
        if exposure.reach is Reach.UNKNOWN:
            return ""
        if not self._exposure_known and not context.site.local and (warning := exposure.warning(str(context.settings.origin))):
            context.warn(warning)
        self._exposure_known = True
        return exposure.refusal() if context.settings.require_access else ""

    # ------------------------------------------------------------------ the name

    async def _resolve(self) -> Dns:
        """Return what is known of the name; good addresses are kept for a while."""
        if self._good is not None and self._context.clock.monotonic() < self._dns_until:
            return self._good
        return self._good or self._keep(await self._look_up())

    async def _refresh(self) -> Dns | None:
        """Look the name up again beside the check that uses its last good addresses; None if they are young enough."""
        if self._good is None or self._context.clock.monotonic() < self._dns_until:
            return None
        try:
            async with asyncio.timeout(REFRESH_WITHIN):
                found = await self._look_up()
        except TimeoutError:
            found = Dns(DnsState.UNKNOWN, detail="no answer in time")
        return self._keep(found)

    def _keep(self, found: Dns) -> Dns:
        now = self._context.clock.monotonic()
        if found.state is DnsState.RESOLVED:
            self._good, self._dns_until = replace(found, known=self._proven), now + ADDRESSES_LAST
            self._warned_of_dns = False
            return self._good
        if self._good is None or not self._proven:
            return found
        if found.state is DnsState.UNKNOWN and not self._warned_of_dns:
            self._warned_of_dns = True
            self._context.warn(f"no public DNS service answers ({found.detail}); prx goes on with the last good addresses")
        self._dns_until = now + REFRESH_AGAIN_AFTER
        return replace(found, addresses=self._good.addresses, known=True)

    async def _look_up(self) -> Dns:
        """Ask public DNS for the name; if none answers, find the way to the edge by a name that exists."""
        context = self._context
        name = urlsplit(self.url).hostname or ""
        found = await context.resolver.resolve(name)
        if found.state is not DnsState.UNKNOWN:
            return found
        other = await by_system(context.site.quick_zone if context.backend.mode == "quick" else name)
        if other.state is DnsState.RESOLVED:
            return other
        return replace(found, detail=f"{found.detail}; {other.detail}")

    async def _route_mismatch(self) -> str:
        if self._endpoints is None or self._context.backend.mode != "named":
            return ""
        reply = await self._endpoints.config()
        return self._context.backend.route_mismatch(reply.status, reply.body) if reply else ""

    def _ask_public(self, addresses: tuple[str, ...], limit: float) -> Coroutine[Any, Any, Public]:
        context = self._context
        url = self.url + context.settings.health_check_path
        # the token goes only to the host that the configuration names: a quick tunnel's name belongs to nobody
        host = urlsplit(context.backend.fixed_url(context.site)).hostname or ""
        headers = probe_headers(context.service_token, url, host)
        return probe_public(url, addresses, headers=headers, headers_host=host, ca_file=context.site.public_ca, timeout=limit)

    def _ask_origin(self, limit: float) -> Coroutine[Any, Any, Origin]:
        return check_origin(self._context.settings, timeout=limit)


# With these the edge itself may be what does not work.
_FAR_ERRORS = frozenset({*range(520, 528), 530})
