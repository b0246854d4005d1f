"""Connections as they come: each opens a control stream, on which it is registered, and stays until that ends."""

from __future__ import annotations

from typing import cast

from prx.lab.edge.carrier import TunnelConnection
from prx.lab.edge.faults.tcp_wire import Wire
from prx.lab.edge.faults.udp_wire import DatagramWire
from prx.lab.edge.injector import Breakable
from prx.lab.edge.tunnel.http2 import Http2Connection
from prx.lab.edge.tunnel.quic import QuicCarrier
from prx.lab.edge.tunnel.registrar import ControlStream, Registrar
from prx.lab.protocol.errors import ProtocolError
from prx.lab.protocol.h2.session import H2Session


class Arrivals:
    """Hand what comes in to `registrar`; know the wire of every connection that it serves."""

    def __init__(self, registrar: Registrar) -> None:
        self._registrar = registrar
        self._wires: dict[TunnelConnection, Breakable] = {}

    def wire_of(self, carrier: TunnelConnection) -> Breakable:
        """Return the wire of a connection that is served."""
        return self._wires[carrier]

    async def serve_http2(self, session: H2Session, slot: int) -> None:
        """Serve a connection over HTTP/2 that came to edge address number `slot`."""
        carrier = Http2Connection(session)
        try:
            stream = await carrier.open_control_stream()
        except ProtocolError:
            return  # gone right after the handshake, as a port probe is
        await self._register(stream, carrier, cast("Wire", session.transport), slot)

    async def serve_quic(self, carrier: QuicCarrier, wire: DatagramWire, slot: int) -> None:
        """Serve a connection over QUIC that came to edge address number `slot`."""
        try:
            stream = await carrier.accept_control_stream()
        except ProtocolError:
            return
        await self._register(stream, carrier, wire, slot)

    async def _register(self, stream: ControlStream, carrier: TunnelConnection, wire: Breakable, slot: int) -> None:
        self._wires[carrier] = wire
        try:
            await self._registrar.serve(stream, carrier, slot)
        finally:
            del self._wires[carrier]
