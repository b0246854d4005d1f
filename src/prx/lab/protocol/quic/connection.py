"""`aioquic.quic.connection.QuicConnection`, with the departures that a tunnel needs.

aioquic offers no hook for any of them, so methods that it calls private are overridden here, and nowhere else:

* Windows move as data are read. aioquic doubles them as data arrive, which bounds nothing.
* Datagrams become as large as the peer takes them once the handshake is over, if both ends are on this machine.
* Congestion control is made for the loopback: no pacing and no slow start, since there is no queue to spare between two
  processes; packets are lost only if a socket's buffer overflows.
* The server's side of the key exchange also knows X25519MLKEM768 (`prx.lab.protocol.quic.tls`).
* How the connection ended can be asked for at once; aioquic reports it only after the closing period.
* Stateless resets (RFC 9000, 10.3) can be made and are recognised; aioquic only hands out their tokens.
* Frames can be changed inside their protection, for faults.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, cast

from aioquic.buffer import Buffer  # type: ignore[attr-defined]  # public, though not by __all__
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.congestion.base import QuicCongestionControl, register_congestion_control
from aioquic.quic.connection import MAX_STREAM_DATA_FRAME_CAPACITY, QuicConnection, QuicConnectionState
from aioquic.quic.crypto import CryptoPair
from aioquic.quic.packet import QuicFrameType, QuicProtocolVersion, pull_quic_transport_parameters
from aioquic.quic.packet_builder import QuicPacketBuilder, QuicSentPacket
from aioquic.quic.recovery import QuicPacketPacer, QuicPacketSpace
from aioquic.quic.stream import QuicStream
from aioquic.tls import Epoch

from prx.core.hosts import is_loopback
from prx.lab.protocol.quic.tls import HybridContext

ALPN: Final = "argotunnel"  # asked for by cloudflared 2026.8.2
IDLE_SECONDS: Final = 5.0  # cloudflared 2026.8.2's own; the smaller of both sides' counts
STREAM_WINDOW: Final = 1024 * 1024
SESSION_WINDOW: Final = 16 * 1024 * 1024
CID_LENGTH: Final = 8

_TLS_ALERTS: Final = range(0x100, 0x200)  # transport error codes that hold an alert (RFC 9001, 4.8)
_MAX_DATAGRAM: Final = 16_000  # aioquic writes the length of a frame as two bytes, so below 16,384
_MAX_DATAGRAM_FRAME: Final = 65_536
_CONGESTION: Final = "prx-loopback"
_WINDOW_MIN: Final = 64 * 1024
_WINDOW_MAX: Final = 512 * 1024
_RESET_PADDING: Final = 24  # random bytes before the token of a stateless reset, so that it resembles any packet
_SMALLEST_RESET: Final = 20  # a stateless reset is longer (RFC 9000, 10.3)


def configuration(*, client: bool) -> QuicConfiguration:
    """Make the configuration that both sides begin with; certificates are the caller's to add."""
    return QuicConfiguration(
        is_client=client,
        alpn_protocols=[ALPN],
        congestion_control_algorithm=_CONGESTION,
        connection_id_length=CID_LENGTH,
        idle_timeout=IDLE_SECONDS,
        max_data=SESSION_WINDOW,
        max_stream_data=STREAM_WINDOW,
        max_datagram_frame_size=_MAX_DATAGRAM_FRAME,  # quic-go would not connect to a peer without it
        supported_versions=[QuicProtocolVersion.VERSION_1],
        initial_rtt=0.02,  # seconds; retries of a lost first packet come the sooner
    )


@dataclass(frozen=True, slots=True)
class Ending:
    """How a connection ended; `application` says whose error codes `code` belongs to."""

    code: int
    reason: str
    application: bool
    by_peer: bool
    timed_out: bool

    @property
    def explanation(self) -> str:
        """Return why the connection ended, if this side has not closed it; nothing if the peer's application sent code 0."""
        if self.application and self.by_peer and self.code == 0:
            return ""
        if self.timed_out:
            return "nothing was heard of the peer for too long"
        detail = f": {self.reason}" if self.reason else ""
        if self.by_peer:
            return f"the peer closed the connection with code {self.code:#x}{detail}"
        if self.code in _TLS_ALERTS:
            return f"TLS failed{detail}"
        return f"the peer broke QUIC (code {self.code:#x}){detail}"


STREAMS_AT_ONCE = 10_000  # aioquic grants 128, and raises it only as streams end: a quick tunnel has one connection for all


class ProxyQuicConnection(QuicConnection):
    """A QUIC connection whose windows follow its readers."""

    def __init__(self, *, configuration: QuicConfiguration, original_destination_connection_id: bytes | None = None) -> None:
        super().__init__(configuration=configuration, original_destination_connection_id=original_destination_connection_id)
        self._local_max_streams_bidi.value = STREAMS_AT_ONCE
        self._loss._pacer = _NoPacer(max_datagram_size=configuration.max_datagram_size)  # noqa: SLF001 - no hook, see above
        self._unread: dict[int, int] = {}
        self._unread_total = 0
        self._peer_max_datagram = 0
        self.alter: Callable[[bytes], bytes] | None = None  # what becomes of the frames of 1-RTT packets, both ways

    # -- streams -------------------------------------------------------------------------------------------------

    @property
    def peer(self) -> str:
        """The other side's address on the path in use, '' if none is known."""
        return str(self._network_paths[0].addr[0]) if self._network_paths else ""

    @property
    def may_open_stream(self) -> bool:
        """Return whether the peer allows one more bidirectional stream now."""
        return self._local_next_stream_id_bidi // 4 < self._remote_max_streams_bidi

    def open_stream(self) -> int:
        """Open a bidirectional stream."""
        stream_id = self.get_next_available_stream_id()
        self.send_stream_data(stream_id, b"")  # reserves the id
        return stream_id

    def opened_here(self, stream_id: int) -> bool:
        """Return whether a stream is one that this side opened (RFC 9000, 2.1)."""
        return bool(stream_id & 1) is not self._is_client

    def is_unidirectional(self, stream_id: int) -> bool:
        """Return whether only its opener sends on a stream (RFC 9000, 2.1)."""
        return bool(stream_id & 2)

    def unsent(self, stream_id: int) -> int:
        """Bytes written to a stream that have never left yet."""
        stream = self._streams.get(stream_id)
        if stream is None:
            return 0
        return stream.sender._buffer_stop - stream.sender.highest_offset  # noqa: SLF001 - no hook, see above

    def delivered(self, stream_id: int) -> bool:
        """Return whether the peer has acknowledged all that was sent on a stream, its end or its reset included."""
        stream = self._streams.get(stream_id)
        return stream is None or stream.sender.is_finished

    def stop(self, stream_id: int, code: int) -> None:
        """Ask the peer to send no more on a stream, if it is not over anyway."""
        stream = self._streams.get(stream_id)
        if stream is not None and not stream.receiver.is_finished:
            self.stop_stream(stream_id, code)

    # -- windows -------------------------------------------------------------------------------------------------

    def arrived(self, stream_id: int, size: int) -> None:
        """Take note that bytes wait to be read."""
        self._unread[stream_id] = self._unread.get(stream_id, 0) + size
        self._unread_total += size

    def consumed(self, stream_id: int, size: int) -> bool:
        """Take note that bytes have been read; whether the peer should learn of it now."""
        left = self._unread.get(stream_id, 0) - size
        self._unread_total -= size
        if left > 0:
            self._unread[stream_id] = left
        else:
            self._unread.pop(stream_id, None)
        stream = self._streams.get(stream_id)
        stream_gain = stream is not None and self._stream_gain(stream) >= STREAM_WINDOW // 4
        return stream_gain or self._session_gain() >= SESSION_WINDOW // 4

    def _session_gain(self) -> int:
        """By how much the connection's window could move."""
        limit = self._local_max_data
        return limit.used - self._unread_total + SESSION_WINDOW - limit.value

    def _stream_gain(self, stream: QuicStream) -> int:
        """By how much a stream's window could move; by nothing when no more can come."""
        if stream.receiver.is_finished or stream.stream_id is None:
            return 0
        delivered = stream.receiver.starting_offset()
        return delivered - self._unread.get(stream.stream_id, 0) + STREAM_WINDOW - stream.max_stream_data_local

    def _write_connection_limits(self, builder: QuicPacketBuilder, space: QuicPacketSpace) -> None:
        gain = self._session_gain()
        limit = self._local_max_data
        if gain >= SESSION_WINDOW // 4:
            limit.value += gain
        used, limit.used = limit.used, 0  # aioquic would double the limit by what has been used
        try:
            super()._write_connection_limits(builder, space)
        finally:
            limit.used = used

    def _write_stream_limits(self, builder: QuicPacketBuilder, space: QuicPacketSpace, stream: QuicStream) -> None:
        if stream.max_stream_data_local_sent == stream.max_stream_data_local:
            gain = self._stream_gain(stream)
            if gain < STREAM_WINDOW // 4:
                return
            stream.max_stream_data_local += gain
        if stream.receiver.is_finished:
            return
        buffer = builder.start_frame(
            QuicFrameType.MAX_STREAM_DATA,
            capacity=MAX_STREAM_DATA_FRAME_CAPACITY,
            handler=self._on_max_stream_data_delivery,
            handler_args=(stream,),
        )
        buffer.push_uint_var(stream.stream_id or 0)
        buffer.push_uint_var(stream.max_stream_data_local)
        stream.max_stream_data_local_sent = stream.max_stream_data_local

    # -- packets -------------------------------------------------------------------------------------------------

    @property
    def can_send(self) -> bool:
        """Return whether there is a peer to send to; a server has none before the first packet that it understood."""
        return bool(self._network_paths) and bool(self._cryptos)

    @property
    def understood(self) -> bool:
        """Return whether there is a peer: a server has one once a first packet could be read."""
        return self._is_client or self._state is not QuicConnectionState.FIRSTFLIGHT

    @property
    def ending(self) -> Ending | None:
        """How the connection ended; None while it lives."""
        event = self._close_event
        if event is None or self._close_pending:
            return None
        return Ending(
            code=event.error_code,
            reason=event.reason_phrase,
            application=event.frame_type is None,
            by_peer=self._state is QuicConnectionState.DRAINING,
            timed_out=self._state is QuicConnectionState.TERMINATED,
        )

    def stateless_resets(self) -> tuple[list[bytes], Any] | None:
        """Return the packets that report to the peer that this connection is unknown, and its address (RFC 9000, 10.3).

        One for each connection id that was handed out: the peer heeds that of the id it uses, which it may just have changed.
        """
        if not self._network_paths:
            return None
        tokens = [known.stateless_reset_token for known in self._host_cids if known.stateless_reset_token]
        first = bytes([0x40 | os.urandom(1)[0] & 0x3F])  # as a packet with a short header has it
        return [first + os.urandom(_RESET_PADDING) + token for token in tokens], self._network_paths[0].addr

    def is_stateless_reset(self, datagram: bytes) -> bool:
        """Return whether a datagram is the one with which the peer says that it knows nothing of this connection."""
        token = self._peer_cid.stateless_reset_token
        return bool(token) and len(datagram) > _SMALLEST_RESET and datagram[0] & 0xC0 == 0x40 and datagram.endswith(token)

    def _initialize(self, peer_cid: bytes) -> None:
        super()._initialize(peer_cid)
        if not self._is_client:
            self.tls.__class__ = HybridContext  # aioquic offers no way to name the class of its TLS
        pair = self._cryptos[Epoch.ONE_RTT]
        pair.__class__ = _FramePair  # nor that of its keys
        cast("_FramePair", pair).alter = self._altered

    def _altered(self, frames: bytes) -> bytes:
        return frames if self.alter is None else self.alter(frames)

    def _parse_transport_parameters(self, data: bytes, from_session_ticket: bool = False) -> None:
        super()._parse_transport_parameters(data, from_session_ticket)
        said = pull_quic_transport_parameters(Buffer(data=data)).max_udp_payload_size
        self._peer_max_datagram = said or _MAX_DATAGRAM

    def _discard_epoch(self, epoch: Epoch) -> None:
        super()._discard_epoch(epoch)
        if epoch is Epoch.HANDSHAKE and _is_loopback(self.get_peer_address()):
            self._max_datagram_size = max(self._max_datagram_size, min(self._peer_max_datagram, _MAX_DATAGRAM))


class _FramePair(CryptoPair):
    """The keys of 1-RTT packets; what is protected goes through `alter` on its way in and out."""

    alter: Callable[[bytes], bytes]

    def decrypt_packet(self, packet: bytes, encrypted_offset: int, expected_packet_number: int) -> tuple[bytes, bytes, int]:
        header, frames, number = super().decrypt_packet(packet, encrypted_offset, expected_packet_number)
        return header, self.alter(frames), number

    def encrypt_packet(self, plain_header: bytes, plain_payload: bytes, packet_number: int) -> bytes:
        return super().encrypt_packet(plain_header, self.alter(plain_payload), packet_number)


def _is_loopback(address: Any) -> bool:
    return isinstance(address, tuple) and is_loopback(address[0])


class _NoPacer(QuicPacketPacer):
    """A pacer that lets every packet go at once."""

    def update_rate(self, congestion_window: int, smoothed_rtt: float) -> None:
        """Keep the rate unlimited."""


class _LoopbackControl(QuicCongestionControl):
    """A window that begins large, shrinks by half on loss, at most once a round, and grows by what is acknowledged."""

    def __init__(self, *, max_datagram_size: int) -> None:
        super().__init__(max_datagram_size=max_datagram_size)
        self.congestion_window = 2 * _WINDOW_MIN
        self._recovering_since = 0.0

    def on_packet_acked(self, *, now: float, packet: QuicSentPacket) -> None:
        self.bytes_in_flight -= packet.sent_bytes
        if (packet.sent_time or 0.0) > self._recovering_since:
            self.congestion_window = min(_WINDOW_MAX, self.congestion_window + packet.sent_bytes // 8)

    def on_packet_sent(self, *, packet: QuicSentPacket) -> None:
        self.bytes_in_flight += packet.sent_bytes

    def on_packets_expired(self, *, packets: Iterable[QuicSentPacket]) -> None:
        for packet in packets:
            self.bytes_in_flight -= packet.sent_bytes

    def on_packets_lost(self, *, now: float, packets: Iterable[QuicSentPacket]) -> None:
        newest = 0.0
        for packet in packets:
            self.bytes_in_flight -= packet.sent_bytes
            newest = packet.sent_time or 0.0
        if newest > self._recovering_since:
            self._recovering_since = now
            self.congestion_window = max(_WINDOW_MIN, self.congestion_window // 2)

    def on_persistent_congestion(self) -> None:
        self.congestion_window = _WINDOW_MIN

    def on_rtt_measurement(self, *, now: float, rtt: float) -> None:
        """Take no note: on the loopback time measures this machine's load, not a queue."""


register_congestion_control(_CONGESTION, _LoopbackControl)
logging.getLogger("quic").setLevel(logging.CRITICAL)  # aioquic's: sessions say why they end, and foreign packets are no news
