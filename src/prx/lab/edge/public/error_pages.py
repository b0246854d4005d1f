"""The pages that an edge shows of its own: status, headers and body as a visitor of Cloudflare's sees them.

A browser gets a page, a program that asks for JSON gets a problem document (RFC 9457), any other client one line: `error code:
1033`. What the web server in front says, before anything knows whose request it is (400, 413, 414, 431, 404 below `/cdn-cgi/`),
is a bare page for everybody.

Sources: the four-digit numbers and their statuses are those of Cloudflare's documentation, "Cloudflare 1xxx errors"; 52x
those of "Cloudflare 5xx errors"; `cf-error-type` and `cf-error-origin` those of "Cloudflare error diagnostic headers"; the
problem document and the `Retry-After` of each code those of "Error responses". A challenge is recognised by `cf-mitigated:
challenge`, and has no number ("Detect a Challenge Page response"). `cf-error-origin` names the system that made the error;
its values are not published.
"""

from __future__ import annotations

import html
import json
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, TypeAlias

from prx.lab.protocol.headers import Headers

_DOCS: Final = "https://developers.cloudflare.com/support/troubleshooting/http-status-codes"
_PROBLEM_TYPES: Final = ("application/problem+json", "application/json")
_NO_STORE: Final = b"private, max-age=0, no-store, no-cache, must-revalidate, post-check=0, pre-check=0"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that an edge has to say itself; `retry_after` in seconds, if trying again may help."""

    status: int
    code: int
    title: str
    text: str
    name: str = ""
    category: str = ""
    retry_after: int | None = None


@dataclass(frozen=True, slots=True)
class Bare:
    """What the web server in front says of a request that it does not take; `ends`: the connection ends with it."""

    status: int
    title: str
    ends: bool = True


@dataclass(frozen=True, slots=True)
class Challenge:
    """A page that a browser solves and no program can (status 403, formerly 503)."""

    status: int = 403


Page: TypeAlias = Problem | Bare | Challenge

NO_CONNECTOR: Final = Problem(
    530,
    1033,
    "Cloudflare Tunnel error",
    "The tunnel of this name has no connector now. If this is yours: check that cloudflared runs and is registered.",
    "tunnel_error",
    "config",
    120,
)
UNKNOWN_HOST: Final = Problem(530, 1016, "Origin DNS error", "No tunnel has this name.", "origin_dns_error", "dns")
DIRECT_IP: Final = Problem(
    403,
    1003,
    "Direct IP access not allowed",
    "Tunnels are found by name: ask for NAME.localhost.",
    "direct_ip_access",
    "config",
)
LOOP: Final = Problem(
    403, 1000, "DNS points to prohibited IP", "The request has come round too often (CDN-Loop).", "dns_loop", "dns"
)
BAD_GATEWAY: Final = Problem(
    502, 502, "Bad gateway", "The connector could not reach the service, or lost it half way.", "bad_gateway", "origin", 60
)
GATEWAY_GONE: Final = replace(BAD_GATEWAY, text="The connection to the connector was lost before it answered.")
TIMED_OUT: Final = Problem(
    524, 524, "A timeout occurred", "The service did not answer in time.", "origin_timeout", "origin", 120
)
TOO_LARGE_ANSWER: Final = Problem(
    520,
    520,
    "Web server is returning an unknown error",
    "The head of the service's answer is too large.",
    "unknown",
    "origin",
    60,
)
TOO_MANY: Final = Problem(
    429, 429, "Too many requests", "A quick tunnel carries 200 requests at a time.", "too_many_requests", "rate_limit"
)
BAD_REQUEST: Final = Bare(400, "Bad Request")
NOT_FOUND: Final = Bare(404, "Not Found", ends=False)
TOO_LARGE: Final = Bare(413, "Request Entity Too Large")
URL_TOO_LONG: Final = Bare(414, "Request-URI Too Large")
HEAD_TOO_LARGE: Final = Bare(431, "Request Header Fields Too Large")

_REFUSALS: Final = (
    Problem(403, 1006, "Access denied", "The owner has banned your address.", "ip_banned", "access_denied"),
    Problem(403, 1009, "Access denied", "The owner has banned the country of your address.", "country_banned", "access_denied"),
    Problem(
        403,
        1010,
        "Access denied",
        "The owner has banned your browser's signature.",
        "browser_signature_banned",
        "access_denied",
    ),
    Problem(403, 1012, "Access denied", "The owner has banned your address for what it sent.", "forbidden", "access_denied"),
    Problem(
        429, 1015, "You are being rate limited", "The owner limits how often you may ask.", "rate_limited", "rate_limit", 30
    ),
    Problem(403, 1020, "Access denied", "A firewall rule of the owner stops you.", "firewall_rule_blocked", "access_denied"),
    Problem(500, 1101, "Worker threw exception", "A Worker before the service has failed.", "worker_exception", "worker"),
    Problem(503, 1102, "Worker exceeded resource limits", "A Worker has used too much.", "worker_limits_exceeded", "worker"),
    Problem(500, 500, "Internal server error", "The edge itself has failed.", "internal_error", "cloudflare", 30),
    Problem(504, 504, "Gateway time-out", "The service did not answer in time.", "gateway_timeout", "origin", 120),
    replace(TOO_LARGE_ANSWER, text="The service's answer is not understood."),
    Problem(521, 521, "Web server is down", "The service refuses connections.", "web_server_down", "origin", 120),
    Problem(522, 522, "Connection timed out", "No connection to the service came about.", "connection_timeout", "origin", 120),
    Problem(523, 523, "Origin is unreachable", "No way leads to the service.", "origin_unreachable", "origin", 120),
    TIMED_OUT,
    Problem(525, 525, "SSL handshake failed", "The service's TLS is not understood.", "ssl_handshake_failed", "ssl"),
    Problem(526, 526, "Invalid SSL certificate", "The service's certificate is not good.", "invalid_ssl_certificate", "ssl"),
)
BY_CODE: Final = {problem.code: problem for problem in (NO_CONNECTOR, UNKNOWN_HOST, DIRECT_IP, LOOP, BAD_GATEWAY, *_REFUSALS)}


def signature(ray: str) -> Headers:
    """Return the headers that every answer of the edge ends with, its own or not."""
    return [(b"Server", b"cloudflare"), (b"CF-RAY", ray.encode())]


def render(page: Page, *, ray: str, hostname: str, accept: bytes) -> tuple[int, Headers, bytes]:
    """Return status, headers (without `signature`) and body; `accept` is the visitor's Accept header."""
    match page:
        case Bare():
            ends = [(b"Connection", b"close")] if page.ends else []  # what else the visitor sends is not read
            return page.status, [(b"Content-Type", b"text/html"), *ends], _bare(page)
        case Challenge():
            headers = [(b"cf-mitigated", b"challenge"), *_page_headers(b"text/html; charset=UTF-8")]
            return page.status, headers, _challenge(hostname)
        case Problem():
            return _render(page, ray, hostname, accept)


def _render(problem: Problem, ray: str, hostname: str, accept: bytes) -> tuple[int, Headers, bytes]:
    wanted = _wanted(accept)
    if wanted == "text/html":
        body, content_type = _page(problem, ray, hostname), "text/html; charset=UTF-8"
    elif wanted in _PROBLEM_TYPES:
        body, content_type = _document(problem, ray, hostname), f"{wanted}; charset=utf-8"
    else:
        body, content_type = f"error code: {problem.code}".encode(), "text/plain; charset=UTF-8"
    headers = [
        *_page_headers(content_type.encode()),
        (b"cf-error-type", b"%d" % problem.code),
        (b"cf-error-origin", b"edge"),
    ]
    if problem.retry_after is not None:
        headers.append((b"Retry-After", b"%d" % problem.retry_after))
    return problem.status, headers, body


def _page_headers(content_type: bytes) -> Headers:
    return [
        (b"Content-Type", content_type),
        (b"Cache-Control", _NO_STORE),
        (b"Expires", b"Thu, 01 Jan 1970 00:00:01 GMT"),
        (b"Referrer-Policy", b"same-origin"),
        (b"X-Frame-Options", b"SAMEORIGIN"),
    ]


def _wanted(accept: bytes) -> str:
    """Return the media type that the visitor likes best of those that there are; '' if none is named."""
    best, weight = "", 0.0
    for part in accept.decode("latin-1").lower().split(","):
        name, *parameters = (text.strip() for text in part.split(";"))
        quality = next((_quality(text) for text in parameters if text.startswith("q=")), 1.0)
        if name in ("text/html", *_PROBLEM_TYPES) and quality > weight:
            best, weight = name, quality
    return best


def _quality(parameter: str) -> float:
    match = re.fullmatch(r"q=([01](?:\.\d{0,3})?)", parameter)
    return float(match[1]) if match else 0.0


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


def _document(problem: Problem, ray: str, hostname: str) -> bytes:
    """Write the problem document (RFC 9457) with Cloudflare's members; `retry_after` is left out if it would not help."""
    number = ray.partition("-")[0]
    kind = "1xxx" if problem.code >= 1000 else "5xx"
    document = {
        "type": f"{_DOCS}/cloudflare-{kind}-errors/error-{problem.code}/",
        "title": f"Error {problem.code}: {problem.title}",
        "status": problem.status,
        "detail": problem.text,
        "instance": number,
        "error_code": problem.code,
        "error_name": problem.name,
        "error_category": problem.category,
        "ray_id": number,
        "timestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "zone": hostname,
        "cloudflare_error": True,
        "retryable": problem.retry_after is not None,
        **({} if problem.retry_after is None else {"retry_after": problem.retry_after}),
        "owner_action_required": problem.category != "rate_limit",
        "what_you_should_do": "This document comes from the prx lab, a stand-in for Cloudflare's edge on this machine.",
        "footer": "This error was generated by the prx lab on behalf of the website owner.",
    }
    return json.dumps(document).encode()


def _bare(problem: Bare) -> bytes:
    title = f"{problem.status} {problem.title}"
    return (
        f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n"
        "<hr><center>cloudflare</center>\r\n</body>\r\n</html>\r\n"
    ).encode()


def _challenge(hostname: str) -> bytes:
    return f"""<!DOCTYPE html>
<html lang="en-US">
<head><title>Just a moment...</title><meta charset="UTF-8"><meta name="robots" content="noindex,nofollow"></head>
<body>
<h1>{html.escape(hostname)}</h1>
<p>Verifying you are human. This may take a few seconds.</p>
<noscript>Enable JavaScript and cookies to continue</noscript>
<p>This page comes from the prx lab, a stand-in for Cloudflare's edge on this machine. It cannot be solved.</p>
</body>
</html>
""".encode()
