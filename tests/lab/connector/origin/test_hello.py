"""The built-in page and its paths, with this connector and with the real one."""

import asyncio
import json
from collections.abc import Sequence

import pytest
from tests.lab.connector.bench import BUILTIN_ONLY, Bench
from tests.lab.connector.child import Child, started
from tests.support.waits import PATIENCE

HELLO = [{"service": "hello_world"}]


async def _up(bench: Bench, child: Child) -> None:
    await bench.up(child)
    assert await bench.edge.push(1, json.dumps({"ingress": HELLO})) == (1, True)


def _words(bench: Bench) -> Sequence[str]:
    return bench.arguments()


@pytest.mark.parametrize(
    ("path", "kind", "words"),
    [
        ("/", "text/html; charset=utf-8", b"Congrats! You created a tunnel!"),
        ("/any/path?q", "text/html; charset=utf-8", b"Congrats! You created a tunnel!"),
        ("/uptime", "application/json", b'"startTime"'),
        ("/_health", "text/plain; charset=utf-8", b"ok"),
    ],
)
async def test_pages(bench: Bench, path: str, kind: str, words: bytes) -> None:
    """The page and its helpers answer as cloudflared's do, and the log says that they are served."""
    async with started(_words(bench), bench.home, command=bench.command) as child:
        await _up(bench, child)
        await child.line("INF Starting Hello World server")
        reply = await bench.edge.fetch(path)
        assert reply.status == 200
        assert words in reply.body
        assert reply.headers["content-type"] == kind
        assert (await bench.edge.fetch(path, method="HEAD")).body == b""


async def test_events(bench: Bench) -> None:
    """`/sse` counts, as often as it is asked to, for as long as there is a visitor."""
    async with started(_words(bench), bench.home, command=bench.command) as child:
        await _up(bench, child)
        async with asyncio.timeout(PATIENCE):
            stream = await bench.edge.open("GET", "/sse?freq=20ms", end=True)
            head = dict(await stream.response())
            assert head[b":status"] == b"200"
            received = b""
            while b"3\n\n" not in received:
                received += await stream.read()
            stream.reset()
        assert received.startswith(b"0\n\n1\n\n2\n\n3\n\n")


@BUILTIN_ONLY
async def test_frequencies_that_are_none(bench: Bench) -> None:
    """A frequency that is no duration, or no time at all, does not break the page."""
    async with started(_words(bench), bench.home, command=bench.command) as child:
        await _up(bench, child)
        async with asyncio.timeout(PATIENCE):
            for query in ("freq=0s", "freq=-1s"):
                stream = await bench.edge.open("GET", f"/sse?{query}", end=True)
                await stream.response()
                assert (await stream.read()).startswith(b"0\n\n")
                stream.reset()
            stream = await bench.edge.open("GET", "/sse?freq=often", end=True)
            assert dict(await stream.response())[b":status"] == b"200"
            stream.reset()
