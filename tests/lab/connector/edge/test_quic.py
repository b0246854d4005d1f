"""What is different over QUIC: how connections fail, what the log says of it, and streams that are no requests."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from uuid import UUID, uuid4

import pytest
from tests.lab.connector.bench import BUILTIN_ONLY, Bench
from tests.lab.connector.child import Child, ask
from tests.lab.connector.quic_edge import QuicEdge
from tests.support.origin import Origin
from tests.support.waits import PATIENCE

from prx.lab.connector.command_line import parse
from prx.lab.connector.credentials import Credentials
from prx.lab.connector.edge.addresses import EdgeAddress
from prx.lab.connector.edge.quic import QuicTransport
from prx.lab.connector.edge.quic_errors import ending_text
from prx.lab.connector.edge.quic_messages import quic_request
from prx.lab.connector.edge.transport import Link, Shared, SilentError
from prx.lab.connector.log import Log
from prx.lab.connector.metrics import Metrics
from prx.lab.connector.origin.ingress import OriginOptions
from prx.lab.connector.origin.proxy import Proxy
from prx.lab.connector.origin.rules_in_force import Configuration
from prx.lab.connector.settings import read_settings
from prx.lab.connector.state import State
from prx.lab.protocol.errors import StreamError
from prx.lab.protocol.quic.connection import Ending
from prx.lab.protocol.quic.preamble import DATA, RPC, ConnectRequest, RequestKind
from prx.lab.protocol.rpc.registration import Registered, RegisterRequest, Rejected

_FIELDS = "connIndex=0 event=0 ip=127.0.0.1"
_LISTENER = 'error="accept stream listener encountered a failure while serving"'
_CONTROL = 'error="control stream encountered a failure while serving"'


@pytest.fixture
def protocol() -> str:
    """Return the one protocol of this module."""
    return "quic"


@pytest.fixture
def quic(bench: Bench) -> QuicEdge:
    """Return the edge, as the one over QUIC."""
    assert isinstance(bench.edge, QuicEdge)
    return bench.edge


@pytest.fixture
async def child(bench: Bench) -> AsyncIterator[Child]:
    """Yield a connector with one registered connection."""
    async with bench.started() as running:
        await bench.up(running)
        yield running


async def metric(child: Child, name: str) -> str:
    """Ask the metrics server for a value."""
    text = (await ask(child, "/metrics")).text
    return next((line.rpartition(" ")[2] for line in text.splitlines() if line.startswith(name)), "")


@pytest.mark.parametrize("cause", ["tunnel is gone", "Unauthorized: Invalid tunnel secret", "EDUPCONN"])
async def test_a_refusal_is_never_final(bench: Bench, cause: str) -> None:
    """Whatever the edge's reason, and however soon it closes, it is retried, counted, and not said."""
    bench.edge.hasty = cause == "tunnel is gone"

    def policy(_: RegisterRequest) -> Registered | Rejected:
        first = len(bench.edge.registrations) == 1
        return Rejected(cause) if first else Registered(uuid4(), "test01")

    bench.edge.policy = policy
    async with bench.started() as child:
        await child.line("ERR Serve tunnel error ", _FIELDS)
        if not bench.edge.hasty:  # else chance decides whether the connector's own end comes first, or the edge's
            await child.line(f'ERR failed to run the datagram handler error="context canceled" {_FIELDS}')
            await child.line(f"ERR failed to serve tunnel connection {_CONTROL} {_FIELDS}")
            await child.line(f"ERR Serve tunnel error {_CONTROL} {_FIELDS}")
            assert not any("failed to accept incoming" in line for line in child.lines)
        await child.line(f"INF Retrying connection in up to 2s {_FIELDS}")
        await bench.up(child)
        kind = "dup_edge_conn" if cause == "EDUPCONN" else "server_error"
        name = f'cloudflared_tunnel_tunnel_register_fail{{error="{kind}",rpcName="registerConnection"}}'
        assert await metric(child, name) == "1"
        assert not any(cause in line for line in child.lines)


async def test_registration_without_an_answer(bench: Bench) -> None:
    """An edge that never answers a registration is given up after the limit."""
    bench.edge.policy = lambda _: None
    async with bench.started("--rpc-timeout", "200ms") as child:
        await child.line(f"ERR Serve tunnel error {_CONTROL} {_FIELDS}")
        await child.line("INF Tunnel connection curve preferences", count=2)


async def test_words_of_a_loss(bench: Bench) -> None:
    """A connection that the edge closes is reported with the edge's word, and comes back."""
    async with bench.started(connections=2) as child:
        await bench.up(child, 2)
        bench.edge.kill(0)
        cause = "failed to accept QUIC stream: Application error 0x0 (remote): edge kill"
        await child.line(f'ERR failed to accept incoming stream requests error="{cause}" {_FIELDS}')
        await child.line("ERR failed to run the datagram handler error=", _FIELDS)
        await child.line(f"WRN failed to serve tunnel connection {_LISTENER} {_FIELDS}")
        await child.line(f"WRN Serve tunnel error {_LISTENER} {_FIELDS}")
        await child.line(f"INF Retrying connection in up to 1s {_FIELDS}")
        await child.line("INF Registered tunnel connection", "connIndex=0", count=2)


@pytest.mark.slow
async def test_silence(bench: Bench, quic: QuicEdge) -> None:
    """A connection that falls silent is given up after five seconds, one that is only idle lives on."""
    async with bench.started(connections=2) as child:
        await bench.up(child, 2)
        quic.stall(1)
        cause = "failed to accept QUIC stream: timeout: no recent network activity"
        await child.line(f'ERR failed to accept incoming stream requests error="{cause}" connIndex=1 event=0 ip=127.0.0.1')
        assert not any("incoming stream" in line and "connIndex=0" in line for line in child.lines)
        assert (await quic.fetch("/status/200")).status == 200


@BUILTIN_ONLY
async def test_private_tcp_is_refused(child: Child, quic: QuicEdge) -> None:
    """A stream for private TCP is answered with a clear word."""
    async with asyncio.timeout(PATIENCE):
        exchange = await quic.tcp("10.0.0.1:22")
        await exchange.response()
    assert exchange.error == "the builtin connector does not carry private TCP streams; use cloudflared for them"
    await child.line("ERR Request failed error=", "dest=10.0.0.1:22", "type=tcp")


async def test_garbage_ends_its_stream_alone(child: Child, quic: QuicEdge) -> None:
    """A stream that begins with nothing known is dropped; the connection goes on."""
    async with asyncio.timeout(PATIENCE):
        for data in (b"GET / HTTP/1.1\r\n\r\n", DATA + b"\xff" * 64, RPC + b"\xff" * 64, DATA[:3], b""):
            stream = await quic.session(0).quic.open_stream()
            await stream.send_data(data, end=True)
            with suppress(StreamError):
                while await stream.read():
                    pass
            assert (await quic.fetch("/status/200")).status == 200


async def test_body_that_is_not_announced(child: Child, quic: QuicEdge) -> None:
    """A body with neither length nor chunks announced is dropped."""
    async with asyncio.timeout(PATIENCE):
        stream = await quic.session(0).quic.open_stream()
        head = ConnectRequest(RequestKind.HTTP, b"http://a.test/digest", b"POST", b"a.test")
        await stream.send_data(head.encode() + b"lost", end=True)
        received = bytearray()
        while data := await stream.read():
            received += data
    assert b"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" in received
    assert b'"size": 0' in received


async def test_two_hundred_at_once(child: Child, quic: QuicEdge, origin: Origin) -> None:
    """Two hundred requests in flight are all answered, each with its own answer."""

    async def one(number: int) -> None:
        reply = await quic.fetch("/mirror", method="POST", body=f"body {number}".encode())
        assert f'"body": "body {number}"'.encode() in reply.body

    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        for number in range(200):
            tasks.create_task(one(number))


async def test_nobody_there(bench: Bench) -> None:
    """If nothing listens the dial lasts its whole time, and is logged once, in the transport's words."""
    lines: list[str] = []
    log, metrics = Log(sink=lines.append), Metrics()
    configuration = Configuration((), defaults=OriginOptions(), flags={}, log=log)
    proxy = Proxy(configuration, tags={}, metrics=metrics, log=log, now=lambda: 0.0)
    settings = read_settings(parse(["tunnel", "--cacert", str(bench.edge.ca)], {}).values, quick=False)
    credentials = Credentials("a", UUID(int=7), b"")
    shared = Shared(settings, credentials, configuration, proxy, State(UUID(int=7), metrics), log, asyncio.Event())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with pytest.raises(SilentError, match="failed to dial to edge with quic: timeout: no recent network activity"):
        await QuicTransport(shared, dial_limit=0.2).serve(Link(0, EdgeAddress("127.0.0.1", port), 0, lambda: None))
    cause = "failed to dial to edge with quic: timeout: no recent network activity"
    assert [line.split(" ", 1)[1] for line in lines[1:]] == [
        f'ERR Failed to dial a quic connection error="{cause}" {_FIELDS}\n'
    ]


@pytest.mark.parametrize(
    ("dest", "host", "path", "authority"),
    [
        (b"https://a.test/x?y=1#z", b"b.test", b"/x?y=1", b"b.test"),
        (b"http://a.test:81", b"", b"/", b"a.test:81"),
        (b"http://a.test?q", b"", b"/?q", b"a.test"),
        (b"http://a.test//x//", b"", b"//x//", b"a.test"),
        (b"", b"", b"/", b""),
    ],
)
def test_destinations(dest: bytes, host: bytes, path: bytes, authority: bytes) -> None:
    """The path of a URL arrives as it is written, and the host that is asked for is the one that is named."""
    request = quic_request(ConnectRequest(RequestKind.HTTP, dest, b"GET", host, [(b"X-A", b"1"), (b"Connection", b"close")]))
    assert (request.path, request.authority, request.headers) == (path, authority, [(b"x-a", b"1")])


@pytest.mark.parametrize(
    ("code", "reason", "application", "by_peer", "words"),
    [
        (0, "", True, True, "Application error 0x0 (remote)"),
        (7, "edge kill", True, True, "Application error 0x7 (remote): edge kill"),
        (1, "crashed", False, True, "INTERNAL_ERROR (remote): crashed"),
        (10, "", False, False, "PROTOCOL_VIOLATION (local)"),
        (99, "", False, True, "unknown error code: 0x63 (remote)"),
        (0x178, "no common protocol", False, True, "CRYPTO_ERROR 0x178 (remote): no common protocol"),
        (0x12A, "sent", False, True, "CRYPTO_ERROR 0x12a (remote): sent"),
        (
            0x12A,
            "certificate has expired",
            False,
            False,
            "CRYPTO_ERROR 0x12a (local): tls: failed to verify certificate: x509: certificate has expired or is not yet valid",
        ),
    ],
)
def test_words_of_an_ending(code: int, reason: str, application: bool, by_peer: bool, words: str) -> None:
    """The end of a connection is worded as quic-go words it."""
    assert ending_text(Ending(code, reason, application, by_peer, timed_out=False)) == words
    assert ending_text(Ending(code, reason, application, by_peer, timed_out=True)) == "timeout: no recent network activity"


@BUILTIN_ONLY
async def test_promises_no_datagrams(child: Child, quic: QuicEdge) -> None:
    """The registration names only features that this connector has."""
    features = quic.registrations[0].features
    assert "support_quic_eof" in features
    assert not any("datagram" in feature for feature in features)
