"""A gate answers those who may not pass before the service sees a byte, and changes nothing for the others."""

from __future__ import annotations

import asyncio
import base64
import hmac
from collections.abc import Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support.waits import PATIENCE, free_port
from tests.traffic.pieces import ask, kept, read_head, relaying, service

from prx.app.inspection import Inspection
from prx.config.schema import Config, GateSettings, InspectSettings, TunnelSettings
from prx.logs.redact import Redactor
from prx.runtime.host.clock import SystemClock
from prx.secrets.value import Secret
from prx.testing.clock import ManualClock
from prx.traffic import gate as gate_module
from prx.traffic.framing import parse_head
from prx.traffic.gate import PERIOD, TRIES, Gate, Refusal
from prx.traffic.guard import GuardedRelay
from prx.traffic.pair import Pair

RIGHT = b"Authorization: Basic " + base64.b64encode(b"me:right") + b"\r\n"
WRONG = b"Authorization: Basic " + base64.b64encode(b"me:wrong") + b"\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def judged(gate: Gate, headers: bytes = b"", line: bytes = b"GET / HTTP/1.1") -> int:
    """Return the status that a request is refused with; 0: it may pass."""
    head = parse_head(line + b"\r\n" + headers + b"\r\n", request=True)
    assert head is not None
    refusal = gate.judge(head)
    return 0 if refusal is None else refusal.status


def gate(clock: ManualClock | None = None, **rules: object) -> Gate:
    """Return a gate for me:right, unless it is to have other rules."""
    return Gate(now=(clock or ManualClock()).monotonic, **(rules or {"basic": ["me:right"]}))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rules", "headers", "status"),
    [
        ({"basic": ["me:right"]}, b"", 401),
        ({"basic": ["me:right"]}, RIGHT, 0),
        ({"basic": ["me:right"]}, WRONG, 401),
        ({"basic": ["me:right"]}, RIGHT + RIGHT, 401),
        ({"basic": ["me:right"]}, b"Authorization: Basic not*base64\r\n", 401),
        ({"basic": ["me:right"]}, b"Authorization: Bearer me:right\r\n", 401),
        ({"bearer": ["t0ken"]}, b"authorization: bearer t0ken\r\n", 0),
        ({"bearer": ["t0ken"]}, b"Authorization: Bearer t0ke\r\n", 401),
        ({"bearer": ["t0ken"], "basic": ["me:right"]}, RIGHT, 0),
        ({"networks": ["192.0.2.0/24"]}, b"CF-Connecting-IP: 192.0.2.7\r\n", 0),
        ({"networks": ["192.0.2.0/24"]}, b"CF-Connecting-IP: ::ffff:192.0.2.7\r\n", 0),
        ({"networks": ["192.0.2.0/24"]}, b"CF-Connecting-IP: 198.51.100.1\r\n", 403),
        ({"networks": ["192.0.2.0/24"]}, b"X-Forwarded-For: 192.0.2.7\r\n", 403),
        ({"networks": ["192.0.2.0/24"]}, b"CF-Connecting-IP: 192.0.2.7\r\nCF-Connecting-IP: 198.51.100.1\r\n", 403),
        ({"networks": ["2001:db8::/32"]}, b"CF-Connecting-IP: 2001:db8::1\r\n", 0),
        ({"basic": ["me:right"], "networks": ["192.0.2.0/24"]}, RIGHT + b"CF-Connecting-IP: 198.51.100.1\r\n", 403),
        ({"basic": ["me:right"], "own": "probe"}, b"X-PRX-Probe: probe\r\n", 0),
        ({"basic": ["me:right"], "own": "probe"}, b"X-PRX-Probe: \r\n", 401),
        ({"basic": ["me:right"]}, RIGHT + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", 400),
        ({"basic": ["me:right"]}, RIGHT + b"Content-Length: 1\r\nContent-Length: 2\r\n", 400),
        ({"basic": ["me:right"]}, RIGHT + b"Transfer-Encoding: gzip, chunked\r\n", 400),
        ({"basic": ["me:right"]}, RIGHT + b"Transfer-Encoding : chunked\r\n", 400),
    ],
)
def test_who_may_pass(rules: dict[str, object], headers: bytes, status: int) -> None:
    """Right credentials and addresses pass; whatever is wrong, doubled or not clear does not."""
    assert judged(Gate(now=ManualClock().monotonic, **rules), headers) == status  # type: ignore[arg-type]


@pytest.mark.parametrize("given", ["me:right", "me:wrong", "m", "x" * 10_000, "you:also", ""])
def test_how_long_a_comparison_takes_says_nothing(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is given, it is compared with every secret, as digests of one length, by the function that is made for that."""
    compared: list[tuple[int, int]] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return hmac.compare_digest(one, other)

    door = Gate(basic=["me:right", "you:also", "third:one"], now=ManualClock().monotonic)
    monkeypatch.setattr(gate_module, "hmac", SimpleNamespace(compare_digest=compare))
    judged(door, b"Authorization: Basic " + base64.b64encode(given.encode()) + b"\r\n")
    assert compared == [(32, 32)] * 3


def test_guessing_is_slowed_down_for_that_address_alone() -> None:
    """After ten wrong passwords an address is not asked any more for a minute, the right one included; others are."""
    clock = ManualClock()
    door = gate(clock)
    here, there = b"CF-Connecting-IP: 192.0.2.1\r\n", b"CF-Connecting-IP: 192.0.2.2\r\n"
    assert [judged(door, WRONG + here) for _ in range(TRIES)] == [401] * TRIES
    assert judged(door, RIGHT + here) == 429
    assert judged(door, RIGHT + there) == 0
    clock.advance(PERIOD)
    assert judged(door, RIGHT + here) == 0


def test_a_browser_that_is_asked_for_a_password_has_not_guessed() -> None:
    """Requests without credentials count for nothing."""
    door = gate()
    assert {judged(door) for _ in range(100)} == {401}
    assert judged(door, RIGHT) == 0


def test_a_refusal_is_a_whole_answer() -> None:
    """It has a length, is not stored, and ends the connection."""
    answer = Refusal(401, "Unauthorized", "no", (("WWW-Authenticate", "Basic"),)).answer()
    assert answer.startswith(b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\n")
    assert answer.endswith(b"Content-Length: 3\r\nCache-Control: no-store\r\nConnection: close\r\n\r\nno\n")


async def _count(reader: asyncio.StreamReader, seen: bytearray) -> None:
    while data := await reader.read(65536):
        seen += data


async def test_the_service_sees_nothing_of_a_request_that_is_refused() -> None:
    """Not a byte of it, however it comes: at once, in pieces, behind one that passed, smuggled in its body, or as no HTTP."""
    seen = bytearray()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            seen.extend(data)
            if data.endswith((b"\r\n\r\n", b"body")):
                writer.write(OK)

    async with service(answer) as port, relaying(port) as relay:
        relay.gate = gate()
        refused = await ask(relay.port, b"GET /secret HTTP/1.1\r\n\r\n")
        assert isinstance(refused, bytes)
        assert refused.startswith(b"HTTP/1.1 401 Unauthorized\r\n")
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        for byte in b"GET /secret HTTP/1.1\r\nHost: x\r\n\r\n":
            writer.write(bytes([byte]))
            await writer.drain()
        assert (await reader.readline()) == b"HTTP/1.1 401 Unauthorized\r\n"
        writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        writer.write(b"GET /open HTTP/1.1\r\n" + RIGHT + b"\r\n")
        assert await reader.readexactly(len(OK)) == OK
        writer.write(b"GET /secret HTTP/1.1\r\n\r\n")
        assert (await reader.readline()) == b"HTTP/1.1 401 Unauthorized\r\n"
        writer.close()
        for raw in (
            b"GET /open HTTP/1.1\r\n" + RIGHT + b"\r\nGET /secret HTTP/1.1\r\n\r\n",
            b"POST / HTTP/1.1\r\n"
            + RIGHT
            + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            + b"GET /secret HTTP/1.1\r\n\r\n",
            b"\x16\x03\x01 /secret",
            b"GET /secret HTTP/1.1\r\n" + b"X: " + b"a" * 400_000,
        ):
            await ask(relay.port, raw)
        assert b"/secret" not in seen
        assert [line for line in bytes(seen).split(b"\r\n") if b"HTTP/1.1" in line] == [b"GET /open HTTP/1.1"]


async def test_what_may_pass_passes_byte_for_byte() -> None:
    """Bodies with a length, chunks and trailers reach the service as they came, in whatever pieces."""
    raw = b"POST /a HTTP/1.1\r\n" + RIGHT + b"Transfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n"
    raw += b"POST /b HTTP/1.1\r\n" + RIGHT + b"Content-Length: 5\r\n\r\n\r\n\r\n!" + b"GET /c HTTP/1.1\r\n" + RIGHT + b"\r\n"

    async def mirror(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read())

    async with service(mirror) as port, relaying(port) as relay:
        relay.gate = gate()
        for size in (1, 7, 64, len(raw)):
            reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
            for at in range(0, len(raw), size):
                writer.write(raw[at : at + size])
                await writer.drain()
            writer.write_eof()
            assert await reader.read() == raw
            writer.close()


@pytest.mark.parametrize("agrees", [True, False])
async def test_another_protocol_begins_only_if_the_service_agrees(agrees: bool) -> None:
    """After a 101 everything passes; after any other answer each request is judged again."""
    asked, answers, got = asyncio.Event(), asyncio.Event(), asyncio.Event()
    seen = bytearray()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        asked.set()
        await answers.wait()
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n" if agrees else OK)
        while data := await reader.read(100):
            seen.extend(data)
            got.set()

    async with service(answer) as port, relaying(port) as relay:
        relay.gate = gate()
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        writer.write(b"GET / HTTP/1.1\r\n" + RIGHT + b"Upgrade: x\r\nConnection: upgrade\r\n\r\n")
        async with asyncio.timeout(PATIENCE):
            await asked.wait()
            writer.write(b"GET /secret HTTP/1.1\r\n\r\n")
            await writer.drain()
            assert seen == b""
            answers.set()
            if agrees:
                await got.wait()
                assert seen.startswith(b"GET /secret")
            else:
                await reader.read()
                assert seen == b""
        writer.transport.abort()
        assert kept(relay)


SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"


@pytest.mark.parametrize(
    "pieces",
    [
        [SWITCH[:1], SWITCH[1:]],
        [SWITCH[:9], SWITCH[9:]],
        [SWITCH[:40], SWITCH[40:]],
        [b"HTTP/1.1 103 Early Hints\r\n\r\n", SWITCH],
    ],
)
async def test_a_service_that_agrees_in_pieces_has_agreed(pieces: list[bytes]) -> None:
    """Another protocol begins however the service's 101 is cut, and behind an interim answer."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.02)  # so that each is a piece for the relay, too
        while data := await reader.read(100):
            writer.write(data)

    async with service(answer) as port, relaying(port) as relay:
        relay.gate = gate()
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        writer.write(b"GET / HTTP/1.1\r\n" + RIGHT + b"Upgrade: x\r\nConnection: upgrade\r\n\r\n")
        async with asyncio.timeout(PATIENCE):
            assert await reader.readexactly(len(b"".join(pieces))) == b"".join(pieces)
            for _ in range(2):
                writer.write(b"\x81\x01x no request")
                assert await reader.readexactly(14) == b"\x81\x01x no request"
        writer.transport.abort()


@pytest.mark.parametrize("under_way", [False, True])
async def test_a_gate_that_comes_later_stands_before_old_connections_too(under_way: bool) -> None:
    """A connector uses a connection for many visitors: what is under way ends, and each further request on it is judged.

    The connection stays: what is on its way when the gate comes is answered.
    """
    heads: list[bytes] = []
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            heads.append(await read_head(reader))
            if b"/slow" in heads[-1]:
                asked.set()
                await go_on.wait()
            writer.write(OK)

    async with service(answer) as port, relaying(port) as relay, asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        writer.write(b"GET /first HTTP/1.1\r\n\r\n")
        assert await reader.readexactly(len(OK)) == OK
        if under_way:
            writer.write(b"GET /slow HTTP/1.1\r\n\r\n")
            await asked.wait()
        relay.gate = gate()
        go_on.set()
        if under_way:
            assert await reader.readexactly(len(OK)) == OK
        writer.write(b"GET /open HTTP/1.1\r\n" + RIGHT + b"\r\n")
        assert await reader.readexactly(len(OK)) == OK
        writer.write(b"GET /secret HTTP/1.1\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 401")
        writer.close()
        assert str(await ask(relay.port, b"GET /secret HTTP/1.1\r\n\r\n")).startswith("b'HTTP/1.1 401")
    assert [head.split()[1] for head in heads] == [b"/first", *([b"/slow"] if under_way else []), b"/open"]


async def test_a_gate_that_comes_later_leaves_a_websocket() -> None:
    """It was let in when there was no gate, and is no request."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n")
        while data := await reader.read(100):
            writer.write(data)

    async with service(answer) as port, relaying(port) as relay, asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        writer.write(b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n")
        await read_head(reader)
        relay.gate = gate()
        writer.write(b"\x81\x02hi")
        assert await reader.readexactly(4) == b"\x81\x02hi"
        writer.close()


@pytest.mark.parametrize("state", ["just made", "connecting", "copy given up", "read in pieces"])
async def test_no_connection_escapes_a_gate_and_none_is_broken(state: str) -> None:
    """Whatever a connection is at when the gate comes, its next request is judged, and one that may pass is answered."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await read_head(reader):
            writer.write(OK)

    class Slow(GuardedRelay):
        def pair(self) -> Pair:
            made = super().pair()
            if state == "just made":
                self.gate = self.gate or gate()
            return made

        def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
            started = super().spawn(work)
            if state == "connecting":
                self.gate = self.gate or gate()
            return started

    async with service(answer) as port, relaying(port, kind=Slow) as relay, asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        if state in {"copy given up", "read in pieces"}:
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            assert await reader.readexactly(len(OK)) == OK
        if state == "copy given up":
            relay.copier.off = True
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            assert await reader.readexactly(len(OK)) == OK
        elif state == "read in pieces":
            writer.write(b"GET / HTTP/1.1\r\nX-")
            while next(iter(relay.pairs)).own.is_between:  # noqa: ASYNC110 - what another task reads
                await asyncio.sleep(0)
        relay.gate = relay.gate or gate()
        writer.write(b"Y: 1\r\n\r\n" if state == "read in pieces" else b"GET / HTTP/1.1\r\n" + RIGHT + b"\r\n")
        assert await reader.readexactly(len(OK)) == OK  # it came before, or may pass
        writer.write(b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 401")
        writer.close()


@pytest.mark.parametrize("kind", ["password", "token", "address", "another port"])
async def test_a_reload_that_brings_a_gate_stands_before_old_connections(kind: str, tmp_path: Path) -> None:
    """Whatever is checked, also if the relay gets another port: the next request on an old connection is judged."""
    count = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        while await read_head(reader):
            count += 1
            writer.write(OK)

    ways: dict[str, dict[str, Any]] = {
        "password": {"gate": GateSettings(basic_auth=Secret("me:long-password"))},
        "token": {"gate": GateSettings(bearer=Secret("long-token"))},
        "address": {"gate": GateSettings(allow_ip=("192.0.2.0/24",))},
        "another port": {
            "gate": GateSettings(bearer=Secret("long-token")),
            "inspect": InspectSettings(enabled=True, port=free_port()),
        },
    }
    async with service(answer) as port, asyncio.timeout(PATIENCE):
        inspection = Inspection(SystemClock(), Redactor(), lambda _level, _text: None, folder=lambda: tmp_path)
        settings = TunnelSettings(local_addr=f"127.0.0.1:{port}", inspect=InspectSettings(enabled=True))
        inspection.fit(Config(tunnels={"web": settings}))
        try:
            relay = int(inspection.child_settings("web", settings).local_addr.rpartition(":")[2])
            reader, writer = await asyncio.open_connection("127.0.0.1", relay)
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            assert await reader.readexactly(len(OK)) == OK
            inspection.fit(Config(tunnels={"web": settings.changed(**ways[kind])}))
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            assert (await reader.read())[:12] in {b"HTTP/1.1 401", b"HTTP/1.1 403"}
            writer.close()
        finally:
            await inspection.close()
    assert count == 1


async def test_another_port_of_the_relay_may_be_taken_back(tmp_path: Path) -> None:
    """The relay at the port of before is used again while a connector still has its address."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await read_head(reader):
            writer.write(OK)

    def settings(port: int) -> TunnelSettings:
        return TunnelSettings(local_addr=f"127.0.0.1:{origin}", inspect=InspectSettings(enabled=True, port=port))

    first, second = free_port(), free_port()
    async with service(answer) as origin, asyncio.timeout(PATIENCE):
        inspection = Inspection(SystemClock(), Redactor(), lambda _level, _text: None, folder=lambda: tmp_path)
        try:
            for port in (first, second, first, second, first):
                inspection.fit(Config(tunnels={"web": settings(port)}))
                assert inspection.child_settings("web", settings(port)).local_addr.endswith(f":{port}")
                for relay in (first, port):
                    assert isinstance(await ask(relay, b"GET / HTTP/1.1\r\n\r\n"), bytes)
            inspection.tidy(lambda _: True)
            await asyncio.sleep(0)
            assert await ask(first, b"GET / HTTP/1.1\r\n\r\n") == OK
        finally:
            await inspection.close()
