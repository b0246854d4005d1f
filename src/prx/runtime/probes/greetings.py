"""Say what a server is that answers a request of HTTP/1.1 with something else, as far as its first bytes show it. Pure."""

from __future__ import annotations

import re
from typing import Final

# each row: how the protocol's servers begin (its document), and what is reported
_KNOWN: Final[tuple[tuple[re.Pattern[bytes], str], ...]] = (
    (re.compile(rb"[\x15\x16]\x03"), "speaks TLS, and was asked in plain HTTP"),  # RFC 8446, 5.1: an alert or a handshake
    (re.compile(rb"...\x04[\x00\x01]\x00{4}", re.DOTALL), "speaks HTTP/2 alone, and was asked in HTTP/1.1"),  # RFC 9113, 3.4
    (re.compile(rb"SSH-\d"), "is an SSH server, and no HTTP service"),  # RFC 4253, 4.2
    (re.compile(rb"[2345]\d\d[ -][^\r\n]*(?:SMTP|[Mm]ail|Postfix)"), "is a mail server (SMTP), and no HTTP service"),
    (re.compile(rb"[2345]\d\d[ -]"), "speaks SMTP or FTP, and no HTTP"),  # RFC 5321, 4.2; RFC 959, 4.2
    (re.compile(rb"\* (?:OK|BYE|PREAUTH)\b"), "is a mail server (IMAP), and no HTTP service"),  # RFC 9051, 7.1
    (re.compile(rb"\+OK\b"), "is a mail server (POP3) or Redis, and no HTTP service"),  # RFC 1939, 3
    (re.compile(rb"-(?:ERR|NOAUTH|DENIED|WRONGPASS)\b"), "is a Redis server, and no HTTP service"),  # RESP
    (re.compile(rb"RFB \d{3}\."), "is a VNC server, and no HTTP service"),  # RFC 6143, 7.1.1
    (re.compile(rb".{3}\x00(?:\x0a[0-9]|\xff..#?[A-Z])", re.DOTALL), "is a MySQL or MariaDB server, and no HTTP service"),
    (re.compile(rb"E\x00\x00..S(?:FATAL|ERROR)", re.DOTALL), "is a PostgreSQL server, and no HTTP service"),
    (re.compile(rb"\s*<(?:!doctype|html|\?xml)", re.IGNORECASE), "answers with a page without an HTTP head (HTTP/0.9)"),
    (re.compile(rb"\s*HTTP/|ICY ", re.IGNORECASE), "answers something that is nearly, but not, HTTP/1"),
)


def greeting(first: bytes) -> str:
    """Return what the server is, as the rest of a sentence about it. No byte of its own is quoted."""
    for pattern, words in _KNOWN:
        if pattern.match(first):
            return words
    return "answers something that is not HTTP"
