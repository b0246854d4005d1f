"""What a probe reports of services that answer oddly: what they are, how far they come, and that none costs much."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any

import pytest
import trustme
from tests.support.counting import Counting
from tests.support.servers import Servers

from prx.runtime.probes import head
from prx.runtime.probes.greetings import greeting
from prx.runtime.probes.origin import probe_origin
from prx.runtime.probes.public import probe_public

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

GREETINGS = {
    "OpenSSH": (b"SSH-2.0-OpenSSH_9.2\r\n", "is an SSH server"),
    "Postfix": (b"220 mail.example.com ESMTP Postfix\r\n", "is a mail server (SMTP)"),
    "vsftpd": (b"220 (vsFTPd 3.0.3)\r\n", "speaks SMTP or FTP"),
    "Dovecot": (b"* OK [CAPABILITY IMAP4rev1] ready\r\n", "is a mail server (IMAP)"),
    "POP3": (b"+OK ready\r\n", "is a mail server (POP3) or Redis"),
    "Redis": (b"-ERR unknown command 'GET'\r\n", "is a Redis server"),
    "Redis with a password": (b"-NOAUTH Authentication required.\r\n", "is a Redis server"),
    "VNC": (b"RFB 003.008\n", "is a VNC server"),
    "MySQL": (b"J\x00\x00\x00\x0a8.0.36\x00", "is a MySQL or MariaDB server"),
    "PostgreSQL": (b"E\x00\x00\x00\x87SFATAL\x00", "is a PostgreSQL server"),
    "HTTP/2": (b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03", "speaks HTTP/2 alone"),
    "TLS": (b"\x15\x03\x01\x00\x02\x02\x46", "speaks TLS, and was asked in plain HTTP"),
    "HTTP/0.9": (b"<!DOCTYPE html><html>", "a page without an HTTP head"),
    "nearly": (b"\r\nHTTP/1.1 200 OK\r\n\r\n", "nearly, but not, HTTP/1"),
    "lower case": (b"http/1.1 200 OK\r\n\r\n", "nearly, but not, HTTP/1"),
    "JSON": (b'{"ok": true}\n', "answers something that is not HTTP"),
    "binary": (bytes(range(128, 192)), "answers something that is not HTTP"),
    "almost nothing": (b"H", "answers something that is not HTTP"),
}


@pytest.mark.parametrize(("first", "words"), GREETINGS.values(), ids=GREETINGS)
async def test_a_service_of_another_kind_is_named(servers: Servers, first: bytes, words: str) -> None:
    """A wrong port leads to another service: what it is stands in the reason, and no byte of its own."""
    assert words in greeting(first)
    served = await servers.canned(first)
    seen = await probe_origin("127.0.0.1", served.port)
    assert (seen.listening, seen.status) == (True, None)
    assert f"127.0.0.1:{served.port} " in seen.error
    assert words in seen.error


UNFINISHED = {
    "nothing": (b"", "accepts the connection but does not answer within 0.2 s"),
    "half a head": (
        b"HTTP/1.1 200 OK\r\nContent-",
        "begins an answer and does not come to the end of its headers within 0.2 s",
    ),
    "early hints": (b"HTTP/1.1 103 Early Hints\r\n\r\n" * 3, "sends interim answers (103) and no final one within 0.2 s"),
    "processing": (b"HTTP/1.1 102 Processing\r\n\r\n", "sends interim answers (102) and no final one within 0.2 s"),
}


@pytest.mark.parametrize(("first", "words"), UNFINISHED.values(), ids=UNFINISHED)
async def test_an_answer_that_does_not_come_to_its_end_is_told_from_none(servers: Servers, first: bytes, words: str) -> None:
    """How far it has come is in the reason; all of them are slow, not absent."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(first)
        await reader.read()

    served = await servers.start(answer)
    seen = await probe_origin("127.0.0.1", served.port, timeout=0.2)
    assert (seen.listening, seen.silent) == (True, True)
    assert words in seen.error


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nand its bytes", "switches to another protocol without being"),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n", "it ends behind an interim answer"),
        (b"HTTP/1.1 200 OK\r\nContent-", "it ends in the middle of its headers"),
    ],
)
async def test_http_that_goes_wrong_is_not_taken_for_another_protocol(servers: Servers, raw: bytes, words: str) -> None:
    """A head that was understood is HTTP, whatever follows it."""
    served = await servers.canned(raw)
    assert words in (await probe_origin("127.0.0.1", served.port)).error


BODIES = {
    "whole": (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", False),
    "until closed": (b"HTTP/1.1 200 OK\r\n\r\nok", False),
    "more than its length": (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nok", False),
    "of a 304": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\n", False),
    "shorter than its length": (b"HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\nok", True),
    "without the last chunk": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", True),
    "chunks that are none": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nok\r\n0\r\n\r\n", True),
    "nothing of its length": (b"HTTP/1.1 404 No\r\nContent-Length: 9\r\n\r\n", True),
}


@pytest.mark.parametrize(("raw", "broken_off"), BODIES.values(), ids=BODIES)
async def test_a_body_that_breaks_off_is_noted(servers: Servers, raw: bytes, *, broken_off: bool) -> None:
    """By the probe of the service and by that of the public URL alike; the status counts all the same."""
    served = await servers.canned(raw)
    here = await probe_origin("127.0.0.1", served.port)
    there = await probe_public(f"http://app.localhost:{served.port}/", ["127.0.0.1"])
    assert (here.broken_off, there.broken_off) == (broken_off, broken_off)
    assert here.status == there.status == int(raw[9:12])


async def test_a_body_that_is_slow_or_long_is_not_broken_off(servers: Servers) -> None:
    """What ended was the probe's own patience."""

    async def pour(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n" + b"x" * 1_000_000)
        await writer.drain()

    async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nx")
        await reader.read()

    for handler in (pour, stall):
        served = await servers.start(handler)
        assert not (await probe_origin("127.0.0.1", served.port, timeout=0.2)).broken_off


def served_with(**limits: Any) -> ssl.SSLContext:
    """Return the TLS of a service that refuses what it does not like."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority = trustme.CA()
    authority.issue_cert("localhost").configure_cert(context)
    for name, value in limits.items():
        setattr(context, name, value)
    if limits.get("minimum_version") is ssl.TLSVersion.TLSv1:
        context.set_ciphers("ALL:@SECLEVEL=0")
    return context


def no_such_name(_socket: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> int:
    """Refuse every name, as a web server that has a certificate for others only."""
    return int(ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME)


REFUSALS: dict[str, tuple[Callable[[], ssl.SSLContext], str]] = {
    "a client's certificate": (
        lambda: served_with(verify_mode=ssl.CERT_REQUIRED),
        "it asks for a client's certificate",
    ),
    "old versions": (
        lambda: served_with(minimum_version=ssl.TLSVersion.TLSv1, maximum_version=ssl.TLSVersion.TLSv1_1),
        "it speaks no version of TLS from 1.2 on",
    ),
    "another name": (
        lambda: served_with(sni_callback=no_such_name),
        "it has no certificate for the name localhost; set origin_server_name to a name that it carries",
    ),
}


@pytest.mark.parametrize("kind", REFUSALS)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_a_service_that_refuses_the_handshake_says_what_it_wants(kind: str) -> None:
    """The words are for people; the library's own (`tlsv13 alert certificate required`) are not."""
    make, words = REFUSALS[kind]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def serve() -> None:
            taken = listener.accept()[0]
            with make().wrap_socket(taken, server_side=True, do_handshake_on_connect=False) as tls:
                with contextlib.suppress(OSError):
                    tls.do_handshake()
                while socket.socket.recv(tls, 1000):  # to the end: closing over what is unread would be a reset
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        seen = asyncio.run(probe_origin("localhost", port, scheme="https"))
        thread.join()
    assert (seen.listening, seen.status) == (True, None)
    assert f"TLS with localhost:{port} failed: {words}" in seen.error


@pytest.mark.parametrize("line", [b"X: a\r\n", b" " + b"a" * 100 + b"\r\n", b"a"], ids=["lines", "folded", "one line"])
async def test_a_head_in_small_pieces_costs_no_more_than_a_whole_one(
    servers: Servers, line: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each byte is searched once for the end of the head: a service that drips its headers keeps no processor busy."""
    counting = Counting(head._END)
    monkeypatch.setattr(head, "_END", counting)
    sent = 0

    async def drip(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nX: y\r\n" if line.endswith(b"\n") else b"HTTP/1.1 200 OK\r\nX: y")
        for _ in range(400):
            writer.write(line)
            sent += len(line)
            await asyncio.sleep(0)
        writer.write((b"" if line.endswith(b"\n") else b"\r\n") + b"Content-Length: 2\r\n\r\nok")
        await writer.drain()

    served = await servers.start(drip)
    seen = await probe_origin("127.0.0.1", served.port)
    assert seen.status == 200
    assert sent < counting.bytes < 3 * sent + 5000
