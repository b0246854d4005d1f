"""`prx.open_tunnel`: a tunnel on the running asyncio loop; no wait holds it up, and no task of ours runs on it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import Any

from prx.client.link import closed, status_of, url_of
from prx.client.opening import Opening
from prx.client.status import Status
from prx.client.threads import in_thread, running_loop
from prx.client.tunnel import OPEN_SECONDS, VERIFY_SECONDS, WAIT_SECONDS, Bond, requests_of, void
from prx.client.wish import Wish, seconds, text, understand
from prx.control.client import ANSWER_TIMEOUT, UnresponsiveError
from prx.control.messages import ANSWER_LIMIT, WAIT_LIMIT, Message, decode, encode, raised
from prx.core.captured import Request
from prx.core.errors import PrxError


class AsyncTunnel(Bond):
    """A tunnel to a local service; made by `prx.open_tunnel`, open in an `async with` block or from `open` to `close`."""

    def __init__(self, wish: Wish, timeout: float, *, needs_url: bool = True) -> None:
        super().__init__(wish, timeout)
        self._needs_url = needs_url
        self._conversations: set[tuple[asyncio.AbstractEventLoop, asyncio.StreamWriter]] = set()

    async def open(self) -> AsyncTunnel:
        """Open it and return it; harmless if it is open. A cancelled call leaves nothing open."""
        if self._link is None:
            opening = Opening(self._wish, self._timeout, needs_url=self._needs_url)
            link = await in_thread(opening.run, opening.give_up)
            if not self._take(link):
                await in_thread(link.release, link.drop)
                return self
            _ = self.url
            self._note_known_requests()
        return self

    async def close(self) -> None:
        """Release the tunnel, and wait for its end if this program was its last user; harmless if it is not open."""
        link, self._link = self._link, None
        if link is not None:
            link.interrupt()
            self._stop_following()
            self._end_conversations()
            try:
                await in_thread(link.release, lambda: None)
            except PrxError:  # no more threads
                link.drop()

    async def status(self) -> Status:
        """Return how it stands now. Raises NotRunningError if prx has ended, UnresponsiveError if it does not answer."""
        status = Status.from_json(status_of(await self._ask("status"), self._opened().tunnel))
        self._last_url = status.url
        return status

    async def wait_until_verified(self, timeout: float = VERIFY_SECONDS) -> str:
        """Wait until a request has passed through the tunnel, and return the public URL; as `Tunnel.wait_until_verified`."""
        wait = seconds("timeout", timeout, WAIT_LIMIT)
        answer = await self._ask("url", wait=wait, tunnel=self._opened().tunnel)
        self._last_url = url_of(answer, self._opened().tunnel)
        return self._last_url

    def on_change(self, callback: Callable[[Status], object]) -> Callable[[], None]:
        """Call `callback(status)` on the running loop, soon and after each change of state, verdict or URL.

        Returns what ends that. The last call, if prx ends before this does, has the state `idle` and no URL.
        """
        loop = running_loop()

        def report(status: Status) -> None:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(lambda: void(callback(status)))

        return self._follow(callback, report)

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """Yield the events from now on as they come, as `prx start --json` prints them; they end with the tunnel."""
        with suppress(OSError):  # prx has ended, or this was closed meanwhile
            async with self._connected() as (reader, writer):
                raise_refusal(await _exchange(reader, writer, {"do": "events"}, ANSWER_TIMEOUT))
                while self._link is not None and (line := await reader.readline()):
                    event = decode(line)
                    if self._link is not None and event["tunnel"] in {"", self._link.tunnel}:
                        yield event

    async def requests(self, words: str = "") -> list[dict[str, Any]]:
        """Return the last requests that have come through the tunnel; as `Tunnel.requests`."""
        text("words", words, "a filter")
        return requests_of(await self._ask("requests", tunnel=self._opened().tunnel, filter=words))

    async def wait_for_request(self, words: str = "", timeout: float = WAIT_SECONDS) -> Request:
        """Return the next request that fits `words`; as `Tunnel.wait_for_request`."""
        text("words", words, "a filter")
        link = self._opened()
        wait = seconds("timeout", timeout, WAIT_LIMIT)
        answer = await self._ask("requests", wait=wait, **self._next(link, words))
        found = Request.from_json((await self._ask("request", **self._found(link, answer, words, timeout)))["request"])
        self._pass_over(answer)
        return found

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """Yield a connection, which `close` ends."""
        loop = running_loop()
        client = self._opened().connect()  # to a local socket, which needs no wait
        reader, writer = await asyncio.open_unix_connection(sock=client.detach(), limit=ANSWER_LIMIT)
        conversation = (loop, writer)
        self._conversations.add(conversation)
        try:
            yield reader, writer
        finally:
            self._conversations.discard(conversation)
            writer.close()

    def _end_conversations(self) -> None:
        for loop, writer in list(self._conversations):
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(writer.transport.abort)

    async def _ask(self, do: str, *, wait: float = 0.0, **arguments: Any) -> Message:
        link = self._opened()
        try:
            async with self._connected() as (reader, writer):
                request = {"do": do, "wait": wait, **arguments} if wait else {"do": do, **arguments}
                return raise_refusal(await _exchange(reader, writer, request, wait + ANSWER_TIMEOUT))
        except OSError as error:  # TimeoutError as well
            if self._link is not link:
                raise closed() from error
            what = f"prx (pid {link.about['pid']}) does not answer"
            raise UnresponsiveError(what, hint="`prx logs` may say why") from error

    async def __aenter__(self) -> AsyncTunnel:
        return await self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


async def _exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: Message, seconds: float) -> Message:
    async with asyncio.timeout(seconds):
        writer.write(encode(request))
        await writer.drain()
        line = await reader.readline()
    if not line:
        raise ConnectionError("it closed the connection")
    return decode(line)


def raise_refusal(answer: Message) -> Message:
    """Return an answer; raise the PrxError that a refusal stands for."""
    if not answer.get("ok"):
        raise raised(answer)
    return answer


def open_tunnel(
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
) -> AsyncTunnel:
    """Return a tunnel to the local service `target`, to be opened by `async with` or `await open()`.

    Arguments and errors are those of `prx.tunnel`.
    """
    wish = understand(
        target, config=config, name=name, hello=hello, lab=lab, allow=allow,
        health_path=health_path, expect=expect, host_header=host_header, inspect=inspect, keep=keep,
    )  # fmt: skip
    return AsyncTunnel(wish, timeout)
