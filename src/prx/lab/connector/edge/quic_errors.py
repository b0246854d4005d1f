"""Word the end of a QUIC connection as cloudflared's QUIC library, quic-go, words it; observed with cloudflared 2026.8.2."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from aioquic.quic.packet import QuicErrorCode

from prx.lab.protocol.quic.connection import Ending

SILENCE: Final = "timeout: no recent network activity"

_CRYPTO_ERROR: Final = range(0x100, 0x200)  # codes that hold a TLS alert (RFC 9001, section 4.8)
_BAD_CERTIFICATE: Final = 0x12A  # aioquic's alert for every certificate that it does not accept


def ending_text(ending: Ending | None) -> str:
    """Return the words for the end of a connection; None: nothing was said."""
    if ending is None or ending.timed_out:
        return SILENCE
    side = "remote" if ending.by_peer else "local"
    reason = ending.reason
    if ending.code == _BAD_CERTIFICATE and not (ending.by_peer or ending.application):
        reason = f"tls: failed to verify certificate: x509: {_defect(reason)}"
    return f"{_name(ending)} ({side}): {reason}" if reason else f"{_name(ending)} ({side})"


def _name(ending: Ending) -> str:
    if ending.application:
        return f"Application error {ending.code:#x}"
    if ending.code in _CRYPTO_ERROR:
        return f"CRYPTO_ERROR {ending.code:#x}"
    with suppress(ValueError):
        return QuicErrorCode(ending.code).name
    return f"unknown error code: {ending.code:#x}"


def _defect(reason: str) -> str:
    """Return Go's words for OpenSSL's verdict on a certificate."""
    if "expired" in reason or "not yet valid" in reason:
        return "certificate has expired or is not yet valid"
    return "certificate signed by unknown authority" if "issuer" in reason or "self" in reason else reason
