"""One QUIC connection in asyncio, in either role: streams with back-pressure both ways.

    session = await quicclient.dial("127.0.0.1", 7844, server_name=…, ca_file=…)        # the connector's side
    stream = await session.open_stream()
    await stream.send_data(b"…", end=True)
    while data := await stream.read(): …
    stream.reset()                                                                       # always, last
    session.close(); await session.wait_closed()

The edge's side gets its sessions from `prx.lab.protocol.quic.listener.QuicListener`. Streams that the peer opens come to
`on_stream`. Everything that waits raises `StreamError` (`StreamResetError`, `SessionClosedError`) when it cannot go on.

Theory of operation
-------------------
aioquic is the protocol without input or output; this module moves its datagrams, its events and its timer. Datagrams
come in batches (`receive`, then one `flush`); what aioquic wants to send leaves once per turn of the event loop.

Reading: the peer may send `STREAM_WINDOW` bytes on a stream and `SESSION_WINDOW` on all of them before they are read.
aioquic itself would double its windows as data arrive; `prx.lab.protocol.quic.connection` moves them as data are *read*.

Writing: `QuicStream.send_data` waits while more than `UNSENT` bytes of its stream have not left; they leave as the
peer's windows and the congestion window allow, so a slow reader at the other end holds the sender back.

A connection that is closed is forgotten at once, by either side, without QUIC's closing period (RFC 9000, 10.2): a
CONNECTION_CLOSE that is lost costs the peer its idle time-out.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol, TypeAlias

from aioquic.quic import events

from prx.lab.protocol.errors import SessionClosedError, StreamResetError
from prx.lab.protocol.flow import Changes
from prx.lab.protocol.quic.connection import Ending, ProxyQuicConnection
from prx.lab.protocol.quic.stream import QuicStream

UNSENT: Final = 256 * 1024  # bytes of one stream that may wait to be sent for the first time
_INTERNAL_ERROR: Final = 1  # transport error code (RFC 9000, 20.1)

_log = logging.getLogger(__name__)

Address: TypeAlias = Any  # a socket's address; only compared


class Port(Protocol):
    """The way out for datagrams."""

    def send(self, datagrams: list[bytes], address: Address) -> None:
        """Send datagrams, or lose them."""


class QuicSession:
    """One QUIC connection on a port; the port's owner feeds it with `receive` and `flush`.

    `on_stream(stream)` is called for every bidirectional stream that the peer opens, as soon as data of it have come;
    `on_route(id, open)` when a connection id begins or ceases to mean this session; `on_lost(session)` once, at the end.
    All are called on the event loop, must not block, and usually start a task. With `keep_alive`, a PING goes out after
    so many seconds of silence. `pace(wanted)`, if set, is awaited before bytes of a stream are read, and returns how many
    of those that wait may be read then, at least one.
    """

    def __init__(
        self,
        quic: ProxyQuicConnection,
        port: Port,
        *,
        on_stream: Callable[[QuicStream], None] | None = None,
        on_route: Callable[[bytes, bool], None] | None = None,
        on_lost: Callable[[QuicSession], None] | None = None,
        keep_alive: float | None = None,
    ) -> None:
        self._quic = quic
        self.port = port
        self.on_stream = on_stream
        self._on_route = on_route
        self.on_lost = on_lost
        self._keep_alive = keep_alive
        self._loop = asyncio.get_running_loop()
        self._streams: dict[int, QuicStream] = {}
        self._ended: set[int] = set()  # streams that are over, except for what the peer has not acknowledged
        self._given_up: set[int] = set()  # streams of the peer that it may still send on, in vain
        self._timer: asyncio.TimerHandle | None = None
        self._heard_at = self._loop.time()
        self._flush_planned = False
        self._silent = False
        self._ready = False
        self._closed = self._loop.create_future()
        self._changes = Changes()
        self.pace: Callable[[int], Awaitable[int]] | None = None
        self.close_reason = ""

    # -- for users -----------------------------------------------------------------------------------------------

    @property
    def open_streams(self) -> int:
        """How many streams are under way."""
        return len(self._streams)

    @property
    def peer(self) -> str:
        """The address of the other side, '' if none is known."""
        return self._quic.peer

    @property
    def closed(self) -> bool:
        """Return whether the connection is gone."""
        return self._closed.done()

    @property
    def ending(self) -> Ending | None:
        """How the connection ended, as far as packets said; None while it lives."""
        return self._quic.ending

    async def wait_ready(self) -> None:
        """Wait until the handshake is complete; SessionClosedError says why it never will be."""
        while not self._ready:
            self._check_open()
            await self._changes.next()

    async def open_stream(self) -> QuicStream:
        """Open a bidirectional stream; waits while the peer allows no more at the same time."""
        self._check_open()
        while not self._quic.may_open_stream:
            await self._changes.next()
            self._check_open()
        stream = QuicStream(self, self._quic.open_stream())
        self._streams[stream.id] = stream
        return stream

    async def wait_idle(self, besides: QuicStream | None = None) -> None:
        """Wait until no stream, but possibly `besides`, is under way (or the connection is gone)."""
        while any(stream is not besides for stream in self._streams.values()) and not self.closed:
            await self._changes.next()

    async def wait_closed(self) -> None:
        """Wait until the connection is gone; `close_reason` then says why, empty for an orderly end."""
        await asyncio.shield(self._closed)

    def close(self, code: int = 0, reason: str = "") -> None:
        """Send what may be sent now, then close with an application error code (0: all is well)."""
        self._close(code, reason, application=True)

    def abort(self, reason: str = "aborted here") -> None:
        """Close at once, as a peer that has failed: with the transport's INTERNAL_ERROR."""
        if not self.closed:
            self.close_reason = self.close_reason or reason
        self._close(_INTERNAL_ERROR, reason, application=False)

    def forsake(self, reason: str, *, tell: bool = False) -> None:
        """End as a peer that has lost its memory: without a word, or with a stateless reset (RFC 9000, 10.3)."""
        if tell and not self.closed and (resets := self._quic.stateless_resets()) is not None:
            self.port.send(*resets)
        self._silent = True
        self.abort(reason)

    def alter_frames(self, alter: Callable[[bytes], bytes] | None) -> None:
        """Have the frames of every packet go through `alter`, both ways and inside their protection, once it is 1-RTT."""
        self._quic.alter = alter

    def stall(self) -> None:
        """Fall silent: drop what comes and send nothing. Both sides' idle time-outs run on."""
        self._silent = True

    def resume(self) -> None:
        """End the silence."""
        self._silent = False
        self.flush()

    # -- for the port --------------------------------------------------------------------------------------------

    def receive(self, datagram: bytes, address: Address) -> None:
        """Take a datagram; `flush` must follow, once for several."""
        if self._silent or self.closed:
            return
        if self._quic.is_stateless_reset(datagram):
            self._finish("the peer has lost the connection (stateless reset)")
            return
        self._heard_at = self._loop.time()
        try:
            self._quic.receive_datagram(datagram, address, self._heard_at)
        except Exception as error:  # noqa: BLE001 - whatever a foreign packet does to aioquic is that connection's end alone
            self._fail(error)
        if not self._quic.understood:  # noise that resembled a first packet must not take a place until its time is over
            self._finish("the first packet cannot be read")

    def flush(self) -> None:
        """Pass events on, send what is to be sent, and set the timer."""
        self._flush_planned = False
        if self.closed:
            return
        while (event := self._quic.next_event()) is not None:
            self._dispatch(event)
        self._transmit()
        self._wake_waiters()
        if self._quic.ending is not None:
            self._finish(self._quic.ending.explanation)
        elif not self.closed:
            self._set_timer()

    # -- for streams ---------------------------------------------------------------------------------------------

    def write(self, stream: QuicStream, data: memoryview, *, end: bool) -> None:
        """Put bytes into the output; `room` has said that they fit."""
        try:
            self._quic.send_stream_data(stream.id, data, end_stream=end)  # type: ignore[arg-type]  # only copied
        except (RuntimeError, ValueError) as error:
            raise StreamResetError(f"the stream takes no more: {error}") from error
        self._plan_flush()

    def room(self, stream: QuicStream) -> int:
        """How many bytes may be sent now; 0: wait."""
        return max(0, UNSENT - self._quic.unsent(stream.id))

    def reset_sending(self, stream: QuicStream, code: int) -> None:
        """Break off what is sent; what may leave does so before: a reset takes along whatever waits (RFC 9000, 3.1)."""
        if not self.closed:
            self._transmit()
            self._quic.reset_stream(stream.id, code)
            self._plan_flush()

    def stop_receiving(self, stream: QuicStream, code: int) -> None:
        """Ask the peer to break off what it sends."""
        if not self.closed:
            self._quic.stop(stream.id, code)
            if not self._quic.opened_here(stream.id):
                self._given_up.add(stream.id)
            self._plan_flush()

    def give_back(self, stream: QuicStream, size: int) -> None:
        """Return flow-control window to the peer."""
        if self._quic.consumed(stream.id, size) and not self.closed:
            self._plan_flush()

    def forget(self, stream: QuicStream) -> None:
        """Take a stream that has ended off the list, as soon as the peer has all that was sent on it."""
        if stream.id in self._streams:
            self._ended.add(stream.id)
            self._plan_flush()

    # -- events --------------------------------------------------------------------------------------------------

    def _dispatch(self, event: events.QuicEvent) -> None:
        match event:
            case events.StreamDataReceived():
                self._on_data(event)
            case events.StreamReset(stream_id=stream_id, error_code=code):
                self._given_up.discard(stream_id)
                if (stream := self._streams.get(stream_id)) is not None:
                    stream.on_reset(StreamResetError(f"the peer reset the stream (code {code})"))
            case events.StopSendingReceived(stream_id=stream_id, error_code=code):
                if (stream := self._streams.get(stream_id)) is not None:
                    stream.on_stopped(StreamResetError(f"the peer wants no more of the stream (code {code})"))
            case events.HandshakeCompleted():
                self._ready = True
                self._changes.note()
            case events.ConnectionIdIssued(connection_id=route):
                self._route(route, opened=True)
            case events.ConnectionIdRetired(connection_id=route):
                self._route(route, opened=False)
            case _:
                pass  # datagram frames among them: private networks are not carried

    def _on_data(self, event: events.StreamDataReceived) -> None:
        stream = self._streams.get(event.stream_id) or self._accept(event.stream_id)
        if stream is None or stream.receiving_over:
            if event.end_stream:
                self._given_up.discard(event.stream_id)
            return
        if event.data:
            self._quic.arrived(stream.id, len(event.data))
        stream.on_data(event.data, end=event.end_stream)

    def _accept(self, stream_id: int) -> QuicStream | None:
        """Take a stream that the peer has opened; None if nothing takes it."""
        if stream_id in self._given_up or self._quic.opened_here(stream_id):
            return None
        stream = QuicStream(self, stream_id)
        if self.on_stream is None or self._quic.is_unidirectional(stream_id):
            self._quic.stop(stream_id, 0)
            return None
        self._streams[stream_id] = stream
        self.on_stream(stream)
        return stream

    # -- inside --------------------------------------------------------------------------------------------------

    def _check_open(self) -> None:
        if self.closed:
            raise SessionClosedError(self.close_reason or "the connection is closed")

    def _close(self, code: int, reason: str, *, application: bool) -> None:
        if self.closed:
            return
        if application:
            self._transmit()
        self._quic.close(error_code=code, frame_type=None if application else 0, reason_phrase=reason)
        self._transmit()
        self._finish()

    def _transmit(self) -> None:
        if not self._quic.can_send:
            return
        try:
            outgoing = self._quic.datagrams_to_send(self._loop.time())
        except Exception as error:  # noqa: BLE001 - as in `receive`
            self._fail(error)
            return
        by_address: dict[Address, list[bytes]] = {}
        for datagram, address in outgoing:
            by_address.setdefault(address, []).append(datagram)
        if not self._silent:
            for address, datagrams in by_address.items():
                self.port.send(datagrams, address)

    def _plan_flush(self) -> None:
        if not self._flush_planned and not self.closed:
            self._flush_planned = True
            self._loop.call_soon(self.flush)

    def _set_timer(self) -> None:
        """Have `_on_timer` called when aioquic wants it; a timer that is due earlier is left as it is."""
        due = self._quic.get_timer()
        if self._keep_alive is not None and self._ready:
            ping_at = self._heard_at + self._keep_alive
            due = ping_at if due is None else min(due, ping_at)
        if due is None or (self._timer is not None and self._timer.when() <= due):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(due, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self.closed:
            return
        now = self._loop.time()
        due = self._quic.get_timer()
        if due is not None and now >= due:
            self._quic.handle_timer(now)
        if self._keep_alive is not None and self._ready and now >= self._heard_at + self._keep_alive:
            self._heard_at = now  # the next one comes a period later, answered or not
            self._quic.send_ping(0)
        self.flush()

    def _fail(self, error: Exception) -> None:
        """End the connection, without a word to the peer, if aioquic itself has failed."""
        _log.debug("aioquic failed", exc_info=error)
        self._finish(f"a packet could not be digested: {type(error).__name__}")

    def _finish(self, reason: str = "") -> None:
        if self.closed:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.close_reason = self.close_reason or reason
        self._closed.set_result(None)
        error = SessionClosedError(self.close_reason or "the connection was closed")
        for stream in list(self._streams.values()):
            stream.fail(error)
        self._streams.clear()
        self._ended.clear()
        self._changes.note()
        if self.on_lost is not None:
            self.on_lost(self)

    def _wake_waiters(self) -> None:
        """Wake those that wait for room, for leave to open a stream, or for the end of one."""
        for stream in self._streams.values():
            if stream.sender_waits and self.room(stream) >= UNSENT // 2:
                stream.wake_writer()
        for stream_id in [stream_id for stream_id in self._ended if self._quic.delivered(stream_id)]:
            self._ended.discard(stream_id)
            del self._streams[stream_id]
        if self._changes:
            self._changes.note()

    def _route(self, route: bytes, *, opened: bool) -> None:
        if self._on_route is not None:
            self._on_route(route, opened)
