"""Read what pages say: Cloudflare's own error number, a framework's refusal of the host name, a TLS server's of plain HTTP.

All are read from at most 64 KiB, with patterns that cannot backtrack far. What is quoted from a page is one short line.
"""

from __future__ import annotations

import re

from prx.logs.text import printable
from prx.runtime.probes.http import Answer

# Plain text "error code: 1033", JSON "error_code": 1033, and HTML with tags between the words and the number
# (Cloudflare's documentation of 1xxx errors; the three forms depend on what the client accepts).
_EDGE_ERROR = re.compile(rb'\berror(?:[ _]code)?"?:?\s{0,20}(?:<[^<>]{0,200}>\s{0,20}){0,4}(1[01]\d\d)\b', re.IGNORECASE)

# Vite, Nuxt, Angular: "Blocked request. This host (…) is not allowed."
# · webpack-dev-server, Starlette, MCP servers: "Invalid Host header"
# · Django with DEBUG: "Invalid HTTP_HOST header: …" · Rails: "Blocked hosts: …"
_HOST_BLOCKED = re.compile(
    rb"blocked request\.\s+this host[^\r\n]{0,300}|invalid host header[^\r\n<]{0,200}"
    rb"|invalid http_host header:[^\r\n<]{0,300}|blocked hosts?:\s[^\r\n<]{0,200}",
    re.IGNORECASE,
)
# Go: "Client sent an HTTP request to an HTTPS server." · nginx: "The plain HTTP request was sent to HTTPS port"
# · Apache: "You're speaking plain HTTP to an SSL-enabled server port"
# · Tomcat: "This combination of host and port requires TLS." · Webmin, with 200: "This web server is running in SSL mode."
_ASKS_FOR_TLS = re.compile(
    rb"\b(?:http request[^\r\n]{0,40} (?:https|ssl|tls)\b|speak(?:s|ing)? (?:only )?(?:https|tls|ssl|plain http)\b"
    rb"|running in (?:ssl|tls|https) mode|(?:ssl|tls|https)[- ](?:enabled|only) (?:server|service|port)"
    rb"|(?:requires?|expects?|needs?|uses?|use) (?:tls|ssl|https)\b|try the url[^\r\n]{0,80}https://)",
    re.IGNORECASE,
)
_REFUSES_PLAIN_HTTP = {400, 426}  # bad request (the usual one), upgrade required
_SHORT_PAGE = 16 * 1024  # bytes; such a page says little else
_QUOTED = 200  # characters
_TAG = re.compile(r"<[^<>]{0,200}>")


def edge_error(answer: Answer) -> int | None:
    """Return the number on Cloudflare's own error page (1033: no connector is there), None when this is no such page."""
    by_cloudflare = answer.headers.get("server", "").lower() == "cloudflare"
    if answer.status != 530 and not (answer.status >= 400 and by_cloudflare):
        return None
    match = _EDGE_ERROR.search(answer.body)
    return int(match[1]) if match else None


def host_blocked(answer: Answer) -> str:
    """Return the words with which a framework refuses the host name, empty when it does not.

    Old versions of webpack-dev-server say so with status 200; there the words must be the whole body.
    """
    match = _HOST_BLOCKED.search(answer.body)
    if match is None or (answer.status < 400 and match[0].strip() != answer.body.strip()):
        return ""
    return _printable(match[0].decode("utf-8", "replace"))


def asks_for_tls(answer: Answer) -> bool:
    """Return whether this may be a TLS server's answer to plain HTTP: by its status, or by words on the page."""
    return answer.status in _REFUSES_PLAIN_HTTP or says_tls(answer)


def says_tls(answer: Answer) -> bool:
    """Return whether the words of a short page, whatever its status, say that TLS is spoken here."""
    return len(answer.body) <= _SHORT_PAGE and _ASKS_FOR_TLS.search(answer.body) is not None


def _printable(text: str) -> str:
    return printable(_unescaped(_TAG.sub("", text))).strip()[:_QUOTED]


def _unescaped(text: str) -> str:
    try:
        import html  # noqa: PLC0415 - 0.4 MB, for pages of errors alone
    except OSError:  # no descriptor is left to load it with
        return text
    return html.unescape(text)
