"""Sending again: what is sent, what is refused, and what other programs make of an export."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import shutil
import ssl
import subprocess
import sys
import zlib
from contextlib import suppress
from pathlib import Path

import pytest
import trustme
from tests.support.waits import PATIENCE, free_port
from tests.traffic.pieces import Handler, ask, kept, read_head, relaying, service

from prx.app.inspection import Inspection
from prx.config.schema import Config, InspectSettings, TunnelSettings
from prx.core.errors import PrxError, UsageError
from prx.lab.edge.limits import Limits
from prx.logs.redact import Redactor
from prx.runtime.host.clock import SystemClock
from prx.traffic.exchange import BODY_LIMIT, Exchange, exchange_json
from prx.traffic.export import as_curl, as_har, as_script, from_har
from prx.traffic.framing import parse_head
from prx.traffic.masks import Masks
from prx.traffic.relay import Target
from prx.traffic.replay import ANSWER_SECONDS, END_SECONDS, LONGEST, request_bytes, send
from prx.web.questions import REPLAY_SECONDS

MASKS = Masks(Redactor())
RAW = (
    b"POST /hook?token=abc HTTP/1.1\r\nHost: app.example.com\r\nAuthorization: Bearer visitor-secret\r\n"
    b"X-A: one\r\nX-A: two\r\nTransfer-Encoding: chunked\r\n\r\n"
)


def came(raw: bytes = RAW, body: bytes = b"it's\nbody") -> Exchange:
    """Return a request that came whole."""
    exchange = Exchange(7, "web", 1_800_000_000.0, request=parse_head(raw, request=True))
    exchange.request_body.add(body)
    exchange.request_body.whole = True
    return exchange


def test_what_is_sent_is_what_came_and_is_marked() -> None:
    """Headers in order, secrets as they came, a length in place of chunks, and the mark."""
    assert request_bytes(came(), None, MASKS) == (
        b"POST /hook?token=abc HTTP/1.1\r\nHost: app.example.com\r\nAuthorization: Bearer visitor-secret\r\n"
        b"X-A: one\r\nX-A: two\r\nX-PRX-Replay: 7\r\nContent-Length: 9\r\nConnection: close\r\n\r\nit's\nbody"
    )


def test_an_edit_keeps_what_is_hidden() -> None:
    """A value that was hidden in the editor stands for the one that came; what is written is taken."""
    shown = exchange_json(came(), MASKS)
    edit = {
        "method": "PUT",
        "path": shown["path"],
        "headers": [[n, v.replace("two", "three")] for n, v in shown["request"]["headers"]],
        "body": base64.b64encode(b"new").decode(),
    }
    sent = request_bytes(came(), edit, MASKS)
    assert sent.startswith(b"PUT /hook?token=abc HTTP/1.1\r\n")
    assert b"Authorization: Bearer visitor-secret\r\n" in sent
    assert b"X-A: three\r\n" in sent
    assert sent.endswith(b"\r\n\r\nnew")


@pytest.mark.parametrize(
    "edit",
    [
        {"method": "GET /x HTTP/1.1\r\nA: b"},
        {"path": "/a b"},
        {"path": "/\r\nA: b"},
        {"headers": [["A", "b\r\nC: d"]]},
        {"headers": [["A B", "c"]]},
        {"headers": [1]},
        {"body": "no base64"},
    ],
)
def test_an_edit_cannot_write_a_second_request(edit: dict[str, object]) -> None:
    """What would break the request apart is refused, with words."""
    with pytest.raises(UsageError):
        request_bytes(came(), edit, MASKS)


def test_a_cut_body_is_refused() -> None:
    """Half of a body is not sent as if it were all, unless another one is given."""
    exchange = came(body=b"x" * (BODY_LIMIT + 1))
    with pytest.raises(UsageError, match="was cut"):
        request_bytes(exchange, None, MASKS)
    assert request_bytes(exchange, {"body": ""}, MASKS)


async def test_the_answer_is_kept_like_any_other() -> None:
    """A replay shows up with its status, also if the service keeps its connection."""
    alive = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok")
        await alive.wait()

    async with service(answer) as port, relaying(port) as relay:
        found = await send(request_bytes(came(), None, MASKS), Target("127.0.0.1", port), relay.copier, replay_of=7)
        assert (found.status, found.replay_of, bytes(found.answer_body.kept)) == (201, 7, b"ok")
        assert kept(relay) == [found]
        alive.set()
    async with relaying(free_port()) as relay:
        with pytest.raises(PrxError, match="cannot be asked"):
            await send(request_bytes(came(), None, MASKS), relay.target, relay.copier)


async def test_exports_send_the_same_request() -> None:
    """Curl's command and the script, run by sh and Python, send method, path, headers and body; secrets are not in them."""
    seen: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await read_head(reader)
        seen.append(head + await reader.readexactly(9))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    async with service(answer) as port:
        found, url = exchange_json(came(), MASKS), f"http://127.0.0.1:{port}"
        script = as_script(found, url)
        assert "visitor-secret" not in script + as_curl(found, url) + as_har([found], url)
        command = as_curl(found, url)
        await asyncio.to_thread(subprocess.run, [sys.executable, "-c", script], check=True, capture_output=True)
        assert seen[0].startswith(b"POST /hook?token=")
        assert b"X-A: one\r\nX-A: two\r\n" in seen[0]
        assert seen[0].endswith(b"\r\n\r\nit's\nbody")
        assert "--data-binary" in command
        assert subprocess.run(["sh", "-n", "-c", command], check=False).returncode == 0  # noqa: ASYNC221 - a moment


ODD_REQUESTS = [
    b"GET /items?ids[]=1&q={a,b} HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n",
    b"GET /a/../b/./c HTTP/1.1\r\nHost: x\r\nUser-Agent: odd\r\n\r\n",
    b"HEAD /page HTTP/1.1\r\nHost: x\r\n\r\n",
    b"DELETE /item HTTP/1.1\r\nHost: x\r\nX-Empty:\r\nX-Name: K\xc3\xb6nig \xe2\x82\xac\r\n\r\n",
]


def sent(raw: bytes) -> tuple[bytes, set[bytes]]:
    """Return the first line of a request and its headers, without those that are the sender's own affair."""
    first, *lines = raw.partition(b"\r\n\r\n")[0].split(b"\r\n")
    own = (b"host:", b"content-length:", b"connection:")
    return first, {line.replace(b": ", b":") for line in lines if not line.lower().startswith(own)}


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not here")
@pytest.mark.parametrize("raw", ODD_REQUESTS, ids=["patterns", "dots", "HEAD", "headers"])
async def test_what_other_programs_send_is_what_came(raw: bytes) -> None:
    """Neither curl nor Python's own client reads patterns, shortens a path, adds or drops a header, or waits for a body."""
    seen: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n" + (b"" if raw.startswith(b"HEAD") else b"it's fine"))

    async with service(answer) as port:
        found, url = exchange_json(came(raw, b""), MASKS), f"http://127.0.0.1:{port}"
        for command in (["sh", "-c", as_curl(found, url)], [sys.executable, "-c", as_script(found, url)]):
            await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True, timeout=PATIENCE)
    assert [sent(item) for item in seen] == [sent(raw)] * 2


TARGETS = ["@127.0.0.2:1/x", ":1/x", ".evil.example/", "http://evil.example/x", "*", "evil.example:443", "#/x", "?a=1"]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not here")
@pytest.mark.parametrize("target", TARGETS)
async def test_no_target_leads_an_export_elsewhere(target: str) -> None:
    """What a visitor asked for in place of a path is sent to the service, and to no other host."""
    seen: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append((await reader.readuntil(b"\r\n\r\n")).split()[1])
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    raw = f"OPTIONS {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    async with service(answer) as port:
        found, url = exchange_json(came(raw, b""), MASKS), f"http://127.0.0.1:{port}"
        for command in (["sh", "-c", as_curl(found, url)], [sys.executable, "-c", as_script(found, url)]):
            await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True, timeout=PATIENCE)
        (edit,) = from_har(as_har([found], url)).requests
    assert seen == [target.encode()] * 2
    (entry,) = json.loads(as_har([found], url))["log"]["entries"]
    assert entry["request"]["url"].startswith(f"{url}/")
    assert edit["path"].startswith("/")


async def test_a_path_beyond_ascii_is_sent_in_percent_encoding_by_the_script() -> None:
    """Python's own client takes no other; the service reads the same path."""
    found = exchange_json(came("GET /caf\u00e9?q=\u20ac HTTP/1.1\r\nHost: x\r\n\r\n".encode(), b""), MASKS)
    assert "'/caf%C3%A9?q=%E2%82%AC'" in as_script(found, "http://127.0.0.1:1")


def test_an_archive_can_be_sent_again() -> None:
    """What a HAR file of prx holds is read again; what is no archive is said to be none."""
    found = exchange_json(came(), MASKS)
    (edit,) = from_har(as_har([found], "http://127.0.0.1:1")).requests
    assert (edit["method"], base64.b64decode(edit["body"])) == ("POST", b"it's\nbody")
    assert request_bytes(None, edit, MASKS).endswith(b"it's\nbody")
    for text in ("", "[]", "{}", '{"log": {"entries": [1]}}', json.dumps({"log": {"entries": [{"request": {"url": "x"}}]}})):
        with pytest.raises(UsageError, match="no HTTP archive"):
            from_har(text)


PASSED_OVER: list[tuple[str, dict[str, object], dict[str, object]]] = [
    ("WebSocket", {"url": "wss://app.example.com/live"}, {}),
    ("WebSocket", {"headers": [{"name": "upgrade", "value": "WebSocket"}]}, {}),
    ("WebSocket", {}, {"_resourceType": "websocket", "_webSocketMessages": []}),
    ("WebSocket", {}, {"response": {"status": 101}}),
    ("no http or https URL", {"url": "data:image/png;base64,AAAA"}, {}),
    ("no http or https URL", {"url": "data:image/png;base64," + "A" * 100_000}, {}),
    ("no http or https URL", {"url": "blob:https://app.example.com/1b9d"}, {}),
    ("no http or https URL", {"url": "chrome-extension://abc/content.js"}, {}),
    ("no http or https URL", {"url": "about:blank"}, {}),
    ("asks a proxy", {"method": "CONNECT", "url": "https://app.example.com:443"}, {}),
]


@pytest.mark.parametrize(("why", "request_", "more"), PASSED_OVER)
def test_what_is_no_request_of_a_service_is_passed_over(why: str, request_: dict[str, object], more: dict[str, object]) -> None:
    """Browsers archive WebSockets and `data:` URLs, too: they are named, and the requests beside them are sent."""
    odd, good = json.loads(archive(**request_)), json.loads(archive())
    entries = [*good["log"]["entries"], odd["log"]["entries"][0] | more, *good["log"]["entries"]]
    found = from_har(json.dumps({"log": {"entries": entries}}))
    assert [item["path"] for item in found.requests] == ["/a?b=1", "/a?b=1"]
    (line,) = found.passed_over
    assert line.startswith("entry 2 is passed over: ")
    assert why in line
    assert len(line) < 200


async def test_a_switch_of_protocol_cannot_be_sent_again() -> None:
    """A WebSocket is no request that has an answer."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n")

    async with service(answer) as port, relaying(port) as relay:
        await ask(relay.port, b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n")
        with pytest.raises(UsageError, match="no plain HTTP"):
            request_bytes(kept(relay)[0], None, MASKS)


def archive(**request: object) -> str:
    """Return an archive with one request of another program's."""
    entry = {"method": "POST", "url": "https://app.example.com/a?b=1", "headers": [], **request}
    return json.dumps({"log": {"entries": [{"request": entry}]}})


@pytest.mark.parametrize("body", [b"", b"a", b"\xff\0", gzip.compress(b"packed", mtime=0), b"x" * 70_000, b"\xfe" * BODY_LIMIT])
def test_a_whole_body_survives_an_archive(body: bytes) -> None:
    """Empty, binary, packed and large bodies are the same after export and import."""
    raw = RAW.replace(b"X-A: one", b"Content-Encoding: gzip") if body[:2] == b"\x1f\x8b" else RAW
    (edit,) = from_har(as_har([exchange_json(came(raw, body), MASKS)], "http://127.0.0.1:1")).requests
    assert request_bytes(None, edit, MASKS).partition(b"\r\n\r\n")[2] == body


GZIP, TEXT = "Content-Encoding: gzip", "Content-Type: text/html; charset="
JPEG = b"\xff\xd8\xff\xe0\0\x10JFIF"
CONTENTS: list[tuple[list[str], bytes, dict[str, object]]] = [
    ([], b"plain", {"size": 5, "text": "plain"}),
    ([], "héllo".encode(), {"size": 6, "text": "héllo"}),
    ([], b"", {"size": 0, "text": ""}),
    ([TEXT + "iso-8859-1"], b"caf\xe9", {"size": 4, "text": "café"}),
    ([TEXT + "Shift_JIS"], "東京".encode("shift_jis"), {"size": 4, "text": "東京"}),
    ([TEXT + "idna"], b"caf\xe9", {"text": "Y2Fm6Q==", "encoding": "base64"}),
    ([], JPEG, {"size": 10, "text": base64.b64encode(JPEG).decode(), "encoding": "base64"}),
    ([GZIP], gzip.compress(b"x" * 900, mtime=0), {"size": 900, "text": "x" * 900, "comment": None}),
    (["Content-Encoding: deflate"], zlib.compress(b"y" * 900), {"size": 900, "text": "y" * 900}),
    ([GZIP], gzip.compress(JPEG, mtime=0), {"size": 10, "text": base64.b64encode(JPEG).decode(), "encoding": "base64"}),
    ([GZIP], b"no gzip", {"size": 7, "text": None, "comment": "not kept, or hidden, as it may hold secrets"}),
    ([], b"a" * (BODY_LIMIT - 1) + "é".encode(), {"size": BODY_LIMIT + 1, "text": "a" * (BODY_LIMIT - 1), "encoding": None}),
]


@pytest.mark.parametrize(("headers", "body", "expected"), CONTENTS)
def test_an_archive_holds_the_decoded_text(headers: list[str], body: bytes, expected: dict[str, object]) -> None:
    """`content` is unpacked, as text in its charset, base64 only if it is none; its length is that, and what is cut says so."""
    exchange = came()
    exchange.answer = parse_head("\r\n".join(["HTTP/1.1 200 OK", *headers, "", ""]).encode(), request=False)
    exchange.answer_body.add(body)
    exchange.answer_body.whole = True
    (entry,) = json.loads(as_har([exchange_json(exchange, MASKS)], "http://127.0.0.1:1"))["log"]["entries"]
    content = entry["response"]["content"]
    assert {key: content.get(key) for key in expected} == expected
    assert entry["response"]["bodySize"] == len(body)
    assert ("cut" in content.get("comment", "")) == (len(body) > BODY_LIMIT)
    assert content.get("compression", 0) == (content["size"] - len(body) if headers and body[:1] in b"\x1f\x78" else 0)
    assert entry["request"]["postData"] == {"mimeType": "", "text": "it's\nbody"}


@pytest.mark.parametrize(
    ("request_", "body"),
    [
        ({"postData": {"text": "héllo", "mimeType": "text/plain"}, "bodySize": 6}, "héllo".encode()),
        ({"postData": {"text": "/w==", "encoding": "base64"}}, b"\xff"),
        (
            {"postData": {"mimeType": "application/x-www-form-urlencoded", "params": [{"name": "a b", "value": "&"}]}},
            b"a+b=%26",
        ),
        ({"bodySize": 0}, b""),
        ({"bodySize": -1, "postData": None}, b""),
    ],
)
def test_archives_of_other_programs_are_read(request_: dict[str, object], body: bytes) -> None:
    """Text, base64 and the fields of a form are a body; a Host that only the URL names is sent."""
    (edit,) = from_har(archive(**request_)).requests
    sent = request_bytes(None, edit, MASKS)
    assert sent.startswith(b"POST /a?b=1 HTTP/1.1\r\nHost: app.example.com\r\n")
    assert sent.partition(b"\r\n\r\n")[2] == body


@pytest.mark.parametrize(
    "request_",
    [
        {"bodySize": 12},
        {"bodySize": 12, "postData": {"mimeType": "text/plain", "text": ""}},
        {"postData": {"mimeType": "multipart/form-data; boundary=x", "params": [{"name": "a", "fileName": "b"}]}},
    ],
)
def test_a_body_that_an_archive_does_not_hold_is_not_sent_as_empty(request_: dict[str, object]) -> None:
    """Its entry is named."""
    with pytest.raises(UsageError, match="entry 1: "):
        from_har(archive(**request_))


def test_a_cut_or_hidden_body_stays_refused_through_an_archive() -> None:
    """What was cut, never came whole, or could not be unpacked is not sent as if it were all."""
    never_whole = came()
    never_whole.request_body.whole = False
    hidden = came(RAW.replace(b"X-A: one", b"Content-Encoding: gzip"), b"no gzip")
    for exchange in (came(body=b"x" * (BODY_LIMIT + 1)), never_whole, hidden):
        with pytest.raises(UsageError, match="entry 1: its body was cut"):
            from_har(as_har([exchange_json(exchange, MASKS)], "http://127.0.0.1:1"))


async def test_a_service_may_answer_without_reading_a_large_body() -> None:
    """Its answer counts, though it never takes the body."""
    over = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n")
        await over.wait()

    async with service(answer) as port, relaying(port) as relay:
        raw = b"POST / HTTP/1.1\r\nContent-Length: 16000000\r\n\r\n" + bytes(16_000_000)
        try:
            async with asyncio.timeout(5):
                assert (await send(raw, relay.target, relay.copier)).status == 413
        finally:
            over.set()


async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Read, and answer nothing."""
    await reader.read()


def begins(answer: bytes) -> Handler:
    """Return a service that begins an answer, and does not end it."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n" + answer)
        await reader.read()

    return handle


async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Begin an answer, and end it when the time for its beginning is over, if the other side is still there."""
    await read_head(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nsl")
    with suppress(TimeoutError):
        async with asyncio.timeout(0.2):
            await reader.read()
    writer.write(b"ow")
    await reader.read()


async def test_a_service_that_does_not_answer_is_given_up_with_words() -> None:
    """How long it was waited for is said, and that the service may have done it; other reasons are said as they are."""
    raw = request_bytes(came(), None, MASKS)
    async with service(silent) as port, relaying(port) as relay:
        with pytest.raises(PrxError, match=rf"the service at 127\.0\.0\.1:{port} has not answered within 0\.1 s") as caught:
            await send(raw, relay.target, relay.copier, seconds=0.1)
        assert "may have done what was asked" in caught.value.hint
        assert kept(relay)[-1].notes
    async with relaying(free_port()) as relay:
        with pytest.raises(PrxError, match=r"the service at \[::1\]:\d+ cannot be asked: .*[Cc]onnect"):
            await send(raw, Target("::1", free_port()), relay.copier)


@pytest.mark.parametrize(
    ("handler", "body", "whole"),
    [
        (begins(b"Content-Type: text/event-stream\r\n\r\ndata: 1\n\n"), b"data: 1\n\n", False),
        (begins(b"\r\nha"), b"ha", False),  # its end would be that of the connection
        (begins(b"Content-Length: 9\r\n\r\nha"), b"ha", False),
        (begins(b"Transfer-Encoding: chunked\r\n\r\n2\r\nha\r\n"), b"ha", False),
        (slow, b"slow", True),
    ],
    ids=["a stream", "without a length", "with a length", "in chunks", "slow"],
)
async def test_an_answer_that_has_begun_is_one(
    handler: Handler, body: bytes, whole: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From its beginning it has a time of its own: a stream without end is shown as far as it came, a slow one whole."""
    monkeypatch.setattr("prx.traffic.replay.END_SECONDS", 5 if whole else 0.1)
    async with service(handler) as port, relaying(port) as relay:
        found = await send(request_bytes(came(), None, MASKS), relay.target, relay.copier, seconds=0.1 if whole else 5)
        assert (found.status, bytes(found.answer_body.kept)) == (200, body)
        assert any("did not end within 0.1 s" in note for note in found.notes) is not whole
        assert found.answer_body.whole is whole
        assert not any("the service ended" in note for note in found.notes)  # it was prx that broke off


def test_a_replay_has_as_long_as_a_visitor() -> None:
    """What a visitor gets through Cloudflare before its 524 is not given up here, by whatever way it is asked for."""
    assert Limits().silence == ANSWER_SECONDS
    assert LONGEST == ANSWER_SECONDS + END_SECONDS < REPLAY_SECONDS


async def test_a_request_is_sent_again_to_an_https_service_with_a_ca_of_its_own(tmp_path: Path) -> None:
    """The service is trusted as `origin_ca` says, by its name; a service with another CA gets nothing of the request."""
    authority, stranger = trustme.CA(), trustme.CA()
    heads: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await read_head(reader))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    def speaking(ca: trustme.CA) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ca.issue_cert("inner.example").configure_cert(context)
        return context

    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    for ca, trusted in ((authority, True), (stranger, False)):
        async with service(answer, ssl=speaking(ca)) as port:
            inspection = Inspection(SystemClock(), Redactor(), lambda _level, _text: None, folder=lambda: tmp_path)
            settings = TunnelSettings(
                local_addr=f"https://127.0.0.1:{port}",
                origin_ca=str(tmp_path / "ca.pem"),
                origin_server_name="inner.example",
                inspect=InspectSettings(enabled=True),
            )
            inspection.fit(Config(tunnels={"web": settings}))
            try:
                edit = {"method": "POST", "path": "/again", "headers": [["Host", "a"]], "body": ""}
                if trusted:
                    answered = await inspection.answer({"do": "replay", "edit": edit})
                    assert answered["request"]["status"] == 200
                else:
                    with pytest.raises(PrxError, match=r"cannot be asked: .*CERTIFICATE_VERIFY_FAILED"):
                        await inspection.answer({"do": "replay", "edit": edit})
            finally:
                await inspection.close()
    assert len(heads) == 1
    assert heads[0].startswith(b"POST /again HTTP/1.1\r\nHost: a\r\nX-PRX-Replay: 0\r\n")


@pytest.mark.parametrize("local_addr", ["http://[::1]:{}", "[::1]:{}"])
async def test_a_request_is_sent_again_to_an_ipv6_service(local_addr: str, tmp_path: Path) -> None:
    """Brackets are those of the notation, not of the address; also of a request that came through the relay."""
    heads: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await read_head(reader))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    try:
        server = await asyncio.start_server(answer, "::1", 0)
    except OSError:
        pytest.skip("this machine has no IPv6")
    async with server:
        settings = TunnelSettings(
            local_addr=local_addr.format(server.sockets[0].getsockname()[1]), inspect=InspectSettings(enabled=True)
        )
        inspection = Inspection(SystemClock(), Redactor(), lambda _level, _text: None, folder=lambda: tmp_path)
        inspection.fit(Config(tunnels={"web": settings}))
        try:
            relay = int(inspection.child_settings("web", settings).local_addr.rpartition(":")[2])
            assert "200 OK" in str(await ask(relay, b"GET /once HTTP/1.1\r\nHost: a\r\n\r\n"))
            (seen,) = (await inspection.answer({"do": "requests"}))["requests"]
            assert (await inspection.answer({"do": "replay", "id": seen["id"]}))["request"]["status"] == 200
        finally:
            await inspection.close()
    assert [head.split(b"\r\n")[0] for head in heads] == [b"GET /once HTTP/1.1"] * 2
    assert b"\r\nX-PRX-Replay: 1\r\n" in heads[1]
