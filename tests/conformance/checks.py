"""What is asked of every connector: one coroutine for each row of the table.

A check ends without a word where the capability is there, raises NotCarriedError if the thing does not arrive and nothing
else is disturbed, and AssertionError (or any other exception) where what arrives is wrong.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from random import Random
from urllib.parse import urlsplit

import h11
import pytest
from tests.conformance.origin import LARGE, ORDER
from tests.conformance.outcome import NotCarriedError
from tests.conformance.scene import Scene
from tests.support.origin import blob, blob_digest
from tests.support.waits import PATIENCE
from tests.support.wire import get, visiting
from websockets.asyncio.client import connect

from prx.lab import Lab

SIZES = (0, 1, 16_384, 16_385, 65_537, 1_048_577)
BIG = 200 * 1000 * 1000
MESSAGES = 1000
AT_ONCE = 200


def require(what: str, found: object, wanted: object) -> None:
    """Fail with what was wrong, in one line."""
    assert found == wanted, f"{what}: {str(found)[:120]}, expected {str(wanted)[:120]}"


def carried(what: str, found: object) -> None:
    """Raise NotCarriedError if nothing has arrived."""
    if not found:
        raise NotCarriedError(what)


@asynccontextmanager
async def leading_to(scene: Scene, service: str, options: Mapping[str, object]) -> AsyncIterator[None]:
    """Lead the tunnel to another service for the length of a block."""
    await _push(scene, {"service": service, "originRequest": options})
    try:
        yield
    finally:
        await _push(scene, {"service": scene.service.url})


async def _push(scene: Scene, rule: Mapping[str, object]) -> None:
    led = {**rule, "service": await scene.way(str(rule["service"]))}
    results = await scene.lab.push(scene.hostname, {"ingress": [led]})
    require("connections that took it", [result.error for result in results], ["", ""])


# -- bodies ------------------------------------------------------------------------------------------------------


async def bodies_up(scene: Scene) -> None:
    """Uploads of every size around frames and windows, with a length and in chunks."""
    for size in SIZES:
        await _upload(scene, size, [("Content-Length", str(size))])
        await _upload(scene, size, [("Transfer-Encoding", "chunked")])


async def bodies_down(scene: Scene) -> None:
    """Downloads of the same sizes."""
    for size in SIZES:
        await _download(scene, size, "")
        await _download(scene, size, "&chunked=1")


async def big_body_up(scene: Scene) -> None:
    """200 MB up."""
    await _upload(scene, BIG, [("Content-Length", str(BIG))])


async def big_body_down(scene: Scene) -> None:
    """200 MB down."""
    await _download(scene, BIG, "")


async def _upload(scene: Scene, size: int, headers: list[tuple[str, str]]) -> None:
    reply = await get(scene.lab, scene.hostname, "/digest", method="POST", headers=headers, body=blob(size))
    require(f"upload of {size} bytes", (reply.status, reply.json()["size"]), (200, size))
    require(f"digest of an upload of {size} bytes", reply.json()["sha256"], blob_digest(size))


async def _download(scene: Scene, size: int, how: str) -> None:
    reply = await get(scene.lab, scene.hostname, f"/bytes?n={size}{how}")
    require(f"download of {size} bytes", (reply.status, reply.size), (200, size))
    require(f"digest of a download of {size} bytes", reply.digest, blob_digest(size))


# -- many things, streams ------------------------------------------------------------------------------------------


async def many_in_flight(scene: Scene) -> None:
    """The service answers none of 200 requests until all of them are there."""
    paths = [f"/together?n={AT_ONCE}&id={number}" for number in range(AT_ONCE)]
    async with asyncio.timeout(PATIENCE / 2):
        replies = await asyncio.gather(*(get(scene.lab, scene.hostname, path) for path in paths))
    require("answers", [reply.body for reply in replies], [str(number).encode() for number in range(AT_ONCE)])


async def websocket_messages(scene: Scene) -> None:
    """1,000 messages, text and binary, of sizes around those where the framing changes, and the code of the end."""
    chance = Random(7)
    async with asyncio.timeout(2 * PATIENCE), websocket(scene) as socket:
        for number in range(MESSAGES):
            size = chance.choice((0, 1, 125, 126, 127, 1000, 65_535, 65_536))
            message = chance.randbytes(size) if number % 2 else chr(0x20AC) * (size // 3)
            await socket.send(message)
            assert await socket.recv() == message, f"message {number} of {size} bytes came back changed"
        await socket.close(4000, "done")
        require("code of the end", socket.close_code, 4000)


def websocket(scene: Scene) -> connect:
    """Open a visitor's WebSocket."""
    uri = f"ws://{scene.hostname}:{urlsplit(scene.lab.public).port}/ws"
    return connect(uri, host="127.0.0.1", max_size=None, compression=None, proxy=None)


async def events_one_by_one(scene: Scene) -> None:
    """Each server-sent event is here before the service sends the next."""
    async with asyncio.timeout(PATIENCE), visiting(scene.lab, scene.hostname) as visitor:
        await visitor.send_head("GET", "/events")
        await visitor.send_body(())
        head = await visitor.read_reply(head_only=True)
        require("content type", head.header("content-type"), "text/event-stream")
        for number in range(20):
            scene.service.events.put_nowait(str(number))
            event = await visitor.next_event()
            require("event", bytes(getattr(event, "data", b"")), f"data: {number}\n\n".encode())
        scene.service.events.put_nowait(None)


# -- answers -----------------------------------------------------------------------------------------------------


async def head_request(scene: Scene) -> None:
    """HEAD has the length of the body and no body, and the connection stays in order."""
    await _bodiless(scene, "HEAD", "/bytes?n=1000", 200, length="1000")


async def no_content(scene: Scene) -> None:
    """204 has no body."""
    await _bodiless(scene, "GET", "/empty", 204, length="")


async def not_modified(scene: Scene) -> None:
    """304 keeps the length that it speaks of, and has no body."""
    await _bodiless(scene, "GET", "/not-modified", 304, length="1234")


async def _bodiless(scene: Scene, method: str, path: str, status: int, *, length: str) -> None:
    async with visiting(scene.lab, scene.hostname) as visitor:
        for asked in ((method, path, status, length), ("GET", "/bytes?n=3", 200, "3")):
            visitor.h11 = h11.Connection(h11.CLIENT)
            await visitor.send_head(*asked[:2])
            await visitor.send_body(())
            reply = await visitor.read_reply()
            require(f"{asked[0]} {asked[1]}", (reply.status, reply.header("content-length")), asked[2:])
        require("size of the body behind it", reply.size, 3)


async def unusual_status(scene: Scene) -> None:
    """An unregistered status passes."""
    require("status", (await get(scene.lab, scene.hostname, "/odd")).status, 299)


async def expect_continue(scene: Scene) -> None:
    """A visitor who waits for leave to send gets it."""
    async with asyncio.timeout(PATIENCE), visiting(scene.lab, scene.hostname) as visitor:
        await visitor.send_head("POST", "/digest", [("Content-Length", "5"), ("Expect", "100-continue")])
        require("interim status", getattr(await visitor.next_event(), "status_code", 0), 100)
        await visitor.send_body([b"hello"])
        require("size", (await visitor.read_reply()).json()["size"], 5)


async def early_hints(scene: Scene) -> None:
    """A 103 of the service reaches the visitor."""
    reply = await get(scene.lab, scene.hostname, "/hints")
    require("answer", (reply.status, reply.body), (200, b"hints"))
    carried("103 does not reach the visitor", reply.interim)
    require("interim", reply.interim, [103])


async def response_trailers(scene: Scene) -> None:
    """Trailers of the service reach the visitor."""
    reply = await get(scene.lab, scene.hostname, "/trailers")
    require("body", reply.body, b"body")
    carried("trailers do not reach the visitor", reply.trailers)
    require("trailers", [(name.lower(), value) for name, value in reply.trailers], [("x-sum", "1")])


async def request_trailers(scene: Scene) -> None:
    """Trailers of the visitor reach the service."""
    async with asyncio.timeout(PATIENCE), visiting(scene.lab, scene.hostname) as visitor:
        await visitor.send_head("POST", "/take-trailers", [("Transfer-Encoding", "chunked"), ("Trailer", "X-Sum")])
        visitor.writer.write(b"4\r\nbody\r\n0\r\nX-Sum: 1\r\n\r\n")
        visitor.h11.send(h11.EndOfMessage())
        require("answer", (await visitor.read_reply()).body, b"taken")
    carried("trailers do not reach the service", scene.service.received)
    require("trailers", [(name.lower(), value) for name, value in scene.service.received], [("x-sum", "1")])


# -- heads -------------------------------------------------------------------------------------------------------


async def target_untouched(scene: Scene) -> None:
    """Method, path and query arrive as they were sent; the Host is the public name."""
    target = "/a//b/%2F%20;x?c=d&e=%20&&f"
    seen = (await get(scene.lab, scene.hostname, target, method="PROPFIND")).json()
    host = {name.lower(): value for name, value in seen["headers"]}["host"]
    require("method, target, host", (seen["method"], seen["target"], host), ("PROPFIND", target, scene.hostname))


async def behind_cloudflare(scene: Scene) -> None:
    """Cf-Connecting-Ip, X-Forwarded-For, X-Forwarded-Proto, Cf-Ray, Cf-Visitor, and none of them can be forged."""
    forged = [("X-Forwarded-For", "10.0.0.1"), ("Cf-Ray", "forged"), ("Cf-Connecting-Ip", "10.0.0.2")]
    reply = await get(scene.lab, scene.hostname, headers=forged)
    seen = {name.lower(): value for name, value in reply.json()["headers"]}
    require("Cf-Connecting-Ip", seen.get("cf-connecting-ip"), "127.0.0.1")
    require("X-Forwarded-For", seen.get("x-forwarded-for"), "10.0.0.1,127.0.0.1")
    require("X-Forwarded-Proto", seen.get("x-forwarded-proto"), "http")
    require("Cf-Visitor", seen.get("cf-visitor"), '{"scheme":"http"}')
    require("Cf-Ray", seen.get("cf-ray"), reply.header("cf-ray"))
    assert seen["cf-ray"] != "forged", "a visitor can forge Cf-Ray"


async def repeats(scene: Scene) -> None:
    """Headers with the same name stay apart and in their order, both ways."""
    sent = [("X-Multi", "one"), ("X-Other", "-"), ("X-Multi", "two")]
    seen = (await get(scene.lab, scene.hostname, headers=sent)).json()["headers"]
    require("request", [value for name, value in seen if name.lower() == "x-multi"], ["one", "two"])
    reply = await get(scene.lab, scene.hostname, "/odd")
    require("Set-Cookie", [value for name, value in reply.headers if name.lower() == "set-cookie"], ["a=1", "b=2"])
    require("response", [value for name, value in reply.headers if name.lower() == "x-multi"], ["one", "two"])


async def request_order(scene: Scene) -> None:
    """The service sees headers of different names in the order in which they were sent."""
    seen = (await get(scene.lab, scene.hostname, headers=[(f"X-{name}", "1") for name in ORDER])).json()["headers"]
    _same_order([name for name, _ in seen])


async def response_order(scene: Scene) -> None:
    """The visitor sees headers of different names in the order in which they were sent."""
    reply = await get(scene.lab, scene.hostname, "/ordered")
    _same_order([name for name, _ in reply.headers])


def _same_order(names: list[str]) -> None:
    wanted = [f"x-{name.lower()}" for name in ORDER]
    found = [name.lower() for name in names if name.lower() in wanted]
    require("headers", sorted(found), sorted(wanted))
    if found != wanted:
        raise NotCarriedError("headers of different names arrive in another order")


async def large_headers(scene: Scene) -> None:
    """A header of 32 KiB passes, both ways."""
    seen = (await get(scene.lab, scene.hostname, headers=[("X-Large", "y" * LARGE)])).json()["headers"]
    require("request", {name.lower(): len(value) for name, value in seen}.get("x-large"), LARGE)
    require("response", len((await get(scene.lab, scene.hostname, "/large")).header("x-large")), LARGE)


# -- when something is wrong -----------------------------------------------------------------------------------------


async def origin_breaks(scene: Scene) -> None:
    """A body that the service leaves unfinished never looks whole, and others are not disturbed."""
    with pytest.raises(ConnectionError):
        await get(scene.lab, scene.hostname, "/half")
    require("the next one", (await get(scene.lab, scene.hostname, "/name")).body, b"one")


async def visitor_leaves(scene: Scene) -> None:
    """A service learns through the tunnel that its visitor has left."""
    scene.service.reached.clear()
    scene.service.left.clear()
    async with asyncio.timeout(PATIENCE):
        async with visiting(scene.lab, scene.hostname) as visitor:
            await visitor.send_head("GET", "/slow")
            await visitor.send_body(())
            await scene.service.reached.wait()
        await scene.service.left.wait()


async def config_push(scene: Scene) -> None:
    """A pushed configuration is applied by every connection, and leads requests elsewhere at once; and back."""
    for service in (scene.other, scene.service):
        await _push(scene, {"service": f"http://127.0.0.1:{service.port}"})
        require("service", (await get(scene.lab, scene.hostname, "/name")).body, service.name.encode())


async def origin_refuses(scene: Scene) -> None:
    """A service that refuses the connection is an orderly 502, and the next request passes when it is back."""
    await scene.service.pause()
    reply = await get(scene.lab, scene.hostname, "/name")
    require("status and body", (reply.status, reply.body), (502, b"error code: 502"))
    await scene.service.resume()
    require("after it is back", (await get(scene.lab, scene.hostname, "/name")).body, b"one")


async def graceful_stop(scene: Scene) -> None:
    """A request in flight is answered after SIGTERM, the exit code is 0, and from then on visitors get 530."""
    scene.service.reached.clear()
    async with asyncio.timeout(PATIENCE), visiting(scene.lab, scene.hostname) as visitor:
        await visitor.send_head("GET", "/slow")
        await visitor.send_body(())
        await scene.service.reached.wait()
        scene.child.process.terminate()
        await scene.lab.wait_for(_nothing_takes_requests)
        scene.service.release.set()
        reply = await visitor.read_reply()
        require("answer", (reply.status, reply.body), (200, b"slow"))
    require("exit code", await scene.child.exit_code(), 0)


async def nothing_connected(scene: Scene) -> None:
    """Without a connector a visitor gets 530 with error 1033."""
    if scene.child.process.returncode is None:
        scene.child.process.terminate()
        await scene.child.exit_code()
    async with asyncio.timeout(PATIENCE):
        await scene.lab.wait_for(lambda lab: not any(tunnel.connections for tunnel in lab.tunnels()))
    reply = await get(scene.lab, scene.hostname, "/name")
    require("status and body", (reply.status, reply.body), (530, b"error code: 1033"))


def _nothing_takes_requests(lab: Lab) -> bool:
    return all(connection.draining for tunnel in lab.tunnels() for connection in tunnel.connections)
