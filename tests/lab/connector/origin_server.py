"""A local service for the connector to carry requests to."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import h11

BLOCK = bytes(range(256)) * 256  # 64 KiB


class Origin:
    """Answers by path; `gone` is set when a client leaves before the end, `release` lets held answers go on."""

    def __init__(self) -> None:
        self.url = ""
        self.connections = 0
        self.gone = asyncio.Event()
        self.release = asyncio.Event()
        self.held = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Origin"]:
        """Listen until the block ends."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()
            self.release.set()
            for writer in list(self._writers):
                writer.transport.abort()
            await server.wait_closed()
            async with self._changed:
                await self._changed.wait_for(lambda: not self._writers)

    def drop_idle(self) -> None:
        """Close every connection, as a service does that restarts."""
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            while await _Answer(self, reader, writer).give():
                pass
        except (OSError, h11.ProtocolError):
            self.gone.set()
        finally:
            writer.close()
            async with self._changed:
                self._writers.discard(writer)
                self._changed.notify_all()


class _Answer:
    def __init__(self, origin: Origin, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._origin = origin
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.SERVER)
        self._trailers: list[tuple[bytes, bytes]] = []

    async def give(self) -> bool:
        """Answer one request; tell whether another may follow on the connection."""
        request = await self._event()
        if not isinstance(request, h11.Request):
            return False
        name, _, argument = request.target.decode().partition("?")[0].strip("/").partition("/")
        answers: dict[str, Callable[[h11.Request, str], Awaitable[None]]] = {
            "mirror": self._mirror,
            "status": self._status,
            "head": self._head,
            "interim": self._interim,
            "digest": self._digest,
            "blocks": self._blocks,
            "events": self._events,
            "held": self._held,
            "broken": self._broken,
            "echo": self._echo,
        }
        await answers[name](request, argument)
        with suppress(h11.ProtocolError):
            if self._http.their_state is h11.SEND_BODY:
                await self._body()
        return self._http.states == {h11.CLIENT: h11.DONE, h11.SERVER: h11.DONE}

    async def _mirror(self, request: h11.Request, _: str) -> None:
        body = await self._body()
        headers = [(name.decode(), value.decode()) for name, value in request.headers]
        trailers = [(name.decode(), value.decode()) for name, value in self._trailers]
        answer = {"method": request.method.decode(), "headers": headers, "body": body.decode(), "trailers": trailers}
        await self._whole(200, json.dumps(answer).encode())

    async def _status(self, _: h11.Request, code: str) -> None:
        await self._whole(int(code), b"" if code in {"204", "304"} else b"answer")

    async def _head(self, _: h11.Request, __: str) -> None:
        await self._send(h11.Response(status_code=200, headers=[("Content-Length", "12345")]))
        await self._send(h11.EndOfMessage())

    async def _interim(self, _: h11.Request, __: str) -> None:
        await self._send(h11.InformationalResponse(status_code=103, headers=[("Link", "</a.css>")]))
        await self._whole(200, b"after 103")

    async def _digest(self, _: h11.Request, __: str) -> None:
        digest, size = hashlib.sha256(), 0
        while isinstance(event := await self._event(), h11.Data):
            digest.update(event.data)
            size += len(event.data)
        await self._whole(200, f"{size} {digest.hexdigest()}".encode())

    async def _blocks(self, _: h11.Request, count: str) -> None:
        length = str(int(count) * len(BLOCK))
        await self._send(h11.Response(status_code=200, headers=[("Content-Length", length)]))
        for _number in range(int(count)):
            await self._send(h11.Data(data=BLOCK))
        await self._send(h11.EndOfMessage())

    async def _held(self, _: h11.Request, __: str) -> None:
        self._origin.held.set()
        await self._wait_for_release()
        await self._whole(200, b"late")

    async def _broken(self, _: h11.Request, __: str) -> None:
        await self._send(h11.Response(status_code=200, headers=[("Content-Length", "1000")]))
        await self._send(h11.Data(data=b"part"))

    async def _events(self, _: h11.Request, __: str) -> None:
        await self._send(h11.Response(status_code=200, headers=[("Content-Type", "text/event-stream")]))
        await self._send(h11.Data(data=b"data: first\n\n"))
        self._origin.held.set()
        await self._wait_for_release()
        await self._send(h11.Data(data=b"data: second\n\n"))
        await self._send(h11.EndOfMessage())

    async def _wait_for_release(self) -> None:
        """Wait for the test's word; note it when the client leaves first."""
        while isinstance(await self._event(), h11.Data):
            pass
        async with asyncio.TaskGroup() as tasks:
            released = tasks.create_task(self._origin.release.wait())
            left = tasks.create_task(self._reader.read(1))
            await asyncio.wait({released, left}, return_when=asyncio.FIRST_COMPLETED)
            if left.done():
                self._origin.gone.set()
            released.cancel()
            left.cancel()
        if self._origin.gone.is_set():
            raise ConnectionResetError("the client left")

    async def _echo(self, _: h11.Request, __: str) -> None:
        """Upgrade, then send back whatever comes."""
        await self._event()
        accept = ("Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        headers = [("Upgrade", "websocket"), ("Connection", "Upgrade"), accept]
        await self._send(h11.InformationalResponse(status_code=101, headers=headers))
        self._writer.write(b"hello from the origin;")
        while data := await self._reader.read(65536):
            self._writer.write(data)
            await self._writer.drain()
        self._writer.write(b"bye")

    async def _whole(self, status: int, body: bytes) -> None:
        await self._send(
            h11.Response(
                status_code=status,
                headers=[("Content-Length", str(len(body))), ("X-Origin", "yes"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")],
            )
        )
        if body:
            await self._send(h11.Data(data=body))
        await self._send(h11.EndOfMessage())

    async def _body(self) -> bytes:
        body = bytearray()
        while isinstance(event := await self._event(), h11.Data):
            body += event.data
        if isinstance(event, h11.EndOfMessage):
            self._trailers = list(event.headers)
        return bytes(body)

    async def _event(self) -> object:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(await self._reader.read(65536))
        return event

    async def _send(self, event: h11.Event) -> None:
        self._writer.write(self._http.send(event) or b"")
        await self._writer.drain()
