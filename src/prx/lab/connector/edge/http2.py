"""Carry a connection to the edge over HTTP/2.

Theory of operation: the connector dials TCP and TLS (server name h2.cftunnel.com, no ALPN), then the roles turn round:
the *edge* sends the HTTP/2 client preface and opens streams, the connector serves them. One header of a stream says what
it is: the control stream, a configuration push, a WebSocket, or (without it) a plain request. The connection lives until
the edge closes it. A stream that the edge gives up cancels its handler, so that the origin learns of it. Observed with
cloudflared 2026.8.2, with one departure: a connection that was refused and that the edge leaves open is closed here
after a while; the real one waits forever.
"""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from typing import Final

from h2.errors import ErrorCodes

from prx.lab.connector.edge.control import CONNECTION_EVENT, ControlError, ControlStream
from prx.lab.connector.edge.transport import DialError, EdgeConnectionError, Link, Shared
from prx.lab.connector.errors import StartError
from prx.lab.connector.go_errors import dial_text, tls_text
from prx.lab.connector.origin.exchange import ProxyError
from prx.lab.connector.origin.messages import Http2Response, http2_request, interruption
from prx.lab.connector.roots import trust_system
from prx.lab.protocol.errors import SessionClosedError, StreamError
from prx.lab.protocol.h2.session import H2Session
from prx.lab.protocol.h2.stream import H2Stream
from prx.lab.protocol.headers import (
    CONTROL_STREAM,
    META_ORIGIN,
    RESPONSE_META,
    TCP_SOURCE,
    UPDATE_CONFIGURATION,
    UPGRADE,
    WEBSOCKET,
    Headers,
)
from prx.lab.protocol.keepalive import probe_when_silent

SERVER_NAME: Final = "h2.cftunnel.com"
DIAL_LIMIT: Final = 15.0  # seconds for TCP and TLS together
_REFUSED_LIMIT: Final = 2.0  # seconds an edge has to close a connection that it refused
_CLOSE_LIMIT: Final = 0.3  # seconds for the last bytes to leave; what waits longer waits for an edge that does not read
_NO_TCP: Final = "the builtin connector does not carry private TCP streams; use cloudflared for them"
_MAX_PUSH: Final = 4 << 20  # bytes of a configuration push


class EdgeLostError(EdgeConnectionError):
    """The edge closed the connection, or the network did."""


def tls_context(cacert: str) -> ssl.SSLContext:
    """Return the TLS context for edges; `cacert` replaces the system's root certificates. Raises StartError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not cacert:
        trust_system(context)
        return context
    prefix = "unable to create TLS config to connect with edge: Error loading root CAs: Error"
    try:
        context.load_verify_locations(cacert)
    except ssl.SSLError:
        raise StartError(f"{prefix} parsing certificate {cacert}: no certificate found") from None
    except OSError as error:
        words = (error.strerror or str(error)).lower()
        raise StartError(f"{prefix} reading certificate {cacert}: open {cacert}: {words}") from None
    return context


class Http2Transport:
    """Connections to the edge over HTTP/2."""

    name = "http2"

    def __init__(self, shared: Shared, context: ssl.SSLContext) -> None:
        self._shared = shared
        self._context = context

    async def serve(self, link: Link) -> None:
        """Carry one connection until the edge closes it."""
        await _Connection(link, self._shared).serve(self._context)


class _Session(H2Session):
    """A session with a task for each stream, cancelled if the stream ends first."""

    def __init__(self, connection: _Connection, tasks: asyncio.TaskGroup) -> None:
        super().__init__(client=False, on_request=self._begin)
        self._connection = connection
        self._tasks = tasks
        self._handlers: dict[int, asyncio.Task[None]] = {}

    def _begin(self, stream: H2Stream) -> None:
        handler = self._tasks.create_task(self._handle(stream), name=f"stream {stream.id}")
        self._handlers[stream.id] = handler

    async def _handle(self, stream: H2Stream) -> None:
        try:
            await self._connection.handle(stream, self.transport.get_extra_info("sockname")[0])
        except Exception as error:  # noqa: BLE001 - a defect met by one request must not end the others
            self._connection.log_defect(error)
            stream.reset(ErrorCodes.INTERNAL_ERROR)
        finally:
            self._handlers.pop(stream.id, None)
            # Unread bytes hold the connection's window; a body that is not wanted any more is refused without blame.
            stream.reset(ErrorCodes.NO_ERROR)

    def send_headers(self, stream: H2Stream, headers: Headers, *, end: bool) -> None:
        """Send a header block; an answer that is whole needs no watching any more."""
        if end:
            self._handlers.pop(stream.id, None)
        super().send_headers(stream, headers, end=end)

    def send_frame(self, stream: H2Stream, data: memoryview, *, end: bool) -> None:
        """Send a part of a body; an answer that is whole needs no watching any more."""
        if end:
            self._handlers.pop(stream.id, None)
        super().send_frame(stream, data, end=end)

    def forget(self, stream: H2Stream) -> None:
        """Take note that a stream is over, and cancel its handler if that is still at work."""
        super().forget(stream)
        handler = self._handlers.pop(stream.id, None)
        if handler is not None and handler is not asyncio.current_task() and not self._connection.is_control(stream):
            handler.cancel()


class _Connection:
    """One connection to the edge."""

    def __init__(self, link: Link, shared: Shared) -> None:
        self._link = link
        self._shared = shared
        self._control: ControlStream | None = None
        self._control_stream: H2Stream | None = None
        self._session: _Session | None = None
        self._refusal: EdgeConnectionError | None = None
        self._refused = asyncio.Event()

    def is_control(self, stream: H2Stream) -> bool:
        """Return whether this is the control stream, which sees its end by itself."""
        return stream is self._control_stream

    async def serve(self, context: ssl.SSLContext) -> None:
        """Dial and carry the connection until it is closed."""
        failure: EdgeConnectionError | None = None
        try:
            async with asyncio.TaskGroup() as tasks:  # an error that left it would come out wrapped in a group
                try:
                    self._session = await self._dial(context, tasks)
                except DialError as error:
                    failure = error
                else:
                    await self._until_closed(self._session, tasks)
        finally:
            await self._close()
        if failure is None and not (self._control and self._control.unregistered):
            failure = self._refusal or self._lost()
        if failure is not None:
            raise failure

    async def _dial(self, context: ssl.SSLContext, tasks: asyncio.TaskGroup) -> _Session:
        address, log, fields = self._link.address, self._shared.log, self._fields()
        log.info("Tunnel connection curve preferences: [default]", **fields)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(DIAL_LIMIT):
                transport, session = await loop.create_connection(
                    lambda: _Session(self, tasks),
                    address.ip,
                    address.port,
                    ssl=context,
                    server_hostname=SERVER_NAME,
                )
        except (ssl.SSLError, ConnectionResetError, ConnectionAbortedError) as error:
            text = f"TLS handshake with edge error: {tls_text(error)}"
        except OSError as error:
            text = f"DialContext error: {dial_text('tcp', str(address), error)}"
        else:
            # Go's dialer does this for cloudflared (net.Dialer.KeepAlive): else a connection that the edge has given up while
            # the network was away would be kept for good.
            probe_when_silent(transport.get_extra_info("socket"), idle=15, every=15)
            return session
        self._shared.state.log_trouble(log, "Unable to establish connection with Cloudflare edge", error=text, **fields)
        raise DialError(text)

    async def _until_closed(self, session: _Session, tasks: asyncio.TaskGroup) -> None:
        """Wait for the edge to close; close here when it refused us and does not."""
        refusal = tasks.create_task(self._close_after_refusal(session), name="close after a refusal")
        try:
            await session.wait_closed()
        finally:
            refusal.cancel()

    async def _close(self) -> None:
        """Close what is still open, after the last answers have been put on their way."""
        if self._session is None or self._session.closed:
            return
        self._session.close()
        try:
            async with asyncio.timeout(_CLOSE_LIMIT):
                await self._session.wait_closed()
        except TimeoutError:
            self._session.abort()

    async def _close_after_refusal(self, session: _Session) -> None:
        await self._refused.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(_REFUSED_LIMIT):
                await session.wait_closed()
        session.close()

    async def handle(self, stream: H2Stream, local_ip: str) -> None:
        """Serve one stream; whatever goes wrong is logged and answered, and ends nothing but the stream."""
        headers = dict(stream.headers)
        upgrade = headers.get(UPGRADE, b"")
        response = Http2Response(stream)
        proxied = upgrade in {b"", WEBSOCKET} and TCP_SOURCE not in headers
        try:
            if upgrade == CONTROL_STREAM:
                response.started = True
                await self._serve_control(stream, local_ip)
            elif upgrade == UPDATE_CONFIGURATION:
                await self._serve_push(stream, response)
            elif TCP_SOURCE in headers:
                await self._fail(response, _NO_TCP)
            else:
                await self._shared.proxy.serve(http2_request(stream), stream, response, self._link.index)
        except (ProxyError, StreamError) as error:
            await self._fail(response, f"{'Failed to proxy HTTP: ' if proxied else ''}{error}")
        except asyncio.CancelledError:
            if proxied:
                await self._fail(response, f"Failed to proxy HTTP: {interruption(response)}")
            raise
        except EdgeConnectionError as error:
            self._refusal = error
            await self._fail(response, str(error))
            self._refused.set()
        except ControlError as error:
            await self._fail(response, str(error))
            self._refused.set()

    async def _serve_control(self, stream: H2Stream, local_ip: str) -> None:
        self._control_stream = stream
        self._control = ControlStream(stream, self._link, self._shared, Http2Transport.name, local_ip)
        try:
            await stream.send_headers([(b":status", b"200"), (RESPONSE_META, META_ORIGIN)])
            await self._control.run()
        except SessionClosedError:
            raise ControlError("Error shutting down control stream: context canceled") from None

    async def _serve_push(self, stream: H2Stream, response: Http2Response) -> None:
        body = bytearray()
        while data := await stream.read():
            body += data
            if len(body) > _MAX_PUSH:
                raise ProxyError(f"the pushed configuration is longer than {_MAX_PUSH} bytes")
        try:
            applied = self._shared.configuration.apply_push(bytes(body))
        except ValueError as error:
            raise ProxyError(f"the pushed configuration is not JSON: {error}") from None
        self._shared.state.configured(applied.version)
        response.started = True
        await stream.send_headers([(b":status", b"200"), (RESPONSE_META, META_ORIGIN)])
        await stream.send_data(applied.to_json(), end=True)

    async def _fail(self, response: Http2Response, text: str) -> None:
        self._shared.log.error("failed to serve incoming request", error=text)
        await response.fail()

    def log_defect(self, error: Exception) -> None:
        """Log a defect of this program."""
        self._shared.log.error("failed to serve incoming request", error=f"{type(error).__name__}: {error}")

    def _lost(self) -> EdgeLostError:
        self._shared.state.gone(self._link.index)
        self._shared.log.info("Lost connection with the edge", connIndex=self._link.index)
        return EdgeLostError("connection with edge closed")

    def _fields(self) -> dict[str, str | int]:
        return {"connIndex": self._link.index, "event": CONNECTION_EVENT, "ip": self._link.address.ip}
