"""What the probe of the local service sees."""

import asyncio
import socket
import ssl
import time
from pathlib import Path
from typing import Any

import pytest
import trustme
from tests.support.servers import Servers, answer, drip, forever

from prx.runtime.probes.origin import Trust, probe_origin


@pytest.fixture
def own_tls() -> ssl.SSLContext:
    """Return a server context with a certificate that is not trusted."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    return context


@pytest.mark.parametrize("status", [200, 302, 404, 401, 500])
async def test_status_is_reported_as_it_is(servers: Servers, status: int) -> None:
    """The service's own status is evidence, also when it is an error or a redirect."""
    served = await servers.canned(answer(status, b"body", Location="/elsewhere"))
    seen = await probe_origin("127.0.0.1", served.port, "/health?x=1")
    assert (seen.listening, seen.status, seen.error) == (True, status, "")
    assert seen.address == f"127.0.0.1:{served.port}"
    assert served.heads[0].startswith(b"GET /health?x=1 HTTP/1.1\r\n")
    assert f"Host: 127.0.0.1:{served.port}\r\n".encode() in served.heads[0]
    assert served.connections == 1


async def test_host_header_is_sent_as_configured(servers: Servers) -> None:
    """The service sees the Host header that cloudflared would send it."""
    served = await servers.canned(answer(204))
    await probe_origin("127.0.0.1", served.port, host_header="localhost:5173")
    assert b"Host: localhost:5173\r\n" in served.heads[0]


async def test_refusal_names_the_address(unused_port: int) -> None:
    """A service that is not there is named with its address."""
    seen = await probe_origin("127.0.0.1", unused_port)
    assert (seen.listening, seen.status) == (False, None)
    assert seen.error == f"connection refused by 127.0.0.1:{unused_port}"


@pytest.fixture
def hosts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the addresses that this machine knows for "localhost": a list that a test may change."""
    known = ["127.0.0.1", "::1"]
    resolve = socket.getaddrinfo

    def answer_from_hosts(host: Any, port: Any, *arguments: Any, **more: Any) -> Any:
        if host != "localhost":
            return resolve(host, port, *arguments, **more)
        return [entry for address in known for entry in resolve(address, port, type=socket.SOCK_STREAM)]

    monkeypatch.setattr(socket, "getaddrinfo", answer_from_hosts)
    return known


async def test_refusal_in_both_families_names_both(unused_port: int, hosts: list[str]) -> None:
    """Where localhost has both addresses, both are tried and named."""
    seen = await probe_origin("localhost", unused_port)
    assert not seen.listening
    assert seen.error == f"connection refused by 127.0.0.1:{unused_port} and [::1]:{unused_port}"


async def test_localhost_finds_a_service_on_ipv6(servers: Servers, hosts: list[str]) -> None:
    """A service on [::1] alone is found under the name localhost, as cloudflared finds it."""
    served = await servers.canned(answer(200), host="::1")
    seen = await probe_origin("localhost", served.port)
    assert (seen.listening, seen.status) == (True, 200)


async def test_localhost_that_is_ipv4_only_leads_nowhere_else(servers: Servers, hosts: list[str]) -> None:
    """Where localhost is 127.0.0.1 alone, cloudflared never reaches a service on [::1]: it is down, and pointed out."""
    hosts.remove("::1")
    served = await servers.canned(answer(200), host="::1")
    seen = await probe_origin("localhost", served.port)
    assert not seen.listening
    assert f"the service listens on [::1]:{served.port} only: use that as local_addr" in seen.error


@pytest.mark.parametrize(("configured", "listening"), [("127.0.0.1", "::1"), ("::1", "127.0.0.1")])
async def test_service_on_the_other_family_is_pointed_out(servers: Servers, configured: str, listening: str) -> None:
    """A service that listens on the other loopback address counts as down, and the words say where it is."""
    served = await servers.canned(answer(200), host=listening)
    seen = await probe_origin(configured, served.port)
    other = f"[{listening}]" if ":" in listening else listening
    assert not seen.listening
    assert f"the service listens on {other}:{served.port} only" in seen.error
    assert seen.hint == f'set local_addr = "{other}:{served.port}"'


@pytest.mark.parametrize("host", ["::1%lo9", "fe80::1%nothing", "::1%25lo"])
async def test_an_address_with_an_unknown_zone_is_no_lack_of_the_machine(host: str) -> None:
    """The words name what is not known, and no limit is blamed."""
    seen = await probe_origin(host, 9)
    assert not seen.listening
    assert host in seen.error
    assert "ulimit" not in seen.hint


async def test_silence_is_told_from_absence(servers: Servers) -> None:
    """A service that takes the connection and says nothing is listening, and has no status."""

    async def silent(*_: Any) -> None:
        await forever()

    served = await servers.start(silent)
    seen = await probe_origin("127.0.0.1", served.port, timeout=1.0)
    assert (seen.listening, seen.status) == (True, None)
    assert "accepts the connection but does not answer within 1 s" in seen.error


async def test_dripping_head_is_bounded(servers: Servers) -> None:
    """One byte at a time does not outlast the time-out."""

    async def loris(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await drip(writer, answer(200), 0.05)

    served = await servers.start(loris)
    begin = time.monotonic()
    seen = await probe_origin("127.0.0.1", served.port, timeout=0.3)
    assert time.monotonic() - begin < 2
    assert (seen.listening, seen.status) == (True, None)


async def test_event_stream_does_not_hang(servers: Servers) -> None:
    """A service that streams events answers at once, and is marked."""

    async def stream(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\r\ndata: 1\n\n")
        await forever()

    served = await servers.start(stream)
    begin = time.monotonic()
    seen = await probe_origin("127.0.0.1", served.port)
    assert time.monotonic() - begin < 1
    assert (seen.status, seen.event_stream) == (200, True)


async def test_certificate_of_a_local_service_is_not_checked(servers: Servers, own_tls: ssl.SSLContext) -> None:
    """A local https service with a certificate of its own is fine."""
    served = await servers.canned(answer(200), tls=own_tls)
    seen = await probe_origin("localhost", served.port, scheme="https")
    assert (seen.listening, seen.status) == (True, 200)


async def test_plain_request_to_a_tls_service_is_explained(servers: Servers, own_tls: ssl.SSLContext) -> None:
    """A service that speaks TLS under an http address is listening, and the words say what is wrong."""

    async def alert(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x15\x03\x01\x00\x02\x02\x46")

    served = await servers.start(alert)
    seen = await probe_origin("127.0.0.1", served.port)
    assert (seen.listening, seen.status) == (True, None)
    assert "speaks TLS, and was asked in plain HTTP" in seen.error


async def test_tls_request_to_a_plain_service_is_explained(servers: Servers) -> None:
    """A service that does not speak TLS under an https address is listening, and the words say what is wrong."""

    async def plain(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()

    served = await servers.start(plain, read_head=False)
    seen = await probe_origin("127.0.0.1", served.port, scheme="https")
    assert (seen.listening, seen.status) == (True, None)
    assert "does not speak TLS" in seen.error


async def test_what_is_not_http_is_explained(servers: Servers) -> None:
    """A service of another kind is listening, and the words say what is wrong."""
    served = await servers.canned(b"SSH-2.0-OpenSSH_9.2\r\n")
    seen = await probe_origin("127.0.0.1", served.port)
    assert (seen.listening, seen.status) == (True, None)
    assert seen.error == f"127.0.0.1:{served.port} is an SSH server, and no HTTP service"


async def test_unknown_private_name_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown private name counts as not listening."""

    async def unknown(*_: Any, **__: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", unknown)
    seen = await probe_origin("app.internal", 80)
    assert not seen.listening
    assert seen.error == "this machine does not know the name app.internal"


async def test_connection_to_itself_is_no_service(unused_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """TCP can connect a port to itself; that counts as refused."""
    connect = asyncio.open_connection

    async def from_the_same_port(host: str, port: int, **how: Any) -> Any:
        return await connect(host, port, local_addr=(host, port), **how)

    monkeypatch.setattr(asyncio, "open_connection", from_the_same_port)
    seen = await probe_origin("127.0.0.1", unused_port)
    assert (seen.listening, seen.error) == (False, f"connection refused by 127.0.0.1:{unused_port}")


@pytest.mark.parametrize("content", [None, b"", b"words", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
async def test_a_ca_file_that_is_none_is_not_blamed_on_the_service(tmp_path: Path, content: bytes | None) -> None:
    """Missing, empty, other words, a certificate that is none: the hint is to correct origin_ca, not to start the service."""
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)
    seen = await probe_origin("127.0.0.1", 9, scheme="https", trust=Trust(verify=True, ca_file=file))
    assert "origin_ca" in seen.error
    assert "origin_ca" in seen.hint
