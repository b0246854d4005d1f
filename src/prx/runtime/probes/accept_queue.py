"""Whether a service has accepted a connection, or left it in the queue of its listening socket, where the kernel put it.

The kernel completes a connection by itself; that its program is stopped, or turns to nothing any more, does not show to who
connects. It shows in the kernel's own tables (Linux: proc_pid_net(5)): the receive queue of a listener counts what has not been
accepted, and a connection that has not been accepted belongs to no open file, so that its inode is 0. The latter holds for this
very connection, however many others wait: a service that is only busy moves on.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, Self

_LISTEN = "0A"
_NOT_OVER = {"01", "03", "08"}  # established, received by a queue that is full, closed by its client: all others have ended
_NO_FILE = "0"


class Arrival(NamedTuple):
    """A connection to a port of this machine, by the ports of both ends; it may have been closed by its client since."""

    to_port: int
    from_port: int
    family: socket.AddressFamily

    @classmethod
    def of(cls, sock: socket.socket) -> Self:
        """Return the connection of `sock`, which has made it; OSError if it is gone."""
        return cls(int(sock.getpeername()[1]), int(sock.getsockname()[1]), socket.AddressFamily(sock.family))

    def is_waiting(self) -> bool:
        """Return whether it is known not to have been accepted; False on systems that do not say."""
        names = ("tcp6",) if self.family == socket.AF_INET6 else ("tcp", "tcp6")  # `::` takes IPv4 as well
        return any(self._waits_in(Path("/proc/net") / name) for name in names)

    def _waits_in(self, table: Path) -> bool:
        try:
            with table.open(encoding="ascii") as rows:
                next(rows, None)
                return self._waits_among(rows)
        except (OSError, ValueError, IndexError):
            return False

    def _waits_among(self, rows: Iterable[str]) -> bool:
        there, here = f":{self.to_port:04X}", f":{self.from_port:04X}"
        some_wait = False
        for row in rows:  # listeners come first: in nearly every case nothing waits, and the many others are not read
            _, local, remote, state, queues, _, _, _, _, inode, *_ = row.split()
            if state == _LISTEN:
                some_wait |= local.endswith(there) and int(queues.partition(":")[2], 16) > 0
            elif not some_wait:
                return False
            elif local.endswith(there) and remote.endswith(here):
                return state in _NOT_OVER and inode == _NO_FILE
        return False
