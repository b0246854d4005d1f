"""The pages that an edge shows of its own: status, headers and body as a visitor of Cloudflare's sees them.

A browser gets a page, any other client one line: `error code: 1033`. The four-digit numbers are Cloudflare's own (its
documentation, "Cloudflare 1xxx errors"): 1003 direct access by address, 1016 no DNS record of an origin, 1033 a tunnel
without a connector. They come with status 530, but for 1003.
"""

from __future__ import annotations

import html
from dataclasses import dataclass

from prx.protocol.headers import Headers


@dataclass(frozen=True)
class Problem:
    """One thing that an edge has to say itself."""

    status: int
    code: int
    title: str
    text: str


NO_CONNECTOR = Problem(
    530,
    1033,
    "Cloudflare Tunnel error",
    "The tunnel of this name has no connector now. If this is yours: check that cloudflared runs and is registered.",
)
UNKNOWN_HOST = Problem(530, 1016, "Origin DNS error", "No tunnel has this name.")
DIRECT_IP = Problem(403, 1003, "Direct IP access not allowed", "Tunnels are found by name: ask for NAME.localhost.")
BAD_GATEWAY = Problem(502, 502, "Bad gateway", "The connector could not reach the service, or lost it half way.")
GATEWAY_GONE = Problem(502, 502, "Bad gateway", "The connection to the connector was lost before it answered.")
BAD_REQUEST = Problem(400, 400, "Bad request", "The request is not HTTP/1.1.")
HEAD_TOO_LARGE = Problem(431, 431, "Request header fields too large", "The head of a request may have 128 KiB.")


def render(problem: Problem, *, ray: str, hostname: str, accept: bytes) -> tuple[int, Headers, bytes]:
    """Give status, headers and body; `accept` is the visitor's Accept header."""
    if b"text/html" in accept:
        body, content_type = _page(problem, ray, hostname), b"text/html; charset=UTF-8"
    else:
        body, content_type = f"error code: {problem.code}".encode(), b"text/plain; charset=UTF-8"
    headers = [
        (b"Content-Type", content_type),
        (b"Cache-Control", b"private, max-age=0, no-store, no-cache, must-revalidate, post-check=0, pre-check=0"),
        (b"Expires", b"Thu, 01 Jan 1970 00:00:01 GMT"),
        (b"Referrer-Policy", b"same-origin"),
        (b"X-Frame-Options", b"SAMEORIGIN"),
        (b"Server", b"cloudflare"),
        (b"CF-RAY", ray.encode()),
    ]
    return problem.status, headers, body


def _page(problem: Problem, ray: str, hostname: str) -> bytes:
    name = html.escape(hostname)
    return f"""<!DOCTYPE html>
<html lang="en-US">
<head><title>{problem.title} | {name} | Cloudflare</title><meta charset="UTF-8"></head>
<body>
<div id="cf-wrapper"><div id="cf-error-details">
<h1><span>Error</span> <span>{problem.code}</span></h1>
<span>Ray ID: {ray}</span>
<h2>{problem.title}</h2>
<p>{html.escape(problem.text)}</p>
<p>This page comes from the prx lab, a stand-in for Cloudflare's edge on this machine.</p>
</div></div>
</body>
</html>
""".encode()
