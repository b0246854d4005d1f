"""Fold the copy of one connection's bytes into exchanges. Nothing here can hold up, or harm, what passes."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Callable
from typing import Final

from prx.traffic.exchange import INTERIM, MESSAGE_LIMIT, Exchange, Message
from prx.traffic.framing import Data, End, Framing, Head, Piece, Raw
from prx.traffic.own import is_own
from prx.traffic.ring import Ring
from prx.traffic.websocket import UnreadableError, WebSocketReader

VISITOR: Final = 0
SERVICE: Final = 1
QUEUE_BYTES: Final = 8 * 1024 * 1024
"""Bytes of the copy that wait to be read, of all connections together."""

PAUSE: Final = 0.02  # seconds for which pieces are collected: many at once are read in a third of the time of one at a time
SLICE: Final = 0.0001  # seconds of reading at a time; then what has come meanwhile is forwarded first
_REQUEST: Final = re.compile(rb"[A-Z]{3,10} [!-~]+ HTTP/1\.[01]\r\n")
_BLANK: Final = re.compile(rb"\r?\n\r?\n")
_SENDERS: Final = ("visitor", "service")


class Copier:
    """Takes the copies of all connections of a relay, and has them read a little at a time.

    wall: seconds since 1970. steady: those of a clock that cannot be set, for durations (None: `wall`). own: the word that
    prx's own checks carry.
    """

    def __init__(
        self, ring: Ring, tunnel: str, wall: Callable[[], float], steady: Callable[[], float] | None = None, *, own: str = ""
    ) -> None:
        self.ring, self.tunnel = ring, tunnel
        self.own = own.encode()
        self._wall = wall
        self._steady = steady or wall
        self._loop = asyncio.get_running_loop()
        self._queue: deque[tuple[Tee, int, float, bytes | None]] = deque()
        self._bytes = 0
        self.off = False  # a gate alone keeps nothing
        self._next: asyncio.Handle | None = None

    def put(self, tee: Tee, side: int, data: bytes | None) -> None:
        """Take a piece of one side (None: its end); drop it, counted, if too much waits."""
        if self.off:
            if not tee.lost:  # from now on nothing is known of it
                tee.lost = True
                tee.give_up(self._steady(), "inspection was switched off")
            return
        size = 0 if data is None else len(data)
        if tee.lost and not (side == VISITOR and data and self._bytes < QUEUE_BYTES // 2 and _REQUEST.match(data)):
            if data is not None:
                self.ring.dropped += 1
                return
        elif tee.lost:
            tee.lost = False
        elif self._bytes + size > QUEUE_BYTES:
            self.ring.dropped += 1
            tee.lost = True
            tee.waiting += 1
            self._queue.append((tee, -1, self._steady(), b""))
            return
        tee.waiting += 1
        self._queue.append((tee, side, self._steady(), data))
        self._bytes += size
        if self._next is None:
            self._next = self._loop.call_later(PAUSE, self._read_slice)

    def read_now(self, tee: Tee, side: int, data: bytes | None) -> None:
        """Read a piece at once, whatever waits: of a connection of prx's own, which nothing may be missing of."""
        tee.take(side, self._steady(), data)

    def give_up(self, tee: Tee, why: str) -> None:
        """End what is under way of a connection of prx's own, with a note: it is read no further."""
        tee.give_up(self._steady(), why)

    def ahead(self) -> float:
        """Return what the wall clock is ahead of the steady one."""
        return self._wall() - self._steady()

    def read_all(self) -> None:
        """Read what waits."""
        while self._queue:
            self._read_one()

    def close(self) -> None:
        """Read nothing more."""
        if self._next is not None:
            self._next.cancel()
        self._queue.clear()

    def _read_slice(self) -> None:
        end = self._loop.time() + SLICE
        while self._queue:
            self._read_one()
            if self._loop.time() >= end:
                break
        self._next = self._loop.call_soon(self._read_slice) if self._queue else None

    def _read_one(self) -> None:
        tee, side, at, data = self._queue.popleft()
        tee.waiting -= 1
        self._bytes -= len(data or b"")
        try:
            tee.take(side, at, data)
        except Exception as error:  # noqa: BLE001 - a mistake in reading a copy must not cost what passes
            tee.give_up(at, f"it could not be read: {type(error).__name__}")


class Tee:
    """The copy of one connection. `lost`: a piece was dropped; it is read again from the next request on.

    waiting: pieces that were taken and are not read yet. own, replay_of: what its exchanges are if prx itself sends them.
    """

    def __init__(
        self, copier: Copier, *, on_idle: Callable[[], None] = lambda: None, own: bool = False, replay_of: int = 0
    ) -> None:
        self.lost = False
        self.waiting = 0
        self._copier, self._ring = copier, copier.ring
        self._on_idle = on_idle
        self._own, self._replay_of = own, replay_of
        self.first: Exchange | None = None  # of this connection
        self._closed = 0
        self._begin()

    def _begin(self) -> None:
        self._framings = (Framing(of_requests=True), Framing(of_requests=False))
        self._open: deque[Exchange] = deque()
        self._sockets: list[WebSocketReader | None] = [None, None]
        self._upgraded = self._is_stream = False
        self._event = bytearray()
        self._asked: Exchange | None = None
        self._last: Exchange | None = None

    @property
    def idle(self) -> bool:
        """Return whether nothing is under way, as far as it is known."""
        return not self._open and not self.lost and self._framings[0].between

    @property
    def is_up_to_date(self) -> bool:
        """Return whether all of the copy so far was read."""
        return not self.waiting

    def take(self, side: int, at: float, data: bytes | None) -> None:
        """Take a piece of one side; None: it has ended; -1: pieces are missing here."""
        if side < 0:
            self.give_up(at, "the copy was dropped: it came too fast")
            return
        for piece in self._framings[side].close() if data is None else self._framings[side].feed(data):
            (self._on_request if side == VISITOR else self._on_answer)(at, piece)
        if data is None:
            self._closed |= 1 << side
            if side == SERVICE or self._closed == 3:
                self._end_all(
                    at, "" if self._upgraded else f"the {_SENDERS[side]} ended the connection before the answer was whole"
                )

    def give_up(self, at: float, why: str) -> None:
        """End what is under way with a note, and begin again."""
        self._end_all(at, why)
        self._begin()

    def _end_all(self, at: float, why: str) -> None:
        for exchange in self._open:
            exchange.note(why)
            exchange.ended = at
            self._ring.finish(exchange)
        self._open.clear()

    def _new(self, at: float) -> Exchange:
        exchange = self._ring.new(self._copier.tunnel, at)
        exchange.ahead = self._copier.ahead()
        self._open.append(exchange)
        self.first = self.first or exchange
        return exchange

    # ------------------------------------------------------------------ the two sides

    def _on_request(self, at: float, piece: Piece) -> None:
        if isinstance(piece, Head):
            self._asked = exchange = self._new(at)
            exchange.request = piece
            exchange.own, exchange.replay_of = self._own or is_own(piece, self._copier.own), self._replay_of
            for doubt in piece.doubts:
                exchange.note(f"request: {doubt}")
            self._framings[SERVICE].expect(piece.method)
            self._ring.weigh(exchange)
            return
        if isinstance(piece, Raw) and self._upgraded:
            self._on_message(VISITOR, at, piece.data)
            return
        exchange = self._asked or self._new(at)
        self._asked = exchange
        if isinstance(piece, End):
            exchange.request_body.whole = piece.whole
            exchange.trailers += piece.trailers
            self._asked = None
            return
        exchange.request_body.add(piece.data)
        exchange.note(f"request: {piece.why}" if isinstance(piece, Raw) and piece.why else "")
        self._ring.weigh(exchange)

    def _on_answer(self, at: float, piece: Piece) -> None:
        exchange = self._open[0] if self._open else None
        if exchange is None:
            if isinstance(piece, Raw) and self._last is not None:
                self._last.note("bytes came after the end of the answer")
            if not isinstance(piece, Head) and (self._last is not None or isinstance(piece, End) or self._upgraded):
                return
            exchange = self._new(at)
            exchange.note("an answer that no request was seen for")
        exchange.first_byte = exchange.first_byte or at
        match piece:
            case Head(status=status) if 100 <= status < 200 and status != 101:
                if len(exchange.interim) < INTERIM:
                    exchange.interim.append(status)
            case Head():
                self._on_head(exchange, piece)
                self._ring.answer(exchange)
            case Data():
                exchange.answer_body.add(piece.data)
                if self._is_stream:
                    self._on_events(exchange, at, piece.data)
            case Raw() if self._upgraded:
                self._on_message(SERVICE, at, piece.data)
            case Raw():
                exchange.answer_body.add(piece.data)
                exchange.note(f"answer: {piece.why}" if piece.why else "")
            case End():
                self._on_end(exchange, at, piece)
                return
        self._ring.weigh(exchange)

    def _on_head(self, exchange: Exchange, head: Head) -> None:
        exchange.answer = head
        for doubt in head.doubts:
            exchange.note(f"answer: {doubt}")
        kind = b"".join(head.values(b"content-type")[:1]).lower()
        self._is_stream = kind.startswith(b"text/event-stream") and not head.values(b"content-encoding")
        self._event.clear()
        asked = exchange.request
        if head.status == 101 or (asked is not None and asked.method == b"CONNECT" and 200 <= head.status < 300):
            self._upgraded = True
            exchange.request_body.whole = exchange.answer_body.whole = True
            early = self._framings[VISITOR].go_raw()
            if head.status == 101 and b"websocket" in head.words(b"upgrade"):
                self._read_websocket(head)
            if early:
                self._on_message(VISITOR, exchange.first_byte, early)

    def _read_websocket(self, head: Head) -> None:
        agreed = b",".join(head.values(b"sec-websocket-extensions")).lower()
        packed = b"permessage-deflate" in agreed
        for side, name in enumerate((b"client_no_context_takeover", b"server_no_context_takeover")):
            self._sockets[side] = WebSocketReader(packed=packed, keeps_window=name not in agreed)

    def _on_end(self, exchange: Exchange, at: float, end: End) -> None:
        exchange.answer_body.whole = end.whole
        if not end.whole:
            exchange.note("the service ended the connection before the answer was whole")
        exchange.trailers += end.trailers
        exchange.ended = at
        self._last = self._open.popleft()
        self._ring.finish(exchange)
        if self.idle:
            self._on_idle()

    # ------------------------------------------------------------------ messages

    def _on_message(self, side: int, at: float, data: bytes) -> None:
        exchange = self._open[0] if self._open else None
        if exchange is None:
            return
        (exchange.answer_body if side == SERVICE else exchange.request_body).size += len(data)
        reader = self._sockets[side]
        if reader is None:
            return
        try:
            for message in reader.feed(data):
                exchange.keep(Message(at, _SENDERS[side], message.kind, message.data, message.size))
        except UnreadableError as error:
            exchange.note(f"{_SENDERS[side]}: {error}")
            self._sockets[side] = None
        self._ring.weigh(exchange)

    def _on_events(self, exchange: Exchange, at: float, data: bytes) -> None:
        begin = max(0, len(self._event) - len(b"\r\n\r\n"))  # before it nothing ends: each byte is searched once
        self._event += data
        while (blank := _BLANK.search(self._event, begin)) is not None:
            begin = 0
            event = bytes(self._event[: blank.start()])
            del self._event[: blank.end()]
            exchange.keep(Message(at, "service", "event", event[:MESSAGE_LIMIT], len(event)))
        if len(self._event) > MESSAGE_LIMIT:
            exchange.keep(Message(at, "service", "event", bytes(self._event[:MESSAGE_LIMIT]), len(self._event)))
            self._event.clear()
