"""What streams of a tunnel over QUIC begin with: preambles, and the heads of requests and responses.

On a data stream, which the edge opens for each request, both sides first send `DATA`, then one unpacked Cap'n Proto
message, then the body's bytes. The request's message names the URL, the kind, and as metadata method, host and headers;
the response's an error, or as metadata status and headers. On an RPC stream, also opened by the edge, the edge sends
`RPC` and Cap'n Proto RPC follows at once. The first stream of all, opened by the connector, carries the registration's
RPC and has no preamble. Trailers and interim responses do not exist. (Observed with cloudflared 2026.8.2.)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from prx.lab.protocol.errors import RpcError, StreamError
from prx.lab.protocol.headers import Headers
from prx.lab.protocol.quic.stream import QuicStream
from prx.lab.protocol.rpc.framing import MessageSplitter
from prx.lab.protocol.rpc.schema import TUNNEL, reading

DATA: Final = bytes.fromhex("0A36CD12A13E") + b"01"  # signature and version
RPC: Final = bytes.fromhex("52BB825CDB65")

_METHOD: Final = b"HttpMethod"
_HOST: Final = b"HttpHost"
_STATUS: Final = b"HttpStatus"
_HEADER: Final = b"HttpHeader:"
_CHUNKED: Final = (b"Transfer-Encoding", b"chunked")


class RequestKind(Enum):
    """What a data stream carries; the values are those on the wire."""

    HTTP = "http"
    WEBSOCKET = "websocket"
    TCP = "tcp"


@dataclass(frozen=True, slots=True)
class ConnectRequest:
    """The head of a request: `dest` is the whole URL (for TCP `host:port`); header order and repeats are kept.

    `chunked` says that a body of unknown length follows: without it, and without a Content-Length among the headers,
    cloudflared 2026.8.2 sends the origin no body.
    """

    kind: RequestKind
    dest: bytes
    method: bytes = b"GET"
    host: bytes = b""
    headers: Headers = ()  # type: ignore[assignment]  # an empty list would be shared
    chunked: bool = False

    def encode(self) -> bytes:
        """Return the preamble and the message."""
        metadata = [(_METHOD, self.method), (_HOST, self.host), *_pack(self.headers)]
        if self.chunked:
            metadata += _pack([_CHUNKED])
        message = TUNNEL.ConnectRequest.new_message(
            dest=_terminated(self.dest), type=self.kind.value, metadata=_metadata(metadata)
        )
        return DATA + bytes(message.to_bytes())


@dataclass(frozen=True, slots=True)
class ConnectResponse:
    """The head of a response: an `error` of the connector's, or else a status and headers (none for TCP)."""

    status: int = 0
    headers: Headers = ()  # type: ignore[assignment]  # an empty list would be shared
    error: str = ""

    def encode(self) -> bytes:
        """Return the preamble and the message."""
        metadata = [] if self.error or not self.status else [(_STATUS, b"%d" % self.status), *_pack(self.headers)]
        message = TUNNEL.ConnectResponse.new_message(error=_terminated(self.error.encode()), metadata=_metadata(metadata))
        return DATA + bytes(message.to_bytes())


@dataclass(frozen=True, slots=True)
class RpcStream:
    """The peer opened a stream for RPC; `early` has already arrived on it."""

    early: bytes


async def read_request(stream: QuicStream) -> tuple[ConnectRequest | RpcStream, bytes]:
    """Read what a stream of the edge begins with, and the bytes after it; StreamError if it is neither."""
    data = await _at_least(stream, b"", len(RPC))
    if data.startswith(RPC):
        return RpcStream(data[len(RPC) :]), b""
    message, rest = await _read_message(stream, data)
    try:
        with reading(TUNNEL.ConnectRequest, message) as head:
            metadata = _pairs(head.metadata)
            kind = RequestKind(str(head.type))
            dest = _text(head.dest)
    except (RpcError, ValueError) as error:
        raise StreamError(f"the head of a request is not understood: {error}") from error
    single = dict(metadata)
    headers = [(name[len(_HEADER) :], value) for name, value in metadata if name.startswith(_HEADER)]
    kept = [header for header in headers if header[0].lower() != b"transfer-encoding"]
    request = ConnectRequest(
        kind=kind,
        dest=dest,
        method=single.get(_METHOD, b""),
        host=single.get(_HOST, b""),
        headers=kept,
        chunked=len(kept) < len(headers),
    )
    return request, rest


async def read_response(stream: QuicStream) -> tuple[ConnectResponse, bytes]:
    """Read the head of a response, and the bytes after it; StreamError if it is none."""
    message, rest = await _read_message(stream, b"")
    try:
        with reading(TUNNEL.ConnectResponse, message) as head:
            metadata = _pairs(head.metadata)
            error = _text(head.error).decode("utf-8", "replace")
        status = int(dict(metadata).get(_STATUS, b"0"))
    except (RpcError, ValueError) as defect:
        raise StreamError(f"the head of a response is not understood: {defect}") from defect
    headers = [(name[len(_HEADER) :], value) for name, value in metadata if name.startswith(_HEADER)]
    return ConnectResponse(status, headers, error), rest


async def _read_message(stream: QuicStream, data: bytes) -> tuple[bytes, bytes]:
    data = await _at_least(stream, data, len(DATA))
    if not data.startswith(DATA):
        raise StreamError("a stream begins with an unknown preamble")
    splitter = MessageSplitter()
    data = data[len(DATA) :]
    while True:
        try:
            for message in splitter.feed(data):
                return message, splitter.rest()
        except RpcError as error:
            raise StreamError(str(error)) from error
        data = await _more(stream)


async def _at_least(stream: QuicStream, data: bytes, size: int) -> bytes:
    while len(data) < size:
        data += await _more(stream)
    return data


async def _more(stream: QuicStream) -> bytes:
    data = await stream.read()
    if not data:
        raise StreamError("a stream ended before its head was whole")
    return data


def _pack(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [(_HEADER + name, value) for name, value in headers]


def _metadata(pairs: Iterable[tuple[bytes, bytes]]) -> list[dict[str, bytes]]:
    return [{"key": _terminated(name), "val": _terminated(value)} for name, value in pairs]


def _pairs(metadata: Any) -> list[tuple[bytes, bytes]]:
    return [(_text(entry.key), _text(entry.val)) for entry in metadata]


def _terminated(text: bytes) -> bytes:
    """Make Data that reads as Text: the schema declares Data, so that bytes outside UTF-8 pass."""
    return text + b"\0"


def _text(data: bytes) -> bytes:
    return bytes(data).removesuffix(b"\0")
