"""Dial the edge as the connector does, to find out who is at fault while the connector has no connection.

One dial is shared by all tunnels of a prx: it is a TLS handshake over TCP, and a QUIC packet over UDP, to a few addresses of
the edge. What has worked since when is kept, for a restart can help only if a connection has been possible for long enough.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import urlsplit

from prx.backends.base import EdgeSite
from prx.core.evidence import DnsState, Edge, Reach
from prx.runtime.host.clock import Clock
from prx.runtime.probes.connect import Endpoint, FailureKind, ProbeError, connected, is_address, trusting_tls
from prx.runtime.probes.quic import speaks_quic
from prx.runtime.probes.resolver import Resolver

# The two regions that cloudflared finds by SRV records; it needs one address of each (observed with cloudflared 2026.8.2).
REGIONS = ("region1.v2.argotunnel.com", "region2.v2.argotunnel.com")
PORT = 7844
# Addresses of these regions (Cloudflare's documentation, "Tunnel with firewall"), for when DNS does not answer.
FALLBACK = ("198.41.192.167", "198.41.200.193", "2606:4700:a0::1", "2606:4700:a8::1")

TLS_NAME = "h2.cftunnel.com"  # SNI of cloudflared's connection over HTTP/2
TIMEOUT = 2.5  # seconds for one dial
QUIC_TIMEOUT = 1.2  # seconds, the same over UDP: three packets are sent in that time
FRESH = 1.0  # seconds for which a result serves all tunnels
BREAK = 20.0  # seconds without a dial after which "has worked since" starts again
_ADDRESSES = 4


class EdgeWatch:
    """Dials the edge of `site`; `resolver` finds it if the site names no addresses."""

    def __init__(self, site: EdgeSite, resolver: Resolver, clock: Clock) -> None:
        self._site = site
        self._resolver = resolver
        self._clock = clock
        self._lock = asyncio.Lock()
        self._known: tuple[Endpoint, ...] = ()
        self._dialled_at: float | None = None
        self._tcp_since: float | None = None
        self._quic_since: float | None = None
        self._with_quic = False  # the last dial tried QUIC
        self._quic_answers = False  # it has answered, once, in this network
        self._last = Edge()

    def forget(self) -> None:
        """Forget the past: this is another network."""
        self._known = ()
        self._dialled_at = self._tcp_since = self._quic_since = None
        self._quic_answers = False
        self._last = Edge()

    async def dial(self, *, quic: bool) -> Edge:
        """Return the result of a dial now, over QUIC too if asked; takes `TIMEOUT` at most, beside the look-up of the edge."""
        async with self._lock:
            now = self._clock.monotonic()
            if self._dialled_at is None or now - self._dialled_at >= FRESH or (quic and not self._with_quic):
                endpoints = await self._places()
                error, answered = await asyncio.gather(self._tcp(endpoints), self._quic(endpoints if quic else ()))
                self._with_quic = quic
                self._take_in(error, answered)
                lost = self._last.tcp is Reach.CLOSED
                if lost and self._site.joined and await _is_gone(self._site.joined):
                    self._last = replace(self._last, gone_lab=self._site.joined)
            return self._last

    async def learn(self) -> None:
        """Find out once, while all is well, whether this edge ever answers QUIC packets."""
        if not self._quic_answers:
            async with self._lock:
                self._quic_answers = await self._quic(await self._places())

    def _take_in(self, error: ProbeError | None, quic: bool) -> None:
        """Fold a dial into what is known: why TCP failed (None: it did not), and whether QUIC answered."""
        now = self._clock.monotonic()
        if self._dialled_at is None or now - self._dialled_at > BREAK:
            self._tcp_since = self._quic_since = None
        self._dialled_at = now
        self._quic_answers = self._quic_answers or quic
        self._tcp_since = None if error is not None else self._tcp_since if self._tcp_since is not None else now
        self._quic_since = None if not quic else self._quic_since if self._quic_since is not None else now
        unasked = error is not None and bool(error.unasked)  # what keeps prx from TCP keeps it from QUIC as well
        silent = self._quic_answers and self._with_quic and not unasked
        self._last = Edge(
            tcp=Reach.OPEN if error is None else Reach.UNKNOWN if unasked else Reach.CLOSED,
            quic=Reach.OPEN if quic else Reach.CLOSED if silent else Reach.UNKNOWN,
            tcp_open_for=0.0 if self._tcp_since is None else now - self._tcp_since,
            quic_open_for=0.0 if self._quic_since is None else now - self._quic_since,
            error="" if error is None else error.words,
        )

    async def _places(self) -> tuple[Endpoint, ...]:
        if self._site.edge_addrs:
            split = [address.rpartition(":") for address in dict.fromkeys(self._site.edge_addrs)]
            hosts = [(host.strip("[]"), int(port)) for host, _, port in split]
            return tuple(Endpoint(host, port) for host, port in hosts if is_address(host))[:_ADDRESSES]
        if not self._known:
            answers = await asyncio.gather(*(self._resolver.resolve(name) for name in REGIONS))
            found = [answer.addresses[:2] for answer in answers if answer.state is DnsState.RESOLVED]
            self._known = tuple(Endpoint(address, PORT) for addresses in found for address in addresses)
        return self._known or tuple(Endpoint(address, PORT) for address in FALLBACK)

    async def _tcp(self, endpoints: Sequence[Endpoint]) -> ProbeError | None:
        """Return None once a TLS handshake with any of `endpoints` is done, else why one was not tried, or the first failed."""
        if not endpoints:
            return ProbeError(FailureKind.NO_NAME, "no address of the edge is known")
        tls = trusting_tls()
        failures: list[ProbeError] = []
        async with asyncio.TaskGroup() as group:
            tries = [
                group.create_task(_handshake(Endpoint(endpoint.address, endpoint.port, tls, TLS_NAME)), name=f"edge {endpoint}")
                for endpoint in endpoints
            ]
            for finished in asyncio.as_completed(tries):
                if (failure := await finished) is None:
                    for task in tries:
                        task.cancel()
                    return None
                failures.append(failure)
        return next((failure for failure in failures if failure.unasked), failures[0])

    async def _quic(self, endpoints: Sequence[Endpoint]) -> bool:
        return any(await asyncio.gather(*(speaks_quic(endpoint, timeout=QUIC_TIMEOUT) for endpoint in endpoints)))


async def _is_gone(url: str) -> bool:
    """Return whether no connection to the host of `url`, an address, can be made; not if prx itself cannot try."""
    parts = urlsplit(url)
    try:
        async with connected(Endpoint(parts.hostname or "", parts.port or 80), timeout=TIMEOUT):
            return False
    except ProbeError as error:
        return not error.unasked
    except ValueError:
        return True


async def _handshake(endpoint: Endpoint) -> ProbeError | None:
    try:
        async with connected(endpoint, timeout=TIMEOUT):
            return None
    except ProbeError as error:
        return error
