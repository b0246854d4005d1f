"""A visitor's head and a tunnel's head: from one to the other, as an edge does it. Pure functions.

What a user's app sees behind Cloudflare: `Cf-Connecting-Ip`, `X-Forwarded-For` (the visitor appended),
`X-Forwarded-Proto`, `Cf-Ray`, `Cf-Visitor` and `Cdn-Loop`; whatever the visitor put into the first five is replaced, but
for `X-Forwarded-For`. Headers that steer the tunnel are never taken from a visitor, neither before the body nor behind it.

A request's `Trailer` goes along, because a connector forwards only those trailers that it names (observed with cloudflared
2026.8.2).
"""

from __future__ import annotations

import secrets
from typing import Final

import h11

from prx.edge.transport import Kind, TunnelRequest, TunnelResponse
from prx.edge.visitor import Asked
from prx.protocol.headers import Headers, is_control

_HOP: Final = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)
_OURS: Final = frozenset((b"cf-connecting-ip", b"x-forwarded-for", b"x-forwarded-proto", b"cf-ray", b"cf-visitor", b"cdn-loop"))
_DROPPED: Final = (_HOP - {b"trailer"}) | _OURS | {b"host", b"expect"}
_NO_TRAILER: Final = _HOP | _OURS | {b"host", b"expect", b"content-length"}
_BODILESS: Final = frozenset((204, 304))


def tunnel_request(asked: Asked, headers: Headers, *, scheme: str, peer: str, ray: str) -> TunnelRequest:
    """Make the tunnel's head from a visitor's; `headers` are the visitor's, perhaps rewritten."""
    named = {token.strip().lower() for token in asked.values.get(b"connection", b"").split(b",")}
    kept = [(name, value) for name, value in headers if name not in _DROPPED and name not in named and not is_control(name)]
    if asked.values.get(b"te", b"").lower() == b"trailers":  # gRPC needs it, and it is all of TE that HTTP/2 allows
        kept.append((b"te", b"trailers"))
    forwarded = b",".join(value for name, value in headers if name == b"x-forwarded-for")
    kept += [
        (b"cf-connecting-ip", peer.encode()),
        (b"x-forwarded-for", forwarded + b"," + peer.encode() if forwarded else peer.encode()),
        (b"x-forwarded-proto", scheme.encode()),
        (b"cf-ray", ray.encode()),
        (b"cf-visitor", b'{"scheme":"%b"}' % scheme.encode()),
        (b"cdn-loop", b"cloudflare; loops=1"),
    ]
    return TunnelRequest(
        kind=Kind.WEBSOCKET if asked.websocket else Kind.HTTP,
        method=asked.method,
        scheme=scheme.encode(),
        authority=asked.authority,
        path=asked.path,
        headers=kept,
        has_body=asked.has_body,
    )


def tunnel_trailers(trailers: Headers) -> Headers:
    """Give those of a visitor's trailers that go on: what would steer, frame or forge stays out there too."""
    return [(name, value) for name, value in trailers if name not in _NO_TRAILER and not is_control(name)]


def from_http1(request: h11.Request) -> Asked:
    """Read a visitor's HTTP/1.1 head."""
    headers = list(request.headers)
    values = dict(headers)
    authority, path = _target(request.target, values.get(b"host", b""))
    return Asked(
        method=request.method,
        authority=authority,
        path=path,
        headers=headers,
        has_body=_has_body(values),
        websocket=_is_websocket(request.method, values),
    )


def _is_websocket(method: bytes, headers: dict[bytes, bytes]) -> bool:
    """Say whether a visitor asks for a WebSocket (RFC 6455, 4.1)."""
    tokens = {token.strip().lower() for token in headers.get(b"connection", b"").split(b",")}
    return (
        method == b"GET"
        and b"upgrade" in tokens
        and headers.get(b"upgrade", b"").lower() == b"websocket"
        and b"sec-websocket-key" in headers
    )


def _has_body(headers: dict[bytes, bytes]) -> bool:
    """Say whether a body follows the head (RFC 9112, 6.3)."""
    return b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"


def _target(raw: bytes, host: bytes) -> tuple[bytes, bytes]:
    """Give authority and path of a request; an absolute target (RFC 9112, 3.2.2) beats the Host header."""
    scheme, separator, rest = raw.partition(b"://")
    if separator and scheme.lower() in (b"http", b"https"):
        authority, slash, path = rest.partition(b"/")
        return authority, slash + path or b"/"
    return host, raw


def accepted_websocket(response: TunnelResponse) -> bool:
    """Say whether the origin agreed to a WebSocket; its 101 came as a 200."""
    return response.status in (101, 200) and any(name.lower() == b"sec-websocket-accept" for name, _ in response.headers)


def visitor_headers(response: TunnelResponse, ray: str) -> Headers:
    """Make the visitor's response headers: the origin's, in their order and case, and the edge's own."""
    kept = [
        (name, value)
        for name, value in response.headers
        if name.lower() not in _HOP and name.lower() not in (b"server", b"cf-ray")
    ]
    return [*kept, (b"Server", b"cloudflare"), (b"CF-RAY", ray.encode())]


def upgrade_headers(response: TunnelResponse, ray: str) -> Headers:
    """Make the headers of a 101."""
    return [(b"Connection", b"Upgrade"), (b"Upgrade", b"websocket"), *visitor_headers(response, ray)]


def is_bodiless(method: bytes, status: int) -> bool:
    """Say whether a response to `method` with `status` has no body whatever its headers say."""
    return method == b"HEAD" or status in _BODILESS


def new_ray() -> str:
    """Make a ray id: 16 hexadecimal digits and the place that served the request."""
    return f"{secrets.token_hex(8)}-LAB"
