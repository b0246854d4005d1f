"""What goes wrong between an edge and a connector.

    ProtocolError     the peer sent something that the protocol does not allow
    ├── RpcError      … on the control stream: the stream is over, the rest of what was fed is dropped
    ├── HeadersError  … in the serialised response headers
    └── StreamError   an HTTP/2 exchange or a QUIC stream cannot go on
        ├── StreamResetError     … because it alone was reset
        └── SessionClosedError   … because the whole connection is gone

No message of these errors holds any part of a secret.
"""

from __future__ import annotations


class ProtocolError(Exception):
    """The peer did what the protocol does not allow; the text is one line and fit for a log."""


class RpcError(ProtocolError):
    """The RPC stream cannot go on: a message is malformed, too large, or breaks the rules of the protocol."""


class HeadersError(ProtocolError):
    """The serialised header list is not what `prx.lab.protocol.headers` writes."""


class StreamError(ProtocolError):
    """An exchange cannot go on; `code` is the HTTP/2 error code (RFC 9113, section 7), or None, as always over QUIC."""

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


class StreamResetError(StreamError):
    """The exchange was reset, by the peer or here; the connection lives on."""


class SessionClosedError(StreamError):
    """The whole connection is closed or lost."""
