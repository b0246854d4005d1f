"""`h2.connection.H2Connection`, with the departures that a proxy needs.

* GOAWAY in either direction does not end the connection: RFC 9113 (6.8) lets the exchanges that are under way finish,
  while h2 closes its state machine and drops what it was about to send.
* A response whose body is not as long as its `content-length` says is that exchange's affair. h2 makes it an error of
  the connection, which would take every other visitor's exchange along (and a 304 with a `content-length`, which is
  right, would do the same). Who reads the body counts it.
* A malformed head resets its exchange (RFC 9113, 8.1.1). h2 makes it an error of the connection, so that one visitor's odd
  request would take every other visitor's along.
* Headers to be sent are checked before they are encoded. h2 checks them on the way, and a header that it refuses half
  way leaves the compression state of both sides apart, which spoils every later exchange.
* A 1xx for an exchange that was reset here is ignored as any other late head is. h2 makes it an error of the connection.
* A frame that announces more than `MAX_FRAME` bytes ends the connection at once. h2 collects all of it first, up to 16 MB.
* Bytes waiting to be sent can be counted without copying them.
* Headers are sent as they are, uncompressed (RFC 7541, 6.2.2). Searching hpack's tables and Huffman coding were the dearest
  thing in a small request, and on a loopback bytes cost nothing.
* A DATA frame is not written out in full on arrival. h2 does that for a log that is off; it was a sixth of a download.

The settings are made for bulk: large windows, so that one round trip does not cap the throughput, and frames large
enough to be cheap in Python, small enough to let other exchanges in between.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from h2.config import H2Configuration
from h2.connection import AllowedStreamIDs, H2Connection
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, Event, StreamReset
from h2.exceptions import FrameTooLargeError, ProtocolError, StreamClosedError
from h2.settings import SettingCodes, Settings
from h2.stream import H2Stream, StreamState
from hpack import Encoder
from hpack.hpack import encode_integer
from hpack.struct import Header
from hyperframe.frame import DataFrame, Frame, GoAwayFrame

STREAM_WINDOW: Final = 1024 * 1024
SESSION_WINDOW: Final = 16 * 1024 * 1024
MAX_FRAME: Final = 64 * 1024  # in both directions
MAX_STREAMS: Final = 4096  # exchanges that the peer may have open at the same time
MAX_HEADER_LIST: Final = 256 * 1024  # bytes, as RFC 9113 (10.5.1) counts them
_DEFAULT_WINDOW: Final = 65_535
_LENGTH_BYTES: Final = 3  # of a frame's header (RFC 9113, 4.1)

_NAME: Final = re.compile(rb":?[!#$%&'*+.^_`|~0-9a-z-]+")
_FORBIDDEN: Final = re.compile(rb"[\0\r\n]|^[ \t]|[ \t]$")
_CONNECTION_SPECIFIC: Final = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"))


class _Stream(H2Stream):
    def _initialize_content_length(self, headers: Iterable[Header]) -> None:
        """Expect no particular length."""

    def receive_headers(
        self, headers: Iterable[Header], end_stream: bool, header_encoding: bool | str | None
    ) -> tuple[list[Frame], list[Event]]:
        """Take a head, unless the exchange is over already."""
        if self.state_machine.state is StreamState.CLOSED:
            raise StreamClosedError(self.stream_id)  # h2 then checks whether the exchange was reset here
        try:
            return super().receive_headers(headers, end_stream, header_encoding)
        except StreamClosedError:
            raise
        except ProtocolError:
            frames = self.reset_stream(ErrorCodes.PROTOCOL_ERROR)
            return frames, [StreamReset(stream_id=self.stream_id, error_code=ErrorCodes.PROTOCOL_ERROR, remote_reset=False)]


class _Data(DataFrame):
    def __repr__(self) -> str:
        return "DATA"


class _PlainEncoder(Encoder):
    def add(self, to_add: tuple[bytes, bytes], sensitive: bool, huffman: bool = False) -> bytes:
        """Encode a header as a literal without indexing."""
        name, value = to_add
        return b"\0%b%b%b%b" % (_length(len(name)), name, _length(len(value)), value)


@lru_cache(maxsize=1024)
def _length(size: int) -> bytes:
    return bytes(encode_integer(size, 7))


class ProxyConnection(H2Connection):
    """An HTTP/2 connection whose exchanges do not endanger each other."""

    def __init__(self, *, client: bool) -> None:
        # Headers stay bytes: what passes through a proxy need not be UTF-8.
        # Those to be sent pass `check_headers`, which leaves h2 nothing to validate or to normalise.
        config = H2Configuration(
            client_side=client, header_encoding=None, validate_outbound_headers=False, normalize_outbound_headers=False
        )
        super().__init__(config)
        self.encoder = _PlainEncoder()
        self._frame_dispatch_table[_Data] = self._frame_dispatch_table[DataFrame]
        self.local_settings = Settings(
            client=client,
            initial_values={
                SettingCodes.ENABLE_PUSH: 0,
                SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
                SettingCodes.MAX_FRAME_SIZE: MAX_FRAME,
                SettingCodes.MAX_CONCURRENT_STREAMS: MAX_STREAMS,
                SettingCodes.MAX_HEADER_LIST_SIZE: MAX_HEADER_LIST,
            },
        )
        self.max_inbound_frame_size = MAX_FRAME
        self.decoder.max_header_list_size = MAX_HEADER_LIST

    def start(self) -> None:
        """Send the preface, the settings, and the window of the whole connection."""
        self.initiate_connection()
        self.increment_flow_control_window(SESSION_WINDOW - _DEFAULT_WINDOW)

    def receive_data(self, data: bytes) -> list[Event]:  # type: ignore[override]  # bytes are all that is ever given
        """Take bytes of the peer and return the events that they lead to; ProtocolError if they are no HTTP/2."""
        events = super().receive_data(data)
        start = bytes(self.incoming_buffer._data[:_LENGTH_BYTES])  # noqa: SLF001 - h2 shows nowhere what it waits for
        if len(start) == _LENGTH_BYTES and int.from_bytes(start, "big") > MAX_FRAME:
            self._terminate_connection(ErrorCodes.FRAME_SIZE_ERROR)
            raise FrameTooLargeError(f"a frame of {int.from_bytes(start, 'big')} bytes; {MAX_FRAME} are allowed")
        return events

    def check_headers(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Raise ProtocolError if HTTP/2 forbids a header (RFC 9113, 8.2): its name, its value, or its meaning."""
        for name, value in headers:
            if not _NAME.fullmatch(name) or name in _CONNECTION_SPECIFIC or (name == b"te" and value != b"trailers"):
                raise ProtocolError(f"HTTP/2 does not carry the header {name!r}")
            if _FORBIDDEN.search(value):
                raise ProtocolError(f"the value of the header {name!r} has characters that HTTP/2 does not carry")

    @property
    def pending(self) -> int:
        """Bytes that `data_to_send` would return."""
        return len(self._data_to_send)

    def announce_goaway(self, code: ErrorCodes = ErrorCodes.NO_ERROR) -> None:
        """Send GOAWAY: no new exchange of the peer is accepted, those under way go on."""
        frame = GoAwayFrame(0, last_stream_id=self.highest_inbound_stream_id, error_code=code)
        self._prepare_for_sending([frame])

    def _receive_frame(self, frame: Frame) -> list[Event]:
        if frame.__class__ is DataFrame:
            frame.__class__ = _Data  # h2 offers no way to name the class of its frames
        return super()._receive_frame(frame)

    def _receive_goaway_frame(self, frame: GoAwayFrame) -> tuple[list[Frame], list[Event]]:
        try:
            code = ErrorCodes(frame.error_code)
        except ValueError:
            code = ErrorCodes.INTERNAL_ERROR
        event = ConnectionTerminated()
        event.error_code = code
        event.last_stream_id = frame.last_stream_id
        event.additional_data = frame.additional_data or None
        return [], [event]

    def _begin_new_stream(self, stream_id: int, allowed_ids: AllowedStreamIDs) -> H2Stream:
        stream = super()._begin_new_stream(stream_id, allowed_ids)
        stream.__class__ = _Stream  # h2 offers no way to name the class of its streams
        return stream
