"""Secrets of visitors and of prx pass through an inspected tunnel, in every place that has one, and no output shows them."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import hmac
import json
import os
import stat
import subprocess
import sys
import zlib
from collections.abc import Mapping
from contextlib import suppress
from urllib.parse import quote

import brotli
import pytest
from tests.cli.conftest import home
from tests.cli.home import Home
from tests.security.canaries import Canary, canary, files_of, jwt_canary, leaks
from tests.support.origin import serving
from tests.support.visitor import request
from tests.support.waits import free_port

__all__ = ["home"]

VISITORS = (
    "bearer", "basic", "cookie", "set-cookie", "client-id", "client-secret", "proxy", "api-key", "referer", "location",
    "query-token", "query-camel", "query-aws", "query-bracket", "query-code", "signature", "svix", "hmac", "telegram", "event",
)  # fmt: skip
BASE64 = ("cut", "multipart")  # known to prx as keys of senders whose keys are base64
OWN = ("hook-key", "gate", "packed-gzip", "packed-deflate", "packed-br", "accent", "cut", "multipart")
ASKED = """
import json, os, sys, prx
from prx.cli.requests import line
from prx.traffic.export import as_curl, as_har, as_script
from prx.traffic.shown import lines
with prx.tunnel(int(sys.argv[1]), lab=True, inspect=True) as t:
    print(json.dumps(t.requests()))
    t._positions = {}  # what came before this program as well
    try:
        while True:
            found = t.wait_for_request(timeout=0.1).raw
            print(json.dumps(found))
            print(*lines(found), line(found), as_har([found], "http://x"), sep="\\n")
            if not found["request"]["body_cut"]:
                print(as_curl(found, "http://x"), as_script(found, "http://x"), sep="\\n")
    except prx.NotReadyError as error:
        print(error, error.hint)
"""


def service_of(planted: Mapping[str, Canary], port: int) -> asyncio.Task[None]:
    """Serve answers that hold secrets, on the running loop."""
    said = {
        "gzip": gzip.compress(planted["packed-gzip"].text.encode()),
        "deflate": zlib.compress(planted["packed-deflate"].text.encode()),
        "br": brotli.compress(planted["packed-br"].text.encode()),
    }

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            head = await reader.readuntil(b"\r\n\r\n")
            length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
            await reader.readexactly(length)
            path = head.split()[1].decode("latin-1").partition("?")[0].strip("/")
            body, more = said.get(path, b"ok"), f"Content-Encoding: {path}\r\n" if path in said else ""
            if path == "events":
                body = f"data: Authorization: Bearer {planted['event'].text}\n\n".encode()
                more = "Content-Type: text/event-stream\r\n"
            if path == "cut":
                body = b"x" * (1024 * 1024 - 20) + planted["cut"].text.encode()
            more += f"Set-Cookie: sid={planted['set-cookie'].text}; Path=/\r\n"
            more += f"Location: /next?access_token={planted['location'].text}\r\n"
            writer.write(f"HTTP/1.1 200 OK\r\n{more}Connection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            await writer.drain()
        writer.close()

    async def serve() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", port)
        async with server:
            await server.serve_forever()

    return asyncio.get_running_loop().create_task(serve())


def visit(url: str, planted: Mapping[str, Canary]) -> None:
    """Send every secret in the place that is its own."""
    a = {name: item.text for name, item in planted.items()}
    query = "&".join(
        [
            f"token={a['query-token']}", f"accessToken={a['query-camel']}", f"X-Amz-Signature={a['query-aws']}",
            f"user[password]={a['query-bracket']}", f"code={a['query-code']}",
        ]
    )  # fmt: skip
    headers = {
        "Authorization": f"Bearer {a['bearer']}",
        "Proxy-Authorization": f"Basic {a['basic']}",
        "Cookie": f"theme=dark; session={a['cookie']}",
        "CF-Access-Client-Id": a["client-id"],
        "CF-Access-Client-Secret": a["client-secret"],
        "Cf-Access-Jwt-Assertion": a["assertion"],
        "X-Api-Key": a["api-key"],
        "X-Auth-Token": a["proxy"],
        "Referer": f"https://app.test/?id_token={a['referer']}",
        "X-Hub-Signature-256": f"sha256={a['signature']}",
        "Svix-Signature": f"v1,{a['svix']}",
        "X-Shopify-Hmac-Sha256": a["hmac"],
        "X-Telegram-Bot-Api-Secret-Token": a["telegram"],
    }
    body = json.dumps({"key": a["hook-key"], "gate": a["gate"], "quoted": quote(a["hook-key"])})
    request("POST", f"{url}/hook?{query}", body=body.encode(), headers=headers)
    request("POST", f"{url}/form", body=f"--b\r\n\r\n{a['multipart']} {a['accent']}\r\n--b--".encode())
    for path in ("gzip", "deflate", "br", "events", "cut"):
        request("GET", f"{url}/{path}")


@pytest.fixture
def planted() -> dict[str, Canary]:
    """Return secrets of each kind, which differ."""
    made = {name: canary(name) for name in (*VISITORS, *OWN)} | {"assertion": jwt_canary("assertion")}
    accent = f"pässwörd-{os.urandom(8).hex()}"
    keys = {name: Canary(name, (f"canary{name}{os.urandom(16).hex()}".ljust(48, "x"),)) for name in BASE64}
    return made | {"accent": Canary("accent", (accent,))} | keys


def known_to_prx(planted: Mapping[str, Canary]) -> dict[str, str]:
    """Return the environment in which prx itself holds the secrets of `OWN`."""
    names = ("github", "stripe", "slack", "telegram", "twilio", "shopify", "svix")
    return {f"HOOK_{name.upper()}": planted[own].text for name, own in zip(names, OWN, strict=False)}


async def test_no_output_shows_what_has_passed(home: Home, planted: dict[str, Canary]) -> None:
    """Lists, whole requests, curl, scripts, archives, replays, Python, the log and every file are searched."""
    port = free_port()
    environ = known_to_prx(planted) | {"HOOK_WEBHOOKS": planted["multipart"].text}
    keys = "".join(f'{name[5:].lower()} = "env:{name}"\n' for name in environ)
    (home.folder / "prx.toml").write_text(f"[tunnel.inspect.webhooks]\n{keys}")
    served = service_of(planted, port)
    started = home.start(str(port), "--lab", "--inspect", **environ)
    url = await asyncio.to_thread(started.url)
    await asyncio.to_thread(visit, url, planted)
    found = await asyncio.to_thread(outputs, home, port)
    served.cancel()
    listed = [json.loads(line) for line in found["prx requests --json"].splitlines()]
    assert [item["status"] for item in listed] == [200] * 7
    home.run("stop")
    started.end()
    found |= {"stdout": "\n".join(started.lines), "stderr": "\n".join(started.talk)}
    found |= files_of(home.folder, without=(home.folder / "prx.toml",))
    assert leaks(found, planted) == set()
    assert "[redacted]" in found["requests show 1"]
    assert '"log"' in found["python"], found["python"]
    assert all(text for name, text in found.items() if " " in name and not name.endswith(".lock")), found.keys()


def outputs(home: Home, port: int) -> dict[str, str]:
    """Return what each command, and Python, show of the requests."""
    found = {}
    for words in (["requests"], ["requests", "--json"], ["logs", "--all"]):
        done = home.run(*words)
        found[f"prx {' '.join(words)}"] = done.stdout + done.stderr
    first = str(json.loads(found["prx requests --json"].splitlines()[0])["id"])
    for form in ([], ["--curl"]):
        done = home.run("requests", "show", first, *form)
        found[" ".join(["requests show 1", *form])] = done.stdout + done.stderr
    editor = home.folder / "editor"
    editor.write_text('#!/bin/sh\ncp "$1" edited\n')
    editor.chmod(0o755)
    home.run("replay", first, "--edit", EDITOR=str(editor))
    found["replay --edit"] = (home.folder / "edited").read_text()
    done = subprocess.run(
        [sys.executable, "-c", ASKED, str(port)], env=home.environ, cwd=home.folder, capture_output=True, text=True, check=False
    )
    found["python"] = done.stdout + done.stderr
    return found


def test_what_is_caught_can_be_read_by_its_owner_alone(home: Home, planted: dict[str, Canary]) -> None:
    """Kept requests hold their secrets, as they must: in private files of a private folder, and nowhere else."""
    port = free_port()
    with serving(port):
        started = home.start(str(port), "--lab", "--catch", "--inspect")
        url = started.url()
    signature = hmac.new(b"k", b"kept", hashlib.sha256).hexdigest()
    headers = {"Authorization": f"Bearer {planted['bearer'].text}", "X-Hub-Signature-256": f"sha256={signature}"}
    assert request("POST", f"{url}/hook?token={planted['query-token'].text}", headers=headers, body=b"kept").status_code == 202
    (kept,) = (home.folder / "data" / "caught").rglob("*.req")
    assert planted["bearer"].text.encode() in kept.read_bytes()
    assert [stat.S_IMODE(path.stat().st_mode) for path in (kept, kept.parent)] == [0o600, 0o700]
    commands = ("requests --json", "requests", "logs --all", "status --json")
    found = {f"prx {words}": home.run(*words.split()).stdout for words in commands}
    found |= files_of(home.folder, without=(kept,)) | {"stderr": "\n".join(started.talk)}
    assert leaks(found, planted) == set()
