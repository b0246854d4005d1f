"""Applications that a test serves: what they are sent, what they may answer, and that none keeps a test run from its end."""

from __future__ import annotations

import asyncio
import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.support.waits import PATIENCE

from prx.testing import application as application_module
from prx.testing.application import serving

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


async def says_nothing(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Never answer."""
    if scope["type"] == "http":
        await asyncio.Event().wait()


async def begins(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Begin an answer, and wait for something to say, as a stream of events does."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
        await asyncio.Event().wait()


async def waits_for_the_end(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Wait for word that the visitor has gone."""
    if scope["type"] == "http":
        await receive()
        await receive()


async def works_on(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer, and go on with a task that does not end."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"data: 1"})
        await asyncio.sleep(3600)


STUCK = [says_nothing, begins, waits_for_the_end, works_on]


@pytest.mark.parametrize("application", STUCK)
def test_an_application_that_is_stuck_does_not_keep_a_test_from_its_end(application: Callable[..., Any]) -> None:
    """What is under way when the test is over, failed or not, ends with it."""
    began = time.monotonic()
    with serving(application) as port, socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as visitor:
        visitor.sendall(GET)
        if application in {begins, works_on}:
            assert b"200" in visitor.recv(1000)
        else:
            time.sleep(0.2)
    assert time.monotonic() - began < PATIENCE / 2
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("prx a")]


def test_a_wsgi_application_that_is_stuck_is_left_behind_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    """A thread cannot be ended from outside; the test run goes on without it, and says so."""
    monkeypatch.setattr(application_module, "STUCK_SECONDS", 0.1)
    came, over = threading.Event(), threading.Event()

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        came.set()
        over.wait(PATIENCE)
        start_response("200 OK", [])
        return []

    with serving(application) as port, socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as visitor:
        visitor.sendall(GET)
        assert came.wait(PATIENCE)
    over.set()
    assert ["1 requests are stuck" in str(warning.message) for warning in recwarn] == [True]


def test_what_an_application_does_behind_its_answer_holds_up_no_visitor() -> None:
    """The visitor has the whole answer while a background task goes on."""
    with serving(works_on) as port, socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as visitor:
        visitor.sendall(GET)
        whole = b"".join(iter(lambda: visitor.recv(1000), b""))
    assert whole.endswith(b"data: 1")


def echo(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Answer with what came, read as WSGI wants it."""
    start_response("200 OK", [])
    return [environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))]


async def asgi_echo(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Do the same."""
    if scope["type"] == "http":
        body = (await receive())["body"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})


CHUNKED = [
    (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
    (b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", b"hello"),
    (b"A;name=value\r\n0123456789\r\n0\r\nX-Trailer: a\r\n\r\n", b"0123456789"),
    (b"0\r\n\r\n", b""),
    (b"4\r\n\r\n\r\n\r\n0\r\n\r\n", b"\r\n\r\n"),
]


@pytest.mark.parametrize("application", [echo, asgi_echo])
@pytest.mark.parametrize(("sent", "body"), CHUNKED)
def test_a_body_in_chunks_arrives_whole(application: Callable[..., Any], sent: bytes, body: bytes) -> None:
    """A sender that does not know the length beforehand is read as any other, as real servers do."""
    with serving(application) as port, socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as visitor:
        visitor.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + sent)
        head, _, got = b"".join(iter(lambda: visitor.recv(1000), b"")).partition(b"\r\n\r\n")
    assert head.split(b" ")[1] == b"200"
    assert got == body


@pytest.mark.parametrize("sent", [b"nothing\r\n", b"5\r\nhell\r\n0\r\n\r\n", b"3\r\nhello\r\n0\r\n\r\n"])
def test_chunks_that_are_none_are_refused(sent: bytes) -> None:
    """What cannot be read is no request of the application."""
    with serving(echo) as port, socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as visitor:
        visitor.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + sent)
        visitor.shutdown(socket.SHUT_WR)
        assert b" 400 " in visitor.recv(1000)


@pytest.mark.parametrize("length", [b"-5", b"+3", b"0x3", b"1_0", b" 3", b"123456789"])
def test_a_length_that_is_none_is_refused_at_once(length: bytes) -> None:
    """The sender waits for its answer with the connection open: nothing more comes, and nothing must be waited for."""
    with serving(echo) as port, socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as visitor:
        visitor.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + length + b"\r\nabc\r\n0\r\n\r\n")
        assert b" 400 " in visitor.recv(1000)


@pytest.mark.parametrize("status", [204, 299, 418, 460, 520, 599])
def test_an_asgi_application_may_answer_with_any_status(status: int) -> None:
    """Those that no registry names, too."""

    async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": status, "headers": []})
            await send({"type": "http.response.body"})

    with serving(application) as port:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        connection.request("GET", "/")
        assert connection.getresponse().status == status
        connection.close()


def test_a_stream_passes_as_it_comes() -> None:
    """What an application has sent is with the visitor before it sends more."""
    go_on = threading.Event()

    def application(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"one"
        assert go_on.wait(PATIENCE)
        yield b"two"

    with serving(application) as port, socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as visitor:
        visitor.sendall(GET)
        got = b""
        while not got.endswith(b"one"):
            got += visitor.recv(1000)
        go_on.set()
        assert b"".join(iter(lambda: visitor.recv(1000), b"")).endswith(b"two")
