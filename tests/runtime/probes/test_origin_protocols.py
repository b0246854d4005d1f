"""The local service under the wrong protocol, with a certificate of its own, or slow: what the probe says."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme
from tests.support.servers import Handler, Served, Servers, answer, forever

from prx.config.schema import TunnelSettings
from prx.runtime.probes.origin import Trust, check_origin, probe_origin

CHECKED = Trust(verify=True)


@dataclass
class Identity:
    """A server's TLS, and the files that a user could name."""

    context: ssl.SSLContext
    ca: Path
    own: Path


@pytest.fixture
def identity(tmp_path: Path) -> Identity:
    """Return a certificate for app.test alone, by a CA that is not trusted."""
    authority = trustme.CA()
    certificate = authority.issue_cert("app.test")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    ca, own = tmp_path / "ca.pem", tmp_path / "own.pem"
    authority.cert_pem.write_to_path(str(ca))
    certificate.cert_chain_pems[0].write_to_path(str(own))
    return Identity(context, ca, own)


@contextlib.asynccontextmanager
async def both(servers: Servers, tls: ssl.SSLContext, plain: Handler) -> AsyncIterator[Served]:
    """Serve TLS, and `plain` to a client that does not start with a handshake, on one port, as nginx and Go do."""
    inner = await servers.canned(answer(200, b"over TLS"), tls=tls)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.read(1)
        if first != b"\x16":
            await reader.readuntil(b"\r\n\r\n")
            await plain(reader, writer)
            return
        upstream, to_upstream = await asyncio.open_connection("127.0.0.1", inner.port)
        to_upstream.write(first)
        async with asyncio.TaskGroup() as group:
            group.create_task(copy(reader, to_upstream))
            group.create_task(copy(upstream, writer))

    yield await servers.start(handle, read_head=False)


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass bytes on until either side ends."""
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()


def says(raw: bytes) -> Handler:
    """Answer with these bytes."""

    async def handle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        await writer.drain()

    return handle


async def resets(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Close with a reset."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    writer.transport.abort()


REFUSALS = {
    "go": says(b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"),
    "nginx": says(answer(400, b"<center>The plain HTTP request was sent to HTTPS port</center>")),
    "apache": says(answer(400, b"Reason: You're speaking plain HTTP to an SSL-enabled server port.")),
    "tomcat": says(answer(400, b"Bad Request\nThis combination of host and port requires TLS.")),
    "mute 400": says(answer(400)),
    "upgrade": says(answer(426, b"", Upgrade="TLS/1.2")),
    "webmin": says(
        answer(200, b"<h1>Error</h1>This web server is running in SSL mode. Try the URL https://box:10000/ instead.")
    ),
    "words": says(answer(200, b"This service speaks HTTPS only.")),
    "redirect": says(answer(301, Location="https://127.0.0.1:PORT/")),
    "nothing": says(b""),
    "alert": says(b"\x15\x03\x01\x00\x02\x02\x46"),
    "garbage": says(b"\x00\x01\x02\x03\n"),
    "reset": resets,
}


@pytest.mark.parametrize("kind", REFUSALS)
async def test_tls_behind_a_plain_port_is_told(servers: Servers, identity: Identity, kind: str) -> None:
    """However a TLS server refuses plain HTTP, by silence or with 200 too, it is said that it speaks TLS."""
    port = 0

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if kind == "redirect":
            await says(answer(301, Location=f"https://127.0.0.1:{port}/"))(reader, writer)
        else:
            await REFUSALS[kind](reader, writer)

    async with both(servers, identity.context, refuse) as served:
        port = served.port
        seen = await probe_origin("127.0.0.1", served.port)
    assert seen.listening
    assert f"it speaks TLS: use https://127.0.0.1:{served.port}" in seen.error


@pytest.mark.parametrize("alert", [40, 70, 112, 116])
async def test_a_tls_server_that_refuses_the_handshake_is_one(servers: Servers, alert: int) -> None:
    """A server that wants another cipher, version, name or a client's certificate says so in TLS (RFC 8446, 6)."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if (await reader.read(3)).startswith(b"\x16\x03"):
            writer.write(bytes((0x15, 3, 3, 0, 2, 2, alert)))
            await reader.read()

    served = await servers.start(refuse, read_head=False)
    seen = await probe_origin("127.0.0.1", served.port)
    assert f"it speaks TLS: use https://127.0.0.1:{served.port}" in seen.error


@pytest.mark.parametrize(
    "raw",
    [
        answer(400, b"bad"),
        answer(426),
        answer(200, b"This service speaks HTTPS."),
        answer(301, Location="https://example.com/"),
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n",
    ],
)
async def test_a_plain_service_is_not_called_tls(servers: Servers, raw: bytes) -> None:
    """A service that only looks like one is left as it is: the handshake must work."""
    served = await servers.start(says(raw), read_head=False)
    seen = await probe_origin("127.0.0.1", served.port)
    assert seen.listening
    assert "it speaks TLS" not in seen.error


@pytest.mark.parametrize("status", [200, 404, 500])
async def test_a_good_answer_is_asked_once(servers: Servers, status: int) -> None:
    """A service that simply answers is not bothered with a handshake."""
    served = await servers.canned(answer(status, b"<html>a page about https:// and TLS</html>"))
    assert (await probe_origin("127.0.0.1", served.port)).status == status
    assert served.connections == 1


async def waits(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read a line that a handshake may never contain, then answer."""
    line = await reader.readuntil(b"\n")
    if line.startswith(b"GET"):
        writer.write(answer(200, b"plain"))
        await writer.drain()
    else:
        await forever()


@pytest.mark.parametrize("handler", [says(answer(200)), says(answer(400, b"bad")), says(answer(302, Location="/x")), waits])
async def test_plain_http_behind_https_is_told(servers: Servers, handler: Handler) -> None:
    """https:// to a service that speaks plain HTTP is reported with what to write, also when it just waits for a line."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await handler(reader, writer)
        await reader.read()

    served = await servers.start(handle, read_head=False)
    seen = await probe_origin("127.0.0.1", served.port, scheme="https", timeout=1.0)
    assert (seen.listening, seen.status) == (True, None)
    assert f"it speaks plain HTTP: use http://127.0.0.1:{served.port}" in seen.error


async def test_plain_http_that_hangs_up_is_told(servers: Servers) -> None:
    """A plain service that closes on a handshake, without a word, is reported too."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.read(3) == b"GET":
            writer.write(answer(200))
            await writer.drain()

    served = await servers.start(handle, read_head=False)
    seen = await probe_origin("localhost", served.port, scheme="https")
    assert f"it speaks plain HTTP: use http://localhost:{served.port}" in seen.error


@pytest.mark.parametrize(
    ("trust", "words"),
    [
        (CHECKED, "set origin_ca to"),
        (Trust(verify=True, server_name="app.test"), "set origin_ca to"),
        (Trust(verify=True, ca_file=Path("CA")), "set origin_server_name to"),
        (Trust(verify=True, ca_file=Path("CA"), server_name="other.test"), "set origin_server_name to"),
        (Trust(verify=True, ca_file=Path("CA"), server_name="app.test"), ""),
        (Trust(verify=True, ca_file=Path("OWN"), server_name="app.test"), ""),
        (Trust(verify=False), ""),
        (Trust(verify=False, ca_file=Path("missing")), ""),
        (Trust(), ""),
        (Trust(verify=True, ca_file=Path("missing")), "missing cannot be read"),
        (Trust(verify=True, ca_file=Path(__file__)), "holds no certificate"),
    ],
)
async def test_trust_is_as_configured(servers: Servers, identity: Identity, trust: Trust, words: str) -> None:
    """A certificate is checked, by what and for which name, as the keys say; the error names the key that helps."""
    files = {"CA": identity.ca, "OWN": identity.own}
    if trust.ca_file is not None:
        trust = Trust(trust.verify, files.get(str(trust.ca_file), trust.ca_file), trust.server_name)
    served = await servers.canned(answer(200), tls=identity.context)
    seen = await probe_origin("127.0.0.1", served.port, scheme="https", trust=trust)
    assert (seen.status == 200) is (words == "")
    assert words in seen.error


async def test_the_service_is_asked_for_the_name(servers: Servers, identity: Identity) -> None:
    """origin_server_name is what the handshake asks for, whatever is checked."""
    asked: list[str | None] = []
    identity.context.sni_callback = lambda _, name, __: asked.append(name)
    served = await servers.canned(answer(200), tls=identity.context)
    await probe_origin("127.0.0.1", served.port, scheme="https", trust=Trust(verify=False, server_name="app.test"))
    assert asked == ["app.test"]


async def test_the_message_names_the_host_as_written(
    servers: Servers, identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user who wrote a name reads the name, also one with letters outside of ASCII, and not its address."""
    resolve = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *rest, **more: resolve("127.0.0.1", *rest, **more))
    served = await servers.canned(answer(200), tls=identity.context)
    settings = TunnelSettings(local_addr=f"https://bücher.test:{served.port}")
    seen = await check_origin(settings)
    assert seen.address == f"bücher.test:{served.port}"
    assert f"the certificate of bücher.test:{served.port} is not valid" in seen.error
    silent = await servers.canned(b"")
    seen = await check_origin(TunnelSettings(local_addr=f"box.test:{silent.port}"))
    assert seen.error == f"box.test:{silent.port} closed the connection without an answer"


async def test_settings_reach_the_probe(servers: Servers, identity: Identity) -> None:
    """What the keys say is what the probe does: trusted, named, and given its time."""
    served = await servers.canned(answer(204), tls=identity.context)
    keys: dict[str, Any] = {"local_addr": f"https://127.0.0.1:{served.port}"}
    assert (await check_origin(TunnelSettings(**keys))).status == 204
    keys["origin_ca"] = str(identity.ca)
    assert "origin_server_name" in (await check_origin(TunnelSettings(**keys))).error
    keys["origin_server_name"] = "app.test"
    assert (await check_origin(TunnelSettings(**keys))).status == 204


@pytest.mark.parametrize("limit", [0.3, 0.5])
async def test_a_slow_path_is_told_with_the_limit(servers: Servers, limit: float) -> None:
    """A path that takes longer than the limit is reported with the limit, the path and both keys."""

    async def silent(*_: Any) -> None:
        await forever()

    served = await servers.start(silent)
    settings = TunnelSettings(local_addr=str(served.port), health_check_path="/report", health_check_timeout_secs=limit)
    seen = await check_origin(settings)
    assert (seen.listening, seen.status) == (True, None)
    assert f"does not answer within {limit:g} s" in seen.error
    assert "/report is slow" in seen.hint
    assert "health_check_path" in seen.hint
    assert "health_check_timeout_secs" in seen.hint
    assert "slow" not in seen.error


@pytest.mark.parametrize("target", ["https://login.example.com/", "http://127.0.0.1:9/x", "/login", "//other/"])
async def test_the_target_of_a_redirect_is_kept(servers: Servers, target: str) -> None:
    """Where a redirect leads is evidence; an answer that is no redirect leads nowhere."""
    served = await servers.canned(answer(302, Location=target))
    assert (await probe_origin("127.0.0.1", served.port)).location == target
    served = await servers.canned(answer(201, Location=target))
    assert (await probe_origin("127.0.0.1", served.port)).location == ""
