"""Heads of HTTP/1.1 as h11 has them: what is refused in a request's, and what is left out of a response's."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

import h11

from prx.lab.protocol.headers import Headers

_REASONS: Final = {status.value: status.phrase for status in HTTPStatus}


def head_size(request: h11.Request) -> int:
    """Count the bytes of a head, roughly."""
    return len(request.target) + sum(len(name) + len(value) + 4 for name, value in request.headers)


def has_two_lengths(request: h11.Request) -> bool:
    """Return whether a request has both a Content-Length and a Transfer-Encoding, as smuggled ones have (RFC 9112, 6.3)."""
    return {b"content-length", b"transfer-encoding"} <= {name for name, _ in request.headers}


def response_head(status: int, headers: Headers) -> h11.Response:
    """Make a response's head, without those headers of the origin that HTTP/1.1 does not allow."""
    reason = _REASONS.get(status, "")
    try:
        return h11.Response(status_code=status, headers=headers, reason=reason)
    except h11.LocalProtocolError:
        allowed = [header for header in headers if _is_allowed(header)]
        return h11.Response(status_code=status, headers=allowed, reason=reason)


def _is_allowed(header: tuple[bytes, bytes]) -> bool:
    try:
        h11.Response(status_code=HTTPStatus.OK, headers=[header])
    except h11.LocalProtocolError:
        return False
    return True
