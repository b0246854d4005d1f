"""The smallest honest edge that a real cloudflared connects to over HTTP/2: a mark for the lab to be measured against.

    python bench/lab/hand_tuned.py DIRECTORY     prints {"edge": […], "public": "http://…", "ca": "…"}

One asyncio protocol for the connector, one for the visitor, h2 called from within them, and nothing between: no tasks, no
streams, no faults, no events, no checks of what is sent; every tunnel is accepted and gets every request. A visitor
sends one request at a time, with a Content-Length if it has a body, and so does the answer. What the app and the visitor
see is the same as with the lab: the same headers are added and removed, and slow readers hold senders back. h2 is used as
it comes, with its public options.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
from pathlib import Path
from uuid import uuid4

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, Event, ResponseReceived, StreamEnded, StreamReset, WindowUpdated
from h2.settings import SettingCodes, Settings
from hpack import NeverIndexedHeaderTuple

from prx.lab.edge.tunnel.certificates import Authority
from prx.lab.protocol import headers as codec
from prx.lab.protocol.rpc.registration import Register, Registered, RegistrationServer, Unregister

SLOTS = 4  # as the lab has
WINDOW = 1024 * 1024
SESSION_WINDOW = 16 * WINDOW
FRAME = 64 * 1024
HIGH_WATER = 512 * 1024  # bytes that a transport may hold

ready: list[Tunnel] = []  # registered
rays = itertools.count(0x1000000000000000)


class Tunnel(asyncio.Protocol):
    """One connection to a connector."""

    def __init__(self) -> None:
        config = H2Configuration(
            client_side=True,
            header_encoding=None,
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
            validate_inbound_headers=False,
            normalize_inbound_headers=False,
        )
        self.h2 = H2Connection(config)
        wanted = {SettingCodes.ENABLE_PUSH: 0, SettingCodes.INITIAL_WINDOW_SIZE: WINDOW, SettingCodes.MAX_FRAME_SIZE: FRAME}
        self.h2.local_settings = Settings(client=True, initial_values=wanted)
        self.h2.max_inbound_frame_size = FRAME
        self.visitors: dict[int, Visitor] = {}
        self.server = RegistrationServer()
        self.loop = asyncio.get_running_loop()
        self.planned = False
        self.paused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Open the control stream."""
        self.transport = transport
        transport.set_write_buffer_limits(HIGH_WATER)
        self.h2.initiate_connection()
        self.h2.increment_flow_control_window(SESSION_WINDOW - 65_535)
        head = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"h2.cftunnel.com"), (b":path", b"/")]
        self.h2.send_headers(1, [*head, (codec.UPGRADE, codec.CONTROL_STREAM)])
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """Break what is under way."""
        if self in ready:
            ready.remove(self)
        for visitor in list(self.visitors.values()):
            visitor.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Hand what came to the visitors, to each in one piece."""
        visitors = self.visitors
        touched: dict[Visitor, None] = {}
        for event in self.h2.receive_data(data):
            kind = type(event)
            visitor = visitors.get(getattr(event, "stream_id", 0))
            if visitor is None:
                self.control(event)
            elif kind is DataReceived:
                visitor.out.append(event.data)
                visitor.kept += event.flow_controlled_length
                touched[visitor] = None
            elif kind is ResponseReceived:
                visitor.send_head(event.headers)
            elif kind is StreamEnded:
                del visitors[event.stream_id]
                touched[visitor] = None
            elif kind is WindowUpdated:
                visitor.upload()
            elif kind is StreamReset:
                del visitors[event.stream_id]
                visitor.transport.abort()
        for visitor in touched:
            visitor.write()
        self.flush()

    def control(self, event: Event) -> None:
        """Take an event that is no visitor's: accept what registers, and let go what leaves."""
        if isinstance(event, WindowUpdated) and event.stream_id == 0:
            self.wake()
        if not isinstance(event, DataReceived) or event.stream_id != 1:
            return
        self.h2.acknowledge_received_data(event.flow_controlled_length, 1)
        events = self.server.feed(event.data)
        answer = self.server.data_to_send()
        for call in events:
            if isinstance(call, Register):
                answer += self.server.accept(call, Registered(uuid4(), "hand"))
                ready.append(self)
            else:
                answer += self.server.done(call)
                if isinstance(call, Unregister):
                    self.loop.call_soon(self.transport.close)
        self.h2.send_data(1, answer)

    def wake(self) -> None:
        """Wake every sender."""
        for visitor in list(self.visitors.values()):
            visitor.upload()

    def pause_writing(self) -> None:
        """Hold uploads back."""
        self.paused = True

    def resume_writing(self) -> None:
        """Wake the uploads."""
        self.paused = False
        self.wake()

    def plan_flush(self) -> None:
        """Send what waits at the end of this turn of the loop."""
        if not self.planned:
            self.planned = True
            self.loop.call_soon(self.flush)

    def flush(self) -> None:
        """Send what waits."""
        self.planned = False
        if data := self.h2.data_to_send():
            self.transport.write(data)


class Visitor(asyncio.Protocol):
    """One connection of a visitor."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin."""
        self.transport = transport
        transport.set_write_buffer_limits(HIGH_WATER)
        self.peer = transport.get_extra_info("peername")[0].encode()
        self.buffer = b""  # of a head, or a body that may not be sent yet
        self.unsent = 0  # body bytes that are still to go to the connector
        self.out: list[bytes] = []
        self.paused = False
        self.kept = 0  # bytes whose window the connector gets back when the visitor reads on
        self.stream = 0

    def data_received(self, data: bytes) -> None:
        """Take a head, or a part of a body."""
        self.buffer += data
        if self.unsent:
            self.upload()
            return
        head, end, rest = self.buffer.partition(b"\r\n\r\n")
        if end:
            self.buffer = rest
            self.ask(head)

    def ask(self, raw: bytes) -> None:
        """Open a stream for a request; break the connection if no connector has registered yet."""
        if not ready:
            self.transport.abort()
            return
        line, *lines = raw.split(b"\r\n")
        method, path, _ = line.split(b" ")
        authority = b""
        kept = []
        for text in lines:
            name, _, value = text.partition(b":")
            name, value = name.lower(), value.strip()
            if name == b"host":
                authority = value
            elif name != b"connection":
                kept.append((name, value))
                if name == b"content-length":
                    self.unsent = int(value)
        self.ray = b"%x-LAB" % next(rays)
        self.tunnel = tunnel = ready[0]
        ready.append(ready.pop(0))
        self.stream = stream = tunnel.h2.get_next_available_stream_id()
        head = [(b":method", method), (b":scheme", b"http"), (b":authority", authority), (b":path", path), *kept]
        head += [(b"cf-connecting-ip", self.peer), (b"x-forwarded-for", self.peer), (b"x-forwarded-proto", b"http")]
        head += [(b"cf-visitor", b'{"scheme":"http"}'), (b"cdn-loop", b"cloudflare; loops=1")]
        head.append(NeverIndexedHeaderTuple(b"cf-ray", self.ray))  # never the same again
        tunnel.h2.send_headers(stream, head, end_stream=not self.unsent)
        tunnel.visitors[stream] = self
        tunnel.plan_flush()
        if self.unsent:
            self.upload()

    def upload(self) -> None:
        """Send as much of the body as may be sent now; read no more while some has to wait."""
        tunnel, h2 = self.tunnel, self.tunnel.h2
        start, size, view = 0, len(self.buffer), memoryview(self.buffer)
        while start < size and not tunnel.paused:
            room = min(size - start, h2.local_flow_control_window(self.stream), h2.max_outbound_frame_size)
            if not room:
                break
            self.unsent -= room
            h2.send_data(self.stream, view[start : start + room], end_stream=not self.unsent)
            start += room
            tunnel.flush()
        self.buffer = self.buffer[start:]
        if self.buffer:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def send_head(self, raw: list[tuple[bytes, bytes]]) -> None:
        """Keep a head until the body's first bytes are there."""
        values = dict(raw)
        lines = [b"HTTP/1.1 %b OK" % values[b":status"]]
        lines += [b"%b: %b" % header for header in codec.decode(values[codec.RESPONSE_HEADERS])]
        lines += [b"Server: cloudflare", b"CF-RAY: " + self.ray, b"\r\n"]
        self.out.append(b"\r\n".join(lines))

    def write(self) -> None:
        """Send what waits; the connector may send as much again once the visitor takes it."""
        self.transport.write(b"".join(self.out))
        self.out.clear()
        if not self.paused:
            self.give_back()

    def give_back(self) -> None:
        """Return the connector its window."""
        if self.kept:
            self.tunnel.h2.acknowledge_received_data(self.kept, self.stream)
            self.kept = 0

    def pause_writing(self) -> None:
        """Hold the connector back."""
        self.paused = True

    def resume_writing(self) -> None:
        """Continue the connector."""
        self.paused = False
        self.give_back()
        self.tunnel.flush()


async def main(directory: Path) -> None:
    """Serve until killed."""
    loop = asyncio.get_running_loop()
    authority = Authority(directory)
    context = authority.edge_context()
    edges = [await loop.create_server(Tunnel, "127.0.0.1", 0, ssl=context) for _ in range(SLOTS)]
    public = await loop.create_server(Visitor, "127.0.0.1", 0)
    facts = {
        "edge": [f"127.0.0.1:{server.sockets[0].getsockname()[1]}" for server in edges],
        "public": f"http://127.0.0.1:{public.sockets[0].getsockname()[1]}",
        "ca": str(authority.ca_file),
    }
    print(json.dumps(facts), flush=True)
    await public.serve_forever()


asyncio.run(main(Path(sys.argv[1])))
