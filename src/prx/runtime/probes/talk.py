"""The bytes of one exchange: h11 writes the request and reads the body; the head is read by `head`, by cloudflared's rules.

A module of its own because h11 is loaded with it, which is a thirtieth of a start.
"""

from __future__ import annotations

import asyncio

import h11

from prx import __version__
from prx.runtime.probes.connect import LIMIT, FailureKind, ProbeError, Stream
from prx.runtime.probes.greetings import greeting
from prx.runtime.probes.head import LIMIT as HEAD_LIMIT
from prx.runtime.probes.head import Head, MalformedError, NotHttpError, split
from prx.runtime.probes.http import BodyEnd, Request

_CHUNK = 16 * 1024


class Talk:
    """An h11 machine joined to a stream; `send` comes first, then `head`, then `body`."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._machine = h11.Connection(h11.CLIENT, max_incomplete_event_size=LIMIT)
        self._buffer = b""  # of the answer's head, and what came behind it
        self._searched = 0  # bytes of it in which no head ends
        self._received = 0
        self._interim = 0  # the status of the last interim answer

    @property
    def late(self) -> str:
        """What the server does instead of an answer, to be followed by the time that it had."""
        name = self._stream.endpoint.named
        if self._buffer:
            return f"{name} begins an answer and does not come to the end of its headers"
        if self._interim:
            return f"{name} sends interim answers ({self._interim}) and no final one"
        return f"{name} accepts the connection but does not answer"

    async def send(self, request: Request) -> None:
        """Write the request; ProbeError if it cannot be written."""
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
                raise self._ended()
            if self._received > HEAD_LIMIT:
                raise self._unreadable(f"its headers have more than {HEAD_LIMIT // 1024} KiB")
        self._machine.receive_data(found.canonical() + self._buffer)
        self._machine.next_event()
        return found

    def _split(self) -> Head | None:
        try:
            while (parts := split(self._buffer, self._searched)) is not None:
                found, self._buffer = parts
                self._searched = 0
                if found.status >= 200:
                    return found
                if found.status == 101:
                    raise self._unreadable("it switches to another protocol without being asked")
                self._interim = found.status
        except NotHttpError:
            raise self._no_http() from None
        except MalformedError as error:
            raise self._unreadable(str(error)) from None
        self._searched = len(self._buffer)
        return None

    async def body(self, deadline: float, limit: int) -> tuple[bytes, BodyEnd]:
        """Return what came of the body until `deadline`, at most `limit` bytes, and how that ended."""
        body = bytearray()
        try:
            async with asyncio.timeout_at(deadline):
                while len(body) < limit:
                    event = await self._event()
                    if not isinstance(event, h11.Data):
                        return bytes(body), BodyEnd.WHOLE if isinstance(event, h11.EndOfMessage) else BodyEnd.BROKEN_OFF
                    body += event.data
        except TimeoutError:
            return bytes(body), BodyEnd.OUR_BOUND
        except (OSError, ProbeError):  # the status is known: what is missing of the body does not change it
            return bytes(body), BodyEnd.BROKEN_OFF
        return bytes(body[:limit]), BodyEnd.OUR_BOUND

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

    def _ended(self) -> ProbeError:
        if not self._received:
            return ProbeError(FailureKind.EMPTY, f"{self._stream.endpoint.named} closed the connection without an answer")
        if len(self._buffer) < len(b"HTTP/") and not self._interim:
            return self._no_http()
        return self._unreadable("it ends in the middle of its headers" if self._buffer else "it ends behind an interim answer")

    def _no_http(self) -> ProbeError:
        return ProbeError(FailureKind.GARBLED, f"{self._stream.endpoint.named} {greeting(self._buffer)}")

    def _unreadable(self, why: str) -> ProbeError:
        return ProbeError(FailureKind.GARBLED, f"{self._stream.endpoint.named} answers HTTP that cannot be read: {why}")
