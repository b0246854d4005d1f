"""The public side: visitors' requests, found a tunnel by Host and carried through it.

Theory of operation
-------------------
For each request: find the tunnel, ask Access, open an exchange on one of its connections, then move bytes both
ways at once until the response is whole. Nothing is buffered beyond the windows: a slow visitor holds the connector
back, a slow origin holds the visitor back. The task that serves the visitor carries the response; if the request has a
body, an *upload* task carries that. A visitor who leaves before the response is whole ends the exchange.

A connection that takes no more requests is skipped for the next. Once a request has been sent it is not sent again, for
it may have had its effect, with one exception: if a connection says REFUSED_STREAM, which means that it has done nothing
with the request (RFC 9113, 8.7), and no byte of its body has been sent. What breaks before the response's head is a
502; what breaks after it breaks the visitor's request, so that half a body is never taken for a whole one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from prx.lab.edge.carrier import Exchange, TunnelRequest
from prx.lab.edge.config import LabConfig
from prx.lab.edge.event_hub import EventHub
from prx.lab.edge.faults.active import ActiveFaults
from prx.lab.edge.faults.visitor_faults import RefuseVisitors
from prx.lab.edge.public import error_pages, management, own_paths, translate
from prx.lab.edge.public.access import Fronts
from prx.lab.edge.public.http1 import Http1Connection
from prx.lab.edge.public.login import LoginService
from prx.lab.edge.public.management import Management
from prx.lab.edge.public.relay import Relay, Visit
from prx.lab.edge.public.visitor import MalformedError, RequestHead, UnsendableError, Visitor, VisitorLeftError
from prx.lab.edge.registry import Connection, Registry, Tunnel
from prx.lab.events import RequestServed
from prx.lab.faults import Unroute, concerns
from prx.lab.protocol.errors import StreamError
from prx.lab.protocol.headers import Headers

_NOT_ALLOWED: Final = own_paths.Reply(
    401,
    [(b"Content-Type", b"application/json")],
    b'{"success":false,"errors":[{"code":1001,"message":"invalid access token"}]}',
)


class Gateway:
    """Serves visitors."""

    def __init__(
        self,
        registry: Registry,
        faults: ActiveFaults,
        fronts: Fronts,
        hub: EventHub,
        *,
        config: LabConfig,
        managed: Management,
        login: LoginService,
    ) -> None:
        self._login = login
        self._registry = registry
        self._faults = faults
        self._fronts = fronts
        self._hub = hub
        self._managed = managed
        self._wall = config.wall
        self._limits = config.limited
        self._in_flight: Counter[str] = Counter()  # by host name

    async def serve_http1(self, visitor: Http1Connection) -> None:
        """Serve one connection of a visitor to its end."""
        try:
            while (request := await visitor.next_request()) is not None:
                if not await self.serve(visitor, translate.from_http1(request)):
                    return
        except MalformedError as error:
            await self._refuse(visitor, error)

    async def serve(self, visitor: Visitor, asked: RequestHead) -> bool:
        """Serve one request; whether its response is whole. VisitorLeftError: what was sent of it must be broken off."""
        visit = Visit(visitor, asked, ray=translate.new_ray(), began=self._hub.now())
        try:
            await self._serve(visit)
        finally:
            self._note(visit)
        return visit.complete

    async def _refuse(self, visitor: Visitor, error: MalformedError) -> None:
        too_large = error.status == error_pages.HEAD_TOO_LARGE.status
        problem = error_pages.HEAD_TOO_LARGE if too_large else error_pages.BAD_REQUEST
        ray = translate.new_ray()
        try:
            status, headers, body = error_pages.render(problem, ray=ray, hostname="", accept=b"")
            await visitor.respond(status, [*headers, *error_pages.signature(ray)], body)
        except UnsendableError:
            raise VisitorLeftError("not HTTP, half way through a response") from None

    def _note(self, visit: Visit) -> None:
        now = self._hub.now()
        self._hub.emit(
            RequestServed(
                now,
                hostname=visit.asked.hostname,
                method=visit.asked.method.decode("latin-1"),
                path=visit.asked.path.decode("latin-1"),
                status=visit.status,
                source=visit.source,
                index=visit.index,
                seconds=now - visit.began,
                sent=visit.sent,
                complete=visit.complete,
            )
        )

    async def _serve(self, visit: Visit) -> None:
        hostname = visit.asked.hostname
        tunnel = self._registry.find_public(hostname)
        if await self._stopped_at_the_door(visit):
            return
        if (page := self._login.answer(visit.asked)) is not None:
            await self._respond(visit, *page)
            return
        if hostname == management.HOST:
            await self._manage(visit)
            return
        if await self._stopped_by_a_rule(visit, before_access=True):
            return
        known = tunnel is not None or self._fronts.find(hostname) is not None or hostname.endswith(own_paths.TEAM_DOMAIN)
        if known and own_paths.concerns(visit.asked.path, protected=self._fronts.find(hostname) is not None):
            await self._reply(visit, own_paths.answer(visit, self._fronts, self._wall()))
            return
        if await self._stopped_by_access(visit, hostname):
            return
        if await self._stopped_by_a_rule(visit, before_access=False):
            return
        if tunnel is None:
            by_name = hostname.endswith(".localhost")
            await self._show(visit, error_pages.UNKNOWN_HOST if by_name else error_pages.DIRECT_IP)
            return
        problem = await self._carry_in_turn(visit, tunnel)
        if problem is not None:
            await self._show(visit, problem)

    async def _manage(self, visit: Visit) -> None:
        """Lead a request for the management host to the connector that it is for."""
        found = self._managed.find(visit.asked.path.decode("latin-1"))
        if found is None:
            await self._reply(visit, _NOT_ALLOWED)
        elif (problem := await self._carry(visit, *found)) is not None:
            await self._show(visit, problem)

    async def _stopped_at_the_door(self, visit: Visit) -> bool:
        """Refuse what is too long, has come round too often, or asks for a proxy; return whether it has been answered."""
        url, upload = self._limits.url, self._limits.upload
        if visit.asked.method == b"CONNECT":
            await self._show(visit, error_pages.BAD_REQUEST)
        elif url is not None and len(visit.asked.path) > url:
            await self._show(visit, error_pages.URL_TOO_LONG)
        elif upload is not None and visit.asked.length > upload:
            await self._show(visit, error_pages.TOO_LARGE)
        elif translate.loops(visit.asked.headers) >= translate.MAX_LOOPS:
            await self._show(visit, error_pages.LOOP)
        else:
            return False
        return True

    async def _stopped_by_a_rule(self, visit: Visit, *, before_access: bool) -> bool:
        """Refuse a request if a fault says so; return whether it has been answered."""
        fault = self._faults.active(RefuseVisitors)
        agent = visit.asked.values.get(b"user-agent", b"")
        if fault is None or fault.before_access is not before_access or not fault.concerns(visit.asked.hostname, agent):
            return False
        self._faults.use(RefuseVisitors)
        await self._show(visit, fault.problem)
        return True

    async def _stopped_by_access(self, visit: Visit, hostname: str) -> bool:
        """Have Access check a request; return whether it has answered it."""
        target, ip = visit.asked.path.decode("latin-1"), visit.visitor.peer
        front = self._fronts.find(hostname, target)
        if front is None or front.opens(target, ip):
            return False
        visit.admission = self._fronts.admit(hostname, front, visit.asked.headers, ip)
        if visit.admission is not None:
            return False
        visit.source = "access"
        await self._respond(visit, *self._fronts.refusal(hostname, front, visit.asked.headers, target))
        return True

    async def _carry_in_turn(self, visit: Visit, tunnel: Tunnel) -> error_pages.Page | None:
        """Carry a request, unless its quick tunnel carries as many as it may; return what to show instead."""
        limit = self._limits.in_flight if tunnel.quick else None
        if limit is not None and self._in_flight[tunnel.hostname] >= limit:
            return error_pages.TOO_MANY
        self._in_flight[tunnel.hostname] += 1
        try:
            return await self._carry(visit, tunnel)
        finally:
            self._in_flight[tunnel.hostname] -= 1
            self._in_flight += Counter()  # drops what is zero

    async def _carry(self, visit: Visit, tunnel: Tunnel, connector: str = "") -> error_pages.Page | None:
        """Carry a request through the first connection that takes it; return what to show if nothing was answered."""
        problem: error_pages.Page | None = error_pages.NO_CONNECTOR
        for connection in self._candidates(tunnel):
            if connector not in ("", connection.connector):
                continue
            request = self._tunnel_request(visit)
            try:
                exchange = await connection.carrier.open_request(request)
            except StreamError:
                continue
            visit.index = connection.index
            problem, again = await self._relay(visit, exchange, request, quick=tunnel.quick)
            if not again:
                return problem
        return problem

    async def _relay(
        self, visit: Visit, exchange: Exchange, request: TunnelRequest, *, quick: bool
    ) -> tuple[error_pages.Page | None, bool]:
        """Carry a request; return what to show, and whether another connection may be tried."""
        relay = Relay(visit, exchange, request, self._limits, quick=quick)
        try:
            return await relay.run(), relay.refused
        finally:
            exchange.close()

    def _candidates(self, tunnel: Tunnel) -> Iterator[Connection]:
        fault = self._faults.active(Unroute)
        cut_off = fault is not None and concerns(fault.hostname, tunnel.hostname)
        return iter(()) if cut_off else tunnel.next_connections()

    def _tunnel_request(self, visit: Visit) -> TunnelRequest:
        headers = visit.asked.headers if visit.admission is None else visit.admission.rewrite(visit.asked.headers)
        return translate.tunnel_request(
            visit.asked, headers, scheme=visit.visitor.scheme, peer=visit.visitor.peer, ray=visit.ray
        )

    async def _reply(self, visit: Visit, reply: own_paths.Reply | error_pages.Page) -> None:
        if isinstance(reply, own_paths.Reply):
            await self._respond(visit, reply.status, reply.headers, reply.body)
        else:
            await self._show(visit, reply)

    async def _show(self, visit: Visit, problem: error_pages.Page) -> None:
        accept = visit.asked.values.get(b"accept", b"")
        await self._respond(visit, *error_pages.render(problem, ray=visit.ray, hostname=visit.asked.hostname, accept=accept))

    async def _respond(self, visit: Visit, status: int, headers: Headers, body: bytes) -> None:
        visit.status = status
        await visit.visitor.respond(status, [*headers, *error_pages.signature(visit.ray)], body)
        visit.sent = len(body)
        visit.complete = True
