"""Carry one request from the edge to the local service, and the answer back.

Both bodies are streamed, each part sent on as it arrives and not before the other side takes it; trailers follow where the
protocol to the edge and the one to the service have a place for them. After 101 the two byte streams are joined. How the edge
is told is the matter of `prx.connector.messages` and its kin. Observed with cloudflared 2026.8.2.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Final

from prx.connector.access import AccessGate
from prx.connector.answers import bodiless
from prx.connector.configuration import Configuration
from prx.connector.hello import Hello
from prx.connector.ingress import (
    NO_RULES,
    HelloService,
    HttpService,
    Rule,
    StatusService,
    StreamService,
    UnixService,
)
from prx.connector.log import Level, Log
from prx.connector.messages import Body, Request, Response, canonical, interruption
from prx.connector.metrics import Metrics
from prx.connector.origin import Answer, Headers, OriginError, OriginExchange
from prx.connector.origin_http1 import OriginConnection
from prx.connector.origin_pool import Endpoint, OriginPool
from prx.connector.streams import Joint, accepted, destination, dial
from prx.protocol.errors import StreamError

_HTTP_EVENT: Final = 1  # the number that marks log lines about requests
_UNREACHABLE: Final = (
    "Unable to reach the origin service. The service may be down or it may not be responding to traffic from cloudflared"
)
_SAFE: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE"})
_BODY_UNUSUAL: Final = frozenset({b"GET", b"HEAD", b"DELETE", b"OPTIONS", b"PROPFIND", b"SEARCH", b"CONNECT"})
_LENGTH_EXPECTED: Final = frozenset({b"POST", b"PUT", b"PATCH"})
_FRAMING: Final = frozenset({b"Content-Length", b"Transfer-Encoding", b"Trailer"})
_LAST_WORDS: Final = 5.0  # seconds an origin has for its end of a WebSocket after the visitor ended


class ProxyError(Exception):
    """Say why a request was not answered by the origin, or not to the end."""


class Proxy:
    """Carry requests under the configuration in force; `tags` go to the origin as headers."""

    def __init__(
        self,
        configuration: Configuration,
        *,
        tags: Mapping[str, str],
        metrics: Metrics,
        log: Log,
        now: Callable[[], float],
        gate: AccessGate | None = None,
    ) -> None:
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
        """Answer one request that came over connection `index`; raise ProxyError where the origin did not."""
        number, rule = self._configuration.match(request.host, request.path.decode("latin-1").partition("?")[0])
        self._metrics.add("tunnel_total_requests")
        self._metrics.add("tunnel_concurrent_requests_per_tunnel")
        self._log_request(request, index, number, rule)
        try:
            if rule.options.access.required and (why := await self._gate.refusal(rule.options.access, request.headers)):
                await self._refuse(response)
                words = f"request filtered by middleware handler (AccessJWTValidator) due to: {why}"
                self._log_failure(words, index, number, rule)
                return
            await self._serve(_Exchange(incoming, response, request, rule))
        except ProxyError as error:
            self._log_failure(str(error), index, number, rule)
            raise
        except asyncio.CancelledError:
            self._log_failure(interruption(response), index, number, rule)
            raise
        finally:
            self._metrics.add("tunnel_concurrent_requests_per_tunnel", -1)

    async def _refuse(self, response: Response) -> None:
        """Answer a visitor whom Access has not let through."""
        answer = Answer(403, _reason(403), [])
        await response.head(answer, end=True, has_body=False)
        self._count(answer)

    async def _serve(self, exchange: "_Exchange") -> None:
        match exchange.rule.service:
            case StatusService() as service:
                if service.unconfigured:
                    self._log.warn(NO_RULES)
                answer = Answer(service.code, _reason(service.code), [])
                await exchange.response.head(answer, end=True, has_body=False)
                self._count(answer)
            case HelloService():
                await self._greet(exchange)
            case HttpService() | UnixService() as endpoint:
                await self._forward(exchange, endpoint)
            case StreamService() as service:
                await self._stream(exchange, service)
            case service:
                raise ProxyError(f"the builtin connector does not carry {service}; use cloudflared for it")

    async def _greet(self, exchange: "_Exchange") -> None:
        """Answer for the built-in page."""
        answer, parts = self._hello.answer(exchange.request.path)
        nothing = bodiless(exchange.request.method, answer.status)
        self._count(answer)
        try:
            await exchange.response.head(answer, end=nothing, has_body=False)
            if not nothing:
                async for part in parts:
                    await exchange.response.data(part)
                await exchange.response.end([])
        except StreamError:
            raise ProxyError("Incoming request ended abruptly: context canceled") from None

    async def _forward(self, exchange: "_Exchange", endpoint: Endpoint) -> None:
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

    async def _stream(self, exchange: "_Exchange", service: StreamService) -> None:
        """Carry a visitor's WebSocket to a service that speaks TCP."""
        request, response = exchange.request, exchange.response
        try:
            reader, writer = await dial(*destination(service, request), exchange.rule.options.connect_timeout)
        except OriginError as error:
            raise ProxyError(str(error)) from None
        try:
            with suppress(StreamError):  # the visitor is gone: there is nobody to tell
                await response.head(accepted(request), end=False, has_body=False)
                await Joint(exchange.incoming, response, reader, writer).run()
                await response.end([])
        finally:
            writer.close()

    async def _exchange(self, exchange: "_Exchange", connection: OriginExchange) -> bool:
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

    async def _answer(self, exchange: "_Exchange", connection: OriginExchange) -> bool:
        """Carry the origin's answer; False as in `_exchange`."""
        try:
            answer = await connection.answer()
        except OriginError as error:
            if connection.reused and not exchange.has_body:
                return False
            raise ProxyError(f"{_UNREACHABLE}: {error}") from None
        self._count(answer)
        if not answer.switched:
            await exchange.download(answer, connection)
        elif exchange.request.websocket and isinstance(connection, OriginConnection):
            exchange.switched = True
            await exchange.join(answer, connection)
        else:
            raise ProxyError(f"{_UNREACHABLE}: the origin service switched protocols, which nobody asked for")
        return True

    def _count(self, answer: Answer) -> None:
        self._metrics.add("tunnel_response_by_code", status_code=str(answer.status))
        if self._log.enabled(Level.DEBUG):
            self._log.debug(f"{answer.status} {answer.reason}", event=_HTTP_EVENT)

    def _log_request(self, request: Request, index: int, number: int, rule: Rule) -> None:
        """Log what is asked, if anyone wants to know; cloudflared logs the headers too, cookies and tokens among them."""
        if self._log.enabled(Level.DEBUG):
            target = request.path.decode("latin-1")
            self._log.debug(
                f"{request.method.decode('latin-1')} {target} {request.protocol}",
                host=request.host, path=target.partition("?")[0], connIndex=index, event=_HTTP_EVENT, ingressRule=number,
                originService=str(rule.service),
            )  # fmt: skip

    def _log_failure(self, words: str, index: int, number: int, rule: Rule) -> None:
        self._metrics.add("tunnel_request_errors")
        service = str(rule.service)
        dialled = {"destAddr": service} if isinstance(rule.service, StreamService) else {}
        self._log.error(
            "", error=words, connIndex=index, event=_HTTP_EVENT, ingressRule=number, originService=service, **dialled
        )


class _Exchange:
    """Hold what belongs to one request, and the steps of carrying it."""

    def __init__(self, incoming: Body, response: Response, request: Request, rule: Rule) -> None:
        self.incoming = incoming
        self.response = response
        self.request = request
        self.rule = rule
        self.has_body = False
        self.switched = False
        self._first = b""

    @property
    def repeatable(self) -> bool:
        """Whether the request may be sent again if a kept connection fails: RFC 9110 (9.2.1), and there is no body to lose."""
        return self.request.method in _SAFE and not self.has_body

    async def look_for_body(self) -> None:
        """Find out whether a body comes, without waiting for it."""
        if self.request.websocket:
            return
        if self.request.has_body is not None:
            self.has_body = self.request.has_body
            return
        try:
            async with asyncio.timeout(0):
                self._first = await self.incoming.read()
            self.has_body = bool(self._first)
        except TimeoutError:
            self.has_body = True
        except StreamError:
            self.has_body = False  # the visitor is gone, and the request with him

    def head(self, tags: Headers) -> Headers:
        """Return the headers for the origin."""
        host = self.rule.options.host_header.encode("latin-1")
        headers: Headers = [(b"Host", host or self.request.authority)]
        headers += [(canonical(name), value) for name, value in self.request.headers if name != b"user-agent"]
        if agent := self.request.header(b"user-agent"):  # of several the first; an empty one is none
            headers.append((b"User-Agent", agent))
        headers += tags
        if host:
            headers.append((b"X-Forwarded-Host", self.request.authority))
        if self.request.websocket:
            dropped = {b"Content-Length", b"Sec-Websocket-Version"}
            headers = [(name, value) for name, value in headers if name not in dropped]
            upgrade = [(b"Connection", b"Upgrade"), (b"Upgrade", b"websocket"), (b"Sec-WebSocket-Version", b"13")]
            return headers + upgrade
        return [*self._framed(headers), (b"Connection", b"keep-alive")]

    def _framed(self, headers: Headers) -> Headers:
        """Say how long the body is, as Go's client does; raise ProxyError where its length is no number."""
        headers = [(name, value) for name, value in headers if name not in _FRAMING]
        lengths = {value.strip() for name, value in self.request.headers if name == b"content-length"}
        if len(lengths) > 1 or not all(length.isdigit() for length in lengths):
            raise ProxyError(f"bad Content-Length {b', '.join(sorted(lengths)).decode('latin-1')!r}")
        if self.chunked:
            trailer = self.request.header(b"trailer")
            announced: Headers = [(b"Trailer", trailer)] if trailer else []
            return [*headers, *announced, (b"Transfer-Encoding", b"chunked")]
        if self.has_body:
            return [*headers, (b"Content-Length", lengths.pop())]
        return [*headers, (b"Content-Length", b"0")] if self.request.method in _LENGTH_EXPECTED else headers

    async def upload(self, connection: OriginExchange) -> None:
        """Send the request's body; an origin that stops reading shows in its answer, a lost visitor ends the request."""
        with suppress(OriginError, StreamError):
            if self.has_body:
                if self.request.expects:
                    await self.response.go_on()
                if self._first:
                    await connection.send_body(self._first)
                while data := await self.incoming.read():
                    await connection.send_body(data)
            await connection.end_request(self._trailers() if self.chunked else [])

    @property
    def chunked(self) -> bool:
        """Whether a body is sent in chunks: its length is not known, or over HTTP/2 whether there is any."""
        if self.request.websocket:
            return False
        if self.has_body:
            return not self.request.header(b"content-length")
        return self.request.never_bodiless and self.request.method not in _BODY_UNUSUAL

    def _trailers(self) -> Headers:
        """Return the visitor's trailers for the origin: only those that were announced."""
        announced = {name.strip().lower() for name in self.request.header(b"trailer").split(b",")}
        return [(canonical(name), value) for name, value in self.incoming.trailers or [] if name.lower() in announced]

    async def download(self, answer: Answer, connection: OriginExchange) -> None:
        """Send the answer to the visitor."""
        nothing = bodiless(self.request.method, answer.status)
        try:
            await self.response.head(answer, end=nothing, has_body=self.request.method == b"HEAD" or not nothing)
            if nothing:
                return
            async for data in connection.body():
                await self.response.data(data)
            await self.response.end(connection.trailers)
        except OriginError as error:
            raise ProxyError(str(error)) from None
        except StreamError:
            raise ProxyError("Incoming request ended abruptly: context canceled") from None

    async def join(self, answer: Answer, connection: OriginConnection) -> None:
        """Join visitor and origin after 101, until the origin ends, or a little longer than the visitor."""
        with suppress(StreamError, OSError):
            await self.response.head(answer, end=False, has_body=False)
            async with asyncio.TaskGroup() as tasks:
                up = tasks.create_task(self._to_origin(connection), name="visitor to origin")
                down = tasks.create_task(self._to_visitor(connection), name="origin to visitor")
                await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
                await asyncio.wait({down}, timeout=_LAST_WORDS)
                up.cancel()
                down.cancel()
            await self.response.data(b"", end=True)

    async def _to_origin(self, connection: OriginConnection) -> None:
        with suppress(StreamError, OSError):
            while data := await self.incoming.read():
                connection.writer.write(data)
                await connection.writer.drain()
            if connection.writer.can_write_eof():
                connection.writer.write_eof()

    async def _to_visitor(self, connection: OriginConnection) -> None:
        with suppress(StreamError, OSError):
            data = connection.leftover() or await connection.reader.read(65536)
            while data:
                await self.response.data(data)
                data = await connection.reader.read(65536)


def _reason(code: int) -> str:
    with suppress(ValueError):
        return HTTPStatus(code).phrase
    return ""
