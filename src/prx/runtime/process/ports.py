"""Ports for children: draw a free one, outside of the range that outgoing connections use."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from prx.runtime.process.spawn import SpawnError


def draw_port(attempts: int = 50) -> int:
    """Return a loopback TCP port that is free now and lies outside the range that the system draws from by itself.

    Inside that range a program that connects to a dead port can meet itself (Linux: net/ipv4/ip_local_port_range). Raises
    SpawnError if no socket can be had.
    """
    try:
        return _draw_port(attempts)
    except OSError as error:
        raise SpawnError.of(error, "cannot find a free port") from error


def _draw_port(attempts: int) -> int:
    low, high = _ephemeral_range()
    for _ in range(attempts):
        port = _any_port()
        if not low <= port <= high and _is_free(port):
            return port
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _any_port() -> int:
    return 10000 + int.from_bytes(os.urandom(4), "big") % 55001  # `random` would load 0.2 MiB


def _ephemeral_range() -> tuple[int, int]:
    try:
        low, high = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()
        return int(low), int(high)
    except (OSError, ValueError):
        return 32768, 60999


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
