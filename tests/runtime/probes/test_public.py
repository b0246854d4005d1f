"""What the probe of the public URL sees, and what it never does."""

import asyncio
import contextlib
import gzip
import resource
import socket
import ssl
import time
from pathlib import Path
from typing import Any

import pytest
import trustme
from tests.support.servers import Servers, answer, drip, forever, pour

from prx.runtime.probes import public as public_module
from prx.runtime.probes.connect import FailureKind, ProbeError
from prx.runtime.probes.public import probe_public

HOST = "agent.example.com"
TOKEN = {"CF-Access-Client-Id": "id", "CF-Access-Client-Secret": "secret"}


@pytest.fixture(autouse=True)
def no_system_resolver(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail every question to the system's resolver."""

    def refuse(host: object, *_: object, **__: object) -> None:
        raise AssertionError(f"the system's resolver was asked for {host!r}")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Return a certificate authority."""
    return trustme.CA()


def server_tls(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    """Return a server's context with a certificate for these names."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(*names).configure_cert(context)
    return context


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    """Write the authority's certificate into a file."""
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


async def test_host_and_path_are_those_of_the_url(servers: Servers) -> None:
    """The server is reached by its address and asked for the URL's host and path."""
    served = await servers.canned(answer(200, b"hello"))
    seen = await probe_public(f"http://{HOST}:{served.port}/health?deep=1", ["127.0.0.1"])
    assert (seen.status, seen.error, seen.access, seen.edge_error, seen.host_blocked) == (200, "", False, None, "")
    assert seen.latency_ms is not None
    assert 0 < seen.latency_ms < 5000
    assert served.heads[0].startswith(b"GET /health?deep=1 HTTP/1.1\r\n")
    assert f"Host: {HOST}:{served.port}\r\n".encode() in served.heads[0]


async def test_certificate_is_checked_for_the_name(servers: Servers, authority: trustme.CA, ca_file: Path) -> None:
    """Over https the certificate must be for the URL's host, and the server is asked for that host."""
    names: list[str | None] = []
    right = server_tls(authority, HOST)
    right.sni_callback = lambda _connection, name, _context: names.append(name)
    served = await servers.canned(answer(200), tls=right)
    seen = await probe_public(f"https://{HOST}:{served.port}", ["127.0.0.1"], ca_file=ca_file)
    assert (seen.status, names) == (200, [HOST])


@pytest.mark.parametrize(("name", "trusted"), [("other.example.com", True), (HOST, False)])
async def test_wrong_certificate_is_an_error(
    servers: Servers, authority: trustme.CA, ca_file: Path, name: str, trusted: bool
) -> None:
    """A certificate for another name, or of an unknown authority, is reported in words."""
    served = await servers.canned(answer(200), tls=server_tls(authority if trusted else trustme.CA(), name))
    seen = await probe_public(f"https://{HOST}:{served.port}", ["127.0.0.1"], ca_file=ca_file)
    assert seen.status is None
    assert f"the certificate of 127.0.0.1:{served.port} is not valid: " in seen.error


async def test_redirect_is_an_answer(servers: Servers) -> None:
    """No redirect is followed, so a token goes to no other."""
    elsewhere = await servers.canned(answer(200))
    served = await servers.canned(answer(302, Location=elsewhere.url))
    seen = await probe_public(f"http://{HOST}:{served.port}", ["127.0.0.1"], headers=TOKEN, headers_host=HOST)
    assert (seen.status, seen.access, seen.sent_token) == (302, False, True)
    assert elsewhere.connections == 0


async def test_access_login_is_recognised(servers: Servers) -> None:
    """A redirect to the login of Cloudflare Access is Access, not the service."""
    login = f"https://team.cloudflareaccess.com/cdn-cgi/access/login/{HOST}?kid=1"
    served = await servers.canned(answer(302, Location=login))
    seen = await probe_public(f"http://{HOST}:{served.port}", ["127.0.0.1"])
    assert (seen.status, seen.access) == (302, True)


async def test_a_mark_of_prx_is_no_service_token(servers: Servers) -> None:
    """The word by which a relay knows prx's checks goes to any host, and Access does not count as having refused a token."""
    served = await servers.canned(answer(403, CF_Access_Domain=HOST))
    seen = await probe_public(f"http://{HOST}:{served.port}", ["127.0.0.1"], own_mark="a-word")
    assert (seen.status, seen.access, seen.sent_token) == (403, True, False)
    assert b"X-PRX-Probe: a-word\r\n" in served.heads[0]


async def test_a_mark_of_prx_never_goes_out_in_plain_text() -> None:
    """Without TLS the word, which opens a gate, does not leave this machine."""
    asked: list[dict[str, str]] = []

    async def note(_parts: object, _addresses: object, headers: dict[str, str], *_: object) -> None:
        asked.append(headers)
        raise ProbeError(FailureKind.SILENT, "not asked")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(public_module, "_ask", note)
        for url, address in (("http://a.example", "192.0.2.1"), ("https://a.example", "192.0.2.1"), ("http://a", "127.0.0.1")):
            await probe_public(url, [address], own_mark="a-word")
    assert [bool(headers) for headers in asked] == [False, True, True]


@pytest.mark.parametrize(
    ("headers_host", "expected"), [(HOST, True), (HOST.upper(), True), ("example.com", False), ("", False), (f"x{HOST}", False)]
)
async def test_token_goes_only_to_its_host(servers: Servers, headers_host: str, expected: bool) -> None:
    """The service token is sent to exactly the host that it is for."""
    served = await servers.canned(answer(200))
    seen = await probe_public(f"http://{HOST}:{served.port}", ["127.0.0.1"], headers=TOKEN, headers_host=headers_host)
    assert seen.sent_token is expected
    assert (b"CF-Access-Client-Secret: secret" in served.heads[0]) is expected


async def test_token_never_goes_out_in_plain_text() -> None:
    """Without TLS the service token does not leave this machine."""
    seen = await probe_public(f"http://{HOST}:9/", ["192.0.2.1"], headers=TOKEN, headers_host=HOST, timeout=0.1)
    assert not seen.sent_token


@pytest.mark.parametrize(
    ("status", "headers", "body", "number"),
    [
        (530, {}, b"error code: 1033", 1033),
        (530, {}, b'<h1><span class="a">Error</span>\n <span class="b">1033</span></h1>', 1033),
        (530, {}, b'{"status":530,"error_code":1016}', 1016),
        (403, {"Server": "cloudflare"}, b"error code: 1020", 1020),
        (502, {}, b"error code: 1033", None),
        (200, {"Server": "cloudflare"}, b"error code: 1033", None),
        (530, {}, b"sorry", None),
    ],
)
async def test_number_of_the_edge_error_is_read(
    servers: Servers, status: int, headers: dict[str, str], body: bytes, number: int | None
) -> None:
    """Cloudflare's own error number is read in all its forms, and only from Cloudflare's own pages."""
    served = await servers.canned(answer(status, body, **headers))
    seen = await probe_public(f"http://{HOST}:{served.port}", ["127.0.0.1"])
    assert (seen.status, seen.edge_error) == (status, number)


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (
            403,
            b'Blocked request. This host ("a.example.com") is not allowed.\nTo allow',
            'This host ("a.example.com") is not allowed.',
        ),
        (403, b"Invalid Host header", "Invalid Host header"),
        (200, b"Invalid Host header\n", "Invalid Host header"),
        (400, b"<pre>Invalid HTTP_HOST header: &#x27;a.example.com&#x27;. You may need</pre>", "header: 'a.example.com'."),
        (403, b"<h1>Blocked hosts: a.example.com</h1>", "Blocked hosts: a.example.com"),
        (403, b"\x1b[31mInvalid host header\x1b[0m\x07", "nvalid host header"),
    ],
)
async def test_refused_host_name_is_recognised(servers: Servers, status: int, body: bytes, words: str) -> None:
    """What frameworks say to a host name that they do not know is quoted, without anything unprintable."""
    served = await servers.canned(answer(status, body))
    seen = await probe_public(f"http://{HOST}:{served.port}", ["127.0.0.1"])
    assert words in seen.host_blocked
    assert seen.host_blocked.isprintable()


@pytest.mark.parametrize("body", [b"a page about the Invalid Host header error", b"", b"Forbidden"])
async def test_other_pages_block_no_host(servers: Servers, body: bytes) -> None:
    """A good page that only mentions the words refuses nothing."""
    served = await servers.canned(answer(200, body))
    assert not (await probe_public(f"http://{HOST}:{served.port}", ["127.0.0.1"])).host_blocked


async def test_retry_after_is_read(servers: Servers) -> None:
    """How long to wait is read where it is given in seconds."""
    served = await servers.canned(answer(429, Retry_After="120"))
    assert (await probe_public(f"http://{HOST}:{served.port}", ["127.0.0.1"])).retry_after == 120


@pytest.mark.parametrize("text", ["9" * 5000, "\u00b2", "-1", "1e9", "Fri, 31 Dec 9999 23:59:59 GMT", ""])
async def test_a_wait_that_is_no_number_is_none(servers: Servers, text: str) -> None:
    """A date, digits that are none, thousands of them: the answer counts, and no wait is read from it."""
    head = f"HTTP/1.1 429 Slow\r\nRetry-After: {text}\r\nContent-Length: 0\r\n\r\n".encode()
    served = await servers.canned(head)
    seen = await probe_public(f"http://{HOST}:{served.port}", ["127.0.0.1"])
    assert (seen.status, seen.retry_after) == (429, None)


async def test_next_address_is_tried(servers: Servers) -> None:
    """An address without a listener does not hide one that works."""
    served = await servers.canned(answer(200), host="::1")
    seen = await probe_public(f"http://{HOST}:{served.port}", ["127.0.0.1", "127.0.0.2", "::1"])
    assert seen.status == 200


async def test_address_that_swallows_packets_leaves_time(servers: Servers) -> None:
    """An address that never answers a SYN uses up its share of the time, not all of it."""
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.socket())
        for _ in range(20):  # until both addresses have the port free
            served = await servers.canned(answer(200), host="::1")
            with contextlib.suppress(OSError):
                full.bind(("127.0.0.1", served.port))
                break
        full.listen(0)  # a queue of one, which is filled here: further connections are left without an answer
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        seen = await probe_public(f"http://{HOST}:{served.port}", ["127.0.0.1", "::1"], timeout=2)
    assert seen.status == 200


async def test_refusal_is_told(unused_port: int) -> None:
    """When no address takes a connection, all are named."""
    seen = await probe_public(f"http://{HOST}:{unused_port}", ["127.0.0.1", "::1"])
    assert (seen.status, seen.error) == (None, f"connection refused by 127.0.0.1:{unused_port} and [::1]:{unused_port}")


async def test_unknown_name_is_told() -> None:
    """Without an address nothing is asked."""
    assert (await probe_public(f"http://{HOST}/", [])).error == f"no address is known for {HOST}"


async def test_names_are_never_resolved() -> None:
    """A name among the addresses is a mistake of the caller."""
    with pytest.raises(ValueError, match="localhost"):
        await probe_public(f"http://{HOST}/", ["localhost"])
    with pytest.raises(ValueError, match="http"):
        await probe_public(f"ftp://{HOST}/", ["127.0.0.1"])


async def test_token_that_fits_into_no_header_is_not_quoted(servers: Servers) -> None:
    """A header that cannot be written is an error in words that do not hold it."""
    served = await servers.canned(answer(200))
    odd = {"CF-Access-Client-Secret": "hunter2\r\nX: y"}
    seen = await probe_public(f"http://{HOST}:{served.port}", ["127.0.0.1"], headers=odd, headers_host=HOST)
    assert seen.status is None
    assert "odd characters" in seen.error
    assert "hunter2" not in seen.error


async def test_missing_ca_file_is_told(tmp_path: Path) -> None:
    """A CA file that is not there is an error in words."""
    seen = await probe_public(f"https://{HOST}/", ["127.0.0.1"], ca_file=tmp_path / "none.pem")
    assert seen.error == f"the CA file {tmp_path / 'none.pem'} cannot be read: No such file or directory"


async def test_reset_is_told(servers: Servers) -> None:
    """A reset connection is reported in words."""

    async def reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()

    served = await servers.start(reset)
    seen = await probe_public(f"http://{HOST}:{served.port}", ["127.0.0.1"])
    assert (seen.status, seen.error) == (None, f"connection reset by 127.0.0.1:{served.port}")


async def test_empty_reply_is_told(servers: Servers) -> None:
    """A connection closed without an answer is reported in words."""
    served = await servers.canned(b"")
    seen = await probe_public(f"http://{HOST}:{served.port}", ["127.0.0.1"])
    assert (seen.status, seen.error) == (None, f"127.0.0.1:{served.port} closed the connection without an answer")


async def test_dripping_head_is_bounded(servers: Servers) -> None:
    """The deadline is one for everything, not one for each byte."""

    async def loris(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await drip(writer, answer(200), 0.05)

    served = await servers.start(loris)
    begin = time.monotonic()
    seen = await probe_public(f"http://{HOST}:{served.port}", ["127.0.0.1"], timeout=0.3)
    assert time.monotonic() - begin < 2
    assert seen.status is None
    assert "begins an answer and does not come to the end of its headers within 0.3 s" in seen.error


async def test_endless_head_is_bounded(servers: Servers) -> None:
    """Headers without end are no answer, and are not kept."""

    async def endless(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nX: ")
        await pour(writer, [])

    served = await servers.start(endless)
    seen = await probe_public(f"http://{HOST}:{served.port}", ["127.0.0.1"])
    words = f"127.0.0.1:{served.port} answers HTTP that cannot be read: its headers have more than 128 KiB"
    assert (seen.status, seen.error) == (None, words)


async def test_endless_body_is_bounded(servers: Servers) -> None:
    """Of a body without end hardly more is taken than the limit, and the status counts."""
    taken: list[int] = []

    async def endless(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await pour(writer, taken)

    served = await servers.start(endless)
    begin = time.monotonic()
    seen = await probe_public(f"http://{HOST}:{served.port}", ["127.0.0.1"])
    assert time.monotonic() - begin < 2
    assert seen.status == 200
    assert sum(taken) < 16 * 1024 * 1024  # what the kernel's buffers hold


async def test_dripping_body_costs_a_moment(servers: Servers) -> None:
    """A body that drips is left alone after a moment; the status counts."""

    async def loris(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 404 No\r\nContent-Length: 1000\r\n\r\n")
        await drip(writer, b"x" * 1000, 0.05)

    served = await servers.start(loris)
    begin = time.monotonic()
    seen = await probe_public(f"http://{HOST}:{served.port}", ["127.0.0.1"])
    assert time.monotonic() - begin < 4
    assert seen.status == 404


async def test_compressed_bomb_stays_compressed(servers: Servers) -> None:
    """A small body that would unpack to a large one is not unpacked, although compression was not asked for."""
    bomb = gzip.compress(bytes(256 * 1024 * 1024), compresslevel=1)[: 60 * 1024]
    served = await servers.canned(answer(502, bomb, Content_Encoding="gzip"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seen = await probe_public(f"http://{HOST}:{served.port}", ["127.0.0.1"])
    assert seen.status == 502
    assert b"Accept-Encoding: identity" in served.heads[0]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 * 1024  # KiB


async def test_silent_server_is_bounded(servers: Servers) -> None:
    """A server that takes the request and says nothing is left at the deadline, and the connection is closed."""
    closed = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, _: Any) -> None:
        await reader.read()
        closed.set()
        await forever()

    served = await servers.start(silent)
    seen = await probe_public(f"http://{HOST}:{served.port}", ["127.0.0.1"], timeout=0.2)
    assert seen.status is None
    async with asyncio.timeout(5):
        await closed.wait()


async def test_cancelled_probe_leaves_nothing(servers: Servers) -> None:
    """A probe that is cancelled closes its connection."""
    closed = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, _: Any) -> None:
        await reader.read()
        closed.set()

    served = await servers.start(silent)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await probe_public(f"http://{HOST}:{served.port}", ["127.0.0.1"])
    async with asyncio.timeout(5):
        await closed.wait()
