"""prx's own checks are known by a word that only this prx has, and its own headers are sent by no other."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.waits import PATIENCE
from tests.traffic.pieces import ask, read_head, relaying, service

from prx import __version__
from prx.app.inspection import Inspection
from prx.config.schema import Config, GateSettings, InspectSettings, TunnelSettings
from prx.core.own_mark import OWN_HEADERS
from prx.logs.redact import Redactor
from prx.runtime.host.clock import SystemClock
from prx.secrets.value import Secret
from prx.traffic import catch as catch_module
from prx.traffic.catch import Catcher
from prx.traffic.exchange import Exchange
from prx.traffic.framing import parse_head
from prx.traffic.masks import Masks
from prx.traffic.own import OwnHeaders, without_own_headers
from prx.traffic.replay import request_bytes
from prx.traffic.spool import Spool

FORGED = {
    "the User-Agent": f"User-Agent: prx/{__version__}",
    "the word of another": "X-PRX-Probe: " + "ab" * 24,
    "no word": "X-PRX-Probe:",
    "a replay": "X-PRX-Replay: 1",
    "all at once": f"User-Agent: prx/{__version__}\r\nX-PRX-Probe: 1\r\nX-PRX-Replay: 1",
}
OPEN = GateSettings()
GATE = GateSettings(bearer=Secret("of-visitors"))
MINE = tuple(name.lower().encode() for name in OWN_HEADERS)
SPELLED = [
    *(f"{name}: 1" for name in OWN_HEADERS),
    "x-prx-caught:1",
    "X-Prx-Retry: 7\r\nX-Prx-Retry: 8",
    "X_PRX_Caught: 1",
    "x-PRX_replay:\t12",
]


async def passed(
    headers: str, folder: Path, gate: GateSettings = OPEN, inspect: InspectSettings | None = None
) -> tuple[bytes, list[dict[str, object]]]:
    """Send one request with these headers (`OWN`: the word); return the head that the service got, and what is listed."""
    heads: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await read_head(reader))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")

    async with service(answer) as port:
        inspection = Inspection(SystemClock(), Redactor(), lambda _level, _text: None, folder=lambda: folder)
        inspect = inspect or InspectSettings(enabled=True)
        settings = TunnelSettings(local_addr=f"127.0.0.1:{port}", inspect=inspect, gate=gate)
        inspection.fit(Config(tunnels={"web": settings}))
        try:
            relay = int(inspection.child_settings("web", settings).local_addr.rpartition(":")[2])
            head = f"GET / HTTP/1.1\r\nHost: a\r\n{headers.replace('OWN', inspection.own_mark)}\r\n\r\n"
            assert "200 OK" in str(await ask(relay, head.encode()))
            listed = (await inspection.answer({"do": "requests"}))["requests"] if inspect.enabled else []
            return heads[0], listed
        finally:
            await inspection.close()


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED.keys())
async def test_a_visitor_cannot_hide_as_prx(forged: str, tmp_path: Path) -> None:
    """Whatever a visitor sends, the request is listed, and is no replay; what is no header of prx's own reaches the service."""
    head, listed = await passed(forged, tmp_path)
    assert [(item["path"], item["own"], item["replay_of"]) for item in listed] == [("/", False, None)]
    assert (b"User-Agent: prx/" in head) is ("User-Agent" in forged)


@pytest.mark.parametrize("gate", [OPEN, GATE], ids=["open", "gate"])
@pytest.mark.parametrize("headers", ["X-PRX-Probe: OWN", "x-prx-probe: OWN\r\nA: b", "A: b\r\nX-Prx-Probe:OWN"])
async def test_a_check_of_prx_is_known_and_its_word_taken_away(headers: str, gate: GateSettings, tmp_path: Path) -> None:
    """It passes a gate, is not in the list, and the service gets all of it but the word, which would open a gate."""
    head, listed = await passed(headers, tmp_path, gate)
    assert listed == []
    assert b"x-prx-probe" not in head.lower()
    assert head.startswith(b"GET / HTTP/1.1\r\nHost: a\r\n")
    assert head.endswith(b"\r\n\r\n")
    assert (b"A: b\r\n" in head) is ("A: b" in headers)


WAYS = {
    "inspected": (OPEN, InspectSettings(enabled=True)),
    "a gate": (GATE, InspectSettings()),
    "both": (GATE, InspectSettings(enabled=True)),
    "kept while it is down": (OPEN, InspectSettings(catch=True)),
}


@pytest.mark.parametrize(("gate", "inspect"), WAYS.values(), ids=WAYS.keys())
@pytest.mark.parametrize("forged", SPELLED)
async def test_no_visitor_sends_what_a_service_takes_for_prxs(
    forged: str, gate: GateSettings, inspect: InspectSettings, tmp_path: Path
) -> None:
    """In every relay, and however they are spelled, a visitor's own ones do not reach the service; all else does, in order."""
    token = "Authorization: Bearer of-visitors"
    head, _ = await passed(f"{token}\r\nA: 1\r\n{forged}\r\nB: X-PRX-Caught: 1", tmp_path, gate, inspect)
    assert head == f"GET / HTTP/1.1\r\nHost: a\r\n{token}\r\nA: 1\r\nB: X-PRX-Caught: 1\r\n\r\n".encode()


CLEAN = {
    "a path": b"GET /?X-PRX-Caught: HTTP/1.1\r\nHost: a\r\n\r\n",
    "another header": b"GET / HTTP/1.1\r\nX-PRX-Caught-By: me\r\nMy-X-PRX-Caught: 1\r\nX-Other: prx\r\n\r\n",
    "a body": b"POST / HTTP/1.1\r\nContent-Length: 21\r\n\r\n\r\nX-PRX-Caught: 1\r\n\r\n",
    "chunks": b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n15\r\n\r\nX-PRX-Caught: 1\r\n\r\n\r\n0\r\n\r\n",
    "a request in a body": b"POST / HTTP/1.1\r\nContent-Length: 35\r\n\r\nGET / HTTP/1.1\r\nX-PRX-Caught: 1\r\n\r\n",
    "no HTTP at all": b"\x16\x03\x01\r\nX-PRX-Caught: 1\r\n\r\n",
    "an empty line first": b"\r\n\r\nGET / HTTP/1.1\r\n\r\n",
}
FORGERIES = {
    "one": (b"GET / HTTP/1.1\r\nX-PRX-Caught: 1\r\nA: b\r\n\r\n", b"GET / HTTP/1.1\r\nA: b\r\n\r\n"),
    "folded": (b"GET / HTTP/1.1\r\nX-PRX-Retry: 1\r\n\t2\r\n 3\r\nA: b\r\n c\r\n\r\n", b"GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n"),
    "bare LF": (b"GET / HTTP/1.1\nX-PRX-Caught: 1\nA: b\n\n", b"GET / HTTP/1.1\nA: b\n\n"),
    "behind 20 KB": (
        b"GET / HTTP/1.1\r\nCookie: " + b"a" * 20_000 + b"\r\nX-PRX-Replay: 1\r\n\r\n",
        b"GET / HTTP/1.1\r\nCookie: " + b"a" * 20_000 + b"\r\n\r\n",
    ),
    "an odd method": (b"M-SEARCH * HTTP/1.1\r\nX-PRX-Caught: 1\r\n\r\n", b"M-SEARCH * HTTP/1.1\r\n\r\n"),
    "a long method": (b"A" * 300 + b" / HTTP/1.1\r\nX-PRX-Caught: 1\r\n\r\n", b"A" * 300 + b" / HTTP/1.1\r\n\r\n"),
}


def in_pieces(data: bytes, size: int) -> Iterable[bytes]:
    """Yield `data` in pieces."""
    return (data[at : at + size] for at in range(0, len(data), size))


def given_to_service(data: Iterable[bytes]) -> bytes:
    """Return what a service is given of these pieces."""
    own = OwnHeaders()
    return b"".join([*map(own.to_service, data), own.end()])


@pytest.mark.parametrize("data", CLEAN.values(), ids=CLEAN.keys())
@pytest.mark.parametrize("size", [1, 2, 7, 4096])
def test_nothing_else_is_taken_away(data: bytes, size: int) -> None:
    """A path, another header, a body and what is no HTTP keep what looks like it, in pieces of any size."""
    assert given_to_service(in_pieces(data, size)) == data


@pytest.mark.parametrize(("data", "clean"), FORGERIES.values(), ids=FORGERIES.keys())
@pytest.mark.parametrize("size", [1, 2, 7, 4096])
def test_a_header_in_pieces_is_taken_away_as_one_piece_is(data: bytes, clean: bytes, size: int) -> None:
    """However a head is cut; and on the same connection again, behind bodies of each kind."""
    assert given_to_service(in_pieces(data, size)) == clean
    for body in (CLEAN["a body"], CLEAN["chunks"], CLEAN["another header"]):
        assert given_to_service(in_pieces(body + data + body + data, size)) == body + clean + body + clean


def test_a_head_that_ends_in_the_middle_is_handed_over_at_the_end() -> None:
    """A visitor that says half of a request and no more is seen by the service, without what is prx's own."""
    own = OwnHeaders()
    assert own.to_service(b"GET / HTTP/1.1\r\nA: b\r\nX-PRX-Caught: 1\r\nC: ") == b""
    assert own.end() == b"GET / HTTP/1.1\r\nA: b\r\nC: "


def test_what_is_no_request_is_not_held() -> None:
    """A protocol that speaks without line ends is forwarded at once."""
    own = OwnHeaders()
    assert own.to_service(b"\x00\x01binary") == b"\x00\x01binary"
    assert own.to_service(b"X-PRX-Caught: 1\r\n\r\n") == b"X-PRX-Caught: 1\r\n\r\n"


UPGRADE = b"GET /ws HTTP/1.1\r\nUpgrade: websocket\r\nX-PRX-Caught: 1\r\n\r\n"
ANSWERS = [
    (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n", True),
    (b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 101 Switching Protocols\r\n\r\n", True),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", False),
    (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n", False),
    (b"HTTP/1.1 101", False),
    (b"no answer at all\n", False),
]


@pytest.mark.parametrize(("answer", "agreed"), ANSWERS)
@pytest.mark.parametrize("size", [1, 4096])
def test_only_a_service_that_agrees_to_another_protocol_gets_all_that_follows(answer: bytes, agreed: bool, size: int) -> None:
    """A visitor who asks for a WebSocket in vain opens no way for the next request of the same connection."""
    own = OwnHeaders()
    assert own.to_service(UPGRADE) == b"GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n"
    for piece in in_pieces(answer, size):
        own.from_service(piece)
    if answer == b"HTTP/1.1 101":  # it is not whole yet, and a connector does not speak before it is
        own.from_service(b" OK\r\n\r\n")
        agreed = True
    more = b"GET / HTTP/1.1\r\nX-PRX-Caught: 1\r\n\r\n"
    assert own.to_service(more) == (more if agreed else b"GET / HTTP/1.1\r\n\r\n")


async def test_a_websocket_passes_as_it_is() -> None:
    """What looks like a head within a WebSocket reaches the service and comes back, byte for byte, and at once."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert b"caught" not in (await read_head(reader)).lower()
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n")
        while data := await reader.read(100):
            writer.write(data)

    frames = b"\x81\x13X-PRX-Caught: 1\r\n\r\n", b"\x81", b"\x02hi"
    async with service(answer) as port, relaying(port) as relay, asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        writer.write(UPGRADE)
        await read_head(reader)
        for frame in frames:
            writer.write(frame)
            assert await reader.readexactly(len(frame)) == frame
        writer.close()


async def test_the_next_request_of_a_connection_is_cleaned_too() -> None:
    """A connector uses one connection for many visitors; also behind a refused upgrade, and with the service changed."""
    heads: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            heads.append(await read_head(reader))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async with service(answer) as port, service(answer) as other, relaying(port) as relay, asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        for number, raw in enumerate([UPGRADE, b"GET / HTTP/1.1\r\nX-Prx-Caught: 1\r\n\r\n"] * 2):
            if number == 2:
                relay.retarget(type(relay.target)("127.0.0.1", other))
            writer.write(raw)
            await read_head(reader)
        writer.close()
    assert len(heads) == 4
    assert not any(name in head.lower() for head in heads for name in MINE)


async def test_what_is_handed_over_late_is_marked_by_prx_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kept request has prx's marks once, whatever its sender wrote, also if an earlier prx kept it."""
    monkeypatch.setattr(catch_module, "PAUSE", 0.01)
    heads: list[bytes] = []
    done = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await read_head(reader) + await reader.readexactly(19))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        done.set()

    spool = Spool(tmp_path / "caught")
    forged = "\r\n".join(f"{name}: 99" for name in OWN_HEADERS).encode()
    spool.add(b"POST /a HTTP/1.1\r\n" + forged + b"\r\nContent-Length: 19\r\n\r\nX-PRX-Caught: 1\r\n\r\n")
    spool.begin()
    async with service(answer) as port, relaying(port) as relay, asyncio.TaskGroup() as group:
        catcher = Catcher(spool, relay.copier, lambda: relay.target, lambda _level, _text: None)
        running = group.create_task(catcher.run())
        async with asyncio.timeout(PATIENCE):
            await done.wait()
        running.cancel()
    assert heads == [
        b"POST /a HTTP/1.1\r\nX-PRX-Caught: 1\r\nX-PRX-Retry: 1\r\nContent-Length: 19\r\n\r\nX-PRX-Caught: 1\r\n\r\n"
    ]


@pytest.mark.parametrize("forged", SPELLED)
def test_what_is_sent_again_is_marked_as_that_alone(forged: str) -> None:
    """A replay carries `X-PRX-Replay` once, and none of the marks that the first request came with."""
    raw = f"GET / HTTP/1.1\r\nHost: a\r\n{forged}\r\n\r\n".encode()
    exchange = Exchange(7, "web", 0.0, request=parse_head(raw, request=True))
    exchange.request_body.whole = True
    sent = request_bytes(exchange, None, Masks(Redactor()))
    assert sent == b"GET / HTTP/1.1\r\nHost: a\r\nX-PRX-Replay: 7\r\nConnection: close\r\n\r\n"


def test_a_head_without_them_is_the_same_object() -> None:
    """Almost every head: nothing is made again."""
    head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    assert without_own_headers(head) is head


REQUESTS = [
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nX-PRX",
    b"GET / HTTP/1.1\nHost: a\n\nGET / HTTP/1.1\r\nX-PRX-Caught: 1\r\n\r\n",
    b"GET / HTTP/1.1\r\nA: b\r\n\r\nGET / HTTP/1.1\r\nX-PRX-Caught: 1\r\n\r\n",
    b"POST / HTTP/1.1\r\nTRANSFER-ENCODING: chunked\r\n\r\n0\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nx_prx_caught: 1\r\nX-Prx-Other: 1\r\n\r\n",
    b"\r\nGET / HTTP/1.1\r\n\r\n",
]


@given(st.lists(st.sampled_from(REQUESTS), max_size=6), st.randoms(use_true_random=False))
def test_pieces_of_any_size_come_to_the_same(requests: list[bytes], chance: random.Random) -> None:
    """However a connection is cut, the service gets the same bytes; whole heads, which take a shorter way, included."""
    whole = b"".join(requests)
    cuts = sorted(chance.sample(range(len(whole)), min(len(whole), chance.randrange(12)))) if whole else []
    pieces = [whole[begin:end] for begin, end in pairwise([0, *cuts, len(whole)])]
    expected = b"".join(re.sub(rb"(?i)x[-_]prx[-_]caught: 1\r\n", b"", request) for request in requests)
    assert given_to_service(pieces) == given_to_service(requests) == given_to_service([whole]) == expected
