"""What lies between TLS and HTTP/2 on each connection to a connector: the place in which faults touch bytes.

Theory of operation
-------------------
A `Wire` is the protocol of the transport below and the transport of the session above. If no fault acts and nothing
waits, bytes pass straight through. Otherwise they wait in a lane, one for each direction, whose pump lets them go at
their time and rate, in their order. What waits inbound is bounded: above `_HELD` the transport is no longer read, so the
connector's own windows close. What waits outbound is bounded by the windows of HTTP/2.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any, Final, cast

from prx.lab.edge.faults.lanes import DropTimer, Lane, LinkFaults, garbled
from prx.lab.faults import Delay, DropAfter, Garble, SlowRead
from prx.lab.protocol.h2.session import H2Session

_HELD: Final = 64 * 1024
_SLICES: Final = 20  # per second, of a rate
_LINGER_RESETS: Final = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s: close with a reset


class _ByteLane(Lane[bytes]):
    """A lane that may also have a rate, in bytes per second."""

    rate: int | None = None

    @property
    def straight(self) -> bool:
        """Return whether nothing has to wait."""
        return super().straight and self.rate is None

    async def let_go(self, item: bytes, size: int) -> None:
        """Deliver bytes, in slices if there is a rate."""
        while item:
            size = len(item) if self.rate is None else max(1, self.rate // _SLICES)
            part, item = item[:size], item[size:]
            self.account(len(part))
            if self.rate is not None:
                await self._conditions.sleep(len(part) / self.rate)
            self._deliver(part)


class Wire(asyncio.Transport, asyncio.Protocol):
    """The wire under one session, at edge address number `slot`."""

    def __init__(self, session: H2Session, slot: int, conditions: LinkFaults) -> None:
        super().__init__()
        self._session = session
        self._slot = slot
        self._conditions = conditions
        self._below: asyncio.Transport | None = None
        self._inbound = _ByteLane(conditions, self._hand_up, self._read_as_needed)
        self._outbound = _ByteLane(conditions, self._hand_down, self._close_if_due)
        self._garble: Garble | None = None
        self._fuse = DropTimer(conditions, self._drop)
        self._paused_above = False
        self._paused_below = False
        self._closing = False
        self._lost = False

    # -- faults --------------------------------------------------------------------------------------------------

    def apply(self) -> None:
        """Act as the faults of now say."""
        slow = self._conditions.acting(SlowRead, self._slot)
        self._inbound.delay = self._outbound.delay = self._conditions.acting(Delay, self._slot)
        self._inbound.rate = None if slow is None else slow.rate
        self._garble = self._conditions.acting(Garble, self._slot)
        self._fuse.set(self._conditions.acting(DropAfter, self._slot))

    def reset(self) -> None:
        """Break the connection with a TCP reset."""
        self._session.close_reason = self._session.close_reason or "reset by a fault"
        self._socket().setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESETS)
        self.abort()

    def half_close(self) -> None:
        """End this side's direction with a TCP FIN."""
        self._socket().shutdown(socket.SHUT_WR)

    def _socket(self) -> socket.socket:
        return cast("socket.socket", self._transport.get_extra_info("socket"))

    def _drop(self) -> None:
        if not self._lost:
            self._session.abort("dropped by a fault")

    def _touch(self, data: bytes) -> bytes:
        """Count bytes that pass, and change some of them."""
        self._fuse.count(len(data))
        return data if self._garble is None else garbled(data, self._garble.every, self._conditions.chance)

    # -- the protocol of the transport below -----------------------------------------------------------------------

    @property
    def _transport(self) -> asyncio.Transport:
        assert self._below is not None, "nothing is asked of a wire before its transport is there"
        return self._below

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._below = cast("asyncio.Transport", transport)
        self.apply()
        self._session.connection_made(self)

    def data_received(self, data: bytes) -> None:
        """Take bytes of the connector."""
        self._inbound.push(self._touch(data), len(data))
        if self._inbound.size > _HELD:
            self._read_as_needed()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._lost = True
        self._inbound.cut()
        self._outbound.cut()
        self._session.connection_lost(exc)

    def pause_writing(self) -> None:
        """Hold the session back."""
        self._session.pause_writing()

    def resume_writing(self) -> None:
        """Resume the session."""
        self._session.resume_writing()

    def _hand_up(self, data: bytes) -> None:
        if not self._lost:
            self._session.data_received(data)
            self._read_as_needed()

    def _read_as_needed(self) -> None:
        wanted = self._paused_above or self._inbound.size > _HELD
        if wanted is self._paused_below or self._transport.is_closing():
            return
        self._paused_below = wanted
        if wanted:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    # -- the transport of the session above ------------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take bytes of the session."""
        if not self._lost:
            self._outbound.push(self._touch(bytes(data)), len(data))

    def _hand_down(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)

    def close(self) -> None:
        """Close once everything is sent."""
        self._closing = True
        self._close_if_due()

    def _close_if_due(self) -> None:
        if self._closing and not self._outbound.size:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._closing = True
        self._outbound.cut()
        self._transport.abort()

    def is_closing(self) -> bool:
        """Return whether it is closed or about to be."""
        return self._closing or self._transport.is_closing()

    def pause_reading(self) -> None:
        """Read no more for the session's sake."""
        self._paused_above = True
        self._read_as_needed()

    def resume_reading(self) -> None:
        """Read again."""
        self._paused_above = False
        self._read_as_needed()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set when the session is held back."""
        self._transport.set_write_buffer_limits(high, low)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what the transport below knows."""
        return self._transport.get_extra_info(name, default)
