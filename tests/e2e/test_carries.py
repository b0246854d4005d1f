"""What goes through the tunnel comes out unchanged: the main job, with every connector, quick and named."""

import asyncio
import hashlib
import json

from tests.e2e.bench import Bench
from tests.e2e.prx_process import prx_start
from tests.support.origin import BLOCK, HostedOrigin, blob_digest
from tests.support.visitor import client, get, post, websocket

SIZE = 100 * 1024 * 1024


async def test_a_local_service_is_public_and_proven(bench: Bench, origin: HostedOrigin) -> None:
    """The URL is published when it has been verified, and then serves the origin; Ctrl-C ends everything with exit code 0."""
    async with prx_start(str(origin.port), "--lab", environ=bench.environ, cwd=bench.folder) as prx:
        url = await prx.url()
        answer = await get(url)
        assert (answer.status_code, answer.content) == (200, b"hello from the origin")
        assert [event["phase"] for event in prx.events if event["event"] == "phase"] == [
            "spawned",
            "url",
            "connected",
            "dns",
            "verified",
        ] or bench.mode == "named"
        code, out, _ = await prx.ask("status", "--json")
        status = json.loads(out)["tunnels"][0]
        assert (code, status["state"], status["verdict"], status["url"]) == (0, "ready", "healthy", url)
        assert (await prx.ask("url"))[:2] == (0, f"{url}\n")
        assert await prx.stop() == 0


async def test_large_bodies_pass_unchanged(bench: Bench, origin: HostedOrigin) -> None:
    """100 MB down and 100 MB up arrive byte for byte."""
    async with prx_start(str(origin.port), "--lab", environ=bench.environ, cwd=bench.folder) as prx:
        url = await prx.url()
        down = await get(f"{url}/bytes/{SIZE}")
        assert hashlib.sha256(down.content).hexdigest() == blob_digest(SIZE)
        up = await post(f"{url}/digest", BLOCK * (SIZE // len(BLOCK)))
        told = up.json()
        assert (told["size"], told["sha256"]) == (SIZE, blob_digest(SIZE))
        assert await prx.stop() == 0


async def test_streams_are_not_held_back(bench: Bench, origin: HostedOrigin) -> None:
    """Each server-sent event arrives before the next one is made, and WebSocket messages come back."""
    environ = bench.environ | {"PRX_LAB_LIMITS": "none"}  # quick tunnels hold events back, as Cloudflare's do
    async with prx_start(str(origin.port), "--lab", environ=environ, cwd=bench.folder) as prx:
        url = await prx.url()
        await asyncio.to_thread(_read_events, url, origin)
        async with websocket(f"{url}/ws") as socket:
            for message in ("hello", "x" * 70_000, b"\x00\xff" * 200):
                await socket.send(message)
                assert await socket.recv() == message
        assert await prx.stop() == 0


def _read_events(url: str, origin: HostedOrigin) -> None:
    with client(url) as visitor, visitor.stream("GET", "/events") as response:
        lines = response.iter_lines()
        for number in range(3):
            origin.send_event(str(number))
            assert next(lines) == f"data: {number}"
            assert next(lines) == ""
        origin.send_event(None)
        assert list(lines) == []


async def test_fifty_at_once(bench: Bench, origin: HostedOrigin) -> None:
    """50 parallel requests all get their own answer."""
    async with prx_start(str(origin.port), "--lab", environ=bench.environ, cwd=bench.folder) as prx:
        url = await prx.url()
        answers = await asyncio.gather(*(get(f"{url}/bytes/{number * 1000}") for number in range(50)))
        assert [len(answer.content) for answer in answers] == [number * 1000 for number in range(50)]
        assert await prx.stop() == 0


async def test_what_visitors_ask_for_is_counted(bench: Bench, origin: HostedOrigin) -> None:
    """Requests and errors of visitors are counted at no cost, by the connector; prx's own health checks are none of them."""
    async with prx_start(str(origin.port), "--lab", environ=bench.environ, cwd=bench.folder) as prx:
        url = await prx.url()
        await prx.event("traffic", requests=0)
        for path in ("/", "/status/200", "/status/404", "/status/503", "/status/500"):
            await get(url + path)
        seen = await prx.event("traffic", requests=5)
        assert (seen["errors"], seen["per_minute"]) == (2, 5)
        _, out, _ = await prx.ask("status", "--json")
        counted = {"requests": 5, "errors": 2, "per_minute": 5, "window_secs": 300.0}
        assert json.loads(out)["tunnels"][0]["traffic"] == counted
        _, out, _ = await prx.ask("status")
        assert "5 requests · 2 errors in 5 min" in out
        assert await prx.stop() == 0
