"""One HTTP/2 exchange of a `prx.lab.protocol.h2.session.H2Session`, seen from either side."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from h2.errors import ErrorCodes

from prx.lab.protocol.errors import SessionClosedError, StreamResetError
from prx.lab.protocol.flow import Inbox, Waiter
from prx.lab.protocol.headers import Headers

if TYPE_CHECKING:
    from prx.lab.protocol.h2.session import H2Session

_MAX_HEADS: Final = 16


class H2Stream:
    """One exchange. `headers` are the request's on the side that serves it; pseudo-headers first, names lower case.

    Every waiting method raises StreamResetError when the exchange is reset and SessionClosedError when the connection is gone;
    what had arrived before is still read first.

    `on_broken` is called once when the exchange breaks, but not by `reset`: for a side that has read all and still wants to
    know.
    """

    def __init__(self, session: H2Session, stream_id: int, headers: Headers) -> None:
        self.session = session
        self.id = stream_id
        self.headers = headers
        self.trailers: Headers | None = None
        self._heads: deque[Headers] = deque()
        self._inbox = Inbox(partial(session.give_back, self))
        self._peer_ended = False
        self._we_ended = False
        self._error: StreamResetError | SessionClosedError | None = None
        self._reader = Waiter()
        self._writer = Waiter()
        self.on_broken: Callable[[], object] | None = None

    @property
    def open(self) -> bool:
        """Return whether either side may still send."""
        return self._error is None and not (self._peer_ended and self._we_ended)

    @property
    def bodiless(self) -> bool:
        """Return whether the peer has ended its side without a body; asked before anything is read."""
        return self._peer_ended and not self._inbox and self.trailers is None

    async def next_head(self) -> Headers:
        """Wait for the next head of the response (`:status` first): any number of 1xx, then the final one."""
        while not self._heads:
            await self._wait_readable()
        return self._heads.popleft()

    async def response(self) -> Headers:
        """Wait for the final head of the response; 1xx are passed over."""
        while (head := await self.next_head())[0][1].startswith(b"1"):
            pass
        return head

    async def read(self) -> bytes:
        """Wait for body bytes and return all that are there; empty at the end, when `trailers` are known."""
        while not self._inbox:
            if self._peer_ended:
                return b""
            await self._wait_readable()
        return self._inbox.take_all()

    async def send_headers(self, headers: Headers, *, end: bool = False) -> None:
        """Send a response's headers, a 1xx, or trailers (with `end`)."""
        self._check()
        self.session.send_headers(self, headers, end=end)

    async def send_data(self, data: bytes, *, end: bool = False) -> None:
        """Send body bytes, as the peer's windows and the transport allow."""
        view = memoryview(data)
        while True:
            room = await self._writable(len(view))
            last = room == len(view)
            self.session.send_frame(self, view[:room], end=end and last)
            if last:
                return
            view = view[room:]

    def reset(self, code: ErrorCodes = ErrorCodes.CANCEL) -> None:
        """End the exchange at once in both directions and drop what has not been read.

        The holder of an exchange calls this last, also after its end: unread bytes hold the connection's window.
        """
        self.on_broken = None
        if self.open:
            self.session.send_reset(self, code)
            self.fail(StreamResetError("the exchange was given up here", code))
        self._inbox.clear()

    # -- for the session -----------------------------------------------------------------------------------------

    def on_head(self, headers: Headers) -> None:
        """Take a head of the response; of 1xx that are not read only a few are kept."""
        if len(self._heads) < _MAX_HEADS or not headers[0][1].startswith(b"1"):
            self._heads.append(headers)
        self._reader.wake()

    def on_trailers(self, headers: Headers) -> None:
        """Take trailers; the end follows."""
        self.trailers = headers

    def on_data(self, data: bytes, flow_length: int) -> None:
        """Take body bytes; `flow_length` includes their padding."""
        self._inbox.put(data, flow_length)
        if data:
            self._reader.wake()

    def on_end(self) -> None:
        """Take note that the peer sends nothing more."""
        self._peer_ended = True
        self._reader.wake()
        self._forget_if_over()

    def ended_here(self) -> None:
        """Take note that this side sends nothing more."""
        self._we_ended = True
        self._forget_if_over()

    def fail(self, error: StreamResetError | SessionClosedError) -> None:
        """End the exchange with an error, for those that wait or come."""
        if self._error is None:
            self._error = error
        self.wake_writer()
        self._reader.wake()
        self.session.forget(self)
        if self.on_broken is not None:
            on_broken, self.on_broken = self.on_broken, None
            on_broken()

    def wake_writer(self) -> None:
        """Wake a sender to check again."""
        self._writer.wake()

    # -- waiting -------------------------------------------------------------------------------------------------

    def _check(self) -> None:
        if self._error is not None:
            raise self._error.with_traceback(None)

    async def _wait_readable(self) -> None:
        self._check()
        await self._reader.wait()

    async def _writable(self, wanted: int) -> int:
        """Wait until something may be sent; how many of the `wanted` bytes."""
        while True:
            self._check()
            room = self.session.room(self, wanted)
            if room is not None:
                return room
            await self._writer.wait()

    def _forget_if_over(self) -> None:
        if self._peer_ended and self._we_ended:
            self.session.forget(self)
