"""What lies between TLS and HTTP/2 on each connection to a connector: the place where faults touch bytes.

Theory of operation
-------------------
A `Wire` is the protocol of the transport below and the transport of the session above. Where no fault acts and nothing
waits, bytes pass straight through. Otherwise they wait in a `_Lane`, one for each direction, whose pump lets them go at
their time and rate, in their order. What waits inbound is bounded: above `_HELD` the transport is no longer read, so the
connector's own windows close. What waits outbound is bounded by the windows of HTTP/2.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from random import Random
from typing import Any, Final, TypeAlias, cast

from prx.edge.config import Sleep
from prx.edge.faults import Delay, DropAfter, Faults, Garble, SlowRead
from prx.protocol.h2session import H2Session

_HELD: Final = 64 * 1024
_SLICES: Final = 20  # per second, of a rate
_LINGER_RESETS: Final = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s: close with a reset

Spawn: TypeAlias = Callable[[Coroutine[Any, Any, None], str], None]


@dataclass(frozen=True)
class Conditions:
    """What wires need of their lab."""

    faults: Faults
    clock: Callable[[], float]
    sleep: Sleep
    chance: Random
    spawn: Spawn


class _Lane:
    """One direction: bytes in, the same bytes out, later."""

    def __init__(self, conditions: Conditions, deliver: Callable[[bytes], None], drained: Callable[[], None]) -> None:
        self._conditions = conditions
        self._deliver = deliver
        self._drained = drained
        self._waiting: deque[tuple[float, bytes]] = deque()
        self._pumping = False
        self._latest = 0.0
        self.delay: Delay | None = None
        self.rate: int | None = None
        self.size = 0

    def push(self, data: bytes) -> None:
        """Take bytes."""
        if self.delay is None and self.rate is None and not self._pumping:
            self._deliver(data)
            return
        due = self._conditions.clock()
        if self.delay is not None:
            due += self.delay.seconds + self._conditions.chance.uniform(0, self.delay.jitter)
        self._latest = max(self._latest, due)  # chance must not change the order
        self._waiting.append((self._latest, data))
        self.size += len(data)
        if not self._pumping:
            self._pumping = True
            self._conditions.spawn(self._pump(), "wire")

    def cut(self) -> None:
        """Drop what waits."""
        self._waiting.clear()
        self.size = 0

    async def _pump(self) -> None:
        while self._waiting:
            due, data = self._waiting[0]
            if (wait := due - self._conditions.clock()) > 0:
                await self._conditions.sleep(wait)
                continue
            await self._let_go(data)
        self._pumping = False
        self._drained()

    async def _let_go(self, data: bytes) -> None:
        """Deliver the first of what waits, in slices where there is a rate."""
        self._waiting.popleft()
        while data:
            size = len(data) if self.rate is None else max(1, self.rate // _SLICES)
            part, data = data[:size], data[size:]
            self.size = max(0, self.size - len(part))
            if self.rate is not None:
                await self._conditions.sleep(len(part) / self.rate)
            self._deliver(part)


class Wire(asyncio.Transport, asyncio.Protocol):
    """The wire under one session, at edge address number `slot`."""

    def __init__(self, session: H2Session, slot: int, conditions: Conditions) -> None:
        super().__init__()
        self._session = session
        self._slot = slot
        self._conditions = conditions
        self._below: asyncio.Transport | None = None
        self._inbound = _Lane(conditions, self._hand_up, self._read_as_needed)
        self._outbound = _Lane(conditions, self._hand_down, self._close_if_due)
        self._garble: Garble | None = None
        self._drop: DropAfter | None = None
        self._passed = 0
        self._paused_above = False
        self._paused_below = False
        self._closing = False
        self._lost = False

    # -- faults --------------------------------------------------------------------------------------------------

    def apply(self) -> None:
        """Act as the faults of now say."""
        faults = self._conditions.faults
        delay, slow = faults.active(Delay), faults.active(SlowRead)
        garble, drop = faults.active(Garble), faults.active(DropAfter)
        self._inbound.delay = self._outbound.delay = delay if delay and self._concerns(delay.slot) else None
        self._inbound.rate = slow.rate if slow and self._concerns(slow.slot) else None
        self._garble = garble if garble and self._concerns(garble.slot) else None
        drop = drop if drop and self._concerns(drop.slot) else None
        if drop is not self._drop:
            self._drop, self._passed = drop, 0
            if drop is not None and drop.seconds is not None:
                self._conditions.spawn(self._drop_later(drop, drop.seconds), "wire-drop")

    def reset(self) -> None:
        """Break the connection with a TCP reset."""
        self._session.close_reason = self._session.close_reason or "reset by a fault"
        self._socket().setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESETS)
        self.abort()

    def half_close(self) -> None:
        """End this side's direction with a TCP FIN."""
        self._socket().shutdown(socket.SHUT_WR)

    def _concerns(self, slot: int | None) -> bool:
        return slot in (None, self._slot)

    def _socket(self) -> socket.socket:
        return cast("socket.socket", self._transport.get_extra_info("socket"))

    async def _drop_later(self, drop: DropAfter, seconds: float) -> None:
        await self._conditions.sleep(seconds)
        if self._drop is drop and not self._lost:
            self._session.abort("dropped by a fault")

    def _touch(self, data: bytes) -> bytes:
        """Count bytes that pass, and change some of them."""
        self._passed += len(data)
        if self._drop is not None and self._drop.bytes is not None and self._passed > self._drop.bytes:
            self._session.abort("dropped by a fault")
        if self._garble is None:
            return data
        chance, changed = self._conditions.chance, bytearray(data)
        at = int(chance.expovariate(1 / self._garble.every))
        while at < len(changed):
            changed[at] ^= chance.randint(1, 255)
            at += 1 + int(chance.expovariate(1 / self._garble.every))
        return bytes(changed)

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
        self._inbound.push(self._touch(data))
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
        """Let the session go on."""
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
            self._outbound.push(self._touch(bytes(data)))

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
        """Say whether it is closed or about to be."""
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
        """Say when the session is held back."""
        self._transport.set_write_buffer_limits(high, low)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Give what the transport below knows."""
        return self._transport.get_extra_info(name, default)
