"""The clients of the tests read an answer whatever its framing, so that no test hangs on where a chunk ends."""

from __future__ import annotations

import asyncio

import pytest
from tests.support.servers import Servers
from tests.support.visitor import get
from tests.support.wire import exchange

HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
# Each says "cloudflared_tunnel_ha_connections 4", cut at places where a metrics server may cut it.
FRAMED = {
    "length": HEAD + b"Content-Length: 35\r\n\r\ncloudflared_tunnel_ha_connections 4",
    "one chunk": CHUNKED + b"23\r\ncloudflared_tunnel_ha_connections 4\r\n0\r\n\r\n",
    "cut in a word": CHUNKED + b"5\r\ncloud\r\n1e\r\nflared_tunnel_ha_connections 4\r\n0\r\n\r\n",
    "trailers": CHUNKED + b"23\r\ncloudflared_tunnel_ha_connections 4\r\n0\r\nX-Sum: 1\r\n\r\n",
    "until closed": HEAD + b"\r\ncloudflared_tunnel_ha_connections 4",
}


@pytest.mark.parametrize("framing", FRAMED)
async def test_a_body_is_the_same_in_every_framing(servers: Servers, framing: str) -> None:
    """Both clients give the body alone, without sizes of chunks and without trailers."""
    served = await servers.canned(FRAMED[framing])
    assert (await get(served.url)).text == "cloudflared_tunnel_ha_connections 4"
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    heard = await exchange(reader, writer, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (heard.status, heard.body, heard.whole) == (200, b"cloudflared_tunnel_ha_connections 4", True)


@pytest.mark.parametrize("cut", ["length", "one chunk", "cut in a word"])
async def test_a_body_that_breaks_off_is_not_whole(servers: Servers, cut: str) -> None:
    """What came before the end is kept, and is not taken for all of it."""
    served = await servers.canned(FRAMED[cut].partition(b" 4")[0])
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    heard = await exchange(reader, writer, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (heard.status, heard.whole) == (200, False)
    assert heard.body.startswith(b"cloud")


async def test_names_of_this_machine_are_opened_on_loopback(servers: Servers) -> None:
    """A name under `.localhost` reaches 127.0.0.1 and stays in the Host header."""
    served = await servers.canned(FRAMED["length"])
    await get(f"http://web.localhost:{served.port}/path")
    assert served.heads[0].startswith(b"GET /path HTTP/1.1\r\n")
    assert f"\r\nhost: web.localhost:{served.port}\r\n".encode() in served.heads[0].lower()
