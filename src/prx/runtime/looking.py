"""One round of looking at a tunnel: gather the evidence, cheapest first, nothing that cannot matter.

The child's `/ready` is always asked. Its counters only while no connection is ready; public DNS and the public URL only once
one is, so that a fresh name is never asked for before it can exist; the origin only when the public answer is not the
expected one, so that a healthy tunnel costs its origin one request an interval and no more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from prx.access.probe import ServiceToken, probe_headers
from prx.backends.base import Backend, EdgeSite
from prx.config.schema import TunnelSettings
from prx.core.evidence import Connector, Dns, DnsState, Evidence, Origin, Public
from prx.runtime.clock import Clock
from prx.runtime.exposure import Reach, look_at_exposure
from prx.runtime.network import Network
from prx.runtime.observer import ConnectorObserver
from prx.runtime.passage import Passage
from prx.runtime.probes.endpoints import ConnectorEndpoints
from prx.runtime.probes.origin import look_at_origin
from prx.runtime.probes.public import probe_public
from prx.runtime.resolver import Resolver

ADDRESSES_LAST = 300.0  # seconds; Cloudflare's addresses of a name hardly ever change


@dataclass(frozen=True, slots=True)
class View:
    """What does not change while a tunnel is looked at: who it is, and through whose eyes."""

    name: str
    settings: TunnelSettings
    backend: Backend
    site: EdgeSite
    clock: Clock
    resolver: Resolver
    network: Network
    service_token: ServiceToken | None
    tell_phase: Callable[[str, str], None]
    warn: Callable[[str], None]


class Looker:
    """Looks at one run of the child (or, without an observer, at a public URL that somebody else keeps up)."""

    def __init__(self, view: View, observer: ConnectorObserver | None, endpoints: ConnectorEndpoints | None) -> None:
        self.url = view.backend.fixed_url(view.site)
        self._view = view
        self._observer = observer
        self._endpoints = endpoints
        self._dns: Dns | None = None
        self._dns_until = 0.0
        self._exposure_known = False
        self._passage = Passage(self._requests_passed, view.warn)

    def adopt(self, view: View) -> None:
        """Look with other eyes from now on: the settings have changed."""
        self._view = view

    async def check_ready(self) -> bool:
        """Ask `/ready`; tell whether the tunnel came up or went down since the last time."""
        if self._observer is None or self._endpoints is None:
            return False
        reply = await self._endpoints.ready()
        return self._observer.see_readiness(self._view.backend.parse_ready(reply.status, reply.body) if reply else None)

    async def look(self) -> Evidence:
        """Gather evidence; takes about 25 s at the very worst, and never raises for what it meets."""
        view = self._view
        await self.check_ready()
        if not self.url:
            await self._find_url()
        connector = await self._connector()
        network = view.network.up()
        evidence = Evidence(view.clock.monotonic(), self.url, connector=connector, network_up=network)
        if (connector is not None and not connector.ready) or not self.url:
            return evidence
        return await self._look_outside(evidence)

    async def _find_url(self) -> None:
        if self._endpoints is None:
            return
        reply = await self._endpoints.quick_tunnel()
        if reply and (hostname := self._view.backend.parse_quick_hostname(reply.status, reply.body)):
            self.url = self._view.site.url(hostname)
            self._view.tell_phase("url", self.url)

    async def _connector(self) -> Connector | None:
        observer, endpoints = self._observer, self._endpoints
        if observer is None or endpoints is None:
            return None
        if observer.ready:
            self._view.tell_phase("connected", "")
        elif reply := await endpoints.metrics():
            observer.see_counters(self._view.backend.parse_counters(reply.body))
        return observer.evidence(self._view.clock.monotonic())

    async def _look_outside(self, evidence: Evidence) -> Evidence:
        dns, mismatch = await asyncio.gather(self._resolve(), self._route_mismatch())
        if dns.state is not DnsState.RESOLVED:
            return replace(evidence, dns=dns, route_mismatch=mismatch)
        self._view.tell_phase("dns", ", ".join(dns.addresses))
        public, elsewhere = await self._passage.watch(self._ask_public(dns.addresses), self.url)
        exposed = await self._exposed(public, dns.addresses)
        origin = None if public.status in self._view.settings.expected_status else await self._ask_origin()
        if public.status is None:
            self._dns_until = 0.0  # perhaps the addresses are not right any more
        return replace(
            evidence,
            dns=dns,
            public=public,
            elsewhere=elsewhere,
            origin=origin,
            route_mismatch=mismatch,
            exposed=exposed,
        )

    async def _requests_passed(self) -> int | None:
        if self._endpoints is None or self._view.backend.mode != "named":  # a quick tunnel has one connector
            return None
        reply = await self._endpoints.metrics()
        return self._view.backend.parse_counters(reply.body).requests if reply else None

    async def _exposed(self, public: Public, addresses: tuple[str, ...]) -> str:
        """Ask once whether strangers reach the origin, and warn; where Access is required ask every time, and say why not."""
        view = self._view
        if public.status is None or (self._exposure_known and not view.settings.require_access):
            return ""
        exposure = await look_at_exposure(self.url, addresses, ca_file=view.site.public_ca)
        if exposure.reach is Reach.UNKNOWN:
            return ""
        if not self._exposure_known and not view.site.local and (warning := exposure.warning(str(view.settings.origin))):
            view.warn(warning)
        self._exposure_known = True
        return exposure.refusal() if view.settings.require_access else ""

    async def _resolve(self) -> Dns:
        now = self._view.clock.monotonic()
        if self._dns is None or now >= self._dns_until:
            self._dns = await self._view.resolver.resolve(urlsplit(self.url).hostname or "")
            self._dns_until = now + (ADDRESSES_LAST if self._dns.state is DnsState.RESOLVED else 0.0)
        return self._dns

    async def _route_mismatch(self) -> str:
        if self._endpoints is None or self._view.backend.mode != "named":
            return ""
        reply = await self._endpoints.config()
        return self._view.backend.route_mismatch(reply.status, reply.body) if reply else ""

    async def _ask_public(self, addresses: tuple[str, ...]) -> Public:
        view = self._view
        url = self.url + view.settings.health_check_path
        # the token goes only to the host that the configuration names: a quick tunnel's name belongs to nobody
        host = urlsplit(view.backend.fixed_url(view.site)).hostname or ""
        headers = probe_headers(view.service_token, url, host)
        return await probe_public(url, addresses, headers=headers, headers_host=host, ca_file=view.site.public_ca)

    async def _ask_origin(self) -> Origin:
        return await look_at_origin(self._view.settings)
