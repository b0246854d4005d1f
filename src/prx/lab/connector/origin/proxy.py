"""Carry one request from the edge to the local service, and the answer back.

Both bodies are streamed, each part sent on as it arrives and not before the other side takes it; trailers follow if the
protocol to the edge and the one to the service have a place for them. After 101 the two byte streams are joined. How the edge
is answered is the matter of `prx.lab.connector.origin.messages` and its kin. Observed with cloudflared 2026.8.2.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Final, Protocol

from prx.lab.connector.log import Field, Level, Log
from prx.lab.connector.metrics import Metrics
from prx.lab.connector.origin.access import AccessGate
from prx.lab.connector.origin.answers import bodiless
from prx.lab.connector.origin.exchange import Exchange, ProxyError
from prx.lab.connector.origin.exchanges import Answer, Headers, OriginError, OriginExchange
from prx.lab.connector.origin.hello import Hello
from prx.lab.connector.origin.http1 import OriginConnection
from prx.lab.connector.origin.ingress import (
    NO_RULES,
    HelloService,
    HttpService,
    Rule,
    StatusService,
    StreamService,
    UnixService,
)
from prx.lab.connector.origin.messages import Body, Request, Response, interruption
from prx.lab.connector.origin.pool import Endpoint, OriginPool
from prx.lab.connector.origin.rules_in_force import Configuration
from prx.lab.connector.origin.tcp_over_websocket import JoinedStreams, accepted, destination, dial
from prx.lab.protocol.errors import StreamError

_HTTP_EVENT: Final = 1  # the number that marks log lines about requests
_UNREACHABLE: Final = (
    "Unable to reach the origin service. The service may be down or it may not be responding to traffic from cloudflared"
)


class OwnService(Protocol):
    """A host name that is the connector's own, whatever the rules are."""

    hostname: str

    async def serve(self, request: Request, incoming: Body, response: Response) -> None:
        """Answer one request. Raises StreamError when the client is gone."""


class Proxy:
    """The way of requests under the configuration in force; `tags` go to the origin as headers."""

    def __init__(
        self,
        configuration: Configuration,
        *,
        tags: Mapping[str, str],
        metrics: Metrics,
        log: Log,
        now: Callable[[], float],
        gate: AccessGate | None = None,
        own: OwnService | None = None,
    ) -> None:
        self._own = own
        self._gate = gate or AccessGate()
        self._configuration = configuration
        self._tags: Headers = [(f"Cf-Warp-Tag-{name}".encode(), value.encode()) for name, value in tags.items()]
        self._metrics = metrics
        self._log = log
        self._hello = Hello()
        self._pool = OriginPool(now, self._warn_of_surplus)

    def close(self) -> None:
        """Close the idle connections to origins."""
        self._pool.close()

    async def serve(self, request: Request, incoming: Body, response: Response, index: int) -> None:
        """Answer one request that came over connection `index`; raise ProxyError if the origin did not."""
        if self._own is not None and request.hostname == self._own.hostname:
            with suppress(StreamError):
                await self._own.serve(request, incoming, response)
            return
        number, rule = self._configuration.match(request.host, request.path.decode("latin-1").partition("?")[0])
        self._metrics.add("tunnel_total_requests")
        self._metrics.add("tunnel_concurrent_requests_per_tunnel")
        fields: dict[str, Field] = {
            "connIndex": index, "event": _HTTP_EVENT, "ingressRule": number, "originService": str(rule.service),
        }  # fmt: skip
        self._log_request(request, fields)
        try:
            if rule.options.access.required and (why := await self._gate.refusal(rule.options.access, request.headers)):
                await self._refuse(response, fields)
                words = f"request filtered by middleware handler (AccessJWTValidator) due to: {why}"
                self._log_failure(words, index, number, rule)
                return
            await self._serve(Exchange(incoming, response, request, rule, fields))
        except ProxyError as error:
            self._log_failure(str(error), index, number, rule)
            raise
        except asyncio.CancelledError:
            self._log_failure(interruption(response), index, number, rule)
            raise
        finally:
            self._metrics.add("tunnel_concurrent_requests_per_tunnel", -1)

    async def _refuse(self, response: Response, fields: Mapping[str, Field]) -> None:
        """Answer a visitor whom Access has not admitted."""
        answer = Answer(403, _reason(403), [])
        await response.head(answer, end=True, has_body=False)
        self._count(answer, fields)

    async def _serve(self, exchange: Exchange) -> None:
        match exchange.rule.service:
            case StatusService() as service:
                if service.unconfigured:
                    self._log.warn(NO_RULES)
                answer = Answer(service.code, _reason(service.code), [])
                await exchange.response.head(answer, end=True, has_body=False)
                self._count(answer, exchange.fields)
            case HelloService():
                await self._greet(exchange)
            case HttpService() | UnixService() as endpoint:
                await self._forward(exchange, endpoint)
            case StreamService() as service:
                await self._stream(exchange, service)
            case service:
                raise ProxyError(f"the builtin connector does not carry {service}; use cloudflared for it")

    async def _greet(self, exchange: Exchange) -> None:
        """Answer for the built-in page."""
        answer, parts = self._hello.answer(exchange.request.path)
        nothing = bodiless(exchange.request.method, answer.status)
        self._count(answer, exchange.fields)
        try:
            await exchange.response.head(answer, end=nothing, has_body=False)
            if not nothing:
                async for part in parts:
                    await exchange.response.data(part)
                await exchange.response.end([])
        except StreamError:
            raise ProxyError("Incoming request ended abruptly: context canceled") from None

    async def _forward(self, exchange: Exchange, endpoint: Endpoint) -> None:
        options, host, upgrade = exchange.rule.options, exchange.request.host, exchange.request.websocket
        await exchange.look_for_body()
        for fresh in (False, True):
            try:
                connection = await self._pool.acquire(
                    endpoint, options, host, fresh=fresh, upgrade=upgrade, alone=not exchange.repeatable
                )
            except OriginError as error:
                raise ProxyError(f"{_UNREACHABLE}: {error}") from None
            try:
                done = await self._exchange(exchange, connection)
            except BaseException:
                self._pool.drop(connection)
                raise
            if done and not exchange.switched:
                self._pool.release(connection, endpoint, options, host)
            else:
                self._pool.drop(connection)
            if done:
                return

    def _warn_of_surplus(self, endpoint: Endpoint) -> None:
        self._log.warn(
            "The origin service sent bytes that belong to no answer; its connections are not kept from now on",
            originService=str(endpoint),
        )

    async def _stream(self, exchange: Exchange, service: StreamService) -> None:
        """Carry a visitor's WebSocket to a service that speaks TCP."""
        request, response = exchange.request, exchange.response
        try:
            reader, writer = await dial(*destination(service, request), exchange.rule.options.connect_timeout)
        except OriginError as error:
            raise ProxyError(str(error)) from None
        try:
            with suppress(StreamError):  # the visitor is gone: nothing can be reported
                await response.head(accepted(request), end=False, has_body=False)
                await JoinedStreams(exchange.incoming, response, reader, writer).run()
                await response.end([])
        finally:
            writer.close()

    async def _exchange(self, exchange: Exchange, connection: OriginExchange) -> bool:
        """Carry one exchange; False: the kept connection turned out to be dead, nothing is lost, try another."""
        try:
            head = exchange.head(self._tags)
            has_body = exchange.has_body or exchange.chunked
            await connection.send_head(exchange.request.method, exchange.request.path, head, has_body=has_body)
        except OriginError as error:
            if connection.reused:
                return False
            raise ProxyError(f"{_UNREACHABLE}: {error}") from None
        failure: ProxyError | None = None
        done = True
        async with asyncio.TaskGroup() as tasks:  # an error that left it would come out wrapped in a group
            upload = tasks.create_task(exchange.upload(connection), name="upload to the origin")
            try:
                done = await self._answer(exchange, connection)
            except ProxyError as error:
                failure = error
            upload.cancel()
        if failure is not None:
            raise failure
        return done

    async def _answer(self, exchange: Exchange, connection: OriginExchange) -> bool:
        """Carry the origin's answer; False as in `_exchange`."""
        try:
            answer = await connection.answer()
        except OriginError as error:
            if connection.reused and not exchange.has_body:
                return False
            raise ProxyError(f"{_UNREACHABLE}: {error}") from None
        self._count(answer, exchange.fields)
        if not answer.switched:
            await exchange.download(answer, connection)
        elif exchange.request.websocket and isinstance(connection, OriginConnection):
            exchange.switched = True
            await exchange.join(answer, connection)
        else:
            raise ProxyError(f"{_UNREACHABLE}: the origin service switched protocols, which was not asked for")
        return True

    def _count(self, answer: Answer, fields: Mapping[str, Field]) -> None:
        self._metrics.add("tunnel_response_by_code", status_code=str(answer.status))
        if self._log.enabled(Level.DEBUG):
            length = next(
                (value.decode("latin-1") for name, value in answer.headers if name.lower() == b"content-length"), "-1"
            )
            self._log.debug(f"{answer.status} {answer.reason}".rstrip(), **fields, **{"content-length": length})

    def _log_request(self, request: Request, fields: Mapping[str, Field]) -> None:
        """Log what is asked, if the level is enabled; of headers the names only: their values hold cookies and tokens."""
        if self._log.enabled(Level.DEBUG):
            target = request.path.decode("latin-1")
            words = f"{request.method.decode('latin-1')} {target} {request.protocol}"
            names = ", ".join(name.decode("latin-1") for name, _ in request.headers)
            self._log.debug(words, host=request.host, path=target.partition("?")[0], headers=names, **fields)

    def _log_failure(self, words: str, index: int, number: int, rule: Rule) -> None:
        self._metrics.add("tunnel_request_errors")
        service = str(rule.service)
        dialled = {"destAddr": service} if isinstance(rule.service, StreamService) else {}
        self._log.error(
            "", error=words, connIndex=index, event=_HTTP_EVENT, ingressRule=number, originService=service, **dialled
        )


def _reason(code: int) -> str:
    with suppress(ValueError):
        return HTTPStatus(code).phrase
    return ""
