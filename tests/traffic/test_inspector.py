"""What is answered to those who ask for what has passed: in order, nothing twice, and within one line of the control socket."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import threading
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.support.waits import PATIENCE
from tests.traffic.pieces import Handler, ask, read_head, service

from prx.app.inspection import Inspection
from prx.config.schema import Config, GateSettings, InspectSettings, TunnelSettings
from prx.control.messages import ANSWER_LIMIT
from prx.core.errors import UsageError
from prx.logs.redact import Redactor
from prx.runtime.host.clock import SystemClock
from prx.secrets.value import Secret
from prx.traffic import inspector as inspector_module
from prx.traffic.exchange import exchange_json
from prx.traffic.export import as_curl, as_har
from prx.traffic.inspector import Inspector
from prx.traffic.replay import request_bytes
from prx.traffic.room import lines_within
from prx.traffic.signatures import verdict

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"


@asynccontextmanager
async def inspecting(handler: Handler, folder: Path) -> AsyncIterator[tuple[Inspector, int]]:
    """Run a service behind an inspector; yield that, and the port for visitors."""
    async with service(handler) as port:
        inspector = Inspector(SystemClock(), Redactor(), lambda _level, _text: None, own="pass", folder=folder)
        settings = TunnelSettings(local_addr=f"127.0.0.1:{port}", inspect=InspectSettings(enabled=True))
        inspector.take(Config(tunnels={"web": settings}))
        try:
            yield inspector, int(inspector.child_settings("web", settings).local_addr.rpartition(":")[2])
        finally:
            await inspector.close()


@asynccontextmanager
async def with_a_slow_one(
    folder: Path, go_on: asyncio.Event
) -> AsyncIterator[tuple[Inspector, int, asyncio.Task[bytes | str]]]:
    """The same, once `/slow` is known, whose answer, the task, waits for `go_on`; all else is answered at once."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if b"/slow" in await read_head(reader):
            await go_on.wait()
        writer.write(OK)

    async with inspecting(answer, folder) as (inspector, port), asyncio.TaskGroup() as group:
        slow = group.create_task(ask(port, b"GET /slow HTTP/1.1\r\n\r\n"))
        while not [item for item in inspector._inspected["web"].ring if item.request]:
            inspector._inspected["web"].relay.copier.read_all()
            await asyncio.sleep(0)
        yield inspector, port, slow


async def test_a_slow_request_is_not_passed_over(tmp_path: Path) -> None:
    """One that began first and is answered last comes last to those who follow, and once."""
    go_on = asyncio.Event()
    async with with_a_slow_one(tmp_path, go_on) as (inspector, port, slow), asyncio.TaskGroup() as group:
        for number in range(2):
            await ask(port, b"GET /quick/%d HTTP/1.1\r\n\r\n" % number)
        first = await inspector.answer({"do": "requests"})
        assert [item["path"] for item in first["requests"]] == ["/quick/0", "/quick/1"]
        oldest = await inspector.answer({"do": "requests", "oldest": True, "limit": 1})
        assert [item["path"] for item in oldest["requests"]] == ["/quick/0"]
        next_one = await inspector.answer({"do": "requests", "oldest": True, "limit": 1, "positions": oldest["positions"]})
        assert [item["path"] for item in next_one["requests"]] == ["/quick/1"]
        waiting = group.create_task(inspector.answer({"do": "requests", "positions": first["positions"], "wait": PATIENCE}))
        go_on.set()
        assert [item["path"] for item in (await waiting)["requests"]] == ["/slow"]
        await slow


async def test_a_stream_is_shown_as_soon_as_its_answer_has_begun(tmp_path: Path) -> None:
    """Those who follow need not wait for the end of server-sent events."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        await reader.read()

    async with inspecting(answer, tmp_path) as (inspector, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /events HTTP/1.1\r\n\r\n")
        await reader.readuntil(b"data: 1")
        found = await inspector.answer({"do": "requests", "wait": PATIENCE})
        assert [(item["path"], item["duration_ms"]) for item in found["requests"]] == [("/events", None)]
        writer.close()


async def test_an_answer_fits_a_line_whatever_came(tmp_path: Path) -> None:
    """Long paths, bodies of a megabyte and messages that JSON makes six times as long are answered in part, and it is said."""
    body = "\x01\u2028".encode() * 500_000

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await read_head(reader)
        if b"POST" not in head:
            writer.write(OK)
            return
        await reader.readexactly(len(body))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
        writer.write((b"data: " + b"\x01" * 60_000 + b"\n\n") * 30)

    async with inspecting(answer, tmp_path) as (inspector, port):
        for number in range(50):
            await ask(port, b"GET /%d" % number + b"\xff" * 60_000 + b" HTTP/1.1\r\n\r\n")
        await ask(port, b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        listed = await inspector.answer({"do": "requests", "limit": 2000})
        assert len(json.dumps(listed)) < ANSWER_LIMIT
        assert listed["requests"][-1]["method"] == "POST"
        whole = (await inspector.answer({"do": "request", "id": listed["requests"][-1]["id"]}))["request"]
        assert len(json.dumps({"ok": True, "request": whole})) < ANSWER_LIMIT
        assert any("more messages are not shown" in note for note in whole["notes"])


async def test_what_takes_long_is_done_beside_the_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bodies are masked, edited and signed in a thread: no tunnel waits for a question, however large its answer."""
    threads: dict[str, int] = {}

    def noting(work: Callable[..., object]) -> Callable[..., object]:
        def do(*arguments: object, **named: object) -> object:
            threads[work.__name__] = threading.get_ident()
            return work(*arguments, **named)

        return do

    for work in (request_bytes, exchange_json, verdict, lines_within):
        monkeypatch.setattr(inspector_module, work.__name__, noting(work))

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(OK)

    async with inspecting(answer, tmp_path) as (inspector, port):
        await ask(port, b"GET / HTTP/1.1\r\n\r\n")
        (found,) = (await inspector.answer({"do": "requests", "wait": PATIENCE}))["requests"]
        await inspector.answer({"do": "request", "id": found["id"]})
        await inspector.answer({"do": "replay", "id": found["id"], "edit": {"path": "/again"}})
    assert set(threads) == {"request_bytes", "exchange_json", "verdict", "lines_within"}
    assert threading.get_ident() not in threads.values()


async def test_a_filter_finds_what_is_shown(tmp_path: Path) -> None:
    """`body:` searches a packed body as it is shown, and as it came; one that cannot be unpacked is no error, and no match."""
    packed = {b"/gzip": (b"gzip", gzip.compress(b"an order")), b"/deflate": (b"deflate", zlib.compress(b"an order"))}
    packed |= {b"/plain": (b"identity", b"an order"), b"/broken": (b"gzip", b"no gzip"), b"/odd": (b"rot13", b"na beqre")}

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        coding, body = packed[(await read_head(reader)).split(b" ")[1]]
        head = b"HTTP/1.1 200 OK\r\nContent-Encoding: %b\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
        writer.write(head % (coding, len(body)) + body)

    async with inspecting(answer, tmp_path) as (inspector, port), asyncio.TaskGroup() as group:
        waiting = group.create_task(inspector.answer({"do": "requests", "filter": "path:/plain", "wait": PATIENCE}))
        for path in packed:
            await ask(port, b"GET %b HTTP/1.1\r\n\r\n" % path)
        found = (await inspector.answer({"do": "requests", "filter": "body:order"}))["requests"]
        assert {item["path"] for item in found} == {"/gzip", "/deflate", "/plain"}
        assert [item["path"] for item in (await inspector.answer({"do": "requests", "filter": "body:beqre"}))["requests"]] == [
            "/odd"
        ]
        assert [item["path"] for item in (await waiting)["requests"]] == ["/plain"]
        late = await inspector.answer({"do": "requests", "filter": "path:/never", "wait": 0.01})
        assert (late["requests"], late["positions"]) == ([], {"web": len(packed)})


@pytest.mark.parametrize("request_", [{"positions": [1]}, {"positions": {"web": "x"}}, {"limit": -1}, {"filter": "a:b"}])
async def test_nonsense_is_refused(tmp_path: Path, request_: dict[str, object]) -> None:
    """A question that cannot be meant is said to be one."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)

    async with inspecting(answer, tmp_path) as (inspector, _):
        with pytest.raises(UsageError):
            await inspector.answer({"do": "requests", **request_})


async def _told(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_head(reader)
    writer.write(OK)


async def test_who_goes_on_after_an_id_gets_each_answer_once(tmp_path: Path) -> None:
    """`after` is a place in the order of answers: a slow request with a small id is not passed over, and none comes twice."""
    go_on = asyncio.Event()
    async with with_a_slow_one(tmp_path, go_on) as (inspector, port, slow):
        for number in range(3):
            await ask(port, b"GET /%d HTTP/1.1\r\n\r\n" % number)
        first = await inspector.answer({"do": "requests"})
        assert [item["path"] for item in first["requests"]] == ["/0", "/1", "/2"]
        go_on.set()
        await slow
        await ask(port, b"GET /3 HTTP/1.1\r\n\r\n")
        came, last = [], first["last"]
        for _ in range(3):
            found = await inspector.answer({"do": "requests", "after": last, "limit": 1})
            came += [item["path"] for item in found["requests"]]
            last = found["last"]
        assert came == ["/slow", "/3"]
        # an id that is not kept, or was that of an earlier prx: all that are
        assert len((await inspector.answer({"do": "requests", "after": 999}))["requests"]) == 5
        assert (await inspector.answer({"do": "requests", "after": last, "filter": "/nothing"}))["last"] == last


@pytest.mark.parametrize(("limit", "count"), [(0, 0), (1, 1), (3, 3), (100, 3)])
async def test_no_more_are_listed_than_are_wanted(limit: int, count: int, tmp_path: Path) -> None:
    """`-n 0` lists none, as when only what comes is to be followed."""
    async with inspecting(_told, tmp_path) as (inspector, port):
        for _ in range(3):
            await ask(port, b"GET / HTTP/1.1\r\n\r\n")
        found = await inspector.answer({"do": "requests", "limit": limit})
        assert len(found["requests"]) == count
        assert found["positions"] == {"web": 3}


async def test_what_has_no_room_in_one_answer_is_in_the_next(tmp_path: Path) -> None:
    """Those who follow in the order of answers miss none, however long the lines are."""
    async with inspecting(_told, tmp_path) as (inspector, port):
        for number in range(300):
            await ask(port, b"GET /%d?" % number + b"\xff" * 2000 + b" HTTP/1.1\r\n\r\n")
        numbers: list[int] = []
        positions: dict[str, int] = {}
        for _ in range(300):
            found = await inspector.answer({"do": "requests", "oldest": True, "limit": 1000, "positions": positions})
            if not found["requests"]:
                break
            numbers += [int(item["path"][1:].partition("?")[0]) for item in found["requests"]]
            positions = found["positions"]
        assert numbers == list(range(300))


@pytest.mark.parametrize("separator", ["&", "\n?", ";", " #"])
async def test_what_hiding_makes_longer_fits_a_line(separator: str, tmp_path: Path) -> None:
    """A body full of secrets of a letter each becomes longer as it is hidden; it is answered in part, and that is said."""
    body = (f"{separator}sig=a" * 200_000).encode()[: 1024 * 1024]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        await reader.readexactly(len(body))
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body)

    async with inspecting(answer, tmp_path) as (inspector, port):
        await ask(port, b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await inspector.answer({"do": "requests"})
        whole = (await inspector.answer({"do": "request", "id": 1}))["request"]
    assert len(json.dumps({"ok": True, "request": whole})) < ANSWER_LIMIT
    assert b"sig=a" not in base64.b64decode(whole["answer"]["body"])
    assert whole["request"]["body_cut"]
    assert whole["answer"]["body_cut"]
    assert any("has become longer" in note for note in whole["notes"])


@pytest.mark.parametrize("words", ["requests", "request", "har", "curl"])
async def test_what_opens_a_gate_is_not_shown(words: str, tmp_path: Path) -> None:
    """What prx's own checks carry would let anyone pass who reads it in a list, a file or a ticket."""
    async with service(_told) as port:
        redactor = Redactor()
        inspection = Inspection(SystemClock(), redactor, lambda _level, _text: None, folder=lambda: tmp_path)
        settings = TunnelSettings(
            local_addr=f"127.0.0.1:{port}",
            inspect=InspectSettings(enabled=True),
            gate=GateSettings(bearer=Secret("a-token-of-visitors")),
        )
        inspection.fit(Config(tunnels={"web": settings}))
        own = inspection.own_mark
        relay = int(inspection.child_settings("web", settings).local_addr.rpartition(":")[2])
        head = f"GET /?echo={own} HTTP/1.1\r\nHost: a\r\nX-Prx-Probe: {own}\r\nX-Echo: {own}\r\n\r\n"
        assert "200 OK" in str(await ask(relay, head.encode()))
        text = json.dumps(await inspection.answer({"do": "requests", "own": True}))
        if words != "requests":
            found = (await inspection.answer({"do": "request", "id": 1}))["request"]
            text = {"har": as_har([found], "http://x"), "curl": as_curl(found, "http://x")}.get(words, json.dumps(found))
        await inspection.close()
    assert "/?echo=" in text
    assert own not in text
    assert own not in redactor.line(f'headers={{"X-Prx-Probe":["{own}"]}}')  # cloudflared at log_level debug
