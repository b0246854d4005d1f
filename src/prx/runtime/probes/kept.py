"""A connection to a server on this machine that is kept open from one small question to the next.

A question on a connection of its own costs several times as much as the answer. What this reader does not know at once (an
answer that is no plain HTTP/1.1, a server that hangs up) is `NotKeptError`, after which the question is asked on a connection
of its own, by the careful way (`prx.runtime.probes.http`): what is wrong is found out there. No answer in time is none, and
the connection is given up with it.
"""

from __future__ import annotations

import asyncio
import errno
import re
import socket
from functools import lru_cache
from typing import Final

from prx import __version__
from prx.runtime.probes.head import Head, MalformedError, NotHttpError, split

_NONBLOCK: Final = getattr(socket, "SOCK_NONBLOCK", 0)  # in the call that makes a socket; not everywhere
_CHUNK: Final = 64 * 1024
_DATE: Final = re.compile(rb"\r\nDate: ([A-Za-z0-9, :]{29})(?=\r\n)")
_SMALL: Final = 1024  # bytes of a head that is worth remembering
_CHUNK_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;.*)?")  # RFC 9112, 7.1


class NotKeptError(Exception):
    """The question cannot be asked, or its answer not be read, on the connection that was kept."""


class _Socket(socket.socket):
    """One that is closed with the last who holds it, and no mistake then."""

    def __del__(self) -> None:
        if not getattr(self, "_closed", True):  # True: it was never made, as no descriptor was left
            self.close()


class KeptConnection:
    """The connection to 127.0.0.1:`port`, made when it is needed; one question at a time (`busy`).

    ahead: the path of a question that was sent by `ask`, and not answered yet; empty if there is none.
    """

    def __init__(self, port: int, *, limit: int) -> None:
        self.busy = False
        self.ahead = ""
        self._port = port
        self._limit = limit
        self._sock: socket.socket | None = None
        self._head: Head | None = None
        self._buffer = b""

    def is_refused(self) -> bool:
        """Return whether nothing listens, without a wait; a connection that is made serves the next question."""
        if self.busy or self._sock is not None:
            return False
        try:
            self._sock = connect_at_once(socket.AF_INET, "127.0.0.1", self._port)
        except ConnectionRefusedError:
            return True
        except OSError:  # of this machine, or none at once: the question itself finds out
            pass
        return False

    def ask(self, path: str) -> None:
        """Send the question GET `path` ahead of the `get` that waits for its answer; harmless if it cannot be sent."""
        if self.busy:
            return
        if self.ahead:  # its answer was not waited for: it must not be taken for that of a later question
            self.close()
        try:
            self._send(path)
        except (OSError, NotKeptError):
            self.close()
        else:
            self.ahead = path

    def at_hand(self, path: str) -> tuple[int, bytes] | None:
        """Return status and body of the answer to what was sent ahead if it has come; None is no sign of anything."""
        if self.busy or self.ahead != path or self._sock is None:
            return None
        whole = False
        try:
            found = self._take(self._sock.recv(_CHUNK))
            if found is None:
                return None
            answer, whole = found
        except BlockingIOError:
            return None
        except (OSError, NotKeptError, NotHttpError, MalformedError, ValueError):
            self.close()
            return None
        self.ahead = ""
        if not whole:
            self.close()
        return answer

    async def get(self, path: str, timeout: float) -> tuple[int, bytes]:
        """Return status and body of the answer to GET `path`, which may have been sent ahead.

        Raises TimeoutError without one within `timeout` seconds, ConnectionRefusedError if nothing listens, and NotKeptError.
        """
        self.busy, whole = True, False
        try:
            if self.ahead != path:
                self._send(path)
            self.ahead = ""
            async with asyncio.timeout(timeout):
                found, whole = await self._answer()
        except (TimeoutError, ConnectionRefusedError):
            raise
        except (OSError, NotHttpError, MalformedError, ValueError) as error:
            raise NotKeptError from error
        finally:
            self.busy = False
            if not whole:
                self.close()
        return found

    def close(self) -> None:
        """Hang up; the next question opens the connection again."""
        self.ahead = ""
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def _send(self, path: str) -> None:
        """Send a question, on a connection that is opened if there is none."""
        if self._sock is not None and not _is_quiet(self._sock):
            self.close()
        sock = self._sock = self._sock or connect_at_once(socket.AF_INET, "127.0.0.1", self._port)
        self._head, self._buffer = None, b""
        question = _question(path, self._port)
        if sock.send(question) != len(question):
            raise NotKeptError

    async def _answer(self) -> tuple[tuple[int, bytes], bool]:
        """Return status and body, and whether the connection may be kept."""
        loop, sock = asyncio.get_running_loop(), self._sock
        if sock is None:
            raise NotKeptError
        while (found := self._take(await loop.sock_recv(sock, _CHUNK))) is None:
            pass
        return found

    def _take(self, data: bytes) -> tuple[tuple[int, bytes], bool] | None:
        """Take in what was received; return status and body, and whether the connection may be kept, once all is there."""
        self._buffer += data
        if not data or len(self._buffer) > self._limit:
            raise NotKeptError
        if self._head is None:
            parts = _parted(self._buffer)
            if parts is None:
                return None
            self._head, self._buffer = parts
        if (whole := body_of(self._head, self._buffer)) is None:
            return None
        body, rest = whole
        keeps = not rest and "close" not in self._head.fields.get("connection", "").lower()
        status, self._buffer = self._head.status, b""
        return (status, body), keeps


def _parted(buffer: bytes) -> tuple[Head, bytes] | None:
    """Return what `split` does; a head that differs from one before in its date alone (RFC 9110, 5.6.7) is not read again."""
    end = buffer.find(b"\r\n\r\n", 0, _SMALL) + 4
    date = _DATE.search(buffer, 0, end) if end > 3 else None
    known = _head_of(buffer[: date.start(1)] + buffer[date.end(1) : end]) if date else None
    return split(buffer) if known is None else (known, buffer[end:])


@lru_cache(maxsize=64)
def _head_of(undated: bytes) -> Head | None:
    """Return a whole head; None if it ends before, as a lenient reader sees it."""
    parts = split(undated)
    return parts[0] if parts is not None and not parts[1] else None


@lru_cache(maxsize=64)
def _question(path: str, port: int) -> bytes:
    return (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUser-Agent: prx/{__version__}\r\n"
        "Accept: */*\r\nAccept-Encoding: identity\r\n\r\n"
    ).encode("ascii")


def _is_quiet(sock: socket.socket) -> bool:
    """Return whether the server has neither hung up nor sent what was not asked for, which would answer the next question."""
    try:
        sock.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


def connect_at_once(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    """Return a connection to a port of this machine, which takes no wait; OSError if it does, or is refused.

    The kernel makes it, or refuses it, within the call, and says so at the next: ConnectionRefusedError is certain. So is
    ConnectionResetError: the server has taken the connection, and broken it off already.
    """
    sock = _Socket(family, socket.SOCK_STREAM | _NONBLOCK)
    if not _NONBLOCK:
        sock.setblocking(False)
    made = sock.connect_ex((address, port)) == 0
    if (end := _far_end(sock)) is None:
        failed = sock.connect_ex((address, port))
        made = made or failed in {0, errno.EISCONN}
        end = _far_end(sock) if made else None
        if end is None:
            sock.close()
            raise OSError(errno.ECONNRESET if made else failed, "not connected at once")
    if end == sock.getsockname()[:2]:  # an unused port was drawn as our own, so that nothing is there
        sock.close()
        raise OSError(errno.ECONNREFUSED, "not connected at once")
    return sock


def _far_end(sock: socket.socket) -> tuple[str, int] | None:
    """Return what a socket is connected to; None if it is not connected, or no longer."""
    try:
        address, port = sock.getpeername()[:2]
    except OSError:
        return None
    return address, port


def body_of(head: Head, buffer: bytes) -> tuple[bytes, bytes] | None:
    """Return the body of an answer and what follows it; None while it is not complete. ValueError: it cannot be read."""
    if head.status < 200:
        raise ValueError("an interim answer")
    if not head.chunked:
        if head.length is None:
            raise ValueError("its end is that of the connection")
        return (buffer[: head.length], buffer[head.length :]) if len(buffer) >= head.length else None
    parts, at = [], 0
    while (end := buffer.find(b"\r\n", at)) >= 0:
        written = _CHUNK_SIZE.fullmatch(buffer, at, end)
        if written is None:
            raise ValueError("a chunk without its length")
        size = int(written[1], 16)
        at = end + 2 + size
        if buffer[at : at + 2] != b"\r\n":
            if len(buffer) < at + 2:
                return None
            raise ValueError("a chunk without its end, or a trailer")
        parts.append(buffer[end + 2 : at])
        at += 2
        if not size:
            return b"".join(parts), buffer[at:]
    return None
