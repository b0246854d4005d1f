"""Notice over TCP that the other machine is gone: probes of the system's, which also a frozen process acknowledges (tcp(7))."""

from __future__ import annotations

import socket


def probe_when_silent(connection: socket.socket, *, idle: int, every: int, gone_after: int | None = None) -> None:
    """Probe a connection after `idle` seconds without a packet, then every so many seconds; nine unanswered ones end it.

    gone_after: it ends after so many seconds without an acknowledgement, of data or of a probe (Linux alone).
    """
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    options = {"TCP_KEEPIDLE": idle, "TCP_KEEPINTVL": every, "TCP_KEEPCNT": 9}
    if gone_after is not None:
        options["TCP_USER_TIMEOUT"] = gone_after * 1000
    for name, value in options.items():
        if (option := getattr(socket, name, None)) is not None:
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
