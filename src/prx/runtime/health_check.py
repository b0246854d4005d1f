"""One round of checks at a tunnel: gather the evidence, cheapest first, side by side, within one deadline.

The child's `/ready` is always asked. While no connection is ready, its counters are read and the edge is dialled; public DNS
and the public URL are asked only once one is, so that a fresh name is never asked for before it can exist. The origin is asked
only if the public answer is late or not the expected one, so that a healthy tunnel costs its origin one request an interval.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from prx.core.events import UrlKnown
from prx.core.evidence import Connector, Delivery, Edge, Evidence, Origin, Public
from prx.core.redirects import REDIRECTS
from prx.core.status_codes import EDGE_ERRORS, EDGE_STATUSES, RULE_STATUSES
from prx.runtime.child_monitor import ChildMonitor
from prx.runtime.context import TunnelContext
from prx.runtime.delivery import SETTLE, Watch
from prx.runtime.newest_rules import NewestRules
from prx.runtime.probes.access import probe_headers
from prx.runtime.probes.addresses import strays
from prx.runtime.probes.exposure import Reach, check_exposure
from prx.runtime.probes.origin import check_origin
from prx.runtime.probes.public import probe_public
from prx.runtime.public_name import PublicName

if TYPE_CHECKING:
    from prx.runtime.probes.redirect_circle import RedirectCircle

ASK_ORIGIN_AFTER = 1.0  # seconds that a public answer may take before the service is asked beside it
SILENT_LATELY = 1.0  # seconds; a child that was found silent then is not asked again
FAST_LIMIT = 4.0  # seconds for an answer of a service that has just taken less than a quarter of it
SUSPECT_LIMIT = 1.5  # seconds, the same, if something else says already that it does not answer
BYPASSES_THAT_CONVINCE = 2  # answers past this connector that convince
HELD_UP = (0.3, 0.7)  # seconds: the waits before each look
ANSWERS_THAT_CONVINCE = 2  # good answers while the system shows no network: one may have been under way when it went


class HealthChecker:
    """Checks one run of the child (or, without a `child`, a public URL that others keep up).

    asked: requests of the public URL that prx has made itself; failed: those that the connector counts as failures. usual_ms:
    how long the last good answer took.
    """

    def __init__(self, context: TunnelContext, child: ChildMonitor | None) -> None:
        self.url = context.backend.fixed_url(context.shared.site)
        self._newest_rules = NewestRules(context.settings)
        self.asked = self.failed = 0
        self.usual_ms: float | None = None
        self._context = context
        self._child = child
        self._name = PublicName(context)
        self._exposure_known = False
        self._circle: RedirectCircle | None = None  # made for a service that redirects
        self._bypasses = 0
        self._served_without = 0  # good answers since the system shows no network

    def prove(self) -> None:
        """Take in that the URL was proven by the last check."""
        self._name.proven = True

    def forget_network(self) -> None:
        """Take in that the machine is in another network."""
        self._name.expire()
        self._served_without = 0

    def inherit(self, other: HealthChecker) -> None:
        """Take over what another connector's checks have found out about the same URL."""
        if self.url == other.url:
            self._name, self.usual_ms = other._name, other.usual_ms
            self._exposure_known, self._bypasses = other._exposure_known, other._bypasses

    async def check(self, *, suspect: bool = False, leads: Callable[[], bool] = lambda: True) -> Evidence:
        """Gather evidence, and never raise for what it meets; ask the public URL only if this connector `leads`.

        It takes the time-out of the health check and a second at most, and less for a service that is usually fast. `suspect`:
        something else says already that the service does not answer, so that the wait is short.
        """
        began = self._context.clock.monotonic()
        child = self._child
        if child is not None:
            await child.check_ready(max_age=SILENT_LATELY)
            if not self.url or self._context.backend.url_is_temporary:
                self._take_url(await child.url() if child.observer.answers else child.logged_url)
            if not child.observer.ready:
                if not self._is_name_in_doubt(child):
                    return self._evidence(began, edge=await self._dial(child))
                edge, dns = await asyncio.gather(self._dial(child), self._context.resolver.resolve(self._hostname))
                return replace(self._evidence(began, edge=edge), dns=dns)
        evidence = self._evidence(began, edge=None)
        if not self.url or not leads():
            return evidence
        outside = self._check_outside(evidence, suspect=suspect or evidence.network_up is False)
        if child is None:
            return await outside
        found = await child.lost.unless(outside)  # it lost its last connection
        return self._evidence(began, edge=await self._dial(child)) if found is None else found

    def _evidence(self, began: float, *, edge: Edge | None) -> Evidence:
        context = self._context
        return Evidence(
            context.clock.monotonic(),
            self.url,
            began=began,
            connector=self._connector(),
            network_up=self._network_up(),
            loopback_up=self._loopback_up(),
            edge=edge,
        )

    def _network_up(self) -> bool | None:
        """Return whether this machine has a network; None if what the system shows has been proven wrong."""
        up = self._context.shared.network.up()
        return None if up is False and self._served_without >= ANSWERS_THAT_CONVINCE else up

    def _loopback_up(self) -> bool | None:
        """Return whether 127.0.0.1 can be used, if that matters: the child does not answer there."""
        answers = self._child is None or self._child.observer.answers
        return None if answers else self._context.shared.network.loopback_up()

    def _learn_of_network(self, evidence: Evidence, public: Public) -> None:
        if evidence.network_up is True:
            self._served_without = 0
        elif public.status is not None and public.status not in EDGE_ERRORS:
            self._served_without += 1

    def _connector(self) -> Connector | None:
        return None if self._child is None else self._child.evidence()

    def _limit(self, *, suspect: bool) -> float:
        limit = self._context.settings.health_check_timeout_secs
        if self.usual_ms is None or self.usual_ms > FAST_LIMIT * 250:
            return limit
        return min(limit, SUSPECT_LIMIT if suspect and self.usual_ms < SUSPECT_LIMIT * 250 else FAST_LIMIT)

    def _take_url(self, url: str) -> None:
        """Take in the public URL that the child was given (empty: none yet); another one than before has yet to be proven."""
        if not url or url == self.url:
            return
        if self.url:
            message = f"the connector has another public URL now, {url}; {self.url} is not watched any more"
            self._context.log("warn", message)
            self._name, self._exposure_known, self.usual_ms = PublicName(self._context), False, None
        self.url = url
        self._context.phases.reached("url", self.url)
        self._context.publish(UrlKnown(tunnel=self._context.name, url=self.url))

    async def _dial(self, child: ChildMonitor) -> Edge | None:
        """Dial the edge while no connection is ready, and read the counters beside it: they include rejections."""
        if self._context.shared.network.up() is False:
            return Edge()
        dialled = self._dial_edge(quic=child.observer.protocol == "quic")
        if not child.observer.answers:  # hundreds may be silent
            return await dialled
        edge, _ = await asyncio.gather(dialled, child.counters())  # over QUIC they alone show rejections
        if edge is not None and edge.is_away and not self._context.policy.quick:  # whose tunnel is deleted meanwhile
            child.observer.see_edge_away()
        return edge

    async def _dial_edge(self, *, quic: bool) -> Edge | None:
        return await self._context.shared.edge.dial(quic=quic) if self._context.backend.has_known_edge else None

    def _is_name_in_doubt(self, child: ChildMonitor) -> bool:
        """Return whether to look up a temporary name that the edge refuses: if it is gone, the tunnel is deleted."""
        return self._context.backend.url_is_temporary and self._name.proven and bool(child.evidence().rejected)

    # ------------------------------------------------------------------ outside

    @property
    def _hostname(self) -> str:
        return urlsplit(self.url).hostname or ""

    async def _check_outside(self, evidence: Evidence, *, suspect: bool) -> Evidence:
        limit = self._limit(suspect=suspect)
        context = self._context
        if (known := self._name.known) is not None:
            dns, mismatch = known, await self._route_mismatch()
        else:
            dns, mismatch = await asyncio.gather(self._name.resolve(self._hostname), self._route_mismatch())
        if not dns.addresses:
            return replace(evidence, at=context.clock.monotonic(), dns=dns, route_mismatch=mismatch)
        context.phases.reached("dns", ", ".join(dns.addresses))
        async with asyncio.TaskGroup() as group:
            exposed = refreshed = None  # a task that has nothing to do costs as much as a question
            if not self._exposure_known or context.settings.require_access:
                exposed = group.create_task(self._exposed(dns.addresses, limit), name=f"{context.name}: exposure")
            if self._name.is_old:
                refreshed = group.create_task(self._name.refresh(self._hostname), name=f"{context.name}: dns")
            public, delivery, origin = await self._ask_both(dns.addresses, limit, suspect=suspect)
        self._count_own(public.status, reached=False if public.unasked else delivery.reached)
        if public.status is None:
            self._name.expire()
        elif public.status in context.settings.expected_status or (origin is not None and origin.status == public.status):
            self.usual_ms = public.latency_ms
        far = public.status is None or public.status in EDGE_STATUSES
        self._note_bypass(public, delivery)
        self._learn_of_network(evidence, public)
        return replace(
            evidence,
            at=context.clock.monotonic(),
            connector=self._connector(),
            dns=(refreshed and refreshed.result()) or dns,
            edge=await self._dial_edge(quic=False) if far and evidence.network_up is not False else None,
            public=public,
            delivery=delivery,
            origin=origin,
            strays=self._strays(dns.addresses),
            route_mismatch=mismatch,
            exposed=exposed.result() if exposed else "",
        )

    def _strays(self, addresses: tuple[str, ...]) -> str:
        """Return why the name does not lead to the edge; a URL that another program keeps up may lead anywhere."""
        backend = self._context.backend
        known = backend.has_known_edge and backend.client is not None
        return strays(self._hostname, addresses, local=self._context.shared.site.local) if known else ""

    async def _route_mismatch(self) -> str:
        mismatch = "" if self._child is None else await self._child.route_mismatch()
        return await self._newest_rules.explain(mismatch)

    async def _ask_both(
        self, addresses: tuple[str, ...], limit: float, *, suspect: bool
    ) -> tuple[Public, Delivery, Origin | None]:
        """Ask the public URL, and the origin beside it if the answer is late or not the expected one, or expected to be so."""
        watch = Watch(self._context.shared.ways, self._context.group)
        self.asked += 1
        await watch.begin()
        async with asyncio.TaskGroup() as group:
            asked = group.create_task(self._ask_public(addresses, limit), name=f"{self._context.name}: public")
            await asyncio.wait([asked], timeout=0 if suspect else min(ASK_ORIGIN_AFTER, limit / 2))
            late = None if asked.done() else group.create_task(self._ask_origin(limit), name=f"{self._context.name}: origin")
            public = await asked
            if self._is_expected(public):
                if late is not None:
                    late.cancel()
                return public, await watch.end(), None
            origin = await (late or self._ask_origin(limit))
        if origin.unasked and late is not None:  # the public question beside it may have held what this one lacked
            origin = await self._ask_origin(limit)
        if public.unasked:  # nothing was sent that the counters could show
            return public, Delivery(), origin
        delivery = await watch.end()
        if delivery.reached is not False and public.status in REDIRECTS:
            origin = replace(origin, circle=await self._find_circle(public))
        if delivery.reached and public.status not in delivery.said and not delivery.failed:
            await asyncio.sleep(SETTLE)
            delivery = await watch.end()
        if public.status is None and delivery.reached and origin is not None and origin.status is not None:
            delivery = await self._given_time(watch, delivery)
        return public, delivery, origin

    async def _find_circle(self, public: Public) -> tuple[str, ...]:
        from prx.runtime.probes.redirect_circle import RedirectCircle  # noqa: PLC0415 - few services redirect

        if self._circle is None:
            self._circle = RedirectCircle(self._context.clock.monotonic)
        settings = self._context.settings
        return await self._circle.find(settings, self.url + settings.health_check_path, public)

    def _is_expected(self, public: Public) -> bool:
        """Return whether an answer is good whatever the service says here; what Access or a rule may have given is not."""
        in_front = public.access or public.mitigated or public.edge_error is not None or public.status in RULE_STATUSES
        doubtful = public.wants_tls or public.broken_off or in_front
        return public.status in self._context.settings.expected_status and not doubtful

    async def _given_time(self, watch: Watch, delivery: Delivery) -> Delivery:
        """Return the delivery once a service that answers here has had the time: what was held up may just have come."""
        for wait in HELD_UP:
            if delivery.answered or delivery.failed:
                break
            await asyncio.sleep(wait)
            delivery = await watch.end()
        return delivery

    def _note_bypass(self, public: Public, delivery: Delivery) -> None:
        """Warn once of answers that come past this connector, though they are none that the edge makes by itself."""
        own = public.status is None or public.access or public.mitigated or public.edge_error or public.status >= 500
        if delivery.reached is False and self._context.backend.has_replicas and not own and public.by_cloudflare:
            self._bypasses += 1
            if self._bypasses == BYPASSES_THAT_CONVINCE:
                self._context.log(
                    "warn",
                    f"{self.url} is answered by another connector too, or by a cache or a Worker: {self._bypasses} requests"
                    " of prx did not come through this one. If the same token runs on another machine, visitors reach that"
                    " machine now and then",
                )

    async def _exposed(self, addresses: tuple[str, ...], limit: float) -> str:
        """Ask once whether strangers reach the origin, and warn; if Access is required ask every time, and say why not."""
        context = self._context
        self.asked += 1
        site = context.shared.site
        mark = "" if context.settings.gate.is_wanted else self._own_mark  # strangers have none to pass a gate with
        exposure = await check_exposure(self.url, addresses, own_mark=mark, ca_file=site.public_ca, timeout=limit)
        came = not exposure.unasked and exposure.status not in EDGE_STATUSES
        self._count_own(exposure.status, reached=None if came else False)
        if exposure.reach is Reach.UNKNOWN:
            return ""
        warning = "" if site.local else exposure.warning(str(context.settings.origin))
        if context.settings.access.is_promised:
            warning = exposure.broken_promise()
        if warning and not self._exposure_known:
            context.log("warn", warning)
        self._exposure_known = True
        return exposure.refusal() if context.settings.require_access else ""

    def _count_own(self, status: int | None, *, reached: bool | None) -> None:
        """Take in the answer to a question of prx's own; `reached`: whether a connector has counted it, None if unknown."""
        if reached is False:
            self.asked -= 1
        elif status is not None and status >= 500:
            self.failed += 1

    def _ask_public(self, addresses: tuple[str, ...], limit: float) -> Coroutine[Any, Any, Public]:
        context, site = self._context, self._context.shared.site
        url = self.url + context.settings.health_check_path
        # the token goes only to the host that the configuration names: a temporary name may be another's tomorrow
        host = urlsplit(context.backend.fixed_url(site)).hostname or ""
        headers = probe_headers(context.shared.service_token, url, host)
        return probe_public(
            url,
            addresses,
            headers=headers,
            headers_host=host,
            own_mark=self._own_mark,
            ca_file=site.public_ca,
            timeout=limit,
        )

    @property
    def _own_mark(self) -> str:
        """Return the word by which the relay knows prx's own checks; empty if there is no relay, which would take it away."""
        return self._context.shared.own_mark if self._context.settings.is_relayed else ""

    def _ask_origin(self, limit: float) -> Coroutine[Any, Any, Origin]:
        return check_origin(self._context.settings, timeout=limit)
