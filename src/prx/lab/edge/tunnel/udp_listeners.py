"""The edge's addresses over QUIC: one UDP socket beside each slot's TCP port, at the same number."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeAlias

from prx.lab.edge.event_hub import EventHub
from prx.lab.edge.faults.lanes import LinkFaults
from prx.lab.edge.faults.udp_wire import DatagramWire
from prx.lab.edge.tunnel.quic import QuicCarrier
from prx.lab.events import HandshakeFailed
from prx.lab.protocol.errors import StreamError
from prx.lab.protocol.quic.listener import Identity, QuicListener
from prx.lab.protocol.quic.session import QuicSession

_log = logging.getLogger(__name__)

Serve: TypeAlias = Callable[[QuicCarrier, DatagramWire, int], Awaitable[None]]


class QuicSlots:
    """All UDP ports; `serve(carrier, wire, slot)` is run for each connection that has passed its handshake.

    A UDP port is shared by those who are connected and those who dial. So refusing and falling silent mean what is done
    with packets, and the sockets stay open until `end`.
    """

    def __init__(
        self, group: asyncio.TaskGroup, identity: Identity, hub: EventHub, serve: Serve, *, conditions: LinkFaults
    ) -> None:
        self._group = group
        self._identity = identity
        self._hub = hub
        self._serve = serve
        self._conditions = conditions
        self._wires: dict[DatagramWire, None] = {}  # in the order in which they came, for chance follows it
        self._listeners: list[QuicListener] = []
        self._reasons: set[str] = set()  # why no datagram passes

    def listen(self, sock: socket.socket, slot: int) -> None:
        """Take connections at a bound socket."""
        self._listeners.append(QuicListener(sock, self._identity, partial(self._accept, slot)))

    def show(self, identity: Identity) -> None:
        """Show another certificate to those who dial."""
        for listener in self._listeners:
            listener.show(identity)

    def accept(self, *, accepting: bool) -> None:
        """Answer those who dial, or drop their packets; live connections go on."""
        for listener in self._listeners:
            listener.accepting = accepting

    def block(self, reason: str) -> None:
        """Drop every datagram in both directions, for as long as there is a reason."""
        self._reasons.add(reason)
        self._apply()

    def unblock(self, reason: str) -> None:
        """Take a reason back."""
        self._reasons.discard(reason)
        self._apply()

    def apply_to_wires(self) -> None:
        """Apply the present faults to every connection; on later ones they act from the start."""
        for wire in self._wires:
            wire.apply()

    def end(self) -> None:
        """Abort every connection and close the sockets."""
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()

    def _apply(self) -> None:
        for listener in self._listeners:
            listener.block(blocked=bool(self._reasons))

    def _accept(self, slot: int, session: QuicSession) -> DatagramWire:
        carrier = QuicCarrier(session)  # at once, for it takes the streams that the connector opens
        wire = DatagramWire(session, slot, self._conditions)
        self._wires[wire] = None
        self._group.create_task(self._run(session, carrier, wire, slot), name=f"edge-quic-{slot}")
        return wire

    async def _run(self, session: QuicSession, carrier: QuicCarrier, wire: DatagramWire, slot: int) -> None:
        try:
            if await self._passes_handshake(session, slot):
                await self._serve(carrier, wire, slot)
        except Exception:  # noqa: BLE001 - a mistake in serving one connector must not end the lab for all
            _log.exception("serving a connector failed")
        finally:
            del self._wires[wire]
            session.abort("the lab is closed")

    async def _passes_handshake(self, session: QuicSession, slot: int) -> bool:
        try:
            await session.wait_ready()
        except StreamError as error:
            self._hub.emit(HandshakeFailed(self._hub.now(), slot, str(error)))
            return False
        return True
