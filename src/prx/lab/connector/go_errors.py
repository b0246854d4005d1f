"""Word failures as cloudflared's Go runtime words them, because its readers match those words."""

from __future__ import annotations

import json
import os
import ssl
from typing import Final

from prx.core.parsing import parse_json

_LITERALS: Final = {"n": "null", "t": "true", "f": "false"}

# X509_V_ERR_… of OpenSSL → what Go's verifier says for the same defect.
_CERTIFICATE_DEFECTS: Final = {
    10: "certificate has expired or is not yet valid",
    9: "certificate has expired or is not yet valid",
    18: "certificate signed by unknown authority",
    19: "certificate signed by unknown authority",
    20: "certificate signed by unknown authority",
    21: "certificate signed by unknown authority",
}


def errno_text(error: OSError) -> str:
    """Return the words for an operating-system error, such as `connection refused`."""
    if isinstance(error, TimeoutError):
        return "i/o timeout"
    return os.strerror(error.errno).lower() if error.errno else str(error)


def dial_text(network: str, address: str, error: OSError) -> str:
    """Return the words for a connection that could not be opened."""
    if isinstance(error, TimeoutError):
        return f"dial {network} {address}: i/o timeout"
    return f"dial {network} {address}: connect: {errno_text(error)}"


def tls_text(error: Exception) -> str:
    """Return the words for a TLS handshake that failed."""
    if isinstance(error, ssl.SSLCertVerificationError):
        defect = _CERTIFICATE_DEFECTS.get(error.verify_code, error.verify_message)
        return f"tls: failed to verify certificate: x509: {defect}"
    if isinstance(error, ssl.SSLEOFError | ConnectionError | EOFError):
        return "EOF"
    if isinstance(error, TimeoutError):
        return "context deadline exceeded"
    return f"tls: {getattr(error, 'reason', None) or error}"


def json_text(text: str) -> str:
    """Return the words for a text that is not JSON; the text must not be JSON."""
    stripped = text.lstrip(" \t\r\n")
    if not stripped:
        return "unexpected end of JSON input"
    first = stripped[0]
    if first in _LITERALS:
        return _literal_text(stripped, _LITERALS[first])
    if first not in '{["-0123456789':
        return f"invalid character {_quoted(first)} looking for beginning of value"
    try:
        parse_json(text)
    except json.JSONDecodeError as error:
        if error.pos >= len(text.rstrip()):
            return "unexpected end of JSON input"
        return f"invalid character {_quoted(text[error.pos])} ({error.msg})"
    return "invalid JSON"


def _literal_text(text: str, literal: str) -> str:
    for found, expected in zip(text, literal, strict=False):
        if found != expected:
            return f"invalid character {_quoted(found)} in literal {literal} (expecting {_quoted(expected)})"
    if len(text) < len(literal):
        return "unexpected end of JSON input"
    return f"invalid character {_quoted(text[len(literal)])} after top-level value"


def _quoted(character: str) -> str:
    return "'\\''" if character == "'" else f"'{character}'"
