"""Ask a running prx over its control socket: synchronous, standard library only, every wait bounded."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from prx.control.forks import close_in_children
from prx.control.messages import ANSWER_LIMIT, Message, decode, encode, raised
from prx.control.peer import is_allowed, peer_of
from prx.control.ready import wait_readable
from prx.control.unixpath import address
from prx.core.deadline import Deadline
from prx.core.errors import PrxError
from prx.core.shortage import lack_for_connection

ENDS_WITHIN = 0.5  # seconds from the end of a connection to that of a process that was killed
ANSWER_TIMEOUT = 5.0  # seconds; a prx that lives answers within milliseconds


class NotRunningError(PrxError):
    """No process listens: there is no prx to ask. `pid`: of the one that ended while it was asked, else 0."""

    exit_code = 3
    usual_code = "not_running"
    pid = 0


class UnresponsiveError(PrxError):
    """A prx is there and does not answer as it should: nothing is known of its tunnels."""

    exit_code = 4
    usual_code = "unresponsive"


class Client:
    """Be connected to the prx whose control socket is `path`; use it in a `with` block.

    Raises NotRunningError if no process listens, UnresponsiveError if one does and does not answer in time, and what
    the other side refused as the exception that it names. `timeout` is in seconds and holds for connecting and each answer.
    """

    def __init__(self, path: Path, *, timeout: float = ANSWER_TIMEOUT) -> None:
        self.path = path
        self.timeout = timeout
        self.pid = 0  # of the prx at the other end; 0 if the system does not report it
        self._unread = b""
        self._shut = False
        try:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        except OSError as error:
            raise self._not_asked(error) from error
        close_in_children(self)
        try:
            self._connect()
        except BaseException:
            self._socket.close()
            raise

    def _connect(self) -> None:
        self._socket.settimeout(self.timeout)
        try:
            with address(self.path) as short:
                self._socket.connect(short)
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise NotRunningError("prx is not running", hint="start it with: prx start") from error
        except OSError as error:
            raise self._not_asked(error) from error
        peer = peer_of(self._socket)
        if peer is not None:
            self.pid, uid = peer
            if not is_allowed(uid) and not self._is_owner(uid):
                raise UnresponsiveError(f"{self.path} belongs to a process of user {uid}, expected user {os.geteuid()}")

    def _is_owner(self, uid: int) -> bool:
        """Return whether we are root, who may ask a service that has a user of its own: the one to whom the folder belongs."""
        return os.geteuid() == 0 and uid == self.path.parent.stat().st_uid

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def shut(self) -> None:
        """End the connection from another thread: whatever waits for an answer or an event stops waiting."""
        self._shut = True
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def detach(self) -> socket.socket:
        """Hand the connected socket over to the caller, who closes it."""
        handed = socket.socket(fileno=self._socket.detach())
        handed.setblocking(False)
        close_in_children(handed)
        return handed

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def ask(self, do: str, *, wait: float | None = None, **arguments: Any) -> Message:
        """Send one request and return its answer. `wait` seconds are given to the other side on top of the time-out."""
        request = {"do": do, **arguments} if wait is None else {"do": do, "wait": wait, **arguments}
        try:
            self._socket.sendall(encode(request))
            line = self._line(Deadline(time.monotonic, self.timeout + (wait or 0.0)))
        except ConnectionError as error:
            raise self._closed() from error
        except OSError as error:
            raise self._no_answer(error.strerror or "no answer in time") from error
        if line is None:
            raise self._closed()
        return self._understand(line)

    def stream(self) -> Iterator[Message]:
        """Subscribe to the events of the other side; return them as they come, until it ends."""
        self.ask("events")
        return self._events()

    def _events(self) -> Iterator[Message]:
        while (line := self._line(None)) is not None:
            yield decode(line)

    def wait_for_end(self, seconds: float) -> bool:
        """Wait until the process at the other end has ended (if the system reports it), or closed the connection."""
        deadline = Deadline(time.monotonic, seconds)
        try:
            watch = os.pidfd_open(self.pid)
        except (AttributeError, OSError, ValueError):  # no pidfd here, or the process is gone already
            return self._wait_for_close(deadline)
        try:
            return wait_readable(watch, seconds)
        finally:
            os.close(watch)

    def _wait_for_close(self, deadline: Deadline) -> bool:
        with suppress(ConnectionError):
            try:
                while self._line(deadline) is not None:
                    pass
            except TimeoutError:
                return False
        return True

    def _line(self, deadline: Deadline | None) -> bytes | None:
        """Return the next line; None if the other side closed. Raises TimeoutError after `deadline`."""
        while b"\n" not in self._unread:
            if len(self._unread) > ANSWER_LIMIT:
                raise self._no_answer(f"its answer is longer than {ANSWER_LIMIT} bytes")
            self._socket.settimeout(None if deadline is None else max(0.001, deadline.left))
            chunk = self._socket.recv(65536)
            if not chunk:
                return None
            self._unread += chunk
        line, _, self._unread = self._unread.partition(b"\n")
        return line

    def _understand(self, line: bytes) -> Message:
        try:
            answer = decode(line)
        except ValueError as error:
            raise self._no_answer("its answer is not JSON") from error
        if not answer.get("ok"):
            raise raised(answer)
        return answer

    def _closed(self) -> PrxError:
        """Return the error of a connection that was closed before the answer: prx has ended, or does not want to answer."""
        if self._shut or not self._has_ended():
            return self._no_answer("it closed the connection")
        who = f"prx (pid {self.pid})" if self.pid else "prx"
        error = NotRunningError(f"{who} ended before it could answer", hint="start it with: prx start")
        error.pid = self.pid
        return error

    def _has_ended(self) -> bool:
        """Return whether the process that answered here does so no more; one that ends takes its socket away first."""
        try:
            with Client(self.path, timeout=self.timeout) as other:
                same = other.pid == self.pid
        except NotRunningError:
            return True
        except PrxError:
            return False
        return not same or (self.pid > 0 and self.wait_for_end(ENDS_WITHIN))

    def _not_asked(self, error: OSError) -> UnresponsiveError:
        if lack := lack_for_connection(error):  # of this process: prx has no part in it
            words = (error.strerror or str(error)).lower()
            return UnresponsiveError(f"this program cannot ask prx: {words}", hint=lack.hint)
        if isinstance(error, BlockingIOError):
            return self._no_answer("its queue of connections is full")
        return self._no_answer(error.strerror or "no answer")

    def _no_answer(self, what: str) -> UnresponsiveError:
        who = f"prx (pid {self.pid})" if self.pid else "prx"
        return UnresponsiveError(f"{who} at {self.path} cannot be asked: {what}", hint="prx logs may say what it is doing")
