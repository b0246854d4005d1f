"""Services that speak TCP: where they are, how a visitor's WebSocket is accepted, and how the two are joined."""

import asyncio
from dataclasses import dataclass, field

import pytest
from tests.support.waits import PATIENCE

from prx.lab.connector.origin.exchanges import Answer, Headers, OriginError
from prx.lab.connector.origin.ingress import StreamService, UnsupportedService, parse_rules, parse_service
from prx.lab.connector.origin.messages import Request
from prx.lab.connector.origin.tcp_over_websocket import JoinedStreams, accepted, destination, dial
from prx.lab.connector.origin.websocket import PING, message


def request(*headers: tuple[bytes, bytes]) -> Request:
    """A visitor's request."""
    return Request(b"GET", b"/", b"a.test", list(headers), websocket=True)


@pytest.mark.parametrize(
    ("text", "shown", "where"),
    [
        ("tcp://localhost:25", "tcp://localhost:25", ("localhost", 25)),
        ("ssh://host", "ssh://host:22", ("host", 22)),
        ("rdp://host", "rdp://host:3389", ("host", 3389)),
        ("smb://[::1]", "smb://[::1]:445", ("::1", 445)),
        ("tcp://host", "tcp://host:7864", ("host", 7864)),
        ("mqtt://host:1883", "mqtt://host:1883", ("host", 1883)),
    ],
)
def test_where_a_service_is(text: str, shown: str, where: tuple[str, int]) -> None:
    """Each scheme has its port if none is named, and the configuration shows it."""
    service = parse_service(text)
    assert isinstance(service, StreamService)
    assert (str(service), destination(service, request())) == (shown, where)


def test_port_that_nobody_names() -> None:
    """A scheme without a port of its own needs one, and says so when it is dialled."""
    service = parse_service("mqtt://host")
    assert isinstance(service, StreamService)
    with pytest.raises(OriginError, match="address host: missing port in address"):
        destination(service, request())


@pytest.mark.parametrize(
    ("named", "where"),
    [(b"tcp://10.0.0.1:22/path", ("10.0.0.1", 22)), (b"host:22", ("host", 22)), (b"ssh://[::1]:22", ("::1", 22))],
)
def test_bastion(named: bytes, where: tuple[str, int]) -> None:
    """A bastion leads where the visitor says, without scheme and path."""
    service = parse_service("bastion")
    assert isinstance(service, StreamService)
    assert destination(service, request((b"cf-access-jump-destination", named))) == where


@pytest.mark.parametrize(
    ("named", "words"),
    [
        (b"", "Did not receive final destination"),
        (b"host", "missing port"),
        (b"host:x", "missing port"),
        (b"h:99999", "missing"),
    ],
)
def test_bastion_without_a_destination(named: bytes, words: str) -> None:
    """A visitor's address that cannot be dialled is reported in the log."""
    service = parse_service("bastion")
    assert isinstance(service, StreamService)
    with pytest.raises(OriginError, match=words):
        destination(service, request((b"cf-access-jump-destination", named)))


def test_socks_is_left_to_cloudflared() -> None:
    """A service that is to speak SOCKS is not taken for one that is not."""
    rules = parse_rules({"ingress": [{"service": "tcp://h:1", "originRequest": {"proxyType": "socks"}}]})
    assert rules[0].service == UnsupportedService("tcp://h:1 with proxyType socks")


def test_accepting() -> None:
    """The key of RFC 6455 (1.3) gets the answer that stands there; without a key nothing is claimed."""
    found = dict(accepted(request((b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="))).headers)
    assert found[b"Sec-Websocket-Accept"] == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert accepted(request()).headers == []


@dataclass
class Visitor:
    """A visitor's side: what it sends is put into `sends`, what it gets comes out of `gets`."""

    sends: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)
    gets: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)
    started: bool = True

    async def read(self) -> bytes:
        return await self.sends.get()

    async def data(self, data: bytes, *, end: bool = False) -> None:
        self.gets.put_nowait(data)

    async def go_on(self) -> None: ...

    async def head(self, answer: Answer, *, end: bool, has_body: bool) -> None: ...

    async def end(self, trailers: Headers) -> None: ...


async def test_pings() -> None:
    """A silent stream is kept open by pings, and the visitor's end is the service's."""
    ended = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        ended.set()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    visitor = Visitor()
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        reader, writer = await dial(host, port, PATIENCE)
        joint = tasks.create_task(JoinedStreams(visitor, visitor, reader, writer, ping_seconds=0).run())
        assert [await visitor.gets.get(), await visitor.gets.get()] == [PING, PING]
        visitor.sends.put_nowait(b"")
        await joint
        writer.close()
        await ended.wait()
    server.close()


async def test_visitor_who_breaks_the_protocol() -> None:
    """Bytes that are no frames end the stream, and what came before them has reached the service."""
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.put_nowait(await reader.read())
        writer.close()

    server = await asyncio.start_server(hear, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    visitor = Visitor()
    visitor.sends.put_nowait(b"\x82\x82\0\0\0\0hi")
    visitor.sends.put_nowait(message(b"not masked"))
    async with asyncio.timeout(PATIENCE):
        reader, writer = await dial(host, port, PATIENCE)
        await JoinedStreams(visitor, visitor, reader, writer).run()
        writer.close()
        assert await heard.get() == b"hi"
    server.close()


async def test_nobody_there() -> None:
    """A service that refuses is named in cloudflared's words."""
    with pytest.raises(OriginError, match=r"^dial tcp 127\.0\.0\.1:1: connect: connection refused$"):
        await dial("127.0.0.1", 1, PATIENCE)
