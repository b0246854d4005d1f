"""The edge over QUIC, against a scripted connector: registration, requests, ends, faults, and foreign packets."""

from __future__ import annotations

import asyncio
import random
import socket
from uuid import uuid4

import h11
import pytest
from aioquic.quic.connection import QuicConnection
from tests.lab.edge.connector import registered as registered_http2
from tests.lab.edge.quic_connector import ScriptedQuicConnector, dialled, registered, respond
from tests.support.waits import PATIENCE
from tests.support.wire import get, visiting

from prx.lab import Lab
from prx.lab.events import ConnectionLost, ConnectionRegistered, HandshakeFailed, LabEvent
from prx.lab.faults import Drop, ExpireCert, GoAway, Refuse, RejectRegistration, Stall, UdpBlocked
from prx.lab.protocol.errors import SessionClosedError
from prx.lab.protocol.quic.client import SERVER_NAME, dial
from prx.lab.protocol.quic.connection import configuration
from prx.lab.protocol.quic.preamble import DATA, ConnectRequest, ConnectResponse, RequestKind
from prx.lab.protocol.quic.stream import QuicStream
from prx.lab.protocol.rpc.push import Updated
from prx.lab.protocol.rpc.registration import Registered, Rejected, Unregistered


async def connections(lab: Lab, number: int) -> None:
    """Wait until the tunnel `web` has so many connections."""
    async with asyncio.timeout(PATIENCE):
        await lab.wait_for(lambda lab: len(lab.tunnel("web").connections) == number)


async def test_request_and_answer(lab: Lab, events: list[LabEvent]) -> None:
    """A visitor's request passes over QUIC, and the lab says which carrier it was."""
    assert lab.protocols == ("quic", "http2")
    async with registered(lab, lab.token("web")) as scripted:
        reply = await get(lab, "web.localhost", "/a?b=c")
        assert (reply.status, reply.body, reply.header("x-scripted")) == (200, b"hello http://web.localhost/a?b=c", "yes")
        assert [connection.protocol for connection in lab.tunnel("web").connections] == ["quic"]
        scripted.session.close()
        await connections(lab, 0)
    assert [event.protocol for event in events if isinstance(event, ConnectionRegistered)] == ["quic"]
    assert [event.reason for event in events if isinstance(event, ConnectionLost)] == ["the connection was closed"]


async def test_both_carriers_at_one_address(lab: Lab) -> None:
    """At each address both protocols are spoken, and one tunnel may have connections over either."""
    token = lab.token("web")
    async with registered(lab, token, index=0), registered_http2(lab, token, index=0):
        assert {connection.protocol for connection in lab.tunnel("web").connections} == {"quic", "http2"}
        assert {(await get(lab, "web.localhost")).status for _ in range(4)} == {200}


async def whole(stream: QuicStream, early: bytes) -> bytes:
    """Read a request's body to its end."""
    body = early
    while data := await stream.read():
        body += data
    return body


async def test_head_as_sent(lab: Lab) -> None:
    """Method, host and headers arrive with order, repeats and bytes kept; a body of unknown length is announced."""
    seen: list[ConnectRequest] = []

    async def answer(stream: QuicStream, request: ConnectRequest, early: bytes) -> None:
        seen.append(request)
        body = await whole(stream, early)
        await respond(stream, 201, [(b"X-A", b"1"), (b"X-A", b"2"), (b"X-Latin", b"\xe9")], body)

    async with registered(lab, lab.token("web"), answer=answer):
        headers = [("Transfer-Encoding", "chunked"), ("X-B", "1"), ("X-B", "2")]
        reply = await get(lab, "web.localhost", "/up", method="PUT", headers=headers, body=[b"abc", b"def"])
        assert (reply.status, reply.body) == (201, b"abcdef")
        assert [value for name, value in reply.headers if name == "X-A"] == ["1", "2"]
        await get(lab, "web.localhost", "/sized", method="PUT", headers=[("Content-Length", "3")], body=[b"abc"])
    first, second = seen
    assert (first.kind, first.method, first.host) == (RequestKind.HTTP, b"PUT", b"web.localhost")
    assert [value for name, value in first.headers if name == b"x-b"] == [b"1", b"2"]
    assert (first.chunked, second.chunked) == (True, False)


async def test_trailers_are_not_promised(lab: Lab) -> None:
    """QUIC has no place for a visitor's trailers: neither they nor their announcement go on, and the body is whole."""
    seen: list[ConnectRequest] = []

    async def answer(stream: QuicStream, request: ConnectRequest, early: bytes) -> None:
        seen.append(request)
        body = await whole(stream, early)
        await respond(stream, 200, [], body)

    async with registered(lab, lab.token("web"), answer=answer), visiting(lab, "web.localhost") as visitor:
        await visitor.send_head("POST", "/", [("Transfer-Encoding", "chunked"), ("Trailer", "X-Sum")])
        visitor.writer.write(b"4\r\nbody\r\n0\r\nX-Sum: 1\r\n\r\n")
        visitor.h11.send(h11.EndOfMessage())
        assert (await visitor.read_reply()).body == b"body"
    assert b"trailer" not in dict(seen[0].headers)


async def test_upgrade_that_nobody_wanted(lab: Lab) -> None:
    """A connector that switches protocols for an ordinary request, as a TCP service makes it do, is a 502 and no more."""

    async def answer(stream: QuicStream, request: ConnectRequest, early: bytes) -> None:
        await respond(stream, 101, [], b"\x82\x02hi")

    async with registered(lab, lab.token("web"), answer=answer), visiting(lab, "web.localhost") as visitor:
        for _ in range(2):
            visitor.h11 = h11.Connection(h11.CLIENT)
            await visitor.send_head("GET", "/")
            await visitor.send_body(())
            assert (await visitor.read_reply()).body == b"error code: 502"


async def test_error_of_the_connector(lab: Lab) -> None:
    """A connector that cannot reach the origin says so in place of a response, and the visitor gets 502."""

    async def answer(stream: QuicStream, request: ConnectRequest, early: bytes) -> None:
        await stream.send_data(ConnectResponse(error="Unable to reach the origin service").encode(), end=True)

    async with registered(lab, lab.token("web"), answer=answer):
        reply = await get(lab, "web.localhost")
        assert (reply.status, reply.body) == (502, b"error code: 502")


@pytest.mark.parametrize("garbage", [b"", b"\0" * 64, DATA + b"\xff" * 32, DATA + b"\0\0\0\0\x01\0\0\0" + b"\x7f" * 8])
async def test_answer_that_is_none(lab: Lab, garbage: bytes) -> None:
    """A stream that does not begin as an answer does costs that request alone."""

    async def answer(stream: QuicStream, request: ConnectRequest, early: bytes) -> None:
        if request.dest.endswith(b"/bad"):
            await stream.send_data(garbage, end=True)
        else:
            await respond(stream, 200, [], b"good")

    async with registered(lab, lab.token("web"), answer=answer):
        assert (await get(lab, "web.localhost", "/bad")).status >= 500
        assert (await get(lab, "web.localhost", "/")).body == b"good"


async def test_many_streams(lab: Lab) -> None:
    """Two hundred requests in flight on one connection all get their own answer."""
    async with registered(lab, lab.token("web")):
        replies = await asyncio.gather(*(get(lab, "web.localhost", f"/{number}") for number in range(200)))
        assert [reply.body for reply in replies] == [b"hello http://web.localhost/%d" % number for number in range(200)]


async def test_visitor_leaves(lab: Lab) -> None:
    """When a visitor leaves, the connector's stream is reset."""
    reached, left = asyncio.Event(), asyncio.Event()

    async def answer(stream: QuicStream, request: ConnectRequest, early: bytes) -> None:
        reached.set()
        await stream.send_data(ConnectResponse(200, []).encode())
        try:
            while True:
                await stream.send_data(b"x" * 65_536)
        finally:
            left.set()

    async with asyncio.timeout(PATIENCE), registered(lab, lab.token("web"), answer=answer) as scripted:
        async with visiting(lab, "web.localhost") as visitor:
            await visitor.send_head("GET", "/")
            await visitor.send_body(())
            await reached.wait()
        await left.wait()
        await scripted.session.wait_idle(besides=scripted.control)


@pytest.mark.parametrize("kind", ["permanent", "retryable", "unauthorized", "duplicate"])
async def test_rejection(lab: Lab, kind: str) -> None:
    """A refused registration is answered with its cause, then the edge closes the connection."""
    fault = RejectRegistration(kind)  # type: ignore[arg-type]  # the four kinds
    lab.inject(fault)
    async with asyncio.timeout(PATIENCE), dialled(lab, lab.token("web")) as scripted:
        answer = await scripted.register()
        assert isinstance(answer, Rejected)
        assert answer.cause == fault.answer().cause
        await scripted.session.wait_closed()
        assert scripted.session.close_reason == ""


async def test_unregister_lets_requests_finish(lab: Lab) -> None:
    """After an unregistration requests under way end whole, no new one comes, and then the edge closes."""
    reached, release = asyncio.Event(), asyncio.Event()

    async def answer(stream: QuicStream, request: ConnectRequest, early: bytes) -> None:
        reached.set()
        await release.wait()
        await respond(stream, 200, [], b"late")

    async with asyncio.timeout(PATIENCE), registered(lab, lab.token("web"), answer=answer) as scripted:
        async with asyncio.TaskGroup() as group:
            under_way = group.create_task(get(lab, "web.localhost"), name="visitor")
            await reached.wait()
            assert isinstance(await scripted.unregister(), Unregistered)
            assert (await get(lab, "web.localhost")).body == b"error code: 1033"
            assert not scripted.session.closed
            release.set()
        assert under_way.result().body == b"late"
        await scripted.session.wait_closed()


async def test_pushed_configuration(lab: Lab) -> None:
    """A configuration is pushed by RPC on a stream of its own; version and error come back."""
    taken: list[tuple[int, bytes]] = []

    def update(version: int, config: bytes) -> Updated:
        taken.append((version, config))
        return Updated(version, "")

    async with registered(lab, lab.token("web")) as scripted:
        (refused,) = await lab.push("web", {"ingress": []})
        assert (refused.applied, refused.error) == (-1, "not here")
        scripted.update = update
        (accepted,) = await lab.push("web", {"ingress": []})
        assert (accepted.applied, accepted.error) == (2, "")
    assert taken == [(2, b'{"ingress": []}')]


async def test_drop_and_goaway(lab: Lab) -> None:
    """A dropped connection ends as by a failure, one that is sent away in order."""
    token = lab.token("web")
    async with asyncio.timeout(PATIENCE), registered(lab, token) as dropped, registered(lab, token, index=1) as away:
        lab.inject(Drop(index=0))
        await dropped.session.wait_closed()
        assert "0x1" in dropped.session.close_reason
        assert not away.session.closed
        lab.inject(GoAway(index=1))
        await away.session.wait_closed()
        assert away.session.close_reason == ""
        await connections(lab, 0)


async def test_replaced_connection(lab: Lab) -> None:
    """A connection of the same connector and index takes the place of the older one."""
    same = uuid4()
    token = lab.token("web")
    async with registered(lab, token, connector=same) as old, registered(lab, token, connector=same):
        async with asyncio.timeout(PATIENCE):
            await old.session.wait_closed()
        await connections(lab, 1)


async def test_refuse(lab: Lab) -> None:
    """While the edge refuses, a dial gets no answer, live connections go on, and afterwards all is as before."""
    token = lab.token("web")
    async with registered(lab, token):
        lab.inject(Refuse())
        with pytest.raises(TimeoutError):
            await _quick_dial(lab)
        assert (await get(lab, "web.localhost")).status == 200
        lab.clear(Refuse)
        async with registered(lab, token, index=1):
            await connections(lab, 2)


async def test_expired_certificate(lab: Lab) -> None:
    """A connector does not take an expired certificate; live connections go on, and afterwards all is as before."""
    token = lab.token("web")
    async with registered(lab, token):
        lab.inject(ExpireCert())
        with pytest.raises(SessionClosedError, match="TLS failed: Certificate is no longer valid"):
            await _quick_dial(lab)
        assert (await get(lab, "web.localhost")).status == 200
        lab.clear(ExpireCert)
        async with registered(lab, token, index=1):
            await connections(lab, 2)


async def test_udp_blocked(lab: Lab) -> None:
    """Blocked UDP silences live connections and those who dial; HTTP/2 goes on; unblocked in time, nothing is lost."""
    token = lab.token("web")
    async with registered(lab, token) as scripted, registered_http2(lab, token, index=1) as other:
        lab.inject(UdpBlocked())
        with pytest.raises(TimeoutError):
            await _quick_dial(lab)
        assert not other.session.closed
        async with asyncio.TaskGroup() as group:
            waiting = [group.create_task(get(lab, "web.localhost"), name="visitor") for _ in range(2)]
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            assert len(done) == 1  # the one that went over HTTP/2
            lab.clear(UdpBlocked)
        assert {task.result().status for task in waiting} == {200}
        assert not scripted.session.closed


@pytest.mark.parametrize("fault", [UdpBlocked(), Stall()])
async def test_silence_ends_connections(lab: Lab, fault: UdpBlocked | Stall, events: list[LabEvent]) -> None:
    """When nothing passes, both sides give the connection up after the idle time-out of five seconds."""
    async with asyncio.timeout(PATIENCE), registered(lab, lab.token("web")) as scripted:
        lab.inject(fault)
        await scripted.session.wait_closed()
        assert "nothing was heard" in scripted.session.close_reason
        await connections(lab, 0)
    (lost,) = [event for event in events if isinstance(event, ConnectionLost)]
    assert "nothing was heard" in lost.reason


async def test_garbage_on_the_control_stream(lab: Lab) -> None:
    """Bytes that are no RPC end that connection, and no other."""
    token = lab.token("web")
    async with asyncio.timeout(PATIENCE), registered(lab, token), dialled(lab, token, index=1) as bad:
        stream = await bad.session.open_stream()
        await stream.send_data(b"\xff" * 1000)
        await bad.session.wait_closed()
        assert (await get(lab, "web.localhost")).status == 200


async def test_foreign_packets(lab: Lab) -> None:
    """Random, truncated and garbled packets, also with live connection ids, never hurt a connection."""
    chance = random.Random(20260822)
    async with registered(lab, lab.token("web")) as scripted, asyncio.timeout(PATIENCE):
        recorded = _record(scripted)
        assert (await get(lab, "web.localhost")).status == 200
        initial = _initial_packets(lab)
        host, _, port = lab.edge_addrs[0].partition(":")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for number in range(1500):
                source = bytearray(chance.choice(recorded if number % 2 else initial))
                sender.sendto(_garbled(chance, source), (host, int(port)))
                if number % 100 == 0:
                    assert (await get(lab, "web.localhost")).status == 200
        assert not scripted.session.closed
        assert len(lab.tunnel("web").connections) == 1
        async with registered(lab, lab.token("web"), index=4):
            assert (await get(lab, "web.localhost")).status == 200


async def test_port_probe(lab: Lab, events: list[LabEvent]) -> None:
    """A client that starts a handshake and leaves is noted, once its time is over."""
    host, _, port = lab.edge_addrs[0].partition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(_initial_packets(lab)[0], (host, int(port)))
        async with asyncio.timeout(PATIENCE):
            await lab.wait_for(lambda _: any(isinstance(event, HandshakeFailed) for event in events))


async def test_connection_without_registration(lab: Lab) -> None:
    """A connector that leaves before it registers leaves nothing behind (the fixture counts)."""
    async with dialled(lab, lab.token("web")):
        pass
    async with registered(lab, lab.token("web")) as scripted:
        again = await scripted.register()
        assert not isinstance(again, Registered)


async def _quick_dial(lab: Lab) -> None:
    host, _, port = lab.edge_addrs[0].partition(":")
    await dial(host, int(port), ca_file=lab.ca_file, timeout=0.3)


def _record(scripted: ScriptedQuicConnector) -> list[bytes]:
    """Keep copies of what the connector sends, for they hold live connection ids."""
    recorded: list[bytes] = []
    port = scripted.session.port
    send = port.send

    def record(datagrams: list[bytes], address: object) -> None:
        recorded.extend(datagrams)
        send(datagrams, address)

    port.send = record  # type: ignore[method-assign]
    return recorded


def _initial_packets(lab: Lab) -> list[bytes]:
    settings = configuration(client=True)
    settings.server_name = SERVER_NAME
    quic = QuicConnection(configuration=settings)
    quic.connect(("127.0.0.1", 1), 0.0)
    return [datagram for datagram, _ in quic.datagrams_to_send(0.0)]


def _garbled(chance: random.Random, packet: bytearray) -> bytes:
    match chance.randrange(4):
        case 0:
            return chance.randbytes(chance.randrange(1, 1500))
        case 1:
            return bytes(packet[: chance.randrange(1, len(packet) + 1)])
        case 2:
            for _ in range(chance.randrange(1, 20)):
                packet[chance.randrange(len(packet))] = chance.randrange(256)
            return bytes(packet)
        case _:
            return bytes(packet[:9]) + chance.randbytes(chance.randrange(1, 1300))
