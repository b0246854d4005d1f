"""One HTTP/2 connection in asyncio, in either role: exchanges with back-pressure both ways.

Theory of operation
-------------------
`H2Session` is an asyncio protocol: bytes go straight from the transport into h2, and h2's events straight into the
buffers of their streams, with no task and no queue between. What h2 wants to send is collected and written once per
turn of the event loop, or as soon as `BATCH` bytes wait.

Reading: the peer may send `STREAM_WINDOW` bytes on a stream and `SESSION_WINDOW` on all of them before they are read;
`H2Stream.read` returns the window. So memory is bounded by the windows, whatever the peer does.

Writing: `H2Stream.send_data` waits while the peer's window is closed, and while the transport holds more than its
high-water mark. A sender is woken by a WINDOW_UPDATE, new SETTINGS, the transport, or the end of its stream.

The HTTP/2 roles are not those of TCP: on a tunnel the edge accepts the TCP and TLS connection and then speaks as
HTTP/2 client. The role is therefore an argument.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, cast

from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    InformationalResponseReceived,
    RemoteSettingsChanged,
    RequestReceived,
    ResponseReceived,
    StreamEnded,
    TrailersReceived,
    WindowUpdated,
)
from h2.events import (
    StreamReset as StreamWasReset,
)
from h2.exceptions import H2Error

from prx.lab.protocol.errors import SessionClosedError, StreamResetError
from prx.lab.protocol.flow import Changes
from prx.lab.protocol.h2.connection import MAX_FRAME, ProxyConnection
from prx.lab.protocol.h2.stream import H2Stream
from prx.lab.protocol.headers import Headers

BATCH: Final = 256 * 1024


class H2Session(asyncio.Protocol):
    """One HTTP/2 connection; hand it to the event loop as the protocol of a transport.

    `on_ready(session)` is called when the transport is connected (after the TLS handshake), `on_request(stream)` for
    every exchange that the peer opens, `on_lost(session)` once, when the connection is gone. All three are called on
    the event loop, must not block, and usually start a task.
    """

    def __init__(
        self,
        *,
        client: bool,
        on_ready: Callable[[H2Session], None] | None = None,
        on_request: Callable[[H2Stream], None] | None = None,
        on_lost: Callable[[H2Session], None] | None = None,
    ) -> None:
        self._client = client
        self._h2 = ProxyConnection(client=client)
        self._on_ready = on_ready
        self._on_request = on_request
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._streams: dict[int, H2Stream] = {}
        self._paused = False
        self._silent = False
        self._flush_planned = False
        self._leaving = False
        self._closed = self._loop.create_future()
        self._changes = Changes()
        self.goaway_received = False
        self.close_reason = ""

    # -- for users -----------------------------------------------------------------------------------------------

    @property
    def transport(self) -> asyncio.Transport:
        """The transport below; SessionClosedError before it is connected."""
        if self._transport is None:
            raise SessionClosedError("the connection is not established")
        return self._transport

    @property
    def open_streams(self) -> int:
        """How many exchanges are under way."""
        return len(self._streams)

    @property
    def has_room(self) -> bool:
        """Return whether `request` would open an exchange at once."""
        try:
            return self._may_open()
        except SessionClosedError:
            return False

    @property
    def closed(self) -> bool:
        """Return whether the connection is gone."""
        return self._closed.done()

    async def request(self, headers: Headers, *, end: bool = False) -> H2Stream:
        """Open an exchange (client role); waits while the peer allows no more at the same time."""
        while not self._may_open():
            await self._changes.next()
        stream_id = self._h2.get_next_available_stream_id()
        stream = H2Stream(self, stream_id, headers)
        self.send_headers(stream, headers, end=end)
        self._streams[stream_id] = stream
        return stream

    def flush(self) -> None:
        """Send what waits now, and not at the end of the event loop's turn."""
        self._flush()

    async def wait_idle(self, besides: H2Stream | None = None) -> None:
        """Wait until no exchange, but possibly `besides`, is under way (or the connection is gone)."""
        while any(stream is not besides for stream in self._streams.values()) and not self.closed:
            await self._changes.next()

    async def wait_closed(self) -> None:
        """Wait until the connection is gone; `close_reason` then says why, empty for an orderly end."""
        await asyncio.shield(self._closed)

    def goaway(self, code: ErrorCodes = ErrorCodes.NO_ERROR) -> None:
        """Ask the peer to open no more exchanges here; those under way go on."""
        self._leaving = True
        if self._transport is not None and not self.closed:
            self._h2.announce_goaway(code)
            self._flush()

    def close(self, *, goaway: bool = True) -> None:
        """Say GOAWAY (if wanted), send what waits, and close the transport."""
        if self._transport is not None and not self._transport.is_closing():
            if goaway:
                self.goaway()
            self._flush()
            self._transport.close()

    def abort(self, reason: str = "aborted here") -> None:
        """Drop the transport at once (TCP reset if unsent bytes wait)."""
        self.close_reason = self.close_reason or reason
        if self._transport is not None:
            self._transport.abort()

    def stall(self) -> None:
        """Fall silent: read nothing and write nothing, but keep the connection."""
        self._silent = True
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        """End the silence."""
        self._silent = False
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()
            self._flush()
            self._wake_writers()

    # -- for streams ---------------------------------------------------------------------------------------------

    def send_headers(self, stream: H2Stream, headers: Headers, *, end: bool) -> None:
        """Put a header block into the output."""
        try:
            self._h2.check_headers(headers)
            self._h2.send_headers(stream.id, headers, end_stream=end)
        except H2Error as error:
            raise StreamResetError(f"the headers cannot be sent: {error}", ErrorCodes.INTERNAL_ERROR) from error
        self._sent(stream, end=end)

    def send_frame(self, stream: H2Stream, data: memoryview, *, end: bool) -> None:
        """Put a DATA frame into the output; `room` has said that it fits."""
        try:
            self._h2.send_data(stream.id, data, end_stream=end)
        except H2Error as error:
            raise StreamResetError(f"the body cannot be sent: {error}", ErrorCodes.INTERNAL_ERROR) from error
        self._sent(stream, end=end)

    def send_reset(self, stream: H2Stream, code: ErrorCodes) -> None:
        """Put a RST_STREAM into the output."""
        if not self.closed:
            try:
                self._h2.reset_stream(stream.id, code)
            except H2Error:
                return  # h2 has closed it meanwhile
            self._plan_flush()

    def room(self, stream: H2Stream, wanted: int) -> int | None:
        """How many of the `wanted` bytes may be sent now as one frame; None: wait."""
        if self._paused or self._silent:
            return None
        if not wanted:
            return 0
        try:
            window = self._h2.local_flow_control_window(stream.id)
        except H2Error as error:
            raise StreamResetError(f"the exchange is over: {error}", ErrorCodes.STREAM_CLOSED) from error
        return min(wanted, window, self._h2.max_outbound_frame_size, MAX_FRAME) if window > 0 else None

    def give_back(self, stream: H2Stream, size: int) -> None:
        """Return flow-control window to the peer."""
        if not self.closed:
            self._h2.acknowledge_received_data(size, stream.id)
            self._plan_flush()

    def forget(self, stream: H2Stream) -> None:
        """Take an exchange that has ended off the list."""
        if self._streams.pop(stream.id, None) is not None:
            self._changes.note()

    # -- asyncio's side ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the preface and the settings."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=2 * BATCH)
        self._h2.start()
        self._flush()
        if self._on_ready is not None:
            self._on_ready(self)

    def data_received(self, data: bytes) -> None:
        """Hand bytes to h2 and its events to the streams."""
        try:
            for event in self._h2.receive_data(data):
                self._dispatch(event)
        except H2Error as error:
            self.close_reason = f"the peer broke HTTP/2: {error}"
            self._flush()
            self.transport.close()
            return
        if self._h2.pending:
            self._plan_flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """End every exchange."""
        if exc is not None and not self.close_reason:
            self.close_reason = str(exc) or type(exc).__name__
        if not self._closed.done():
            self._closed.set_result(None)
        error = SessionClosedError(self.close_reason or "the connection was closed")
        for stream in list(self._streams.values()):
            stream.fail(error)
        self._changes.note()
        if self._on_lost is not None:
            self._on_lost(self)

    def pause_writing(self) -> None:
        """Hold the senders back: the transport has enough."""
        self._paused = True

    def resume_writing(self) -> None:
        """Wake the senders."""
        self._paused = False
        self._wake_writers()

    # -- inside --------------------------------------------------------------------------------------------------

    def _dispatch(self, event: Event) -> None:
        match event:
            case DataReceived():
                self._on_data(event)
            case WindowUpdated(stream_id=stream_id):
                self._on_window(stream_id or 0)
            case RequestReceived():
                self._on_request_received(event)
            case RemoteSettingsChanged():
                self._wake_writers()
                self._changes.note()
            case ConnectionTerminated():
                self._on_goaway(event)
            case _:
                self._on_stream_event(event)

    def _on_stream_event(self, event: Event) -> None:
        stream = self._streams.get(getattr(event, "stream_id", None) or 0)
        if stream is None:
            return
        match event:
            case ResponseReceived() | InformationalResponseReceived():
                stream.on_head(event.headers)
            case TrailersReceived():
                stream.on_trailers(event.headers)
            case StreamEnded():
                stream.on_end()
            case StreamWasReset(remote_reset=False):
                stream.fail(StreamResetError("the peer's headers are malformed", ErrorCodes.PROTOCOL_ERROR))
            case StreamWasReset(error_code=code):
                stream.fail(StreamResetError(f"the peer reset the exchange (code {int(code or 0)})", int(code or 0)))
            case _:
                pass

    def _on_data(self, event: DataReceived) -> None:
        stream = self._streams.get(event.stream_id)
        if stream is not None:
            stream.on_data(event.data, event.flow_controlled_length)

    def _on_window(self, stream_id: int) -> None:
        if stream_id == 0:
            self._wake_writers()
        elif (stream := self._streams.get(stream_id)) is not None:
            stream.wake_writer()

    def _on_request_received(self, event: RequestReceived) -> None:
        stream = H2Stream(self, event.stream_id, event.headers)
        if self._leaving or self._on_request is None:
            self.send_reset(stream, ErrorCodes.REFUSED_STREAM)
            return
        self._streams[stream.id] = stream
        self._on_request(stream)

    def _on_goaway(self, event: ConnectionTerminated) -> None:
        self.goaway_received = True
        last = event.last_stream_id or 0
        for stream in list(self._streams.values()):
            if self._client and stream.id > last:
                stream.fail(StreamResetError("the peer leaves and did not take this exchange", ErrorCodes.REFUSED_STREAM))
        if event.error_code:
            self.close_reason = f"the peer said GOAWAY with code {int(event.error_code)}"
        self._changes.note()

    def _may_open(self) -> bool:
        if self.closed or self._transport is None or self._transport.is_closing():
            raise SessionClosedError(self.close_reason or "the connection is closed")
        if self.goaway_received or self._leaving:
            raise SessionClosedError("the connection takes no new exchange: GOAWAY")
        return len(self._streams) < self._h2.remote_settings.max_concurrent_streams

    def _sent(self, stream: H2Stream, *, end: bool) -> None:
        if end:
            stream.ended_here()
        if self._h2.pending >= BATCH:
            self._flush()
        else:
            self._plan_flush()

    def _plan_flush(self) -> None:
        if not self._flush_planned:
            self._flush_planned = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_planned = False
        if self._silent or self._transport is None or self._transport.is_closing():
            return
        if self._h2.pending:
            self._transport.write(self._h2.data_to_send())

    def _wake_writers(self) -> None:
        for stream in self._streams.values():
            stream.wake_writer()
