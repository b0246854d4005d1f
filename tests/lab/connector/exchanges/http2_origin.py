"""A service that speaks HTTP/2 and misbehaves: frames that may not be there, bodies that do not belong."""

import asyncio
import select
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded
from h2.exceptions import ProtocolError
from hyperframe.frame import DataFrame, Frame, HeadersFrame, PushPromiseFrame
from tests.lab.connector.exchanges.marks import marks_in

HABITS = (
    "data_behind_end", "head_behind_end", "data_on_former", "data_on_future", "push", "body_for_bodiless", "too_long",
    "too_short", "reset_within", "interim_behind_head", "leave",
)  # fmt: skip


class Http2Origin:
    """Takes connections with TLS; each answer is followed by what one of its habits adds."""

    def __init__(self, rng: Random, report: Callable[[str], None], context: ssl.SSLContext) -> None:
        self.rng = rng
        self.report = report
        self.names = rng.sample(HABITS, rng.choice([1, 2, 4]))
        self.url = ""
        self.connections = 0
        self._context = context
        self._open: set[asyncio.Transport] = set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Http2Origin"]:
        """Listen until the block ends."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Connection(self, self._open), "127.0.0.1", 0, ssl=self._context)
        self.url = f"https://localhost:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()
            for transport in list(self._open):
                transport.abort()
            await asyncio.sleep(0)


class _Connection(asyncio.Protocol):
    def __init__(self, origin: Http2Origin, transports: set[asyncio.Transport]) -> None:
        self._origin = origin
        self._open = transports
        self._h2 = H2Connection(H2Configuration(client_side=False, header_encoding=None, validate_outbound_headers=False))
        self._heads: dict[int, list[tuple[bytes, bytes]]] = {}
        self._bodies: dict[int, bytes] = {}
        self._last: tuple[int, bytes] | None = None
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._open.add(transport)
        self._origin.connections += 1
        self._h2.initiate_connection()
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._open.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        try:
            events = self._h2.receive_data(data)
            for event in events:
                match event:
                    case RequestReceived():
                        self._heads[event.stream_id] = event.headers
                        self._bodies[event.stream_id] = b""
                    case DataReceived():
                        self._bodies[event.stream_id] += event.data
                        self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                    case StreamEnded():
                        self._answer(event.stream_id)
        except (ProtocolError, KeyError):
            self._transport.abort()
            return
        self._flush()

    def _answer(self, number: int) -> None:
        head, body = self._heads.pop(number), self._bodies.pop(number)
        marks = marks_in(b"\n".join(value for _, value in head) + body)
        if len(marks) != 1:
            self._origin.report(f"one request holds {marks}")
        mark, rng = marks.pop(), self._origin.rng
        habit = rng.choice(self._origin.names) if rng.random() < 0.4 else ""
        nothing = (b":method", b"HEAD") in head
        content = mark * rng.choice([1, 4, 60])
        length = {"too_long": len(content) - 5, "too_short": len(content) + 7}.get(habit, len(content))
        status = rng.choice([b"204", b"304"]) if habit == "body_for_bodiless" else b"200"
        answer = [(b":status", status), (b"x-mark", mark), (b"set-cookie", b"a=" + mark), (b"content-length", b"%d" % length)]
        end = nothing and habit != "body_for_bodiless"
        self._h2.send_headers(number, answer, end_stream=end)
        if habit == "interim_behind_head":
            self._raw(self._head(number, [(b":status", b"103"), (b"link", mark)]))
        if habit == "reset_within":
            self._h2.reset_stream(number)
        elif not end:
            self._h2.send_data(number, content, end_stream=True)
        self._flush()
        self._add(habit, number, mark)
        self._last = number, mark

    def _add(self, habit: str, number: int, mark: bytes) -> None:
        poison = [(b":status", b"200"), (b"x-mark", mark), (b"content-length", b"10")]
        former = self._last[0] if self._last else number
        match habit:
            case "data_behind_end":
                self._raw(DataFrame(number, mark * 3))
            case "head_behind_end":
                self._raw(self._head(number, poison))
            case "data_on_former":
                self._raw(DataFrame(former, mark * 3, flags=["END_STREAM"]))
            case "data_on_future" if not self._asked(number + 2):
                self._raw(self._head(number + 2, poison), DataFrame(number + 2, mark * 3, flags=["END_STREAM"]))
            case "push":
                asked = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"a"), (b":path", b"/" + mark)]
                frame = PushPromiseFrame(number, promised_stream_id=2, data=self._h2.encoder.encode(asked))
                frame.flags.add("END_HEADERS")
                self._raw(frame, self._head(2, poison), DataFrame(2, mark * 3, flags=["END_STREAM"]))
            case "leave":
                self._h2.close_connection(last_stream_id=number)

    def _asked(self, number: int) -> bool:
        """Return whether a later request has come, or may wait in the socket: to that any answer would simply be the answer."""
        poll = select.poll()
        poll.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)
        return self._h2.highest_inbound_stream_id >= number or bool(poll.poll(0))

    def _head(self, number: int, headers: list[tuple[bytes, bytes]]) -> HeadersFrame:
        frame = HeadersFrame(number, self._h2.encoder.encode(headers))
        frame.flags.add("END_HEADERS")
        return frame

    def _raw(self, *frames: Frame) -> None:
        self._flush()
        self._transport.write(b"".join(frame.serialize() for frame in frames))

    def _flush(self) -> None:
        if data := self._h2.data_to_send():
            self._transport.write(data)
