"""Carry bytes between the connector and the service: forward first, then hand over a copy.

Theory of operation. Each connection of the connector is paired with one to the service, which is opened at once. Until it
stands nothing is read. Then whatever comes is written to the other side, unchanged (but for headers of prx's own names, which
only prx may send: `prx.traffic.own`), before anything else is done with it.
Back-pressure: a side whose peer takes nothing more is not read. The end of one direction (half-close) and a reset are passed
on as what they are. An https service is spoken TLS with by the relay, with the same trust as the connector would have: the
connector speaks plainly to the relay, on loopback.

A refused service is a reset for the connector, which answers its visitor 502, as it does without a relay.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from prx.traffic.own import OwnHeaders
from prx.traffic.tee import SERVICE, VISITOR, Tee

if TYPE_CHECKING:
    from prx.traffic.relay import Relay

HIGH_WATER: Final = 256 * 1024  # bytes that wait for a side before its peer is no longer read
CONNECT_SECONDS: Final = 30.0  # as cloudflared waits for a service
_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends a reset


class Side(asyncio.BufferedProtocol):
    """One end of a pair; `number` is VISITOR (towards the connector) or SERVICE.

    All sides of a relay read into one buffer: what is read is handed on before anything else is, so a piece costs an object of
    its own size and no more (asyncio's own reader makes one of 256 KiB for each, and shrinks it).
    """

    __slots__ = ("ended", "number", "pair", "peer", "reading", "transport")

    def __init__(self, pair: Pair, number: int) -> None:
        self.pair, self.number = pair, number
        self.peer: Side
        self.transport: asyncio.Transport | None = None
        self.ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; the connector's side waits for the service."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.set_write_buffer_limits(high=HIGH_WATER)
        self.pair.made(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where to read to."""
        return self.pair.relay.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Take what was read."""
        data, pair = bytes(self.pair.relay.buffer[:nbytes]), self.pair
        if pair.expired and self.number == VISITOR and pair.own.is_between:
            pair.move(data)
        elif pair.stale and self.number == VISITOR and pair.begins_request():
            pair.change(data)
        else:
            self.data_received(data)

    @property
    def is_between(self) -> bool:
        """Return whether nothing of a request is held here."""
        return True

    def data_received(self, data: bytes) -> None:
        """Forward, then copy."""
        peer, pair = self.peer.transport, self.pair
        if self.number == VISITOR:
            passed = pair.own.to_service(data)
        else:
            passed = data
            pair.own.from_service(data)
        if peer is not None and passed:
            peer.write(passed)
        pair.copier.put(pair.tee, self.number, data)

    def eof_received(self) -> bool:
        """Pass the end of this direction on; the other one goes on."""
        self.ended = True
        self.pair.copier.put(self.pair.tee, self.number, None)
        peer = self.peer.transport
        if peer is not None and self.number == VISITOR and (rest := self.pair.own.end()):
            peer.write(rest)
        if peer is None or self.peer.ended:
            self.pair.close()
        elif peer.can_write_eof():
            with suppress(OSError, RuntimeError):
                peer.write_eof()
        else:  # TLS has no half of a connection to close
            self.pair.close()
        return self.transport is not None and self.transport.can_write_eof()

    def detach(self) -> None:
        """Release this side without telling the other one."""
        transport, self.transport = self.transport, None
        if transport is not None:
            transport.abort()

    def pause_writing(self) -> None:
        """Stop reading for a side whose buffer is full."""
        if self.peer.transport is not None:
            self.peer.transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on reading."""
        if self.peer.transport is not None and not self.peer.transport.is_closing():
            self.peer.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        """Close the other side as this one was closed."""
        if self.transport is None:  # it was detached
            return
        self.transport = None
        if not self.ended:
            self.ended = True
            self.pair.copier.put(self.pair.tee, self.number, None)
        self.pair.lost(self, broken=error is not None)


class Pair:
    """A connection of the connector, and its one to the service.

    stale: the service is another one now. expired: no request may begin here any more; another pair takes the connection then.
    """

    def __init__(self, relay: Relay) -> None:
        self.relay, self.copier = relay, relay.copier
        self.tee = Tee(relay.copier, on_idle=self.on_idle)
        self.own = OwnHeaders()
        self.visitor, self.service = self._visitor(), self._service()
        self.visitor.peer, self.service.peer = self.service, self.visitor
        self.stale = self.expired = False
        self._unread = b""  # of a request that came while the connection to another service was opened
        self._connecting: asyncio.Task[None] | None = None

    def _visitor(self) -> Side:
        return Side(self, VISITOR)

    def _service(self) -> Side:
        return Side(self, SERVICE)

    def made(self, side: Side) -> None:
        """Take in that a side stands."""
        if side is self.visitor and side.transport is not None:
            self.relay.pairs.add(self)
            side.transport.pause_reading()
            if self.relay.has_expired(self):  # since this was made, a moment ago
                self.move()
            else:
                self.connect()
        else:
            self._connecting = None
            self.read_on()

    def read_on(self) -> None:
        """Read what the visitor sends, from what was read before the service could be asked."""
        if self.visitor.transport is not None:
            self.visitor.transport.resume_reading()
            unread, self._unread = self._unread, b""
            if unread:
                self.visitor.data_received(unread)

    def connect(self) -> None:
        """Open the connection to the service, for a request that has yet to be read."""
        self.dial()

    def dial(self) -> None:
        """Open the connection to the service."""
        self._connecting = self.relay.spawn(self._connect())

    async def _connect(self) -> None:
        target = self.relay.target
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                transport, _ = await asyncio.get_running_loop().create_connection(
                    lambda: self.service,
                    target.host,
                    target.port,
                    ssl=target.context(),
                    server_hostname=(target.server_name or target.host) if target.tls else None,
                )
        except Exception as error:  # noqa: BLE001 - whatever the reason, the visitor waits for an end
            self.failed(error)
            return
        if self.visitor.transport is None:
            transport.abort()

    def failed(self, error: Exception) -> None:
        """Take in that the service cannot be reached."""
        self._connecting = None
        self.relay.on_refused(error)
        self.reset(self.visitor)

    def lost(self, side: Side, *, broken: bool) -> None:
        """Take in that a side is gone."""
        if side is self.visitor:
            self.relay.pairs.discard(self)
            if self._connecting is not None:
                self._connecting.cancel()
        other = side.peer
        if other.transport is not None:
            self.reset(other) if broken else other.transport.close()

    def close(self) -> None:
        """Close both sides, once everything is written."""
        for side in (self.visitor, self.service):
            if side.transport is not None:
                side.transport.close()

    def abort(self) -> None:
        """Close both sides at once."""
        for side in (self.visitor, self.service):
            if side.transport is not None:
                side.transport.abort()

    def reset(self, side: Side) -> None:
        """Break a side as a reset does."""
        if side.transport is not None:
            sock = side.transport.get_extra_info("socket")
            with suppress(OSError, AttributeError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            side.transport.abort()

    # ------------------------------------------------------------------ another service

    def retire(self) -> None:
        """Take in that the service is another one now: what is under way ends at the old one, what begins goes to the new.

        The visitor's side stays: closing it would break a request that is on its way already.
        """
        if self._connecting is not None:  # nothing is under way yet
            self._connecting.cancel()
            self._leave()
            self.dial()
        elif self.service.transport is not None:
            self.stale = True
            self.on_idle()

    def expire(self) -> None:
        """Take in that requests are judged from now on, and here they are not: what is under way ends here."""
        self.expired = True
        if self._connecting is not None:  # nothing is under way yet
            self.move()
            return
        self.copier.read_all()
        self.on_idle()

    def on_idle(self) -> None:
        """Take in that nothing is under way, as far as the copy was read: the time to leave a service that was replaced."""
        if self.expired and self.tee.is_up_to_date and self._is_between:
            self.move()
            return
        if self.stale and self.tee.is_up_to_date and self._is_between:
            self.service.detach()
            if self.visitor.transport is not None:  # it may have waited for a service that answered before it had read all
                self.visitor.transport.resume_reading()

    def move(self, data: bytes = b"") -> None:
        """Have a pair such as the relay makes now take over the connection, with `data` of it, which begins a request.

        To close it instead would break a request that is on its way already: a connector does not send every one again.
        """
        transport = self.visitor.transport
        if transport is None or self.visitor.ended or self.service.ended:
            self.close()
            return
        if self._connecting is not None:
            self._connecting.cancel()
        self._leave()
        self.copier.put(self.tee, VISITOR, None)
        self.visitor.transport = None
        self.relay.pairs.discard(self)
        successor = self.relay.pair()
        successor._unread = self._unread + data  # noqa: SLF001 - of the same class
        transport.set_protocol(successor.visitor)
        successor.visitor.connection_made(transport)

    def begins_request(self) -> bool:
        """Return whether what the visitor sends now begins a request."""
        if self.service.transport is None:  # it was left
            return True
        self.copier.read_all()
        return self._is_between

    def change(self, data: bytes) -> None:
        """Take a request, which begins with `data`, to the service that is the one now."""
        self.stale = False
        self._leave()
        self._unread = data
        if self.visitor.transport is not None:
            self.visitor.transport.pause_reading()
        self.connect()

    @property
    def _is_between(self) -> bool:
        return self.tee.idle and self.visitor.is_between

    def _leave(self) -> None:
        self.service.detach()
        self.service = self._service()  # what its former connection still reports is no concern of the next one
        self.service.peer, self.visitor.peer = self.visitor, self.service
