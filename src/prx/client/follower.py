"""Report every change of a tunnel, from a thread that lives as long as this is wanted."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress

from prx.client.link import Link, status_of
from prx.client.status import Status
from prx.client.threads import start
from prx.control.client import Client, NotRunningError
from prx.core.errors import PermanentError, PrxError

_CHANGES = frozenset({"state_changed", "verdict_changed", "url_changed", "url_known", "child_exited", "dropped"})
_AGAIN = 1.0  # seconds; only if prx lives and has ended the conversation, as to a program that was stopped in a debugger


class Follower:
    """Call `report` with the status as it is now, then after each change of state, verdict or URL; until `stop`, or prx ends.

    It is called in the follower's thread, one call after the other. What it raises is logged (logger "prx") and ends nothing.
    """

    def __init__(self, link: Link, report: Callable[[Status], None]) -> None:
        self._link = link
        self._report = report
        self._last: Status | None = None
        self._stopped = threading.Event()
        self._clients: tuple[Client, ...] = ()
        self._thread = threading.Thread(target=self._run, name=f"prx tunnel {link.tunnel}", daemon=True)
        start(self._thread)

    def stop(self) -> None:
        """End; when it returns nothing more is reported, unless a report itself has called it."""
        self._stopped.set()
        for client in self._clients:
            client.shut()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._follow()
            except (NotRunningError, PermanentError):  # prx has ended, or the tunnel is no longer configured
                break
            except PrxError:  # it cannot answer just now
                pass
            self._stopped.wait(_AGAIN if self._is_running() else 0)
        if self._last is not None:
            self._see(self._last.ended())

    def _is_running(self) -> bool:
        with suppress(PrxError):  # whether it runs is not known: this program may be out of files
            try:
                Client(self._link.path).close()
            except NotRunningError:
                return False
        return True

    def _follow(self) -> None:
        with self._link.connect() as events, self._link.connect() as asking:
            self._clients = events, asking
            if self._stopped.is_set():
                return
            stream = events.stream()
            self._see(Status.from_json(status_of(asking.ask("status"), self._link.tunnel)))
            try:
                for event in stream:
                    if self._stopped.is_set():
                        return
                    if event["event"] in _CHANGES:
                        self._see(Status.from_json(status_of(asking.ask("status"), self._link.tunnel)))
            except OSError as error:
                raise NotRunningError("prx has ended") from error

    def _see(self, status: Status) -> None:
        if self._stopped.is_set() or (self._last is not None and _facts(status) == _facts(self._last)):
            return
        self._last = status
        try:
            self._report(status)
        except Exception:
            logging.getLogger("prx").exception("a callback of on_change failed")


def _facts(status: Status) -> tuple[object, ...]:
    return status.state, status.verdict, status.url, status.proven
