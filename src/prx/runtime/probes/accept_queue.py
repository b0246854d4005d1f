"""Whether a service has accepted a connection, or left it in the queue of its listening socket, where the kernel put it.

The kernel completes a connection by itself; a client cannot see that the program is stopped, or accepts nothing any more. The
kernel's own tables show it (Linux: proc_pid_net(5)): the receive queue of a listener counts what has not been accepted, and a
connection that has not been accepted belongs to no open file, so that its inode is 0. The latter holds for this very
connection, however many others wait: a service that is only busy moves on.

Reading these tables makes the kernel go through all connections of the machine. Whether anything waits at all, which is
nearly never so, it says of the one listener alone (sock_diag(7)).
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from pathlib import Path
from struct import pack, unpack_from
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
        if listener_has_queue(self.to_port) is False:
            return False
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


# linux/netlink.h, linux/inet_diag.h
_SOCK_DIAG_BY_FAMILY, _SOCK_DIAG, _REQUEST_DUMP = 20, 4, 0x301
_DONE = 3
_LISTENING = 1 << 10
_HEADER, _QUEUE = 16, 56  # bytes: of a message's head; of an answer before the length of its queue


def listener_has_queue(port: int) -> bool | None:
    """Return whether connections wait in the queue of a socket that listens on `port`; None if the kernel does not say."""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, _SOCK_DIAG) as kernel:
            queues = [length for family in (socket.AF_INET, socket.AF_INET6) for length in _queues(kernel, family, port)]
    except (OSError, AttributeError, ValueError):  # a container or a system that has none of this
        return None
    return any(queues) if queues else None


def _queues(kernel: socket.socket, family: int, port: int) -> list[int]:
    """Return the length of the queue of each listener; ValueError if the kernel refuses to say."""
    wanted = pack("=BBBBI", family, socket.IPPROTO_TCP, 0, 0, _LISTENING) + pack("!HH", port, 0) + bytes(36) + b"\xff" * 8
    kernel.send(pack("=IHHII", _HEADER + len(wanted), _SOCK_DIAG_BY_FAMILY, _REQUEST_DUMP, 1, 0) + wanted)
    found: list[int] = []
    while True:
        answer, at = kernel.recv(1 << 16), 0
        while at < len(answer):
            length, kind = unpack_from("=IH", answer, at)
            if kind == _DONE:
                return found
            if kind != _SOCK_DIAG_BY_FAMILY or length < _HEADER:
                raise ValueError(kind, length)
            found.append(unpack_from("=I", answer, at + _HEADER + _QUEUE)[0])
            at += (length + 3) & ~3
