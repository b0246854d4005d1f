"""What lies between a UDP port and one QUIC connection to a connector: the place in which faults touch datagrams.

Theory of operation
-------------------
A `DatagramWire` is the inlet that a listener feeds and the port that a session sends through. If no fault acts,
datagrams pass straight through, as many at once as came at once. What faults mean if there are no bytes in order:

* `Delay`: datagrams wait in a lane, one for each direction, and keep their order. A lane that is full takes no more, as
  the queue of a router does, and QUIC sends again what was lost.
* `SlowRead` is a reader that is slow, not a network: datagrams are taken and acknowledged at once, but what streams
  carry is read at the rate, and flow-control credit is given only for what has been read.
* `Garble` changes frames inside the protection of 1-RTT packets. Outside of it every changed datagram would fail to
  decrypt and be dropped (RFC 9001, 5.5), so that it could not be distinguished from a lost one: that is `Lose`.
* `DropAfter`: from then on no datagram passes; neither side gets a notice, which would be a `Drop`.
* `Reset` is a stateless reset (RFC 9000, 10.3): what a server sends that has lost its memory.
* `HalfClose`: the edge goes on reading, and nothing that it sends arrives.
"""

from __future__ import annotations

from functools import partial
from typing import Final, TypeAlias

from prx.lab.edge.faults.lanes import DropTimer, Lane, LinkFaults, garbled
from prx.lab.faults import Delay, DropAfter, Garble, Lose, SlowRead
from prx.lab.protocol.quic.session import Address, QuicSession

_HELD: Final = 1024 * 1024  # bytes that may wait in one direction
_SLICES: Final = 20  # per second, of a rate

_Inbound: TypeAlias = list[tuple[bytes, Address]]
_Outbound: TypeAlias = tuple[list[bytes], Address]


class DatagramWire:
    """The wire under one session, at edge address number `slot`."""

    def __init__(self, session: QuicSession, slot: int, conditions: LinkFaults) -> None:
        self._session = session
        self._port = session.port
        session.port = self
        self._slot = slot
        self._conditions = conditions
        self._inbound: Lane[_Inbound] = Lane(conditions, self._hand_up)
        self._outbound: Lane[_Outbound] = Lane(conditions, self._hand_down)
        self._fuse = DropTimer(conditions, self._drop)
        self._lose: Lose | None = None
        self._mute = False
        self._arrived: _Inbound = []
        self._read_until = 0.0
        self.apply()

    # -- faults --------------------------------------------------------------------------------------------------

    def apply(self) -> None:
        """Act as the faults of now say."""
        conditions, slot = self._conditions, self._slot
        garble, slow = conditions.acting(Garble, slot), conditions.acting(SlowRead, slot)
        self._inbound.delay = self._outbound.delay = conditions.acting(Delay, slot)
        self._lose = conditions.acting(Lose, slot)
        self._session.alter_frames(None if garble is None else partial(garbled, every=garble.every, chance=conditions.chance))
        self._session.pace = None if slow is None else partial(self._wait_to_read, slow.rate)
        self._fuse.set(conditions.acting(DropAfter, slot))

    def reset(self) -> None:
        """Break the connection with a stateless reset."""
        self._cut()
        self._session.forsake("reset by a fault", tell=True)

    def half_close(self) -> None:
        """Drop from now on everything that the edge sends."""
        self._mute = True

    def _drop(self) -> None:
        if not self._session.closed:
            self._cut()
            self._session.forsake("dropped by a fault")

    def _cut(self) -> None:
        self._inbound.cut()
        self._outbound.cut()

    def _is_lost(self) -> bool:
        return self._lose is not None and self._conditions.chance.random() * self._lose.every < 1

    async def _wait_to_read(self, rate: int, wanted: int) -> int:
        """Wait until some of `wanted` bytes may be read, and return how many; streams that wait take turns."""
        size = min(wanted, max(1, rate // _SLICES))
        now = self._conditions.clock()
        self._read_until = max(now, self._read_until) + size / rate
        await self._conditions.sleep(self._read_until - now)
        return size

    # -- the inlet that the listener feeds ---------------------------------------------------------------------------

    def receive(self, datagram: bytes, address: Address) -> None:
        """Take a datagram of the connector; `flush` follows."""
        self._fuse.count(len(datagram))
        if not self._is_lost():
            self._arrived.append((datagram, address))

    def flush(self) -> None:
        """Pass on what has come in one turn."""
        batch, self._arrived = self._arrived, []
        if self._inbound.size <= _HELD:
            self._inbound.push(batch, sum(len(datagram) for datagram, _ in batch))

    def _hand_up(self, batch: _Inbound) -> None:
        for datagram, address in batch:
            self._session.receive(datagram, address)
        self._session.flush()

    # -- the port of the session -------------------------------------------------------------------------------------

    def send(self, datagrams: list[bytes], address: Address) -> None:
        """Take datagrams of the session."""
        size = sum(len(datagram) for datagram in datagrams)
        self._fuse.count(size)
        if self._lose is not None:
            datagrams = [datagram for datagram in datagrams if not self._is_lost()]
        if not (self._mute or self._session.closed) and self._outbound.size <= _HELD:
            self._outbound.push((datagrams, address), size)

    def _hand_down(self, outgoing: _Outbound) -> None:
        self._port.send(*outgoing)
