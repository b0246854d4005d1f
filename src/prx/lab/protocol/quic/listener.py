"""Accepting QUIC connections at one UDP port, and finding the session of each packet by its connection id."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from aioquic.buffer import Buffer  # type: ignore[attr-defined]  # public, though not by __all__
from aioquic.quic.packet import (
    QuicHeader,
    QuicPacketType,
    QuicProtocolVersion,
    encode_quic_version_negotiation,
    pull_quic_header,
)
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.x509 import Certificate

from prx.lab.protocol.quic.connection import CID_LENGTH, ProxyQuicConnection, configuration
from prx.lab.protocol.quic.session import QuicSession
from prx.lab.protocol.quic.udp import Address, UdpPort

MAX_SESSIONS: Final = 4096  # at one port; further connections are not answered
_SMALLEST_INITIAL: Final = 1200  # bytes of a datagram with an Initial packet (RFC 9000, 14.1)


@dataclass(frozen=True, slots=True)
class Identity:
    """A server's certificate and its key."""

    certificate: Certificate
    key: EllipticCurvePrivateKey


class Inlet(Protocol):
    """What takes the datagrams of one session: the session itself, or what lies before it."""

    def receive(self, datagram: bytes, address: Address) -> None:
        """Take a datagram; `flush` must follow, once for several."""

    def flush(self) -> None:
        """Act on what has been taken."""


class QuicListener:
    """A bound UDP socket that sessions live on; `accept(session)` is called for each at its first packet.

    It returns what takes the session's datagrams, None for the session itself. A session that is accepted has yet to pass
    its handshake: `await session.wait_ready()`.
    """

    def __init__(self, sock: socket.socket, identity: Identity, accept: Callable[[QuicSession], Inlet | None]) -> None:
        self._configuration = configuration(client=False)
        self.show(identity)
        self._accept = accept
        self._routes: dict[bytes, Inlet] = {}
        self._port = UdpPort(sock, self._receive)
        self._sessions: set[QuicSession] = set()
        self.accepting = True

    @property
    def port(self) -> int:
        """The number of the UDP port."""
        return int(self._port.address[1])

    def show(self, identity: Identity) -> None:
        """Show this certificate to those who connect from now on."""
        self._configuration.certificate = identity.certificate
        self._configuration.private_key = identity.key

    def block(self, *, blocked: bool) -> None:
        """Drop every datagram in both directions, or no longer."""
        self._port.blocked = blocked

    def close(self) -> None:
        """Abort every session and close the socket."""
        for session in list(self._sessions):
            session.abort("the listener is closed")
        self._port.close()

    # -- packets -------------------------------------------------------------------------------------------------

    def _receive(self, batch: list[tuple[bytes, Address]]) -> None:
        touched: dict[Inlet, None] = {}
        for datagram, address in batch:
            inlet = self._find(datagram, address)
            if inlet is not None:
                inlet.receive(datagram, address)
                touched[inlet] = None
        for inlet in touched:
            inlet.flush()

    def _find(self, datagram: bytes, address: Address) -> Inlet | None:
        """Return the session that a datagram is for, a new one if it begins a connection."""
        if not datagram:
            return None
        if not datagram[0] & 0x80:  # a short header: the connection id follows at once (RFC 9000, 17.3)
            return self._routes.get(datagram[1 : 1 + CID_LENGTH])
        try:
            header = pull_quic_header(Buffer(data=datagram), host_cid_length=CID_LENGTH)
        except ValueError:
            return None
        inlet = self._routes.get(header.destination_cid)
        if inlet is None and self.accepting and len(datagram) >= _SMALLEST_INITIAL:
            inlet = self._answer(header, address)
        return inlet

    def _answer(self, header: QuicHeader, address: Address) -> Inlet | None:
        if header.packet_type is QuicPacketType.VERSION_NEGOTIATION:
            return None
        if header.version != QuicProtocolVersion.VERSION_1:
            answer = encode_quic_version_negotiation(
                source_cid=header.destination_cid,
                destination_cid=header.source_cid,
                supported_versions=[QuicProtocolVersion.VERSION_1],
            )
            self._port.send([answer], address)
            return None
        if header.packet_type is not QuicPacketType.INITIAL or len(self._sessions) >= MAX_SESSIONS:
            return None
        return self._new_session(header.destination_cid)

    def _new_session(self, destination: bytes) -> Inlet:
        quic = ProxyQuicConnection(configuration=self._configuration, original_destination_connection_id=destination)
        routes = {destination, quic.host_cid}
        session = QuicSession(quic, self._port, on_route=lambda route, opened: self._route(inlet, routes, route, opened=opened))
        session.on_lost = partial(self._lost, routes)
        self._sessions.add(session)
        inlet = self._accept(session) or session
        for route in routes:
            self._routes[route] = inlet
        return inlet

    # -- routes --------------------------------------------------------------------------------------------------

    def _route(self, inlet: Inlet, routes: set[bytes], route: bytes, *, opened: bool) -> None:
        if opened:
            routes.add(route)
            self._routes[route] = inlet
        else:
            routes.discard(route)
            self._routes.pop(route, None)

    def _lost(self, routes: set[bytes], session: QuicSession) -> None:
        self._sessions.discard(session)
        for route in routes:
            self._routes.pop(route, None)
