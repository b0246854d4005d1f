"""The public side: visitors' requests, found a tunnel by Host and carried through it.

Theory of operation
-------------------
For each request: find the tunnel, let Access look, open an exchange on one of its connections, then move bytes both
ways at once until the response is whole. Nothing is buffered beyond the windows: a slow visitor holds the connector
back, a slow origin holds the visitor back. The task that serves the visitor carries the response; where the request has a
body, an *upload* task carries that. A visitor who leaves before the response is whole ends the exchange.

A connection that takes no more requests is skipped for the next. Once a request has been sent it is not sent again, for
it may have had its effect, but for one case: where a connection says REFUSED_STREAM, which means that it has done nothing
with the request (RFC 9113, 8.7), and no byte of its body has been sent. What breaks before the response's head is a
502; what breaks after it breaks the visitor's request, so that nobody takes half a body for a whole one.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator

from prx.edge import pages, translate
from prx.edge.access import CERTS_PATH, Fronts
from prx.edge.events import RequestServed
from prx.edge.faults import Faults, Unroute, concerns
from prx.edge.http1 import Http1Connection
from prx.edge.hub import Hub
from prx.edge.login import LoginService
from prx.edge.registry import Connection, Registry, Tunnel
from prx.edge.relay import Relay, Visit
from prx.edge.transport import Exchange, TunnelRequest
from prx.edge.visitor import Asked, MalformedError, UnsendableError, Visitor, VisitorLeftError
from prx.protocol.errors import StreamError
from prx.protocol.headers import Headers


class Gateway:
    """Serves visitors."""

    def __init__(self, registry: Registry, faults: Faults, fronts: Fronts, hub: Hub, login: LoginService) -> None:
        self._login = login
        self._registry = registry
        self._faults = faults
        self._fronts = fronts
        self._hub = hub

    async def serve_http1(self, visitor: Http1Connection) -> None:
        """Serve one connection of a visitor to its end."""
        try:
            while (request := await visitor.next_request()) is not None:
                if not await self.serve(visitor, translate.from_http1(request)):
                    return
        except MalformedError as error:
            await self._refuse(visitor, error)

    async def serve(self, visitor: Visitor, asked: Asked) -> bool:
        """Serve one request; whether its response is whole. VisitorLeftError: what was sent of it must be broken off."""
        visit = Visit(visitor, asked, ray=_new_ray(), began=self._hub.now())
        try:
            await self._serve(visit)
        finally:
            self._note(visit)
        return visit.complete

    async def _refuse(self, visitor: Visitor, error: MalformedError) -> None:
        too_large = error.status == pages.HEAD_TOO_LARGE.status
        problem = pages.HEAD_TOO_LARGE if too_large else pages.BAD_REQUEST
        try:
            status, headers, body = pages.render(problem, ray=_new_ray(), hostname="", accept=b"")
            await visitor.respond(status, [*headers, (b"Connection", b"close")], body)
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
        if (page := self._login.answer(visit.asked)) is not None:
            await self._respond(visit, *page)
            return
        if await self._stopped_by_access(visit, hostname):
            return
        if tunnel is None:
            by_name = hostname.endswith(".localhost")
            await self._show(visit, pages.UNKNOWN_HOST if by_name else pages.DIRECT_IP)
            return
        problem = await self._carry(visit, tunnel)
        if problem is not None:
            await self._show(visit, problem)

    async def _stopped_by_access(self, visit: Visit, hostname: str) -> bool:
        """Let Access look at a request; whether it has answered it."""
        front = self._fronts.find(hostname)
        if front is None:
            return False
        path = visit.asked.path.decode("latin-1")
        if path == CERTS_PATH:
            keys = json.dumps(self._fronts.keys()).encode()
            await self._respond(visit, 200, [(b"Content-Type", b"application/json")], keys)
            return True
        visit.admission = self._fronts.admit(hostname, front, visit.asked.headers)
        if visit.admission is not None:
            return False
        visit.source = "access"
        await self._respond(visit, *self._fronts.refusal(hostname, front, path))
        return True

    async def _carry(self, visit: Visit, tunnel: Tunnel) -> pages.Problem | None:
        """Carry a request through the first connection that takes it; gives what to show where nothing was answered."""
        problem: pages.Problem | None = pages.NO_CONNECTOR
        for connection in self._candidates(tunnel):
            request = self._tunnel_request(visit)
            try:
                exchange = await connection.carrier.open_request(request)
            except StreamError:
                continue
            visit.index = connection.index
            problem, again = await self._relay(visit, exchange, request)
            if not again:
                return problem
        return problem

    async def _relay(self, visit: Visit, exchange: Exchange, request: TunnelRequest) -> tuple[pages.Problem | None, bool]:
        """Carry a request; gives what to show, and whether another connection may be tried."""
        relay = Relay(visit, exchange, request)
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

    async def _show(self, visit: Visit, problem: pages.Problem) -> None:
        accept = visit.asked.values.get(b"accept", b"")
        await self._respond(visit, *pages.render(problem, ray=visit.ray, hostname=visit.asked.hostname, accept=accept))

    async def _respond(self, visit: Visit, status: int, headers: Headers, body: bytes) -> None:
        visit.status = status
        await visit.visitor.respond(status, headers, body)
        visit.sent = len(body)
        visit.complete = True


def _new_ray() -> str:
    """Make a ray id: 16 hexadecimal digits and the place that served the request."""
    return f"{secrets.token_hex(8)}-LAB"
