"""A program's bond to a running prx: the hold that keeps it, and the questions that it is asked."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from prx.control.client import ANSWER_TIMEOUT, Client, NotRunningError, UnresponsiveError
from prx.control.messages import Message
from prx.core.errors import NotReadyError, PermanentError, PrxError
from prx.core.states import State
from prx.core.verdicts import summary

CLOSE_SECONDS = 15.0  # a wait for the end of prx; it ends by itself in any case, at the latest after its grace period


class Link:
    """Hold the prx at the other end of `holding` until `release`. `tunnel` is the name of the one that is meant."""

    def __init__(self, holding: Client, about: Mapping[str, Any], tunnel: str) -> None:
        self.path: Path = holding.path
        self.about = about
        self.tunnel = tunnel
        self._holding = holding
        self._pid = os.getpid()
        self._asking: set[Client] = set()
        self._lock = threading.Lock()
        self.released = False

    @contextmanager
    def connected(self, timeout: float = ANSWER_TIMEOUT) -> Iterator[Client]:
        """Yield a connection of its own, which `release` and `interrupt` end."""
        with self.connect(timeout) as client:
            self._asking.add(client)
            try:
                if self.released:
                    raise closed()
                yield client
            except UnresponsiveError as error:
                if self.released:  # by another thread, which ended this wait
                    raise closed() from error
                raise
            finally:
                self._asking.discard(client)

    def connect(self, timeout: float = ANSWER_TIMEOUT) -> Client:
        """Return a connection, which the caller closes; raise NotRunningError if prx has ended or this tunnel is closed."""
        if self.released:
            raise closed()
        return Client(self.path, timeout=timeout)

    def ask(self, do: str, *, timeout: float = ANSWER_TIMEOUT, wait: float | None = None, **arguments: Any) -> Message:
        """Ask prx about this tunnel."""
        with self.connected(timeout) as client:
            return client.ask(do, wait=wait, **arguments)

    def status(self, *, timeout: float = ANSWER_TIMEOUT) -> Message:
        """Return what `prx status --json` shows of this tunnel."""
        return status_of(self.ask("status", timeout=timeout), self.tunnel)

    def interrupt(self) -> None:
        """End every wait of another thread; it raises UnresponsiveError, or NotRunningError if this is released."""
        for client in list(self._asking):
            client.shut()

    def drop(self) -> None:
        """Release prx without a wait; harmless when repeated."""
        self.released = True
        self.interrupt()
        self._holding.close()

    def release(self) -> None:
        """Release prx, and wait until it has ended if this was its last user; harmless when repeated, and in a fork."""
        with self._lock:
            if self.released:
                return
            self.released = True
        self.interrupt()
        if os.getpid() != self._pid:
            return
        with self._holding, suppress(PrxError):  # it has ended already, or does not answer: closing is enough
            if self._holding.ask("release")["ends"]:
                self._holding.wait_for_end(CLOSE_SECONDS)


def closed() -> NotRunningError:
    """Return the error of what is asked of a tunnel that is closed."""
    return NotRunningError("the tunnel is closed", hint="open it again")


def status_of(answer: Message, tunnel: str) -> Message:
    """Return the part of a `status` answer that is about `tunnel`; raise PermanentError if it is no longer configured."""
    for item in answer["tunnels"]:
        if item["name"] == tunnel:
            return dict(item)
    raise PermanentError(f"the tunnel {tunnel!r} is no longer configured")


def url_of(answer: Message, tunnel: str) -> str:
    """Return the URL in a `url` answer; raise PermanentError if the tunnel has failed for good, else NotReadyError."""
    if tunnel in answer["urls"]:
        return str(answer["urls"][tunnel])
    pending = answer["pending"][tunnel]
    why = summary(pending["verdict"], pending["reason"])
    if pending["state"] == State.FAILED:
        raise PermanentError(why or "the tunnel failed", hint=pending["hint"], code=pending["verdict"])
    now = f"{pending['state']}, {why}" if why else pending["state"]
    raise NotReadyError(f"the tunnel {tunnel!r} was not ready in time: it is {now}", hint=pending["hint"])
