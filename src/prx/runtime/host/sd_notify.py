"""Report the state of prx to the service manager: ready, alive, stopping, and one line for `systemctl status`.

Theory of operation. systemd puts the address of a datagram socket into NOTIFY_SOCKET (a path, or @NAME in the abstract
namespace) and, if the unit asks for a watchdog, its time-out into WATCHDOG_USEC; a message is a list of lines NAME=VALUE
(sd_notify(3), sd_watchdog_enabled(3)). Without the variables all of this does nothing. The socket is opened once, at the start:
a prx that has run out of descriptors must not miss its watchdog. A message that cannot be sent now, because the manager is busy
and its queue is full, is kept, and sent in its turn before the next one, at the next beat at the latest.

READY=1 goes out once, as soon as prx has understood how a tunnel is: it is up, or prx knows why not and does what helps. A
machine that boots without a network has a prx that is ready and waits. What can only end in `failed` is not ready. Until then
each beat asks for more time to start, so that TimeoutStartSec= bounds a loop that hangs, not a slow network. The beats come
from the event loop, at half the time-out: a loop that stands still is noticed.
"""

from __future__ import annotations

import logging
import os
import socket
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Final, Self

from prx.core.events import Event, StateChanged, VerdictChanged
from prx.core.numbers import whole
from prx.core.states import State
from prx.core.status import TunnelStatus
from prx.core.verdicts import Verdict
from prx.logs.text import printable
from prx.runtime.host.clock import Clock

VARIABLES: Final = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "DEBUG_INVOCATION")
"""What systemd sets for prx itself; no child may inherit it."""

BEAT: Final = 15.0  # seconds between two beats while there is no watchdog but prx is not ready yet
_LONGEST_STATUS: Final = 400  # characters
_MOST_UNSENT: Final = 16  # messages
_STATUS: Final = b"STATUS="

logger = logging.getLogger(__name__)


class _Socket(socket.socket):
    """One that is closed with its last reference, without a ResourceWarning."""

    def __del__(self) -> None:
        if not getattr(self, "_closed", True):  # True: it was never made, as no descriptor was left
            self.close()


class NotifySocket:
    """Sends messages to the service manager at `address`; empty: there is none, and nothing is sent."""

    def __init__(self, address: str) -> None:
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._unsent: deque[bytes] = deque(maxlen=_MOST_UNSENT)
        self._socket: _Socket | None = None
        if self._address:
            with suppress(OSError):  # it is tried again with the first message
                self._socket = self._opened()

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Self:
        """Take the address from NOTIFY_SOCKET; one of another family (vsock:…) is not used."""
        address = environ.get("NOTIFY_SOCKET", "")
        return cls(address if address.startswith(("/", "@")) else "")

    @property
    def is_there(self) -> bool:
        """Return whether a service manager listens."""
        return bool(self._address)

    def send(self, *lines: str) -> None:
        """Send one message, after those that could not be sent before; never raises, never blocks."""
        if not self._address:
            return
        message = "\n".join(lines).encode()
        if message.startswith(_STATUS):  # the latest stands for those that were not heard
            self._unsent = deque((item for item in self._unsent if not item.startswith(_STATUS)), _MOST_UNSENT)
        self._unsent.append(message)
        self.send_again()

    def send_now(self, *lines: str) -> None:
        """Send a message that means nothing later, and what waits; never raises, never blocks."""
        if self._address and self.send_again():
            self._try("\n".join(lines).encode())

    def send_again(self) -> bool:
        """Send what could not be sent; return whether nothing of it is left."""
        while self._unsent and self._try(self._unsent[0]):
            self._unsent.popleft()
        return not self._unsent

    def _try(self, message: bytes) -> bool:
        try:
            self._socket = self._socket or self._opened()
            self._socket.sendto(message, self._address)
        except OSError as error:
            logger.debug("the service manager did not get %s: %s", message, error.strerror or error)
            return False
        return True

    @staticmethod
    def _opened() -> _Socket:
        return _Socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)


class Notifier:
    """Renders events as messages: `see` takes every event, `run` beats forever, the rest reports what prx does itself.

    `statuses` returns the present status of every tunnel (`Bus.statuses`). `watchdog` is its time-out in seconds, 0 if the
    unit asks for none.
    """

    def __init__(
        self, to: NotifySocket, clock: Clock, statuses: Callable[[], Sequence[TunnelStatus]], *, watchdog: float = 0.0
    ) -> None:
        self._to = to
        self._clock = clock
        self._statuses = statuses
        self._watchdog = watchdog
        self._ready = False
        self._said = ""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], clock: Clock, statuses: Callable[[], Sequence[TunnelStatus]]) -> Self:
        """Make the notifier that systemd's variables ask for."""
        return cls(NotifySocket.from_environment(environ), clock, statuses, watchdog=watchdog_seconds(environ, os.getpid()))

    def see(self, event: Event) -> None:
        """Send what changed; to be called with every event, after the status has been folded (`Bus.listen`)."""
        match event.fact:
            case StateChanged(new=state):
                understood = state.is_up or state is State.BACKOFF
            case VerdictChanged(new=verdict):
                understood = verdict is not Verdict.STARTING and not verdict.is_final
            case _:
                return
        if understood and not self._ready:
            self._ready = True
            self._to.send("READY=1")
        if self._to.is_there:  # it goes through all of them, for each one that changes
            self._send_status()

    @contextmanager
    def reloading(self) -> Iterator[None]:
        """Say that the configuration is read again inside the block, and then that this is over, whether it worked or not."""
        if not self._ready:  # a reload is no readiness
            yield
            return
        self._to.send("RELOADING=1", f"MONOTONIC_USEC={int(self._clock.monotonic() * 1_000_000)}")
        try:
            yield
        finally:
            self._to.send("READY=1")

    def stopping(self) -> None:
        """Say that prx is about to end."""
        self._to.send("STOPPING=1")

    async def run(self) -> None:
        """Beat forever; return at once if there is no service manager."""
        while self._to.is_there:
            self.beat()
            await self._clock.sleep(self._period)

    def beat(self) -> None:
        """Say that the event loop turns, ask for time while prx is not ready, and send what could not be sent."""
        lines = ["WATCHDOG=1"] if self._watchdog else []
        if not self._ready:
            lines.append(f"EXTEND_TIMEOUT_USEC={int(self._period * 3 * 1_000_000)}")
        if lines:
            self._to.send_now(*lines)
        else:
            self._to.send_again()

    @property
    def _period(self) -> float:
        return self._watchdog / 2 if self._watchdog else BEAT

    def _send_status(self) -> None:
        said = summary(self._statuses())
        if said != self._said:
            self._said = said
            self._to.send(f"STATUS={said}")


def watchdog_seconds(environ: Mapping[str, str], pid: int) -> float:
    """Return the watchdog's time-out for process `pid`, 0 if there is none or it is meant for another process."""
    meant_for = environ.get("WATCHDOG_PID", str(pid))
    microseconds = whole(environ.get("WATCHDOG_USEC"))
    return 0.0 if meant_for != str(pid) or microseconds is None else microseconds / 1_000_000


def summary(statuses: Sequence[TunnelStatus]) -> str:
    """Say in one line how the tunnels are: one in words, several as a count and the first that is not ready in words."""
    if not statuses:
        return "no tunnel"
    first = next((status for status in statuses if status.state != State.READY), statuses[0])
    words = " · ".join(word for word in (first.state, first.verdict, first.url, _why(first)) if word)
    if len(statuses) > 1:
        ready = [status.state for status in statuses].count(State.READY)
        words = f"{ready} of {len(statuses)} tunnels ready" + ("" if ready == len(statuses) else f"; {first.name}: {words}")
    return printable(words)[:_LONGEST_STATUS]


def _why(status: TunnelStatus) -> str:
    return "" if status.state == State.READY else status.reason
