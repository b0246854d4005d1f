"""`prx.tunnel`: a tunnel for scripts, notebooks and threads; every wait is a plain call."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any

from prx.client.event_stream import EventStream
from prx.client.follower import Follower
from prx.client.link import Link, url_of
from prx.client.opening import Opening
from prx.client.status import Status
from prx.client.wish import Wish, seconds, text, understand
from prx.control.client import NotRunningError
from prx.control.messages import WAIT_LIMIT, Message
from prx.core.captured import Request, later
from prx.core.errors import NotReadyError, PrxError, UsageError

OPEN_SECONDS = 60.0  # until the URL is known, with the start of prx and of the connector
VERIFY_SECONDS = 60.0
WAIT_SECONDS = 60.0  # for a request
_GLANCE_SECONDS = 1.0  # for `url`: a prx that lives answers within milliseconds


class Bond:
    """What both kinds of tunnel have in common: the link while it is open, and what is known without waiting."""

    def __init__(self, wish: Wish, timeout: float) -> None:
        self._wish = wish
        self._timeout = timeout
        self._link: Link | None = None
        self._followers: list[Follower] = []
        self._last_url = ""
        self._taking = threading.Lock()
        self._positions: Message = {}  # behind the requests that were there before, or were waited for

    @property
    def url(self) -> str:
        """The public URL as it is now, without a slash at its end; empty if none is known at the moment.

        It costs a question to prx (some milliseconds, at most a second). If prx does not answer, or has ended, it is the last
        one known.
        """
        if self._link is not None:
            with suppress(PrxError):
                self._last_url = str(self._link.status(timeout=_GLANCE_SECONDS)["url"])
        return self._last_url

    @property
    def name(self) -> str:
        """The name of the tunnel in the configuration; its port, such as `8080`, if no file declares it."""
        return self._opened().tunnel

    @property
    def pid(self) -> int:
        """The process id of the prx that keeps the tunnel."""
        return int(self._opened().about["pid"])

    def _take(self, link: Link) -> bool:
        """Have this link, unless another call has opened one meanwhile; return whether it is the one."""
        with self._taking:
            if self._link is None:
                self._link = link
            return self._link is link

    def _forget(self, link: Link) -> None:
        """Have this link no more."""
        with self._taking:
            self._link = None if self._link is link else self._link

    def _opened(self) -> Link:
        if self._link is None:
            raise NotRunningError("the tunnel is not open", hint="use it in a `with` block, or call open()")
        return self._link

    def _follow(self, callback: Callable[[Status], object], report: Callable[[Status], None]) -> Callable[[], None]:
        if not callable(callback):
            raise UsageError(f"callback: found {callback!r}, expected a function that takes a status")
        follower = Follower(self._opened(), report)
        self._followers.append(follower)

        def stop() -> None:
            follower.stop()
            with suppress(ValueError):
                self._followers.remove(follower)

        return stop

    def _stop_following(self) -> None:
        followers, self._followers = self._followers, []
        for follower in followers:
            follower.stop()

    def _next(self, link: Link, words: str) -> Message:
        """Return the question for the next request."""
        return {"tunnel": link.tunnel, "filter": words, "oldest": True, "limit": 1, "positions": self._positions}

    def _found(self, link: Link, answer: Message, words: str, timeout: float) -> Message:
        """Return the question for all of the request that has come; raise NotReadyError if none has."""
        if not answer["requests"]:
            raise NotReadyError(f"no request such as {words!r} has come within {timeout:g} s", hint="`prx requests` lists all")
        return {"tunnel": link.tunnel, "id": answer["requests"][0]["id"]}

    def _pass_over(self, answer: Message) -> None:
        """Have the next question go beyond the request in `answer`: once it is handed out, as the way to it may break off."""
        self._positions = later(self._positions, answer["positions"])

    def _note_known_requests(self) -> None:
        """Pass over what came before: a tunnel may be shared, and may have run for long."""
        with suppress(PrxError):  # they are not kept, or prx does not answer: a caller that asks for one gets the error
            link = self._opened()
            self._positions = dict(
                link.ask("requests", tunnel=link.tunnel, limit=1, own=True, timeout=_GLANCE_SECONDS)["positions"]
            )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._last_url or 'not open'}>"


class Tunnel(Bond):
    """A tunnel to a local service; made by `prx.tunnel`, open in a `with` block or from `open` to `close`.

    It may be used from several threads, also in a forked child; it ends with the process that opened it.
    """

    def __init__(self, wish: Wish, timeout: float) -> None:
        super().__init__(wish, timeout)
        self._streams: weakref.WeakSet[EventStream] = weakref.WeakSet()

    def open(self) -> Tunnel:
        """Open it and return it; harmless if it is open. `close`, or the end of this process, ends it.

        Raises what `prx.tunnel` says.
        """
        if self._link is None:
            opening = Opening(self._wish, self._timeout)
            try:
                link = opening.run()
            except BaseException:  # Ctrl-C as well: no hold is left behind
                opening.give_up()
                raise
            try:
                if not self._take(link):
                    link.release()
                    return self
                _ = self.url
                self._note_known_requests()
            except BaseException:
                self._forget(link)
                link.release()
                raise
        return self

    def close(self) -> None:
        """Release the tunnel, and wait for its end if this program was its last user; harmless if it is not open."""
        link, self._link = self._link, None
        if link is not None:
            self._stop_following()
            for stream in list(self._streams):
                stream.close()
            link.release()

    def status(self) -> Status:
        """Return how it stands now. Raises NotRunningError if prx has ended, UnresponsiveError if it does not answer."""
        status = Status.from_json(self._opened().status())
        self._last_url = status.url
        return status

    def wait_until_verified(self, timeout: float = VERIFY_SECONDS) -> str:
        """Wait until a request has passed through the tunnel, and return the public URL.

        The local service must run by then. Raises NotReadyError after `timeout` seconds (at most 3600), with what is wrong;
        PermanentError if the tunnel has failed for good; UnresponsiveError if prx ends meanwhile.
        """
        link = self._opened()
        wait = seconds("timeout", timeout, WAIT_LIMIT)
        self._last_url = url_of(link.ask("url", wait=wait, tunnel=link.tunnel), link.tunnel)
        return self._last_url

    def on_change(self, callback: Callable[[Status], object]) -> Callable[[], None]:
        """Call `callback(status)` at once, and after each change of state, verdict or URL; return what ends that.

        It runs in a thread of its own, one call after the other. What it raises is logged (logger `prx`). The last call, if prx
        ends before this does, has the state `idle` and no URL.
        """
        return self._follow(callback, lambda status: void(callback(status)))

    def events(self) -> EventStream:
        """Return the events from now on as they come, as `prx start --json` prints them; they end with the tunnel."""
        stream = EventStream(self._opened())
        self._streams.add(stream)
        return stream

    def requests(self, words: str = "") -> list[dict[str, Any]]:
        """Return the last requests that have come through the tunnel, each as `prx requests --json` prints it, oldest first.

        words: those that fit, as `prx requests --filter` takes them. Raises UsageError with the code `inspection_off` if they
        are not kept.
        """
        text("words", words, "a filter")
        return requests_of(self._opened().ask("requests", tunnel=self._opened().tunnel, filter=words))

    def wait_for_request(self, words: str = "", timeout: float = WAIT_SECONDS) -> Request:
        """Return the next request that fits `words`, such as "POST /hook"; wait for it if it has not come yet.

        It has come since the tunnel was opened here, and no earlier call has returned it, or one that was answered after it.
        Raises NotReadyError after `timeout` seconds (at most 3600), UsageError with the code `inspection_off` if requests are
        not kept: `prx.tunnel(8080, inspect=True)` keeps them.
        """
        text("words", words, "a filter")
        link = self._opened()
        wait = seconds("timeout", timeout, WAIT_LIMIT)
        answer = link.ask("requests", wait=wait, **self._next(link, words))
        found = Request.from_json(link.ask("request", **self._found(link, answer, words, timeout))["request"])
        self._pass_over(answer)
        return found

    def __enter__(self) -> Tunnel:
        return self.open()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def void(_result: object) -> None:
    """Drop what a callback has returned."""


def requests_of(answer: Message) -> list[dict[str, Any]]:
    """Return the list in a `requests` answer."""
    return [dict(item) for item in answer["requests"]]


def tunnel(
    target: int | str | None = None,
    *,
    config: str | os.PathLike[str] | None = None,
    name: str | None = None,
    hello: bool = False,
    lab: bool | str = False,
    allow: str | Sequence[str] = (),
    health_path: str = "",
    expect: str = "",
    host_header: str = "",
    inspect: bool = False,
    keep: float = 0.0,
    timeout: float = OPEN_SECONDS,
) -> Tunnel:
    """Return a tunnel to the local service `target`, to be opened by `with` or `open()`.

    If prx serves the same configuration and address already, for this program or another one, that tunnel is shared; else prx
    is started for it, and ends with its last user. Opening returns when the public URL is known; the service need not run yet.

    target: a port, HOST:PORT or URL, as for `prx start`; None for the one in the configuration.
    config: the configuration file; None for the usual places. name: which of its tunnels, if it has several.
    hello: serve a small built-in page. lab: use the local edge instead of Cloudflare; a string is the control URL of one that
    runs. allow, health_path, expect, host_header, inspect: as the options of `prx start`. keep: seconds that the tunnel stays
    after its last user. timeout: seconds until the URL must be known.

    Raises UsageError (arguments or configuration; a prx that serves this with other settings), PermanentError (its `code` is
    the verdict, such as `misconfigured`), NotReadyError (not in time), each a PrxError with `code`, `hint` and `exit_code`.
    """
    wish = understand(
        target, config=config, name=name, hello=hello, lab=lab, allow=allow,
        health_path=health_path, expect=expect, host_header=host_header, inspect=inspect, keep=keep,
    )  # fmt: skip
    return Tunnel(wish, timeout)
