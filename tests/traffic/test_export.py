"""What an export of a request does in the program that it is for: the same request, whatever it held."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.waits import PATIENCE
from tests.traffic.pieces import read_head, service

from prx.logs.redact import Redactor
from prx.traffic.exchange import Exchange, exchange_json
from prx.traffic.export import as_curl, as_har, as_script, from_har
from prx.traffic.framing import Head, parse_head
from prx.traffic.masks import Masks

MASKS = Masks(Redactor())
OWN = {b"host", b"connection", b"content-length"}
LONG = "x" * 200_000


def came(first: str, *headers: str, body: bytes = b"") -> Exchange:
    """Return a request that came whole."""
    length = [f"Content-Length: {len(body)}"] if body or first.startswith("P") else []
    raw = "\r\n".join([f"{first} HTTP/1.1", "Host: app.example.com", *length, *headers, "", ""]).encode()
    exchange = Exchange(7, "web", 1_800_000_000.0, request=parse_head(raw, request=True))
    exchange.request_body.add(body)
    exchange.request_body.whole = True
    return exchange


ODD = {
    "parameters of PHP": came("GET /?ids[]=1&ids[]=2&x[a]={b,c}", "Accept: a/b", "User-Agent: u"),
    "a path that leads up": came("GET /a/../b/./c", "Accept: a/b", "User-Agent: u"),
    "HEAD": came("HEAD /", "Accept: a/b", "User-Agent: u"),
    "OPTIONS": came("OPTIONS /x", "Origin: https://a.example.com"),
    "nothing that curl sends by itself": came("GET /"),
    "an empty header": came("GET /", "X-Empty:", "X-Other: b", "Accept: */*", "User-Agent: u"),
    "an empty body": came("POST /hook", "User-Agent: GitHub-Hookshot/1"),
    "a body without a type": came("POST /hook", body=b"{}"),
    "a body of 200 KB on one line": came("POST /hook", "Content-Type: a/b", body=LONG.encode()),
    "bytes of any kind": came("PUT /", "Content-Type: a/b", body=bytes(range(256)) * 9),
    "the name of a file": came("POST /", "Content-Type: a/b", body=b"@/etc/passwd"),
    "letters beyond ASCII": came("GET /?q=caf\u00e9", "X-Name: J\u00fcrgen \u20ac", "Accept: a/b", "User-Agent: u"),
    "escapes of a terminal": came("GET /?q=\u009b31m", "X-Name: \u009b2J", "Accept: a/b", "User-Agent: u"),
    "quotes": came("GET /?a='$(id)'", 'X-A: `id` "b" \'', "Accept: a/b", "User-Agent: u"),
}


def sent(head: Head, body: bytes) -> tuple[object, ...]:
    """Return what has to be the same: all but what belongs to a connection."""
    kept = [(name.lower(), value) for name, value in head.headers if name.lower() not in OWN]
    return head.method, head.target, kept, body


@pytest.mark.parametrize("what", ODD)
@pytest.mark.parametrize("form", ["curl", "script"])
async def test_an_export_sends_what_came(what: str, form: str, tmp_path: Path) -> None:
    """Curl's command, run by sh, and the script send method, path, headers and body as they came, and no more headers."""
    got: list[tuple[Head, bytes]] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = parse_head(await read_head(reader), request=True)
        assert head is not None
        length = int((head.values(b"content-length") or [b"0"])[0])
        got.append((head, await reader.readexactly(length)))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n" + (b"" if head.method == b"HEAD" else b"ok\n"))
        await reader.read()

    exchange = ODD[what]
    assert exchange.request is not None
    async with service(answer) as port:
        found, url = exchange_json(exchange, MASKS), f"http://127.0.0.1:{port}"
        program, text = ("sh", as_curl(found, url)) if form == "curl" else (sys.executable, as_script(found, url))
        (tmp_path / "export").write_text(text)
        command = [program, str(tmp_path / "export")]
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    assert b"200" in done.stdout
    ((head, body),) = got
    expected = sent(exchange.request, bytes(exchange.request_body.kept))
    if form == "script":  # http.client takes a path in ASCII alone
        head.target = head.target.replace(b"%C3%A9", b"\xc3\xa9").replace(b"%C2%9B", b"\xc2\x9b")
    assert sent(head, body) == expected


@pytest.mark.parametrize("what", ODD)
def test_an_export_does_nothing_to_a_terminal(what: str) -> None:
    """Nothing in it is more than text: a visitor chooses what stands in a path and in headers."""
    found, url = exchange_json(ODD[what], MASKS), "http://127.0.0.1:1"
    for text in (as_curl(found, url), as_script(found, url), as_har([found], url)):
        assert all(line.isprintable() for line in text.split("\n"))


@pytest.mark.parametrize("path", ["//[::1", "//[", "http://[/", "//a]b/?x=1", "/?x=[", "//127.0.0.1:99999999/"])
def test_no_path_of_a_visitor_is_too_odd_for_an_archive(path: str) -> None:
    """An archive of it can be written, and sent again."""
    (entry,) = json.loads(as_har([exchange_json(came(f"GET {path}"), MASKS)], "http://127.0.0.1:1"))["log"]["entries"]
    assert entry["request"]["url"] == f"http://127.0.0.1:1{path if path.startswith('/') else f'/{path}'}"
    if path.startswith("/"):
        (edit,) = from_har(json.dumps({"log": {"entries": [entry]}})).requests
        assert (edit["path"], base64.b64decode(edit["body"])) == (path, b"")
