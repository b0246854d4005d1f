"""Answer the control socket of one running prx; the language is described in `prx.control.messages`.

A process that may connect may stop the tunnels: the socket is 0600 in a directory of mode 0700, and the kernel's word on who
connected is checked as well. Nothing that a client does, or fails to do, holds up the supervision: requests are bounded in size
and time, connections in number, and a client that reads too slowly misses events, counted, and is dropped in the end.

Nor does a client shut others out: if `CONNECTION_LIMIT` are open, the newest one is served and another one goes. That is one
that rests before one that is being answered, one of the process that has most before others, and the oldest of those.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from prx.control.incoming import Incoming
from prx.control.lines import send
from prx.control.messages import REQUEST_LIMIT, WAIT_LIMIT, Message, decode, encode, refusal
from prx.control.peer import is_allowed, peer_of
from prx.control.seats import Seat, choose_to_leave
from prx.control.unixpath import listen
from prx.core.errors import PrxError, UsageError, unknown_tunnel
from prx.core.events import Event
from prx.core.states import State
from prx.core.status import TunnelStatus

FIRST_SECONDS = 60.0  # until the first request begins
REST_SECONDS = 600.0  # between two requests
CONNECTION_LIMIT = 64
_WAITING = ("url", "requests")  # these may wait for an hour, which ends with the client; what acts is not broken off
ALSO_LIMIT = 16
BACKLOG = 128  # connections that the kernel holds for us
ACCEPT_PAUSE = 0.2  # seconds


class EventSource(Protocol):
    """A subscription to the events."""

    def __aiter__(self) -> AsyncIterator[Event]:
        """Yield the events as they come."""

    def close(self) -> None:
        """End the subscription."""


class Hold(Protocol):
    """One reason to keep running."""

    def release(self) -> bool:
        """Take the reason away; return whether prx ends because it was the last. Harmless when repeated."""


class Controlled(Protocol):
    """What a control server needs of the prx that it speaks for."""

    def about(self) -> Message:
        """Return what `ping` answers."""

    def statuses(self) -> tuple[TunnelStatus, ...]:
        """Return the status of every tunnel."""

    def stories(self, name: str | None = None) -> list[Message]:
        """Return the story of one tunnel's verdict, or of every tunnel's."""

    def subscribe(self) -> EventSource:
        """Return a new subscription to the events."""

    def stop(self, name: str | None = None) -> None:
        """Begin to stop one tunnel, or everything."""

    def restart(self, name: str | None = None) -> None:
        """Restart one tunnel, or all."""

    def hold(self, *, keep: float, also: Sequence[int]) -> Hold:
        """Keep running until the hold is released, `keep` seconds more, and as long as the processes `also` live."""

    async def reload(self) -> list[str]:
        """Read the configuration again; raise PrxError if it cannot be used."""

    async def traffic(self, request: Message) -> Message:
        """Answer what is asked of traffic that prx carries; raise PrxError if it cannot be."""


class ControlServer:
    """Listen on `path` for as long as the `async with` block lasts. `wall` returns seconds since 1970.

    `served()` is called at the end of each conversation.

    The caller holds the instance lock, so a socket that lies at `path` is a dead one and is replaced. Raises PermanentError
    if something else lies there, or if the path cannot be used.
    """

    def __init__(
        self,
        path: Path,
        controlled: Controlled,
        *,
        wall: Callable[[], float],
        served: Callable[[], object] = lambda: None,
    ) -> None:
        self.path = path
        self._controlled = controlled
        self._wall = wall
        self._served = served
        self._seats: dict[asyncio.Task[Any], Seat] = {}

    async def __aenter__(self) -> ControlServer:
        self._listening = listen(self.path)
        self._listening.listen(BACKLOG)
        # a conversation that fails ends alone, so they are in no task group; the end of all is awaited in __aexit__
        self._accepting = asyncio.create_task(self._accept(self._listening), name=f"control {self.path.name}")  # noqa: TID251
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):  # a dead socket is replaced by the next prx
            self.path.unlink(missing_ok=True)
        conversations = [self._accepting, *self._seats]
        for task in conversations:
            task.cancel()
        await asyncio.gather(*conversations, return_exceptions=True)
        self._listening.close()

    async def _accept(self, listening: socket.socket) -> None:
        """Take connections, forever: a machine that is short of descriptors or memory gets a moment, then is asked again."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(listening)
                name = f"control connection of {self.path.name}"
                conversation = asyncio.create_task(self._serve(connection), name=name)  # noqa: TID251 - it fails alone; see __aenter__
                self._take_a_seat(conversation, connection)
            except (OSError, MemoryError):
                await asyncio.sleep(ACCEPT_PAUSE)

    def _take_a_seat(self, conversation: asyncio.Task[None], connection: socket.socket) -> None:
        self._make_room()
        peer = peer_of(connection)
        # if the system does not report it, the modes of socket and directory decide
        seat = Seat(conversation, 0 if peer is None else peer[0], peer is None or is_allowed(peer[1]))
        self._seats[conversation] = seat

        def over(_task: asyncio.Task[None]) -> None:
            self._seats.pop(conversation, None)
            self._served()
            if not seat.begun:  # it had to go before it could begin: to make room, or because prx ends
                _turn_away(connection, _too_many() if seat.evicted else b"")

        conversation.add_done_callback(over)

    async def _serve(self, connection: socket.socket) -> None:
        task = asyncio.current_task()
        assert task is not None
        seat = self._seats[task]
        try:
            reader, writer = await asyncio.open_unix_connection(sock=connection, limit=REQUEST_LIMIT)
            seat.begun = True
        except (OSError, MemoryError):
            return
        try:
            if seat.allowed:
                await self._converse(reader, writer, seat)
        except (TimeoutError, OSError, asyncio.CancelledError):
            # the client was too slow, went away or had to make room, or prx ends: this conversation is over
            if seat.evicted and not seat.answering:
                writer.write(_too_many())
        finally:
            writer.transport.abort() if writer.transport.get_write_buffer_size() else writer.close()

    def _make_room(self) -> None:
        while len(asking := [seat for seat in self._seats.values() if not seat.holding]) >= CONNECTION_LIMIT:
            leaving = choose_to_leave(asking)
            leaving.evicted = True
            self._seats.pop(leaving.task, None)
            leaving.task.cancel()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seat: Seat) -> None:
        incoming = Incoming(reader, writer)
        while True:
            try:
                line = await incoming.next(REST_SECONDS if seat.asked else FIRST_SECONDS)
            except ValueError as error:
                await send(writer, refusal(UsageError(f"not a request: {error}")))
                return
            if line is None:
                return
            with seat.busy():
                await self._reply(line, incoming, reader, writer, seat)

    async def _reply(
        self, line: bytes, incoming: Incoming, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seat: Seat
    ) -> None:
        try:
            request = decode(line) if len(line) <= REQUEST_LIMIT else await asyncio.to_thread(decode, line)
            if request.get("do") == "hold":
                await self._hold(request, reader, writer, seat)
                return
            if request.get("do") == "events":
                await self._stream(reader, writer)
                return
            waits = request.get("do") in _WAITING and request.get("wait")
            answering = self._answer(request)
            answer = {"ok": True, **await (incoming.while_there(answering) if waits else answering)}
        except ConnectionResetError:
            raise
        except PrxError as error:
            answer = refusal(error)
        except (ValueError, TypeError, LookupError, AttributeError) as error:  # a field of a kind that no client sends
            answer = refusal(UsageError(f"not a request: {error}"))
        except (OSError, RuntimeError, MemoryError) as error:  # this machine is short of something just now
            answer = refusal(PrxError(f"prx cannot do that now: {error}", hint="try again in a moment"))
        except Exception as error:  # noqa: BLE001 - the client is not left without an answer, nor the operator without the reason
            message = "a question to the control socket failed"
            asyncio.get_running_loop().call_exception_handler({"message": message, "exception": error})
            answer = refusal(PrxError(f"prx failed at that, which is a defect of prx ({type(error).__name__})"))
        await send(writer, answer)

    async def _answer(self, request: Message) -> Message:
        match request.get("do"):
            case "ping":
                return self._controlled.about()
            case "status":
                now = self._wall()
                return {"tunnels": [status.to_json(now) for status in self._controlled.statuses()]}
            case "why":
                return {"tunnels": self._controlled.stories(self._named(request))}
            case "url":
                return await self._urls(
                    self._named(request), _wait_of(request), _has_known if request.get("known") else _has_url
                )
            case "stop":
                return await self._stop(self._named(request))
            case "restart":
                self._controlled.restart(self._named(request))
                return {}
            case "reload":
                return {"changes": await self._controlled.reload()}
            case "requests" | "request" | "replay" | "retarget" | "own_mark":
                self._named(request)
                return await self._controlled.traffic(request)
            case unknown:
                raise UsageError(f"unknown request {str(unknown)[:40]!r}", hint="client and prx may differ in version")

    def _named(self, request: Message) -> str | None:
        """Return the tunnel that a request names; None for all."""
        name = request.get("tunnel")
        names = [status.name for status in self._controlled.statuses()]
        if name is None or name in names:
            return name
        raise unknown_tunnel(name, names)

    async def _stop(self, name: str | None) -> Message:
        if name is None:
            self._controlled.stop()
            return {"pid": os.getpid()}
        events = self._controlled.subscribe()
        try:
            self._controlled.stop(name)
            await self._until(events, lambda: _has_ended(self._status(name)))
        finally:
            events.close()
        return {}

    async def _urls(self, name: str | None, wait: float, has_url: Callable[[TunnelStatus], bool]) -> Message:
        def is_settled(status: TunnelStatus) -> bool:
            return status.state.is_final or has_url(status)

        names = [name] if name else [status.name for status in self._controlled.statuses()]
        events = self._controlled.subscribe()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._until(events, lambda: all(is_settled(self._status(item)) for item in names))
        finally:
            events.close()
        statuses = [self._status(item) for item in names]
        return {
            "urls": {status.name: status.url for status in statuses if has_url(status)},
            "pending": {
                status.name: {"state": status.state, "verdict": status.verdict, "reason": status.reason, "hint": status.hint}
                for status in statuses
                if not has_url(status)
            },
        }

    async def _until(self, events: EventSource, reached: Callable[[], bool]) -> None:
        """Wait until `reached()`, looking again at each event: the subscription was made before, so none is missed."""
        if reached():
            return
        async for _ in events:
            if reached():
                return

    def _status(self, name: str) -> TunnelStatus:
        found = next((status for status in self._controlled.statuses() if status.name == name), None)
        return found or TunnelStatus(name, state=State.IDLE, reason="it is no longer configured")

    async def _hold(self, request: Message, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seat: Seat) -> None:
        """Keep prx running until a line comes, or the end of the connection."""
        hold = self._controlled.hold(keep=_wait_of(request, "keep"), also=_also_of(request))
        seat.holding = True
        try:
            await send(writer, {"ok": True, **self._controlled.about()})
            if await reader.readline():
                await send(writer, {"ok": True, "ends": hold.release()})
        except ValueError:  # a line without an end
            return
        finally:
            seat.holding = False
            hold.release()

    async def _stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Send events until the client is gone, which is noticed at once: a quiet stream would hold its seat for hours."""
        events = self._controlled.subscribe()
        watch = asyncio.create_task(_close_at_end(reader, events), name="end of a control stream")  # noqa: TID251 - ended below
        try:
            await send(writer, {"ok": True})
            async for event in events:
                await send(writer, event.to_json())
        finally:
            watch.cancel()
            events.close()


async def _close_at_end(reader: asyncio.StreamReader, events: EventSource) -> None:
    with suppress(OSError):
        while await reader.read(REQUEST_LIMIT):
            pass
    events.close()


def _too_many() -> bytes:
    return encode(refusal(PrxError(f"more than {CONNECTION_LIMIT} control connections are open")))


def _turn_away(connection: socket.socket, words: bytes) -> None:
    with suppress(OSError):
        connection.send(words)
    connection.close()


def _has_ended(status: TunnelStatus) -> bool:
    return status.state is State.IDLE or status.state.is_final


def _has_url(status: TunnelStatus) -> bool:
    """Return whether there is a URL to give out: one that was proven, or that cannot be proven from here and is connected."""
    return status.told and bool(status.url) and (status.state.is_up or not status.proven)


def _has_known(status: TunnelStatus) -> bool:
    return bool(status.url)


def _also_of(request: Message) -> list[int]:
    also = request.get("also", [])
    if not isinstance(also, list) or not all(type(pid) is int and pid > 0 for pid in also) or len(also) > ALSO_LIMIT:
        raise UsageError(f"also must be a list of at most {ALSO_LIMIT} process ids")
    return also


def _wait_of(request: Message, what: str = "wait") -> float:
    wait = request.get(what, 0.0)
    if isinstance(wait, bool) or not isinstance(wait, int | float) or not 0 <= wait <= WAIT_LIMIT:
        raise UsageError(f"{what} must be a number of seconds from 0 to {WAIT_LIMIT:.0f}")
    return float(wait)
