"""`[web] probes`: a tiny HTTP/1.1 server for `/healthz`, `/readyz` and `/metrics`, on the loop of the supervision itself.

Theory of operation. It may listen beyond this machine, so no client may be able to hold prx up. A connection carries
one request and is closed after the answer. It ends after `SECONDS` at the latest, however slowly the other side sends or
reads; the head of a request is bounded by `HEAD_LIMIT`, a body is never read. If `CONNECTIONS` are open, the oldest one makes
room. An answer is made at most once in `FRESH` seconds, however many ask. After `BURST` connections in a row no more than
`RATE` a second are taken: the others wait in the kernel, so that a flood costs the supervision no more of its time than that.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

import h11

from prx.core.errors import refused

CONNECTIONS: Final = 32
SECONDS: Final = 10.0
HEAD_LIMIT: Final = 8 * 1024  # bytes
FRESH: Final = 1.0  # seconds
RATE: Final = 100.0  # connections a second
BURST: Final = 64
_BACKLOG: Final = 64
_RETRY: Final = 1.0  # seconds after which a machine that lacks something, such as a descriptor, is asked again
_CHUNK: Final = 4096


@dataclass(frozen=True, slots=True)
class Answer:
    """What a path answers."""

    status: int
    body: bytes
    content_type: str = "text/plain; charset=utf-8"


Page = Callable[[], Awaitable[Answer]]

_NOT_FOUND = Answer(404, b"not found; there are /healthz, /readyz and /metrics\n")
_NOT_ALLOWED = Answer(405, b"GET and HEAD only\n")
_MALFORMED = Answer(400, b"not an HTTP request\n")
_FAILED = Answer(500, b"prx could not make this answer\n")


class ProbesServer:
    """Serve `pages` by path at `address` (HOST:PORT) while the `async with` block lasts; `port` is the one in use."""

    def __init__(self, address: str, pages: dict[str, Page]) -> None:
        self._address = address
        self._pages = {path: _Fresh(page) for path, page in pages.items()}
        self._open: dict[asyncio.Task[None], None] = {}  # the oldest first
        self._listening: list[socket.socket] = []
        self._taking: list[asyncio.Task[None]] = []
        self.port = 0

    async def __aenter__(self) -> Self:
        host, _, port = self._address.rpartition(":")
        try:
            self._listening = await asyncio.to_thread(_listen, host.strip("[]"), int(port))
        except OSError as error:
            raise refused(
                f"prx cannot listen on {self._address} ([web] probes): {error.strerror or error}",
                error,
                hint="choose another port, or stop what uses it",
            ) from error
        self.port = int(self._listening[0].getsockname()[1])
        pace = _Pace(asyncio.get_running_loop().time)
        # the end of all is awaited in __aexit__
        self._taking = [asyncio.create_task(self._take(one, pace), name="probes") for one in self._listening]  # noqa: TID251
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        talks = [*self._taking, *self._open]
        for talk in talks:
            talk.cancel()
        await asyncio.gather(*talks, return_exceptions=True)
        for one in self._listening:
            one.close()

    async def _take(self, listening: socket.socket, pace: _Pace) -> None:
        """Take connections, as quickly as the pace allows."""
        while True:
            await pace.wait()
            try:
                connection, _ = await asyncio.get_running_loop().sock_accept(listening)
            except ConnectionAbortedError:  # it went away while it waited
                continue
            except Exception:  # noqa: BLE001 - whatever the machine lacks for a moment: all later ones are to be answered
                await asyncio.sleep(_RETRY)
                continue
            try:
                streams = await asyncio.open_connection(sock=connection, limit=_CHUNK)
            except Exception:  # noqa: BLE001 - the same
                connection.close()
                continue
            self._accept(*streams)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while len(self._open) >= CONNECTIONS:
            oldest = next(iter(self._open))
            del self._open[oldest]
            oldest.cancel()
        # a conversation that fails ends alone, so it is in no task group; the end of all is awaited in __aexit__
        talk = asyncio.create_task(self._talk(reader, writer), name="probes connection")  # noqa: TID251
        self._open[talk] = None
        talk.add_done_callback(lambda ended: self._open.pop(ended, None))

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(TimeoutError, OSError, h11.LocalProtocolError):
                async with asyncio.timeout(SECONDS):
                    await self._exchange(reader, writer)
                    writer.write_eof()
                    await reader.read(_CHUNK)  # closing with unread bytes would reset what was just sent
        finally:
            writer.transport.abort()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        machine = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_LIMIT)
        request = None
        try:
            request = await _request(machine, reader)
            if request is None:
                return
            answer = await self._answer(request)
        except h11.RemoteProtocolError:
            answer = _MALFORMED
            if machine.our_state is not h11.SEND_RESPONSE and machine.our_state is not h11.IDLE:
                return
        headers = [
            ("Content-Type", answer.content_type),
            ("Content-Length", str(len(answer.body))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            ("Connection", "close"),
        ]
        head = machine.send(h11.Response(status_code=answer.status, headers=headers))
        bodiless = request is not None and request.method == b"HEAD"
        body = b"" if bodiless else machine.send(h11.Data(data=answer.body))
        writer.write((head or b"") + (body or b""))
        await writer.drain()

    async def _answer(self, request: h11.Request) -> Answer:
        if request.method not in {b"GET", b"HEAD"}:
            return _NOT_ALLOWED
        page = self._pages.get(request.target.partition(b"?")[0].decode("latin-1"))
        if page is None:
            return _NOT_FOUND
        try:
            return await page()
        except Exception:  # noqa: BLE001 - a defect in a page is an answer, and no end of the supervision
            return _FAILED


class _Pace:
    """A bucket of `BURST` tokens that `RATE` a second fill; `now` returns seconds, `sleep` waits for some."""

    def __init__(self, now: Callable[[], float], sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._now = now
        self._sleep = sleep
        self._tokens = float(BURST)
        self._at = now()

    async def wait(self) -> None:
        """Take a token, and wait until there is one."""
        now = self._now()
        self._tokens = min(float(BURST), self._tokens + (now - self._at) * RATE) - 1
        self._at = now
        if self._tokens < 0:
            await self._sleep(-self._tokens / RATE)


def _listen(host: str, port: int) -> list[socket.socket]:
    """Return sockets that listen at each address of a host; OSError if one cannot."""
    found: list[socket.socket] = []
    try:
        places = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in places:
            one = socket.socket(family, kind, protocol)
            found.append(one)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            one.bind(address)
            one.listen(_BACKLOG)
            one.setblocking(False)
    except BaseException:
        for one in found:
            one.close()
        raise
    return found


class _Fresh:
    """A page whose answer is made at most once in `FRESH` seconds; those who ask meanwhile wait for the same one."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._lock = asyncio.Lock()
        self._made: tuple[float, Answer] | None = None

    async def __call__(self) -> Answer:
        clock = asyncio.get_running_loop().time
        async with self._lock:
            if self._made is None or clock() - self._made[0] >= FRESH:
                self._made = clock(), await self._page()
            return self._made[1]


async def _request(machine: h11.Connection, reader: asyncio.StreamReader) -> h11.Request | None:
    """Read the head of a request; None if the other side went away before."""
    while True:
        event = machine.next_event()
        if isinstance(event, h11.Request):
            return event
        if event is not h11.NEED_DATA:
            return None
        data = await reader.read(_CHUNK)
        machine.receive_data(data)
        if not data:
            return None
