"""One bidirectional QUIC stream of a `prx.lab.protocol.quic.session.QuicSession`, seen from either side."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from prx.lab.protocol.errors import SessionClosedError, StreamError, StreamResetError
from prx.lab.protocol.flow import Inbox, Waiter

if TYPE_CHECKING:
    from prx.lab.protocol.quic.session import QuicSession

CANCELLED: Final = 0  # the only application error code that cloudflared 2026.8.2 uses for streams


class QuicStream:
    """One stream. Its two directions end apart: each by an end of data, or by a reset.

    Every waiting method raises StreamResetError when its direction is reset and SessionClosedError when the connection is
    gone; what had arrived before is still read first. A stream has one reader and one sender at a time.

    `on_broken` is called once when the peer breaks off a direction, or the connection goes, while this side still has to send:
    for a side that works on an answer that is not wanted any more.
    """

    def __init__(self, session: QuicSession, stream_id: int) -> None:
        self.session = session
        self.id = stream_id
        self._inbox = Inbox(partial(session.give_back, self))
        self._peer_ended = False
        self._we_ended = False
        self._read_error: StreamError | None = None
        self._write_error: StreamError | None = None
        self._reader = Waiter()
        self._writer = Waiter()
        self.on_broken: Callable[[], object] | None = None

    @property
    def open(self) -> bool:
        """Return whether either direction may still carry data."""
        return not (self.receiving_over and self._sending_over)

    @property
    def receiving_over(self) -> bool:
        """Return whether nothing more is taken from the peer."""
        return self._peer_ended or self._read_error is not None

    @property
    def sender_waits(self) -> bool:
        """Return whether a task waits for room to send."""
        return self._writer.taken

    async def read(self) -> bytes:
        """Wait for bytes and return all that are there, or as many as the session's pace allows; empty at the end."""
        while True:
            while not self._inbox:
                if self._peer_ended:
                    return b""
                if self._read_error is not None:
                    raise self._read_error.with_traceback(None)
                await self._reader.wait()
            if self.session.pace is None:
                return self._inbox.take_all()
            allowed = await self.session.pace(self._inbox.portion)
            if self._inbox:
                return self._inbox.take(allowed)

    async def send_data(self, data: bytes, *, end: bool = False) -> None:
        """Send bytes, as fast as the peer's windows and the network take them; with `end` nothing more follows."""
        view = memoryview(data)
        while True:
            room = await self._writable(len(view))
            last = room == len(view)
            self.session.write(self, view[:room], end=end and last)
            if last:
                break
            view = view[room:]
        if end:
            self._we_ended = True
            self._forget_if_over()

    def reset(self, code: int = CANCELLED) -> None:
        """End the stream at once in both directions and drop what has not been read.

        The holder of a stream calls this last, also after its end: unread bytes hold the connection's window.
        """
        error = StreamResetError("the stream was given up here")
        self.on_broken = None
        if not self._sending_over:
            self.session.reset_sending(self, code)
            self.on_stopped(error)
        if not self.receiving_over:
            self.session.stop_receiving(self, code)
            self.on_reset(error)
        self._inbox.clear()

    # -- for the session -----------------------------------------------------------------------------------------

    def on_data(self, data: bytes, *, end: bool) -> None:
        """Take bytes of the peer."""
        self._inbox.put(data, len(data))
        self._peer_ended = self._peer_ended or end
        self._reader.wake()
        if end:
            self._forget_if_over()

    def on_reset(self, error: StreamError) -> None:
        """Take note that the peer sends nothing more, though it is not the end."""
        self._read_error = self._read_error or error
        self._reader.wake()
        self._note_broken()
        self._forget_if_over()

    def on_stopped(self, error: StreamError) -> None:
        """Take note that the peer wants nothing more."""
        self._write_error = self._write_error or error
        self.wake_writer()
        self._note_broken()
        self._forget_if_over()

    def fail(self, error: SessionClosedError) -> None:
        """Take note that the connection is gone."""
        self.on_reset(error)
        self.on_stopped(error)

    def wake_writer(self) -> None:
        """Wake a sender to check again."""
        self._writer.wake()

    # -- inside --------------------------------------------------------------------------------------------------

    @property
    def _sending_over(self) -> bool:
        return self._we_ended or self._write_error is not None

    async def _writable(self, wanted: int) -> int:
        """Wait until something may be sent; how many of the `wanted` bytes."""
        while True:
            if self._write_error is not None:
                raise self._write_error.with_traceback(None)
            if self._we_ended:
                raise StreamResetError("nothing can be sent after the end of the stream")
            room = self.session.room(self)
            if room > 0 or not wanted:
                return min(room, wanted)
            await self._writer.wait()

    def _note_broken(self) -> None:
        if self.on_broken is not None and not self._we_ended:
            on_broken, self.on_broken = self.on_broken, None
            on_broken()

    def _forget_if_over(self) -> None:
        if not self.open:
            self.session.forget(self)
