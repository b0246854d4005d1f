"""Carry a connection to the edge over QUIC.

Theory of operation: the connector dials (server name quic.cftunnel.com, ALPN argotunnel) and opens stream 0, the control
stream, on which it registers. Every request is a stream that the edge opens, and says in its head what it is: HTTP, a
WebSocket, or private TCP, which is refused; a stream with another preamble carries RPC, by which configurations are
pushed. The connection lives until the edge closes it, falls silent for 5 s (a PING goes out every second), or refuses the
registration. Neither side can announce an end. A stream that the edge gives up cancels its handler, so that the origin
learns of it. Datagrams of private networks are never asked for and are dropped.

Whatever ends a connection is logged in the words of that part of cloudflared which notices it first; why a registration
was refused is never said. Observed with cloudflared 2026.8.2.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from prx.lab.connector.edge.control import CONNECTION_EVENT, ControlError, ControlStream
from prx.lab.connector.edge.quic_errors import SILENCE, ending_text
from prx.lab.connector.edge.quic_messages import QuicBody, QuicResponse, quic_request
from prx.lab.connector.edge.transport import (
    EdgeConnectionError,
    Link,
    NoAnswerError,
    QuicDialError,
    ServeError,
    Shared,
    SilentError,
)
from prx.lab.connector.log import Field
from prx.lab.connector.origin.exchange import ProxyError
from prx.lab.connector.origin.messages import interruption
from prx.lab.connector.roots import system_roots
from prx.lab.protocol.errors import ProtocolError, StreamError
from prx.lab.protocol.quic.client import HandshakeError, dial
from prx.lab.protocol.quic.preamble import ConnectRequest, RequestKind, RpcStream, read_request
from prx.lab.protocol.quic.session import QuicSession
from prx.lab.protocol.quic.stream import QuicStream
from prx.lab.protocol.rpc.push import ConfigurationServer, Updated

DIAL_LIMIT: Final = 5.0  # seconds
_LISTENER: Final = "accept stream listener encountered a failure while serving"
_CONTROL: Final = "control stream encountered a failure while serving"
_NO_TCP: Final = "the builtin connector does not carry private TCP streams; use cloudflared for them"
_KINDS: Final = {RequestKind.HTTP: "http", RequestKind.WEBSOCKET: "ws", RequestKind.TCP: "tcp"}  # as the log names them


class QuicTransport:
    """Connections to the edge over QUIC."""

    name = "quic"

    def __init__(self, shared: Shared, *, dial_limit: float = DIAL_LIMIT) -> None:
        self._shared = shared
        self._dial_limit = dial_limit

    async def serve(self, link: Link) -> None:
        """Carry one connection until it ends; it always ends with an EdgeConnectionError."""
        await _Connection(link, self._shared, self._dial_limit).serve()


class _Connection:
    """One connection to the edge."""

    def __init__(self, link: Link, shared: Shared, dial_limit: float) -> None:
        self._link = link
        self._shared = shared
        self._dial_limit = dial_limit
        self._unregistered = False
        self._refused = False

    async def serve(self) -> None:
        """Dial and carry the connection until it ends."""
        session: QuicSession | None = None
        failure: EdgeConnectionError
        try:
            async with asyncio.TaskGroup() as tasks:  # an error that left it would come out wrapped in a group
                try:
                    session = await self._dial(tasks)
                    failure = await self._until_over(session, tasks)
                except QuicDialError as error:
                    failure = error
        finally:
            if session is not None:
                session.close()
        raise failure

    async def _dial(self, tasks: asyncio.TaskGroup) -> QuicSession:
        address, shared, fields = self._link.address, self._shared, self._fields()
        shared.log.info("Tunnel connection curve preferences: [default]", **fields)

        def begin(stream: QuicStream) -> None:
            handler = tasks.create_task(self._handle(stream), name=f"stream {stream.id}")
            stream.on_broken = handler.cancel

        cacert = Path(shared.settings.cacert) if shared.settings.cacert else None
        roots = None if cacert else system_roots()
        failure: QuicDialError
        try:
            return await dial(
                address.ip, address.port, ca_file=cacert, ca_data=roots, on_stream=begin, timeout=self._dial_limit
            )
        except TimeoutError:
            failure = SilentError(f"failed to dial to edge with quic: {SILENCE}")
        except HandshakeError as error:
            failure = QuicDialError(f"failed to dial to edge with quic: {ending_text(error.ending)}")
        except OSError as error:
            failure = QuicDialError(f"failed to dial to edge with quic: {error}")
        shared.state.log_trouble(shared.log, "Failed to dial a quic connection", error=str(failure), **fields)
        raise failure

    async def _until_over(self, session: QuicSession, tasks: asyncio.TaskGroup) -> ServeError:
        """Wait for the end of the connection, or of the control stream; return what is reported to the supervisor."""
        control = tasks.create_task(self._serve_control(session), name="control stream")
        closed = tasks.create_task(session.wait_closed(), name="connection closed")
        try:
            await asyncio.wait({control, closed}, return_when=asyncio.FIRST_COMPLETED)
            if self._unregistered:
                await closed
        finally:
            session.on_stream = None
            closed.cancel()
        failure = self._ended(session)
        session.close()  # which ends the handlers
        return failure

    def _ended(self, session: QuicSession) -> ServeError:
        """Log that the connection is over, and what was noticed first."""
        log, state, fields = self._shared.log, self._shared.state, self._fields()
        state.gone(self._link.index)
        listener_failed = session.closed and not self._refused
        if listener_failed and not self._unregistered:
            words = f"failed to accept QUIC stream: {ending_text(session.ending)}"
            log.error("failed to accept incoming stream requests", error=words, **fields)
        log.error("failed to run the datagram handler", error="context canceled", **fields)
        cause = _LISTENER if listener_failed else _CONTROL
        state.log_trouble(log, "failed to serve tunnel connection", error=cause, **fields)
        return ServeError(cause)

    async def _serve_control(self, session: QuicSession) -> None:
        """Register and unregister; a failure is only noted, for its cause is not logged."""
        try:
            stream = await session.open_stream()
            control = ControlStream(stream, self._link, self._shared, QuicTransport.name, self._link.address.ip)
            await control.run()
            self._unregistered = control.unregistered
        except NoAnswerError:
            self._refused = not session.closed
        except EdgeConnectionError:
            self._refused = True
        except (ControlError, StreamError):
            pass

    async def _handle(self, stream: QuicStream) -> None:
        """Serve one stream of the edge; whatever goes wrong ends nothing but the stream."""
        try:
            head, early = await read_request(stream)
            match head:
                case RpcStream():
                    await self._serve_rpc(stream, head.early)
                case ConnectRequest():
                    await self._serve_request(stream, head, early)
        except ProtocolError as error:
            self._shared.log.debug("Failed to handle QUIC stream", error=str(error), **self._fields())
        except Exception as error:  # noqa: BLE001 - a defect met by one request must not end the others
            self._log_defect(error)
        finally:
            stream.reset()

    async def _serve_request(self, stream: QuicStream, head: ConnectRequest, early: bytes) -> None:
        response = QuicResponse(stream)
        if head.kind is RequestKind.TCP:
            await self._fail(response, head, _NO_TCP)
            return
        try:
            await self._shared.proxy.serve(quic_request(head), QuicBody(stream, early), response, self._link.index)
        except (ProxyError, StreamError) as error:
            await self._fail(response, head, str(error))
        except asyncio.CancelledError:
            await self._fail(response, head, interruption(response))
            raise

    async def _fail(self, response: QuicResponse, head: ConnectRequest, text: str) -> None:
        dest = head.dest.decode("utf-8", "replace")
        self._shared.log.error("Request failed", error=text, dest=dest, type=_KINDS[head.kind], **self._fields())
        await response.fail(text)

    async def _serve_rpc(self, stream: QuicStream, early: bytes) -> None:
        """Serve pushes of configurations, for as long as one call may take."""
        server = ConfigurationServer(self._update)
        try:
            async with asyncio.timeout(self._shared.settings.rpc_timeout):
                data = early or await stream.read()
                while data:
                    await stream.send_data(server.feed(data))
                    data = await stream.read()
                await stream.send_data(b"", end=True)
        except TimeoutError:
            pass  # observed with cloudflared 2026.8.2, which does not say anything either

    def _update(self, version: int, config: bytes) -> Updated:
        applied = self._shared.configuration.apply(version, config.decode("utf-8", "replace"))
        self._shared.state.configured(self._shared.configuration.version)
        return Updated(applied.version, applied.error)

    def _log_defect(self, error: Exception) -> None:
        """Log a defect of this program."""
        self._shared.log.error("Request failed", error=f"{type(error).__name__}: {error}", **self._fields())

    def _fields(self) -> dict[str, Field]:
        return {"connIndex": self._link.index, "event": CONNECTION_EVENT, "ip": self._link.address.ip}
