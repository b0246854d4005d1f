"""gRPC end to end: a client of the trade, the public side over HTTP/2, and a service that has TLS and HTTP/2."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import trustme
from tests.conformance.checks import leading_to, require
from tests.conformance.outcome import NotCarriedError
from tests.conformance.scene import Scene
from tests.support.waits import PATIENCE


async def unary_call(scene: Scene) -> None:
    """A call with metadata both ways and a message of 1 MB."""
    found = await _call(scene, "unary")
    _has_status(found)
    require("answer", found, {"status": "OK", "size": 1_000_003, "end": "yes", "before": "1", "behind": "2"})


async def streams(scene: Scene) -> None:
    """Streams of the service, of the visitor, and of both at once, message by message."""
    for call, wanted in (("count", {"messages": 1000}), ("measure", {"size": 3_000_000}), ("echo", {"left": []})):
        found = await _call(scene, call)
        _has_status(found)
        require(call, found, {"status": "OK", **wanted})


async def error_at_once(scene: Scene) -> None:
    """The status of a call that fails before there is an answer."""
    require("status", await _call(scene, "fail"), {"status": "NOT_FOUND", "details": "no such thing: ä"})


async def error_behind_messages(scene: Scene) -> None:
    """The status of a call that fails behind a message."""
    found = await _call(scene, "fail_late")
    _has_status(found)
    require("status", found, {"status": "DATA_LOSS", "details": "late"})


async def ended_by_visitor(scene: Scene) -> None:
    """A call that the visitor cancels, or whose time is up, ends at the service."""
    async with asyncio.timeout(PATIENCE), _service(scene) as service:
        require("status", (await _ask(scene, "deadline"))["status"], "DEADLINE_EXCEEDED")
        require("service", [await _line(service), await _line(service)], ["hangs", "ended"])
        async with _visitor(scene, "cancel") as visitor:
            require("service", await _line(service), "hangs")
            assert visitor.stdin is not None
            visitor.stdin.write(b"\n")
            require("visitor", json.loads(await _line(visitor)), {"status": "OK", "cancelled": True})
        require("service", await _line(service), "ended")


def _has_status(found: dict[str, Any]) -> None:
    """Raise NotCarriedError if a call ended without the status that the service gave; the client then says UNKNOWN."""
    if found["status"] == "UNKNOWN":
        raise NotCarriedError("messages pass, but not the status behind them: UNKNOWN")


async def _call(scene: Scene, call: str) -> dict[str, Any]:
    """Make one call to a service of its own; give what came of it."""
    async with asyncio.timeout(PATIENCE), _service(scene):
        return await _ask(scene, call)


async def _ask(scene: Scene, call: str) -> dict[str, Any]:
    async with _visitor(scene, call) as visitor:
        found: dict[str, Any] = json.loads(await _line(visitor))
        return found


@asynccontextmanager
async def _service(scene: Scene) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a gRPC service that the tunnel leads to."""
    with tempfile.TemporaryDirectory(prefix="prx-grpc-") as folder:
        authority, files = trustme.CA(), Path(folder)
        pair = authority.issue_cert("localhost")
        authority.cert_pem.write_to_path(str(files / "ca"))
        pair.private_key_pem.write_to_path(str(files / "key"))
        pair.cert_chain_pems[0].write_to_path(str(files / "certificate"))
        async with _program("grpc_service", files / "key", files / "certificate") as service:
            port = int(await _line(service))
            options = {"http2Origin": True, "caPool": str(files / "ca")}
            async with leading_to(scene, f"https://localhost:{port}", options):
                yield service


@asynccontextmanager
async def _visitor(scene: Scene, call: str) -> AsyncIterator[asyncio.subprocess.Process]:
    port = urlsplit(scene.lab.public_https).port
    async with _program("grpc_visitor", f"127.0.0.1:{port}", scene.hostname, scene.lab.ca_file, call) as visitor:
        yield visitor


@asynccontextmanager
async def _program(module: str, *words: str | Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a module of this package for the length of a block."""
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-m", f"tests.conformance.{module}", *words,
        cwd=Path(__file__).parents[2], stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield program
    finally:
        if program.returncode is None:
            program.kill()
        await program.wait()
        program._transport.close()  # type: ignore[attr-defined]


async def _line(program: asyncio.subprocess.Process) -> str:
    assert program.stdout is not None
    line = await program.stdout.readline()
    assert line, "the program has ended"
    return line.decode().rstrip("\n")
