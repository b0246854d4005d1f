"""The edge's addresses: accepting connectors over TCP and TLS, slot by slot; UDP for QUIC lies beside (`QuicSlots`).

The accept loop is our own, below asyncio's servers, because faults act there: a slot that refuses has its port closed,
and one that has fallen silent takes a connection and never begins the TLS handshake.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from prx.core.shortage import RESOURCES
from prx.lab.edge.address import Place, show
from prx.lab.edge.event_hub import EventHub
from prx.lab.edge.faults.lanes import LinkFaults
from prx.lab.edge.faults.tcp_wire import Wire
from prx.lab.edge.tunnel.udp_listeners import QuicSlots
from prx.lab.events import HandshakeFailed
from prx.lab.protocol.h2.session import H2Session
from prx.lab.protocol.keepalive import probe_when_silent

_HANDSHAKE_SECONDS: Final = 10.0
_PAUSE_SECONDS: Final = 0.5  # between attempts to accept while the process has no file descriptor left
_BACKLOG: Final = 256
# After this long without an acknowledgement, of data or of a probe, a connector's machine is taken for gone. How long
# Cloudflare waits is not published; over QUIC the connector itself asks for 5 s.
GONE_AFTER: Final = 10  # seconds
_BIND_ATTEMPTS: Final = 50  # until a number is found that is free for both TCP and UDP

_log = logging.getLogger(__name__)

Serve: TypeAlias = Callable[[H2Session, int], Awaitable[None]]


class Slots:
    """All edge addresses; `serve(session, slot)` is run for each connection that has passed its handshake.

    `quic` gets a UDP socket for each, at the same number.
    """

    def __init__(
        self,
        group: asyncio.TaskGroup,
        context: ssl.SSLContext,
        hub: EventHub,
        serve: Serve,
        *,
        quic: QuicSlots,
        conditions: LinkFaults,
    ) -> None:
        self._group = group
        self._context = context
        self._hub = hub
        self._serve = serve
        self._quic = quic
        self._loop = asyncio.get_running_loop()
        self._sockets: list[socket.socket] = []
        self._places: list[Place] = []
        self._speaking = asyncio.Event()
        self._speaking.set()
        self._conditions = conditions
        self._wires: dict[Wire, None] = {}  # in the order in which they came, for chance follows it
        self._traps: list[socket.socket] = []
        self._refusing = self._swallowing = False

    @property
    def addresses(self) -> tuple[str, ...]:
        """Every slot's "HOST:PORT"; the same after a `close` and `open`."""
        return tuple(show(place) for place in self._places)

    def open(self, places: tuple[Place, ...]) -> None:
        """Listen at `places` (port 0: a free one)."""
        for slot, place in enumerate(places):
            listener, udp = _bind(place)
            self._quic.listen(udp, slot)
            self._listen(listener, slot)
        self._quic.accept(accepting=True)
        self._places = [listener.getsockname()[:2] for listener in self._sockets]

    def refuse(self, *, refusing: bool) -> None:
        """Close the ports (a dial is refused, over QUIC not answered), or open them again. Live connections go on."""
        self._refusing = refusing
        self._quic.accept(accepting=not refusing)
        self._settle()

    def swallow(self, *, swallowing: bool) -> None:
        """Answer no dial and pass no datagram, or do so again. Live connections over TCP are not touched."""
        self._swallowing = swallowing
        (self._quic.block if swallowing else self._quic.unblock)("swallow")
        self._settle()

    def end(self) -> None:
        """Close the ports for good; over QUIC, if they are shared, the connections too."""
        self._quic.accept(accepting=False)
        self._close()
        self._quic.end()

    def _settle(self) -> None:
        """Adapt the TCP ports to the present faults."""
        self._close()
        if self._swallowing:
            self._traps = [sock for place in self._places for sock in _trap(place)]
        elif not self._refusing:
            for slot, place in enumerate(self._places):
                self._listen(_listener(place), slot)

    def _close(self) -> None:
        for listener in self._sockets:
            self._loop.remove_reader(listener)
        for sock in (*self._sockets, *self._traps):
            sock.close()
        self._sockets, self._traps = [], []

    def fall_silent(self) -> None:
        """Take connections, but do not begin their handshakes."""
        self._speaking.clear()
        self._quic.block("stall")

    def speak(self) -> None:
        """End the silence, also for those who have waited."""
        self._speaking.set()
        self._quic.unblock("stall")

    def show(self, context: ssl.SSLContext) -> None:
        """Use another certificate for the handshakes to come, over TCP."""
        self._context = context

    def apply_to_wires(self) -> None:
        """Apply the present faults to every connection over TCP; on later ones they act from the start."""
        for wire in self._wires:
            wire.apply()

    def _listen(self, listener: socket.socket, slot: int) -> None:
        listener.setblocking(False)
        self._sockets.append(listener)
        self._loop.add_reader(listener, self._accept, listener, slot)

    def _accept(self, listener: socket.socket, slot: int) -> None:
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno in RESOURCES:  # it would be asked again at once, without an end
                self._loop.remove_reader(listener)
                self._loop.call_later(_PAUSE_SECONDS, self._resume, listener, slot)
            return
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        probe_when_silent(connection, idle=5, every=1, gone_after=GONE_AFTER)
        self._group.create_task(self._handshake(connection, slot), name=f"edge-connection-{slot}")

    def _resume(self, listener: socket.socket, slot: int) -> None:
        if listener in self._sockets:
            self._loop.add_reader(listener, self._accept, listener, slot)

    async def _handshake(self, connection: socket.socket, slot: int) -> None:
        session = H2Session(client=True)
        wire = Wire(session, slot, self._conditions)
        try:
            await self._speaking.wait()
            await self._loop.connect_accepted_socket(
                lambda: wire, connection, ssl=self._context, ssl_handshake_timeout=_HANDSHAKE_SECONDS
            )
        except (OSError, ssl.SSLError) as error:
            self._hub.emit(HandshakeFailed(self._hub.now(), slot, str(error) or type(error).__name__))
            connection.close()
            return
        except BaseException:
            connection.close()
            raise
        self._wires[wire] = None
        try:
            await self._serve(session, slot)
        except Exception:  # noqa: BLE001 - a mistake in serving one connector must not end the lab for all
            _log.exception("serving a connector failed")
        finally:
            del self._wires[wire]
            session.abort("the lab is closed")
            await session.wait_closed()


def _family(place: Place) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in place[0] else socket.AF_INET


def _listener(place: Place) -> socket.socket:
    return socket.create_server(place, family=_family(place), backlog=_BACKLOG)


def _trap(place: Place) -> tuple[socket.socket, socket.socket]:
    """Listen so that the kernel answers no one: the queue of those who wait to be accepted is full, and stays so (Linux)."""
    listener = socket.create_server(place, family=_family(place), backlog=0)
    filler = socket.socket(_family(place))
    filler.setblocking(False)
    filler.connect_ex(place)
    return listener, filler


def _bind(place: Place) -> tuple[socket.socket, socket.socket]:
    """Bind TCP and UDP at the same number; OSError if one that was asked for is taken."""
    for attempt in range(_BIND_ATTEMPTS):
        listener = _listener(place)
        udp = socket.socket(_family(place), socket.SOCK_DGRAM)
        try:
            udp.bind(listener.getsockname())
        except OSError as error:
            udp.close()
            listener.close()
            if place[1] or attempt == _BIND_ATTEMPTS - 1:
                raise OSError(error.errno, f"{error.strerror} (over UDP, at {show(place)})") from error
        else:
            return listener, udp
    raise AssertionError("the last attempt returns or raises")
