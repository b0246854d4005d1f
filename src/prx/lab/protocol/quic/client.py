"""Dialling a QUIC edge: the connector's side."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

from prx.lab.protocol.errors import SessionClosedError
from prx.lab.protocol.quic.connection import Ending, ProxyQuicConnection, configuration
from prx.lab.protocol.quic.session import QuicSession
from prx.lab.protocol.quic.stream import QuicStream
from prx.lab.protocol.quic.udp import Address, UdpPort

SERVER_NAME = "quic.cftunnel.com"  # asked for by cloudflared 2026.8.2
KEEP_ALIVE_SECONDS = 1.0  # as cloudflared 2026.8.2 does


class HandshakeError(SessionClosedError):
    """The handshake failed; `ending` says how, if packets said so."""

    def __init__(self, message: str, ending: Ending | None) -> None:
        super().__init__(message)
        self.ending = ending


async def dial(
    host: str,
    port: int,
    *,
    ca_file: Path | None = None,
    ca_data: bytes | None = None,
    server_name: str = SERVER_NAME,
    on_stream: Callable[[QuicStream], None] | None = None,
    keep_alive: float | None = KEEP_ALIVE_SECONDS,
    timeout: float = 5.0,
) -> QuicSession:
    """Connect and pass the handshake; the socket closes with the session.

    `ca_file` or `ca_data` (PEM) replace the system's roots. OSError if the name does not resolve, TimeoutError after
    `timeout` seconds without an answer, HandshakeError if the edge refuses or its certificate is not accepted.
    """
    loop = asyncio.get_running_loop()
    family, kind, proto, _, address = (await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM))[0]
    settings = configuration(client=True)
    settings.server_name = server_name
    settings.verify_mode = ssl.CERT_REQUIRED
    settings.load_verify_locations(cafile=None if ca_file is None else str(ca_file), cadata=ca_data)
    quic = ProxyQuicConnection(configuration=settings)
    sock = _bound_socket(family, kind, proto)
    session: QuicSession

    def receive(batch: list[tuple[bytes, Address]]) -> None:
        for datagram, source in batch:
            session.receive(datagram, source)
        session.flush()

    udp = UdpPort(sock, receive)
    session = QuicSession(quic, udp, on_stream=on_stream, on_lost=lambda _: udp.close(), keep_alive=keep_alive)
    try:
        quic.connect(address, loop.time())
        session.flush()
        async with asyncio.timeout(timeout):
            await session.wait_ready()
    except SessionClosedError as error:
        if session.ending is not None and session.ending.timed_out:  # QUIC's own time-out may come first
            raise TimeoutError(str(error)) from error
        raise HandshakeError(str(error), session.ending) from error
    except BaseException:
        session.abort("the handshake was given up")
        raise
    return session


def _bound_socket(family: int, kind: int, proto: int) -> socket.socket:
    """Return a socket with a port of its own, on every address of its family."""
    sock = socket.socket(family, kind, proto)
    try:
        sock.bind(("::" if family == socket.AF_INET6 else "", 0))
    except OSError:
        sock.close()
        raise
    return sock


__all__ = ["KEEP_ALIVE_SECONDS", "SERVER_NAME", "HandshakeError", "dial"]
