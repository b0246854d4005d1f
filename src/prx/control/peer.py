"""Who is at the other end of a unix socket, as the kernel says it."""

from __future__ import annotations

import os
import socket
import struct

_UCRED = struct.Struct("3i")  # pid, uid, gid: unix(7), SO_PEERCRED


def peer_of(connection: socket.socket) -> tuple[int, int] | None:
    """Return pid and uid of the process that opened the other end; None if the system does not report them (not Linux)."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return None
    pid, uid, _gid = _UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, option, _UCRED.size))
    return pid, uid


def is_allowed(uid: int) -> bool:
    """Return whether a peer with `uid` may speak to this process: root and the own user may."""
    return uid in {0, os.geteuid()}
