"""A visitor's WebSocket as a service that speaks TCP sees it: binary messages are its bytes. Pure: bytes in, bytes out.

Text messages are passed over, pings are answered, a close is answered with its own code, and whatever breaks the protocol
ends it without a word. Observed with cloudflared 2026.8.2, with one departure: that one passes a service only the first 16 KiB
of a longer message, and this one all of it.
"""

from __future__ import annotations

from typing import Final

from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping
from wsproto.frame_protocol import FrameProtocol

_WRITER: Final = FrameProtocol(client=False, extensions=[])  # whole messages leave no state in it

PING: Final = bytes(_WRITER.ping())


class FrameError(ValueError):
    """The visitor broke the protocol."""


def message(payload: bytes) -> bytes:
    """Return one binary message."""
    return bytes(_WRITER.send_data(payload, fin=True))


class VisitorFrames:
    """A visitor's frames, taken apart; `closed` is true after a close frame."""

    def __init__(self) -> None:
        self.closed = False
        self._connection = Connection(ConnectionType.SERVER)
        self._replies = bytearray()

    def take_replies(self) -> bytes:
        """Return what must be sent back, once."""
        replies, self._replies = bytes(self._replies), bytearray()
        return replies

    def feed(self, data: bytes) -> bytes:
        """Return the bytes of binary messages that are among these, as far as they have come. Raises FrameError."""
        self._connection.receive_data(data)
        payload = bytearray()
        for event in self._connection.events():
            match event:
                case BytesMessage(data=part):
                    payload += part
                case Ping():
                    self._replies += self._connection.send(event.response())
                case CloseConnection():
                    self._close(event)
                    break  # nothing behind it counts
        return bytes(payload)

    def _close(self, event: CloseConnection) -> None:
        if self._connection.state is not ConnectionState.REMOTE_CLOSING:  # no close frame came, but something that is none
            raise FrameError(event.reason)
        self.closed = True
        self._replies += self._connection.send(CloseConnection(event.code))
