"""A scripted prx whose tunnel is inspected: a real relay before a real service, and visitors."""

from __future__ import annotations

import asyncio
import gzip
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.traffic.pieces import ask, service
from tests.web.conftest import ScriptedPrx

from prx.config.schema import Config, InspectSettings, TunnelSettings, WebhookSecrets
from prx.core.states import State
from prx.core.verdicts import Verdict
from prx.logs.redact import Redactor
from prx.runtime.host.clock import SystemClock
from prx.secrets.value import Secret
from prx.traffic.inspector import Inspector

PLANTED = "planted-secret"


class InspectedPrx(ScriptedPrx):
    """A scripted prx that asks a real inspector."""

    inspector: Inspector
    port: int

    async def traffic(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer what is asked of inspected traffic."""
        return await self.inspector.answer(request)

    async def visit(self, raw: bytes) -> bytes | str:
        """Send a request through the relay, as a visitor does; return what comes back."""
        return await ask(self.port, raw)

    async def post(self, path: str, body: bytes, *headers: str) -> None:
        """Send a body."""
        head = [f"POST {path} HTTP/1.1", "Host: app.example.com", f"Content-Length: {len(body)}", "Connection: close", *headers]
        await self.visit("\r\n".join([*head, "", ""]).encode() + body)


class Echo:
    """A service that answers with `answer`, and counts what it was asked by head."""

    def __init__(self) -> None:
        self.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
        self.heads: list[bytes] = []

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        length = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
        await reader.readexactly(length)
        writer.write(self.answer)
        await writer.drain()


@asynccontextmanager
async def inspected(folder: Path, name: str = "default", **about: Any) -> AsyncIterator[tuple[InspectedPrx, Echo]]:
    """Yield a prx with one tunnel that is inspected, and the service behind it."""
    echo, prx = Echo(), InspectedPrx(**about)
    async with service(echo.handle) as port:
        settings = TunnelSettings(
            local_addr=f"127.0.0.1:{port}",
            inspect=InspectSettings(enabled=True, webhooks=WebhookSecrets(github=Secret("known-to-both"))),
        )
        prx.inspector = Inspector(SystemClock(), Redactor([PLANTED]), lambda _level, _text: None, own="x", folder=folder)
        prx.inspector.take(Config(tunnels={name: settings}))
        child = prx.inspector.child_settings(name, settings)
        prx.port = int(child.local_addr.rpartition(":")[2])
        prx.track(
            name,
            state=State.READY,
            verdict=Verdict.HEALTHY,
            url="https://a.example.com",
            proven=True,
            told=True,
            local_addr=settings.local_addr,
            inspected=True,
        )
        try:
            yield prx, echo
        finally:
            await prx.inspector.close()


async def visited(prx: InspectedPrx, echo: Echo) -> None:
    """Have some visitors: a signed webhook that is taken, the next one that is not, a page, hostile words, a stream."""
    signed = hmac.new(b"known-to-both", b"it=1", "sha256").hexdigest()
    body = json.dumps(
        {"order": 12, "state": "paid", "items": [{"sku": "A-1", "count": 2}, {"sku": "B-7", "count": 1}]}
    ).encode()
    kind = "Content-Type: application/json"
    echo.answer = _answer("201 Created", body, kind)
    await prx.post("/hook", b"it=1", f"X-Hub-Signature-256: sha256={signed}", "User-Agent: GitHub-Hookshot/1")
    echo.answer = _answer("503 Service Unavailable", b"the queue is full\n", "Content-Type: text/plain", "Retry-After: 5")
    await prx.post("/hook", b"it=2", f"X-Hub-Signature-256: sha256={signed}", "User-Agent: GitHub-Hookshot/1")
    echo.answer = _answer("200 OK", b'data: one\n\ndata: {"progress": 0.5}\n\ndata: two\n\n', "Content-Type: text/event-stream")
    await prx.post("/stream", b"", "Authorization: Bearer visitor-secret", "Cookie: session=visitor-secret")
    echo.answer = _answer("404 Not Found", b"<h1>Nothing here</h1>", "Content-Type: text/html")
    await prx.visit(b"GET /<script>alert(1)</script>?a=%b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % (b"long-" * 40))
    echo.answer = _answer("200 OK", gzip.compress(body), kind, "Content-Encoding: gzip")
    await prx.post("/upload?token=visitor-secret", b"x" * 2_000_000, kind)


def _answer(status: str, body: bytes, *headers: str) -> bytes:
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers, "", ""]
    return "\r\n".join(head).encode() + body
