"""A visitor's head and a tunnel's head: from one to the other, as an edge does it. Pure functions.

What a user's app sees behind Cloudflare: `Cf-Connecting-Ip`, `X-Forwarded-For` (the visitor appended), `X-Forwarded-Proto`,
`Cf-Ray`, `Cf-Visitor`, `Cf-Ipcountry` (XX: not known), `Accept-Encoding` (`br, gzip`, whatever the visitor accepts) and
`Cdn-Loop` (RFC 8586), which counts how often the request has come through. Whatever the visitor put into these is replaced,
except `X-Forwarded-For` and `Cdn-Loop`. Headers that steer the tunnel are never taken from a visitor, neither before the
body nor behind it.

Of the origin's answer `X-Accel-…`, which steers a web server, and what the edge says itself are left out; `CF-Cache-Status:
DYNAMIC` says that nothing was cached ("Cloudflare HTTP headers", "Default cache behavior" of developers.cloudflare.com).

A request's `Trailer` goes along, because a connector forwards only those trailers that it names (observed with cloudflared
2026.8.2).
"""

from __future__ import annotations

import re
import secrets
from typing import Final

import h11

from prx.lab.edge.carrier import Kind, TunnelRequest, TunnelResponse
from prx.lab.edge.public import error_pages
from prx.lab.edge.public.unpacking import ASKED
from prx.lab.edge.public.visitor import RequestHead
from prx.lab.protocol.headers import Headers, is_control

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
_OURS: Final = frozenset(
    (
        b"accept-encoding",
        b"cdn-loop",
        b"cf-connecting-ip",
        b"cf-connecting-ipv6",
        b"cf-ew-via",
        b"cf-ipcountry",
        b"cf-pseudo-ipv4",
        b"cf-ray",
        b"cf-visitor",
        b"cf-worker",
        b"x-forwarded-for",
        b"x-forwarded-proto",
    )
)
_SAID_BY_US: Final = frozenset((b"server", b"cf-ray", b"cf-cache-status"))
_LOOPS: Final = re.compile(rb"^cloudflare\s*(?:$|;)(?:.*?\bloops\s*=\s*(\d{1,9}))?", re.IGNORECASE)
MAX_LOOPS: Final = 16  # Cloudflare's own number is not published
_DROPPED: Final = (_HOP - {b"trailer"}) | _OURS | {b"host", b"expect"}
_NO_TRAILER: Final = _HOP | _OURS | {b"host", b"expect", b"content-length"}
_SWITCHING: Final = 101
_BODILESS: Final = frozenset((204, 304))


def tunnel_request(asked: RequestHead, headers: Headers, *, scheme: str, peer: str, ray: str) -> TunnelRequest:
    """Make the tunnel's head from a visitor's; `headers` are the visitor's, possibly rewritten."""
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
        (b"cf-ipcountry", b"XX"),
        (b"accept-encoding", ASKED),
        (b"cdn-loop", _next_loop(headers)),
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


def loops(headers: Headers) -> int:
    """Count how often a request has come through this edge."""
    found = [_LOOPS.match(entry) for entry in _loop_entries(headers)]
    return sum(int(match[1] or 1) for match in found if match)


def _next_loop(headers: Headers) -> bytes:
    """Count this passage; what other networks have said stays (RFC 8586, 2)."""
    others = [entry for entry in _loop_entries(headers) if not _LOOPS.match(entry)]
    return b", ".join([*others, b"cloudflare; loops=%d" % (loops(headers) + 1)])


def _loop_entries(headers: Headers) -> list[bytes]:
    values = b",".join(value for name, value in headers if name == b"cdn-loop")
    return [entry.strip() for entry in values.split(b",") if entry.strip()]


def tunnel_trailers(trailers: Headers) -> Headers:
    """Return those of a visitor's trailers that go on: what would steer, frame or forge stays out there too."""
    return [(name, value) for name, value in trailers if name not in _NO_TRAILER and not is_control(name)]


def from_http1(request: h11.Request) -> RequestHead:
    """Read a visitor's HTTP/1.1 head."""
    headers = list(request.headers)
    values = dict(headers)
    authority, path = _target(request.target, values.get(b"host", b""))
    return RequestHead(
        method=request.method,
        authority=authority,
        path=path,
        headers=headers,
        has_body=_has_body(values),
        websocket=_is_websocket(request.method, values),
    )


def _is_websocket(method: bytes, headers: dict[bytes, bytes]) -> bool:
    """Return whether a visitor asks for a WebSocket (RFC 6455, 4.1)."""
    tokens = {token.strip().lower() for token in headers.get(b"connection", b"").split(b",")}
    return (
        method == b"GET"
        and b"upgrade" in tokens
        and headers.get(b"upgrade", b"").lower() == b"websocket"
        and b"sec-websocket-key" in headers
    )


def _has_body(headers: dict[bytes, bytes]) -> bool:
    """Return whether a body follows the head (RFC 9112, 6.3)."""
    return b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"


def _target(raw: bytes, host: bytes) -> tuple[bytes, bytes]:
    """Return authority and path of a request; an absolute target (RFC 9112, 3.2.2) beats the Host header."""
    scheme, separator, rest = raw.partition(b"://")
    if separator and scheme.lower() in (b"http", b"https"):
        authority, slash, path = rest.partition(b"/")
        return authority, slash + path or b"/"
    return host, raw


def accepted_websocket(response: TunnelResponse) -> bool:
    """Return whether the origin agreed to a WebSocket; its 101 came as a 200."""
    return response.status in (101, 200) and any(name.lower() == b"sec-websocket-accept" for name, _ in response.headers)


def visitor_headers(response: TunnelResponse, ray: str) -> Headers:
    """Make the visitor's response headers: the origin's, in their order and case, and the edge's own."""
    cached = [] if response.interim or response.status == _SWITCHING else [(b"CF-Cache-Status", b"DYNAMIC")]
    kept = [
        (name, value)
        for name, value in response.headers
        if (lowered := name.lower()) not in _HOP and lowered not in _SAID_BY_US and not lowered.startswith(b"x-accel-")
    ]
    return [*kept, *cached, *error_pages.signature(ray)]


def upgrade_headers(response: TunnelResponse, ray: str) -> Headers:
    """Make the headers of a 101."""
    return [(b"Connection", b"Upgrade"), (b"Upgrade", b"websocket"), *visitor_headers(response, ray)]


def is_event_stream(response: TunnelResponse) -> bool:
    """Return whether the answer is server-sent events."""
    types = [value for name, value in response.headers if name.lower() == b"content-type"]
    return any(value.partition(b";")[0].strip().lower() == b"text/event-stream" for value in types)


def is_bodiless(method: bytes, status: int) -> bool:
    """Return whether a response to `method` with `status` has no body whatever its headers say."""
    return method == b"HEAD" or status in _BODILESS


def new_ray() -> str:
    """Make a ray id: 16 hexadecimal digits and the place that served the request."""
    return f"{secrets.token_hex(8)}-LAB"
