"""Stream log lines over a WebSocket, as `cloudflared tail` asks for them.

Theory of operation: the client sends `{"type":"start_streaming","filters":{…}}`, gets `{"type":"logs","logs":[…]}` messages
until it sends `{"type":"stop_streaming"}`, and may start again. Filters: `events` (cloudflared, http, tcp, udp), `level` (the
lowest that is sent) and `sampling` (the share of lines that is sent, above 0 and up to 1). All levels can be had, whatever the
log itself is set to. One actor streams at a time: its next session ends the one before, the session of another actor is
refused. Observed with cloudflared 2026.8.2, whose close codes these are.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from random import SystemRandom
from typing import Any, Final

from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import CloseConnection, Ping, TextMessage

from prx.lab.connector.log import Entry, Level, Log
from prx.lab.connector.origin.messages import Incoming, Response
from prx.lab.protocol.errors import StreamError

_INVALID_COMMAND: Final = (4001, "expected start streaming as first event")
_LIMIT_EXCEEDED: Final = (4002, "limit exceeded for streaming sessions")
_ENDED: Final = (1011, "")
_EVENTS: Final = ("cloudflared", "http", "tcp", "udp")  # by the number in a line's field `event`
_MAX_WAITING: Final = 30  # lines; a client that is slower than the log misses some
_MAX_MESSAGE: Final = 64 * 1024  # bytes
_RANDOM: Final = SystemRandom()


class FilterError(ValueError):
    """The client asked for what it cannot have."""


@dataclass(frozen=True, slots=True)
class Filters:
    """The lines that a client wants; no events means all."""

    events: frozenset[str] = frozenset()
    level: Level = Level.DEBUG
    sampling: float = 1.0

    @staticmethod
    def read(value: object) -> Filters:
        """Return the filters of a message. Raises FilterError."""
        if not isinstance(value, Mapping):
            raise FilterError("filters is not an object")
        events, level, sampling = value.get("events") or [], value.get("level") or "debug", value.get("sampling") or 1.0
        known = next((each for each in Level if each.word == level), None)
        if known is None or not isinstance(events, list) or not set(events) <= set(_EVENTS):
            raise FilterError("unknown event or level")
        if not isinstance(sampling, int | float) or isinstance(sampling, bool) or not 0 < sampling <= 1:
            raise FilterError("sampling is not above 0 and up to 1")
        return Filters(frozenset(events), known, float(sampling))

    def admit(self, entry: Entry, chance: Callable[[], float]) -> bool:
        """Return whether a line is sent."""
        wanted = not self.events or event_of(entry) in self.events
        return wanted and entry.level >= self.level and (self.sampling == 1.0 or chance() < self.sampling)


class LogStreams:
    """The sessions, of which one may stream."""

    def __init__(self, log: Log, *, chance: Callable[[], float] = _RANDOM.random) -> None:
        self._log = log
        self._chance = chance
        self._active: Session | None = None

    def start(self, session: Session, filters: Filters) -> bool:
        """Begin to stream to a session; return whether it may."""
        active = self._active
        if active is not None and active is not session:
            if active.actor != session.actor:
                return False
            active.end()
        self._active = session
        session.filters = filters
        return True

    def stop(self, session: Session) -> None:
        """Stop streaming to a session."""
        if self._active is session:
            self._active = None

    async def serve(self, actor: str, incoming: Incoming, response: Response) -> None:
        """Carry a session whose WebSocket has been accepted, until it ends."""
        session = Session(self, actor, incoming, response)
        with self._listening(session):
            await session.run()

    @contextmanager
    def _listening(self, session: Session) -> Iterator[None]:
        def take(entry: Entry) -> None:
            if self._active is session and session.filters.admit(entry, self._chance):
                session.offer(entry)

        with self._log.listened(take):
            try:
                yield
            finally:
                self.stop(session)


class Session:
    """One client's WebSocket."""

    def __init__(self, streams: LogStreams, actor: str, incoming: Incoming, response: Response) -> None:
        self.actor = actor
        self.filters = Filters()
        self._streams = streams
        self._incoming = incoming
        self._response = response
        self._socket = Connection(ConnectionType.SERVER)
        self._waiting: asyncio.Queue[Entry] = asyncio.Queue(_MAX_WAITING)
        self._over = asyncio.Event()
        self._text = ""

    def offer(self, entry: Entry) -> None:
        """Send a line later, or drop it if the client is behind."""
        with suppress(asyncio.QueueFull):
            self._waiting.put_nowait(entry)

    def end(self) -> None:
        """End the session from outside."""
        self._over.set()

    async def run(self) -> None:
        """Carry the session until either side ends it."""
        async with asyncio.TaskGroup() as tasks:
            work = {
                tasks.create_task(self._obey(), name="log stream: commands"),
                tasks.create_task(self._send_lines(), name="log stream: lines"),
                tasks.create_task(self._over.wait(), name="log stream: ended"),
            }
            await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
            for task in work:
                task.cancel()
        with suppress(StreamError):
            if self._socket.state is ConnectionState.OPEN:
                await self._send(CloseConnection(*_ENDED))
            await self._response.end([])

    async def _obey(self) -> None:
        with suppress(StreamError):
            while data := await self._incoming.read():
                self._socket.receive_data(data)
                for event in self._socket.events():
                    match event:
                        case TextMessage(data=text, message_finished=whole):
                            self._text += text
                            if len(self._text) > _MAX_MESSAGE or (whole and not await self._command()):
                                return
                        case Ping():
                            await self._send(event.response())
                        case CloseConnection():
                            if self._socket.state is ConnectionState.REMOTE_CLOSING:
                                await self._send(event.response())
                            return

    async def _command(self) -> bool:
        """Do what a message says; return whether the session goes on."""
        text, self._text = self._text, ""
        try:
            message: Any = json.loads(text)
            kind = message["type"]
            filters = Filters.read(message.get("filters") or {})
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            kind, filters = "", Filters()
        match kind:
            case "start_streaming":
                if self._streams.start(self, filters):
                    return True
                await self._send(CloseConnection(*_LIMIT_EXCEEDED))
            case "stop_streaming":
                self._streams.stop(self)
                return True
            case _:
                await self._send(CloseConnection(*_INVALID_COMMAND))
        return False

    async def _send_lines(self) -> None:
        with suppress(StreamError):
            while True:
                entry = await self._waiting.get()
                document = {"type": "logs", "logs": [as_document(entry)]}
                await self._send(TextMessage(json.dumps(document, separators=(",", ":"))))

    async def _send(self, event: Any) -> None:
        await self._response.data(self._socket.send(event))


def event_of(entry: Entry) -> str:
    """Return the kind of event that a line reports."""
    number = entry.fields.get("event", 0)
    return _EVENTS[number] if isinstance(number, int) and 0 <= number < len(_EVENTS) else _EVENTS[0]


def as_document(entry: Entry) -> dict[str, Any]:
    """Return a line as it is sent: the level debug and the event cloudflared are left out."""
    document: dict[str, Any] = {"time": entry.time.strftime("%Y-%m-%dT%H:%M:%SZ")}
    if entry.level is not Level.DEBUG:
        document["level"] = entry.level.word
    document["message"] = entry.message
    if (event := event_of(entry)) != _EVENTS[0]:
        document["event"] = event
    document["fields"] = {name: value for name, value in entry.fields.items() if name != "event"}
    return document
