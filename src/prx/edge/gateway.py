"""The public side: visitors' requests, found a tunnel by Host and carried through it.

Theory of operation
-------------------
For each request: find the tunnel, let Access look, open an exchange on one of its connections, then move bytes both
ways at once until the response is whole. Nothing is buffered beyond the windows: a slow visitor holds the connector
back, a slow origin holds the visitor back. An *upload* task carries the request's body and then watches for the visitor
to leave; the task that serves the visitor carries the response.

A connection that takes no more requests is skipped for the next; once a request's head has been sent it is not sent
again, for it may have had its effect. What breaks before the response's head is a 502; what breaks after it breaks the
visitor's connection, so that nobody takes half a body for a whole one.
"""

from __future__ import annotations

import secrets

import h11

from prx.edge import pages, translate
from prx.edge.access import AccessFront
from prx.edge.events import RequestServed
from prx.edge.http1 import Http1Connection, VisitorLeftError
from prx.edge.hub import Hub
from prx.edge.registry import Registry, Tunnel
from prx.edge.relay import Relay, Visit
from prx.edge.transport import Exchange, TunnelRequest
from prx.protocol.errors import StreamError
from prx.protocol.headers import Headers


class Gateway:
    """Serves visitors; `fronts` are the protected names."""

    def __init__(self, registry: Registry, fronts: dict[str, AccessFront], hub: Hub) -> None:
        self._registry = registry
        self._fronts = fronts
        self._hub = hub

    async def serve(self, visitor: Http1Connection) -> None:
        """Serve one connection of a visitor to its end."""
        try:
            while (request := await visitor.next_request()) is not None:
                visit = self._visit(visitor, request)
                try:
                    await self._serve(visit)
                finally:
                    self._note(visit)
                if not visit.complete:
                    return
        except h11.RemoteProtocolError as error:
            too_large = error.error_status_hint == pages.HEAD_TOO_LARGE.status
            problem = pages.HEAD_TOO_LARGE if too_large else pages.BAD_REQUEST
            await self._refuse(visitor, problem)

    async def _refuse(self, visitor: Http1Connection, problem: pages.Problem) -> None:
        try:
            status, headers, body = pages.render(problem, ray=_new_ray(), hostname="", accept=b"")
            await visitor.respond(status, [*headers, (b"Connection", b"close")], body)
        except h11.LocalProtocolError:
            raise VisitorLeftError("not HTTP, half way through a response") from None

    def _visit(self, visitor: Http1Connection, request: h11.Request) -> Visit:
        headers = dict(request.headers)
        authority, path = translate.target(request, headers.get(b"host", b""))
        return Visit(
            visitor=visitor,
            request=request,
            headers=headers,
            hostname=translate.hostname_of(authority),
            authority=authority,
            path=path,
            ray=_new_ray(),
            began=self._hub.now(),
        )

    def _note(self, visit: Visit) -> None:
        now = self._hub.now()
        self._hub.emit(
            RequestServed(
                now,
                hostname=visit.hostname,
                method=visit.request.method.decode("latin-1"),
                path=visit.path.decode("latin-1"),
                status=visit.status,
                source=visit.source,
                index=visit.index,
                seconds=now - visit.began,
                sent=visit.sent,
                complete=visit.complete,
            )
        )

    async def _serve(self, visit: Visit) -> None:
        tunnel = self._registry.find(visit.hostname)
        if tunnel is None:
            by_name = visit.hostname.endswith(".localhost")
            await self._show(visit, pages.UNKNOWN_HOST if by_name else pages.DIRECT_IP)
            return
        front = self._fronts.get(tunnel.hostname)
        if front is not None and not front.passes(visit.headers):
            visit.source = "access"
            path = visit.path.decode("latin-1")
            await self._respond(visit, *front.refusal(tunnel.hostname, path))
            return
        opened = await self._open(visit, tunnel)
        if opened is None:
            await self._show(visit, pages.NO_CONNECTOR)
            return
        exchange, request = opened
        try:
            problem = await Relay(visit, exchange, request).run()
        finally:
            exchange.close()
        if problem is not None:
            await self._show(visit, problem)

    async def _open(self, visit: Visit, tunnel: Tunnel) -> tuple[Exchange, TunnelRequest] | None:
        """Send the request's head on the first connection that takes it; None where there is none."""
        request = translate.tunnel_request(
            visit.request,
            visit.headers,
            authority=visit.authority,
            path=visit.path,
            scheme=visit.visitor.scheme,
            peer=visit.visitor.peer,
            ray=visit.ray,
        )
        for connection in tunnel.next_connections():
            try:
                exchange = await connection.carrier.open_request(request)
            except StreamError:
                continue
            visit.index = connection.index
            return exchange, request
        return None

    async def _show(self, visit: Visit, problem: pages.Problem) -> None:
        accept = visit.headers.get(b"accept", b"")
        await self._respond(visit, *pages.render(problem, ray=visit.ray, hostname=visit.hostname, accept=accept))

    async def _respond(self, visit: Visit, status: int, headers: Headers, body: bytes) -> None:
        visit.status = status
        await visit.visitor.respond(status, headers, body)
        visit.sent = len(body)
        visit.complete = True


def _new_ray() -> str:
    """Make a ray id: 16 hexadecimal digits and the place that served the request."""
    return f"{secrets.token_hex(8)}-LAB"
