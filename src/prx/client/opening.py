"""Join the prx that serves what is wished for, or start one; return when its public URL is known."""

from __future__ import annotations

import threading
import time
from contextlib import suppress

from prx.client.link import Link, url_of
from prx.client.starter import Starter
from prx.client.threads import start
from prx.client.wish import Wish
from prx.control.client import Client, NotRunningError, UnresponsiveError
from prx.control.messages import WAIT_LIMIT
from prx.core.deadline import Deadline
from prx.core.errors import NotReadyError, PrxError, UsageError

_LOOK_EVERY = 0.05  # seconds, while another prx has the lock and no control socket yet
_LOCKED_SECONDS = 3.0  # so long it may take to open its socket; after that it is rather about to end
_MARGIN = 5.0  # for the last words of a prx that has ended


class Opening:
    """One try to open a tunnel, bounded by `timeout` seconds; `run` may be in another thread than `give_up`.

    `needs_url`: a tunnel whose URL is not known at the end is an error; else it is handed out all the same.
    """

    def __init__(self, wish: Wish, timeout: float, *, needs_url: bool = True) -> None:
        if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout > 0:
            raise UsageError(f"timeout: found {timeout!r}, expected seconds above 0")
        self._wish = wish
        self._needs_url = needs_url
        self._path = wish.instance.socket
        self._deadline = Deadline(time.monotonic, min(timeout, WAIT_LIMIT))
        self._given_up = threading.Event()
        self._lock = threading.Lock()
        self._link: Link | None = None

    def run(self) -> Link:
        """Return the link. Raises what ended prx, UsageError if one runs with other settings, NotReadyError."""
        while True:
            try:
                return self._handed_out(self._known(self._join(), None))
            except NotRunningError:
                pass
            if link := self._start():
                return self._handed_out(link)
            self._check_time()

    def give_up(self) -> None:
        """End `run`; what it has opened, or opens after this, is closed."""
        with self._lock:
            self._given_up.set()
            link, self._link = self._link, None
        if link is not None:
            link.interrupt()
            try:
                start(threading.Thread(target=link.release, name="prx close", daemon=True))
            except PrxError:  # no more threads
                link.drop()

    def _handed_out(self, link: Link) -> Link:
        with self._lock:
            self._link = link
            given_up = self._given_up.is_set()
        if given_up:
            link.release()
            self._check_time()
        return link

    def _join(self) -> Link:
        """Hold the prx that runs; raise NotRunningError if there is none, or if it was about to end and has ended."""
        client = Client(self._path)
        try:
            about = client.ask("ping")
            tunnel = self._wish.check(about)
            about = client.ask("hold", keep=self._wish.keep, also=list(self._wish.also))
            return Link(client, about, tunnel)
        except PrxError as error:
            # one with other settings may have just lost its last user
            if error.code == "stopping" or isinstance(error, UnresponsiveError | UsageError):
                self._wait_for_end(client, error)
            client.close()
            raise
        except BaseException:
            client.close()
            raise

    def _wait_for_end(self, client: Client, error: PrxError) -> None:
        """Wait for the end of a prx that stops; raise NotRunningError then, and `error` if it goes on."""
        while not self._given_up.is_set() and not self._deadline.is_over:
            if client.wait_for_end(min(_LOOK_EVERY * 5, self._deadline.left)):
                client.close()
                raise NotRunningError("prx has just ended") from error
            if error.code != "stopping":
                return

    def _start(self) -> Link | None:
        """Start a prx and hold it; None if another one was quicker: there is one to join soon."""
        starter = Starter(self._wish.words, self._given_up.is_set)
        try:
            starter.wait_until_up(self._deadline)
            return self._known(self._joined_own(starter), starter)
        except PrxError as error:
            if error.code != "already_running":
                raise
            self._wait_for_socket()
            return None
        finally:
            starter.close()

    def _joined_own(self, starter: Starter) -> Link:
        try:
            return self._join()
        except (NotRunningError, UnresponsiveError):
            raise starter.why_it_ended(Deadline(time.monotonic, _MARGIN)) from None

    def _known(self, link: Link, starter: Starter | None) -> Link:
        """Wait until the URL is known. Raises NotRunningError if prx has ended, and only it could have said why."""
        with self._lock:
            self._link = link
            wait = 0.0 if self._given_up.is_set() else self._deadline.left
        try:
            url_of(link.ask("url", wait=wait, tunnel=link.tunnel, known=True), link.tunnel)
        except NotReadyError:
            if self._needs_url:
                link.release()
                raise
        except (NotRunningError, UnresponsiveError) as error:
            link.release()
            self._check_time()
            if starter is not None:
                raise starter.why_it_ended(Deadline(time.monotonic, _MARGIN)) from None
            raise NotRunningError("prx has ended") from error
        except BaseException:
            link.release()
            raise
        return link

    def _wait_for_socket(self) -> None:
        """Wait until the prx that was quicker can be asked; or until it has ended, as far as that is seen."""
        waited = Deadline(time.monotonic, _LOCKED_SECONDS)
        while not waited.is_over:
            with suppress(NotRunningError), Client(self._path):
                return
            self._check_time()
            self._given_up.wait(_LOOK_EVERY)

    def _check_time(self) -> None:
        if self._given_up.is_set() or self._deadline.is_over:
            raise NotReadyError("the tunnel did not come up in time", hint="`prx logs` may say why")
