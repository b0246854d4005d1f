"""What the real cloudflared carries between a visitor and an origin, over HTTP/2."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import pytest
from tests.support.origin import Origin, blob, blob_digest
from tests.support.waits import PATIENCE
from tests.support.wire import get, visiting
from websockets.asyncio.client import connect

from prx.access.verify import AccessVerifier
from prx.lab import AccessFront, Lab
from prx.lab.events import LabEvent, RequestServed

pytestmark = pytest.mark.real

BIG = 100 * 1024 * 1024


async def test_head_arrives_as_behind_cloudflare(lab: Lab, hostname: str) -> None:
    """An origin sees method, path, host and headers as sent, and what the edge adds."""
    sent = [("Host", hostname), ("X-Multi", "one"), ("X-Multi", "two"), ("X-Forwarded-For", "10.0.0.1"), ("Cf-Ray", "forged")]
    reply = await get(lab, hostname, "/a/b?c=d&e=%20", headers=sent)
    seen = reply.json()
    headers = {name.lower(): value for name, value in seen["headers"]}
    assert (seen["method"], seen["target"], headers["host"]) == ("GET", "/a/b?c=d&e=%20", hostname)
    assert [value for name, value in seen["headers"] if name == "X-Multi"] == ["one", "two"]
    assert headers["cf-connecting-ip"] == "127.0.0.1"
    assert headers["x-forwarded-for"] == "10.0.0.1,127.0.0.1"
    assert headers["x-forwarded-proto"] == "http"
    assert headers["cf-visitor"] == '{"scheme":"http"}'
    assert headers["cf-ray"] == reply.header("cf-ray") != "forged"
    assert reply.header("server") == "cloudflare"


async def test_https_visitor(lab: Lab, hostname: str) -> None:
    """A visitor over TLS gets a certificate for the very name, and the origin learns the scheme."""
    reply = await get(lab, hostname, tls=True)
    headers = {name.lower(): value for name, value in reply.json()["headers"]}
    assert headers["x-forwarded-proto"] == "https"


async def test_repeated_response_headers(lab: Lab, hostname: str) -> None:
    """Repeated headers stay apart and in order, and an unusual status passes."""
    reply = await get(lab, hostname, "/odd")
    assert (reply.status, reply.body) == (299, b"odd")
    assert [value for name, value in reply.headers if name == "Set-Cookie"] == ["a=1", "b=2"]
    assert [value for name, value in reply.headers if name == "X-Multi"] == ["one", "two"]


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_big_download(lab: Lab, hostname: str, framing: str) -> None:
    """100 MB come through unchanged, with a length and without."""
    chunked = "&chunked=1" if framing == "chunked" else ""
    reply = await get(lab, hostname, f"/bytes?n={BIG}{chunked}")
    assert (reply.status, reply.size, reply.digest) == (200, BIG, blob_digest(BIG))
    assert bool(reply.header("content-length")) is (framing == "length")


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_big_upload(lab: Lab, hostname: str, framing: str) -> None:
    """100 MB go up unchanged, with a length and without."""
    headers = [("Content-Length", str(BIG))] if framing == "length" else [("Transfer-Encoding", "chunked")]
    reply = await get(lab, hostname, "/digest", method="POST", headers=headers, body=blob(BIG))
    assert reply.json() == {"sha256": blob_digest(BIG), "size": BIG, "chunked": "chunked" if framing == "chunked" else ""}


@pytest.mark.parametrize("size", [0, 1, 16_384, 16_385, 1_048_577])
async def test_sizes_around_limits(lab: Lab, hostname: str, size: int) -> None:
    """Bodies around the sizes of frames and windows pass unchanged both ways."""
    headers = [("Content-Length", str(size))]
    up = await get(lab, hostname, "/digest", method="POST", headers=headers, body=blob(size))
    down = await get(lab, hostname, f"/bytes?n={size}")
    assert up.json()["sha256"] == down.digest == blob_digest(size)


@pytest.mark.parametrize("limits", ["none"])
async def test_server_sent_events(lab: Lab, hostname: str, origin: Origin) -> None:
    """Each event reaches the visitor before the origin sends the next."""
    async with asyncio.timeout(PATIENCE), visiting(lab, hostname) as visitor:
        await visitor.send_head("GET", "/events")
        await visitor.send_body(())
        assert (await visitor.read_reply(head_only=True)).header("content-type") == "text/event-stream"
        for number in range(20):
            origin.events.put_nowait(str(number))
            event = await visitor.next_event()
            assert bytes(getattr(event, "data", b"")) == f"data: {number}\n\n".encode()
        origin.events.put_nowait(None)


async def test_websocket(lab: Lab, hostname: str) -> None:
    """A WebSocket opens, echoes text and large binary messages, and closes with its code."""
    uri = f"ws://{hostname}:{urlsplit(lab.public).port}/ws"
    async with connect(uri, host="127.0.0.1", max_size=None, compression=None, proxy=None) as socket:
        for number in range(100):
            await socket.send(f"message {number}")
            assert await socket.recv() == f"message {number}"
        big = bytes(range(256)) * 4096
        await socket.send(big)
        assert await socket.recv() == big
        await socket.close(4000, "done")
        assert socket.close_code == 4000


async def test_answers_without_body(lab: Lab, hostname: str) -> None:
    """HEAD, 204 and 304 have no body, keep their headers, and leave the connection in order."""
    async with visiting(lab, hostname) as visitor:
        for method, path, status, length in (
            ("HEAD", "/bytes?n=1000", 200, "1000"),
            ("GET", "/empty", 204, ""),
            ("GET", "/not-modified", 304, "1234"),
            ("GET", "/bytes?n=3", 200, "3"),
        ):
            visitor.h11 = type(visitor.h11)(visitor.h11.our_role)
            await visitor.send_head(method, path)
            await visitor.send_body(())
            reply = await visitor.read_reply()
            assert (reply.status, reply.header("content-length")) == (status, length), path
            assert reply.size == (3 if path == "/bytes?n=3" else 0)


async def test_trailers(lab: Lab, hostname: str) -> None:
    """Trailers of the origin reach the visitor."""
    reply = await get(lab, hostname, "/trailers")
    assert (reply.body, [(name.lower(), value) for name, value in reply.trailers]) == (b"body", [("x-sum", "1")])


async def test_behind_access(lab: Lab, hostname: str) -> None:
    """The origin of a protected name gets a token that its verifier accepts, and strangers do not get there."""
    app = lab.protect(hostname, AccessFront("id.access", "s3cret"))
    assert (await get(lab, hostname)).status == 302
    token = lab.login(hostname, "ada@example.com")
    reply = await get(lab, hostname, headers=[("Cookie", f"CF_Authorization={token}")])
    verifier = AccessVerifier(app.team, app.aud, certs_url=app.certs_url)
    assert (await asyncio.to_thread(verifier.verify_request, reply.json()["headers"])).email == "ada@example.com"


async def test_many_at_once(lab: Lab, hostname: str) -> None:
    """Two hundred requests in flight all get their own answer."""
    replies = await asyncio.gather(*(get(lab, hostname, f"/{number}") for number in range(200)))
    assert [reply.json()["target"] for reply in replies] == [f"/{number}" for number in range(200)]


async def test_expect_continue(lab: Lab, hostname: str) -> None:
    """A visitor who waits for leave to send gets it."""
    async with asyncio.timeout(PATIENCE), visiting(lab, hostname) as visitor:
        await visitor.send_head("POST", "/digest", [("Content-Length", "5"), ("Expect", "100-continue")])
        event = await visitor.next_event()
        assert getattr(event, "status_code", 0) == 100
        await visitor.send_body([b"hello"])
        assert (await visitor.read_reply()).json()["size"] == 5


async def test_visitor_leaves(lab: Lab, hostname: str, origin: Origin) -> None:
    """When a visitor leaves, the origin learns of it through the tunnel."""
    async with asyncio.timeout(PATIENCE):
        async with visiting(lab, hostname) as visitor:
            await visitor.send_head("GET", "/slow")
            await visitor.send_body(())
            await origin.reached.wait()
        await origin.left.wait()


async def test_origin_breaks_half_way(lab: Lab, hostname: str, events: list[LabEvent]) -> None:
    """A body that the origin leaves unfinished never looks whole, and others are not disturbed."""
    with pytest.raises(ConnectionError):
        await get(lab, hostname, "/half")
    assert (await get(lab, hostname, "/after")).status == 200

    def served() -> list[bool]:
        return [event.complete for event in events if isinstance(event, RequestServed)]

    await lab.wait_for(lambda _: len(served()) == 2)  # the visitor may have all before the edge says so
    assert served() == [False, True]
