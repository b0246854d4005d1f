"""Headers that steer a tunnel, and the codec that carries a response's headers through HTTP/2 unharmed.

An origin's HTTP/1.1 headers may hold what HTTP/2 forbids, and HTTP/2 folds their case. So a connector puts all of them
into one header, `cf-cloudflared-response-headers`: pairs `base64(name):base64(value)` joined by `;`, standard alphabet,
no padding. `content-length` stands beside it once more, because it has a meaning in HTTP/2. The order of pairs is the
order of the list; Go connectors write names in an order of their own but keep the order of one name's values. Request
headers travel as plain HTTP/2 headers. (Observed with cloudflared 2026.8.2.)
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from typing import Final, TypeAlias

from prx.core.parsing import parse_json
from prx.lab.protocol.errors import HeadersError

Headers: TypeAlias = list[tuple[bytes, bytes]]  # in order, repeats kept

UPGRADE: Final = b"cf-cloudflared-proxy-connection-upgrade"
CONTROL_STREAM: Final = b"control-stream"
WEBSOCKET: Final = b"websocket"
UPDATE_CONFIGURATION: Final = b"update-configuration"
TCP_SOURCE: Final = b"cf-cloudflared-proxy-src"  # any value makes the request a TCP stream

RESPONSE_HEADERS: Final = b"cf-cloudflared-response-headers"
RESPONSE_META: Final = b"cf-cloudflared-response-meta"
META_ORIGIN: Final = b'{"src":"origin"}'
META_CONNECTOR: Final = b'{"src":"cloudflared"}'  # the connector itself made the response: it has no origin's answer

_CONTROL_PREFIXES: Final = (b":", b"cf-int-", b"cf-cloudflared-", b"cf-proxy-")


def encode(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Serialise a header list into the value of `cf-cloudflared-response-headers`."""
    return b";".join(_pack(name) + b":" + _pack(value) for name, value in headers)


def decode(value: bytes) -> Headers:
    """Read back what `encode` wrote; HeadersError for anything else. Empty pairs are skipped."""
    headers: Headers = []
    for pair in value.split(b";"):
        if not pair:
            continue
        name, colon, text = pair.partition(b":")
        if not colon:
            raise HeadersError("a serialised header has no ':'")
        headers.append((_unpack(name), _unpack(text)))
    return headers


def is_control(name: bytes) -> bool:
    """Return whether a response header (lower case) belongs to the tunnel and never goes to a visitor."""
    return name.startswith(_CONTROL_PREFIXES)


def from_origin(meta: bytes) -> bool:
    """Return whether `cf-cloudflared-response-meta` means that the origin answered, not the connector."""
    if meta == META_ORIGIN:  # as connectors write it
        return True
    try:
        return bool(parse_json(meta)["src"] == "origin")
    except (ValueError, KeyError, TypeError):
        return False


def _pack(text: bytes) -> bytes:
    return base64.b64encode(text).rstrip(b"=")


def _unpack(text: bytes) -> bytes:
    try:
        return base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except binascii.Error as error:
        raise HeadersError("a serialised header is not base64") from error
