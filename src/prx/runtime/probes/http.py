"""One HTTP/1.1 request and its answer on an open connection, with hard bounds.

Theory of operation. The request says `Connection: close` and `Accept-Encoding: identity`; nothing is ever decompressed: a small
answer cannot become a large one. The head must have come by the deadline. Then the body is read until it ends, until
`limit` bytes are there, or until patience ends, whichever comes first: a body that drips or never ends costs a moment and is no
error, because the status is known by then. A stream of events (`text/event-stream`) is not read. Redirects are answers
like any other. h11 writes the request and reads the body; the head of the answer is read by `head`, by cloudflared's rules.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import h11

from prx import __version__
from prx.runtime.probes.connect import LIMIT, FailureKind, ProbeError, Stream, to_probe_error
from prx.runtime.probes.head import LIMIT as HEAD_LIMIT
from prx.runtime.probes.head import Head, MalformedError, NotHttpError, split

BODY_PATIENCE = 2.0  # seconds that a body may take after its head
_CHUNK = 16 * 1024
_TLS_RECORDS = (b"\x15\x03", b"\x16\x03")  # an alert or a handshake: the first bytes of a server that speaks TLS


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked: `target` is path and query, `host` the Host header; `headers` are added to our own few."""

    target: str
    host: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, as far as the bounds allow.

    headers: names in lower case, repeated ones joined by commas. came_at: when its head had come, on the loop's clock.
    complete: `body` is all of the body.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    complete: bool = True
    came_at: float = 0.0

    @property
    def is_event_stream(self) -> bool:
        """Return whether the body is a stream of server-sent events."""
        return self.headers.get("content-type", "").lower().startswith("text/event-stream")

    @property
    def location(self) -> str:
        """The target of a redirect, as the answer has it; empty for any other answer."""
        return self.headers.get("location", "") if 300 <= self.status < 400 else ""


async def exchange(
    stream: Stream, request: Request, *, timeout: float, limit: int = LIMIT, patience: float = BODY_PATIENCE
) -> Answer:
    """Send `request` and return the answer; its head has `timeout` seconds. Raise ProbeError when there is none."""
    talk = _Talk(stream, h11.Connection(h11.CLIENT, max_incomplete_event_size=LIMIT))
    now = asyncio.get_running_loop().time
    deadline = now() + timeout
    try:
        async with asyncio.timeout_at(deadline):
            await talk.send(request)
            found = await talk.head()
    except TimeoutError as error:
        words = f"{stream.endpoint.named} accepts the connection but does not answer within {round(timeout, 1):g} s"
        raise ProbeError(FailureKind.SILENT, words) from error
    except OSError as error:
        raise to_probe_error(error, stream.endpoint, timeout) from error
    answer = Answer(found.status, found.fields, complete=False, came_at=now())
    if answer.is_event_stream:
        return answer
    body, complete = await talk.body(min(deadline, now() + patience), limit)
    return replace(answer, body=body, complete=complete)


class _Talk:
    """An h11 machine joined to a stream."""

    def __init__(self, stream: Stream, machine: h11.Connection) -> None:
        self._stream = stream
        self._machine = machine
        self._buffer = b""  # of the answer's head, and what came behind it
        self._received = 0

    async def send(self, request: Request) -> None:
        headers = {
            "Host": request.host,
            "User-Agent": f"prx/{__version__}",
            "Accept": "*/*",
            "Accept-Encoding": "identity",
            "Connection": "close",
            **({"Content-Length": str(len(request.body))} if request.body else {}),
            **request.headers,
        }
        try:
            start = h11.Request(method=request.method, target=request.target, headers=list(headers.items()))
        except (h11.LocalProtocolError, ValueError):
            # its own words would quote the header, which may be a secret
            raise ProbeError(
                FailureKind.LOCAL, "the request cannot be written: a path or a header holds odd characters"
            ) from None
        parts: list[h11.Event] = [start, *([h11.Data(data=request.body)] if request.body else []), h11.EndOfMessage()]
        self._stream.writer.write(b"".join(self._machine.send(part) or b"" for part in parts))
        await self._stream.writer.drain()

    async def head(self) -> Head:
        """Return the head of the answer, with which the machine then reads the body; interim answers (1xx) are skipped."""
        while (found := self._split()) is None:
            data = await self._stream.reader.read(_CHUNK)
            self._buffer += data
            self._received += len(data)
            if not data:
                raise self._no_head("it ends in the middle of its headers")
            if self._received > HEAD_LIMIT:
                raise self._no_head(f"its headers have more than {HEAD_LIMIT // 1024} KiB")
        self._machine.receive_data(found.canonical() + self._buffer)
        self._machine.next_event()
        return found

    def _split(self) -> Head | None:
        try:
            while (parts := split(self._buffer)) is not None:
                found, self._buffer = parts
                if found.status >= 200:
                    return found
                if found.status == 101:
                    raise self._no_head("it switches to another protocol without being asked")
        except NotHttpError:
            raise self._no_head() from None
        except MalformedError as error:
            raise self._no_head(str(error)) from None
        return None

    async def body(self, deadline: float, limit: int) -> tuple[bytes, bool]:
        """Return what came of the body until `deadline`, at most `limit` bytes, and whether that is all of it."""
        body = bytearray()
        try:
            async with asyncio.timeout_at(deadline):
                while len(body) < limit:
                    event = await self._event()
                    if not isinstance(event, h11.Data):
                        return bytes(body), isinstance(event, h11.EndOfMessage)
                    body += event.data
        except (OSError, TimeoutError, ProbeError):
            pass  # the status is known: what is missing of the body changes nothing
        return bytes(body[:limit]), False

    async def _event(self) -> h11.Event:
        try:
            while (event := self._machine.next_event()) is h11.NEED_DATA:
                self._machine.receive_data(await self._stream.reader.read(_CHUNK))
        except h11.RemoteProtocolError as error:
            raise ProbeError(
                FailureKind.GARBLED, f"{self._stream.endpoint.named} answers with a body that cannot be read"
            ) from error
        if not isinstance(event, h11.Event):  # PAUSED: the answer is over and more came
            return h11.ConnectionClosed()
        return event

    def _no_head(self, why: str = "") -> ProbeError:
        """Return why there is no answer; `why` is empty if it is not HTTP."""
        endpoint = self._stream.endpoint.named
        if not self._received:
            return ProbeError(FailureKind.EMPTY, f"{endpoint} closed the connection without an answer")
        if self._buffer.startswith(_TLS_RECORDS):
            return ProbeError(FailureKind.GARBLED, f"{endpoint} speaks TLS, and was asked in plain HTTP")
        if not why or (self._buffer and not self._buffer.startswith(b"HTTP/")):
            return ProbeError(FailureKind.GARBLED, f"{endpoint} answers something that is not HTTP")
        return ProbeError(FailureKind.GARBLED, f"{endpoint} answers HTTP that cannot be read: {why}")
