"""A UDP socket in asyncio that moves many datagrams per system call and per turn of the event loop.

asyncio's own datagram transport costs a turn of the loop for each datagram. Here one turn takes all that wait, up to
`BATCH` bytes, and on Linux the kernel joins and splits runs of equal datagrams (UDP_GRO, UDP_SEGMENT), which quic-go
makes use of too. If it cannot, every datagram is a system call of its own.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from collections.abc import Callable
from typing import Any, Final, TypeAlias

BATCH: Final = 256 * 1024
_BUFFER: Final = 4 * 1024 * 1024  # bytes that are asked for; the kernel allows what it will
_UDP_SEGMENT: Final = 103  # linux/udp.h
_UDP_GRO: Final = 104
_MAX_RUN: Final = 65_000  # bytes of one joined run: below the largest UDP payload
_MAX_SEGMENTS: Final = 64

Address: TypeAlias = Any
Receive: TypeAlias = Callable[[list[tuple[bytes, Address]]], None]


class UdpPort:
    """A bound UDP socket; `receive(datagrams)` is called with what came in one turn of the event loop."""

    def __init__(self, sock: socket.socket, receive: Receive) -> None:
        self._socket = sock
        self._receive = receive
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray(65_536)
        self._view = memoryview(self._buffer)
        self.blocked = False
        sock.setblocking(False)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            sock.setsockopt(socket.SOL_SOCKET, option, _BUFFER)
        self._joins = _enable_joining(sock)
        self._loop.add_reader(sock, self._on_readable)

    @property
    def address(self) -> Address:
        """The address that the socket is bound to."""
        return self._socket.getsockname()

    def send(self, datagrams: list[bytes], address: Address) -> None:
        """Send datagrams; what the kernel does not take at once is lost, as packets may be."""
        if self.blocked:
            return
        start = 0
        while start < len(datagrams):
            stop = self._end_of_run(datagrams, start)
            if not self._send_run(datagrams[start:stop], address):
                return
            start = stop

    def close(self) -> None:
        """Close the socket."""
        self._loop.remove_reader(self._socket)
        self._socket.close()

    # -- inside --------------------------------------------------------------------------------------------------

    def _end_of_run(self, datagrams: list[bytes], start: int) -> int:
        """Return the end of the run of equal datagrams, the last of which may be shorter."""
        size = len(datagrams[start])
        stop = start + 1
        if not self._joins:
            return stop
        limit = min(len(datagrams), start + min(_MAX_SEGMENTS, _MAX_RUN // size))
        while stop < limit and len(datagrams[stop]) <= size:
            stop += 1
            if len(datagrams[stop - 1]) < size:
                break
        return stop

    def _send_run(self, run: list[bytes], address: Address) -> bool:
        ancillary = [(socket.IPPROTO_UDP, _UDP_SEGMENT, struct.pack("=H", len(run[0])))] if len(run) > 1 else []
        try:
            self._socket.sendmsg(run, ancillary, 0, address)
        except ConnectionRefusedError:
            pass  # an ICMP message about an earlier datagram; this one was not sent, which is as good as lost
        except BlockingIOError:
            return False
        except OSError:
            if not ancillary:
                return False
            self._joins = False  # this kernel or this interface does not split
            return all(self._send_run([datagram], address) for datagram in run)
        return True

    def _on_readable(self) -> None:
        batch: list[tuple[bytes, Address]] = []
        size = 0
        while size < BATCH:
            try:
                length, ancillary, _, address = self._socket.recvmsg_into([self._buffer], 64)
            except (BlockingIOError, InterruptedError):
                break
            except ConnectionRefusedError:
                continue
            except OSError:
                break
            size += length
            segment = _segment(ancillary) or length or 1
            batch.extend(
                (bytes(self._view[start : min(start + segment, length)]), address) for start in range(0, length, segment)
            )
        if batch and not self.blocked:
            self._receive(batch)


def _enable_joining(sock: socket.socket) -> bool:
    """Have the kernel join what comes and split what goes; whether it can."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        sock.setsockopt(socket.IPPROTO_UDP, _UDP_GRO, 1)
    except OSError:
        return False
    return True


def _segment(ancillary: list[tuple[int, int, bytes]]) -> int:
    """Return the size of the datagrams that the kernel has joined, or 0."""
    for level, kind, data in ancillary:
        if level == socket.IPPROTO_UDP and kind == _UDP_GRO:
            return int(struct.unpack("=i", data[:4])[0]) if len(data) >= 4 else int(struct.unpack("=H", data[:2])[0])
    return 0
