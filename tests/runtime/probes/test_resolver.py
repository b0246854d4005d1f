"""Public DNS over HTTPS: right answers, broken servers, and never the system's resolver."""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.runtime.probes.test_public import server_tls
from tests.support.servers import Served, Servers, answer, forever

from prx.core.evidence import DnsState
from prx.runtime.probes import doh as doh_module
from prx.runtime.probes.connect import ProbeError
from prx.runtime.probes.dnswire import Question
from prx.runtime.probes.doh import Server, ask
from prx.runtime.probes.http import Answer
from prx.runtime.probes.resolver import DISTRUST_AFTER, Resolver

NAME = "fresh-name.trycloudflare.com"
Reply = Callable[[dns.message.Message], dns.message.Message]


@pytest.fixture(autouse=True)
def asked_of_the_system(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Record every question to the system's resolver, and refuse it."""
    asked: list[object] = []

    def refuse(host: object, *_: object, **__: object) -> None:
        asked.append(host)
        raise socket.gaierror("refused by the test")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket, "gethostbyname", refuse)
    return asked


class LateClock:
    """A monotonic clock that a test sets."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now

    boottime = wall = monotonic

    def call_later(self, delay: float, callback: Callable[[], None]) -> Any:
        raise NotImplementedError

    async def sleep(self, delay: float) -> None:
        raise NotImplementedError


def records(*addresses: str, rcode: dns.rcode.Rcode = dns.rcode.NOERROR) -> Reply:
    """Answer with these addresses, each to the question for its own kind."""

    def reply(query: dns.message.Message) -> dns.message.Message:
        response = dns.message.make_response(query)
        response.set_rcode(rcode)
        question = query.question[0]
        mine = [text for text in addresses if (":" in text) == (question.rdtype == dns.rdatatype.AAAA)]
        if mine:
            alias = dns.rrset.from_text(question.name, 300, "IN", "CNAME", "edge.example.net.")
            response.answer = [alias, dns.rrset.from_text("edge.example.net.", 300, "IN", question.rdtype, *mine)]
        return response

    return reply


async def doh(servers: Servers, reply: Reply, **how: Any) -> Served:
    """Serve DNS over HTTPS."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = served.heads[-1].lower()
        length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
        query = dns.message.from_wire(await reader.readexactly(length))
        writer.write(answer(200, reply(query).to_wire(), Content_Type="application/dns-message"))
        await writer.drain()

    served = await servers.start(handle, **how)
    return served


def url(served: Served) -> str:
    """Return where such a server is asked."""
    return f"{served.url}/dns-query"


async def test_name_resolves_to_both_families(servers: Servers, asked_of_the_system: list[object]) -> None:
    """Both kinds of address are asked for, aliases are followed, and the system's resolver is never asked."""
    served = await doh(servers, records("192.0.2.1", "192.0.2.2", "2001:db8::1"))
    found = await Resolver([url(served)]).resolve(NAME)
    assert found.state is DnsState.RESOLVED
    assert set(found.addresses) == {"192.0.2.1", "192.0.2.2", "2001:db8::1"}
    assert served.connections == 2
    assert all(head.startswith(b"POST /dns-query HTTP/1.1") for head in served.heads)
    assert asked_of_the_system == []


@pytest.mark.parametrize("name", ["localhost", "demo.localhost"])
async def test_local_names_go_the_same_way(servers: Servers, asked_of_the_system: list[object], name: str) -> None:
    """Names of the local edge are asked of its own server, too."""
    served = await doh(servers, records("127.0.0.1"))
    found = await Resolver([url(served)]).resolve(name)
    assert (found.state, found.addresses, asked_of_the_system) == (DnsState.RESOLVED, ("127.0.0.1",), [])


@pytest.mark.parametrize(
    ("reply", "words"),
    [(records(rcode=dns.rcode.NXDOMAIN), "127.0.0.1 says NXDOMAIN"), (records(), "127.0.0.1 says that it has no address")],
)
async def test_missing_name(servers: Servers, asked_of_the_system: list[object], reply: Reply, words: str) -> None:
    """A name that does not exist, or has no address, is missing; no other is asked at first."""
    first, second = await doh(servers, reply), await doh(servers, records("192.0.2.1"))
    found = await Resolver([url(first), url(second)]).resolve(NAME)
    assert (found.state, found.detail) == (DnsState.MISSING, words)
    assert second.connections == 0
    assert asked_of_the_system == []


async def test_long_missing_name_is_checked_elsewhere(servers: Servers) -> None:
    """When a server has missed a name for a minute, the next one is asked too: the first may remember an old answer."""
    first, second = await doh(servers, records(rcode=dns.rcode.NXDOMAIN)), await doh(servers, records("192.0.2.1"))
    clock = LateClock()
    resolver = Resolver([url(first), url(second)], clock=clock)
    assert (await resolver.resolve(NAME)).state is DnsState.MISSING
    clock.now = DISTRUST_AFTER - 1
    assert (await resolver.resolve(NAME)).state is DnsState.MISSING
    clock.now = DISTRUST_AFTER
    assert (await resolver.resolve(NAME)).addresses == ("192.0.2.1",)


@pytest.mark.parametrize(
    "broken",
    [
        answer(200, b"this is not DNS"),
        answer(500, b""),
        answer(301, b"", Location="https://elsewhere/"),
        b"garbage\r\n\r\n",
        b"",
        answer(200, dns.message.make_response(dns.message.make_query("other.example", "A")).to_wire()),
    ],
    ids=["not DNS", "status", "redirect", "not HTTP", "empty", "another question"],
)
async def test_broken_server_is_passed_over(servers: Servers, broken: bytes) -> None:
    """A server that gives no usable answer is passed over, and alone it makes the name unknown, not missing."""
    first, second = await servers.canned(broken), await doh(servers, records("192.0.2.1"))
    assert (await Resolver([url(first), url(second)]).resolve(NAME)).addresses == ("192.0.2.1",)
    alone = await Resolver([url(first)]).resolve(NAME)
    assert alone.state is DnsState.UNKNOWN
    assert "127.0.0.1" in alone.detail


async def test_failing_server_is_passed_over(servers: Servers) -> None:
    """SERVFAIL says nothing of the name."""
    first = await doh(servers, records(rcode=dns.rcode.SERVFAIL))
    found = await Resolver([url(first)]).resolve(NAME)
    assert (found.state, found.detail) == (DnsState.UNKNOWN, "127.0.0.1 says SERVFAIL")


async def test_half_an_answer_is_not_missing(servers: Servers) -> None:
    """When the question for one family fails and the other finds nothing, the name is unknown, not missing."""

    def half(query: dns.message.Message) -> dns.message.Message:
        refused = query.question[0].rdtype == dns.rdatatype.A
        return records(rcode=dns.rcode.REFUSED if refused else dns.rcode.NOERROR)(query)

    served = await doh(servers, half)
    assert (await Resolver([url(served)]).resolve(NAME)).state is DnsState.UNKNOWN


async def test_late_server_leaves_time_for_the_next(servers: Servers) -> None:
    """A server that says nothing gets its share of the time and no more."""

    async def silent(*_: Any) -> None:
        await forever()

    first, second = await servers.start(silent), await doh(servers, records("192.0.2.1"))
    async with asyncio.timeout(3):
        found = await Resolver([url(first), url(second)], timeout=1.0).resolve(NAME)
    assert found.addresses == ("192.0.2.1",)


async def test_nobody_reachable_is_unknown(unused_port: int) -> None:
    """Where no server can be reached, nothing is claimed of the name, and each server is named."""
    found = await Resolver([f"http://127.0.0.1:{unused_port}/dns-query", f"http://[::1]:{unused_port}/"]).resolve(NAME)
    assert found.state is DnsState.UNKNOWN
    refused = [f"connection refused by 127.0.0.1:{unused_port}", f"connection refused by [::1]:{unused_port}"]
    assert found.detail == "; ".join(refused)


@pytest.mark.parametrize(
    "url",
    ["https://dns.example/dns-query", "http://192.0.2.1/dns-query", "https://localhost/dns-query", "ftp://127.0.0.1/", ""],
)
def test_unsafe_servers_are_refused(url: str) -> None:
    """A server is named by its address, and plain HTTP never leaves this machine."""
    with pytest.raises(ValueError, match="DNS-over-HTTPS URL"):
        Resolver([url])


async def test_server_proves_its_address(servers: Servers, tmp_path: Path) -> None:
    """Over https the server's certificate must be for its address."""
    authority = trustme.CA()
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    right = await doh(servers, records("192.0.2.1"), tls=server_tls(authority, "127.0.0.1"))
    wrong = await doh(servers, records("192.0.2.1"), tls=server_tls(authority, "dns.example"))
    found = await Resolver([f"https://127.0.0.1:{right.port}/dns-query"], ca_file=ca_file).resolve(NAME)
    assert found.addresses == ("192.0.2.1",)
    refused = await Resolver([f"https://127.0.0.1:{wrong.port}/dns-query"], ca_file=ca_file).resolve(NAME)
    assert refused.state is DnsState.UNKNOWN
    assert "certificate" in refused.detail


async def test_address_is_its_own_answer(servers: Servers) -> None:
    """If a URL holds an address, no resolver is asked."""
    served = await doh(servers, records(rcode=dns.rcode.NXDOMAIN))
    found = await Resolver([url(served)]).resolve("192.0.2.7")
    assert (found.state, found.addresses, served.connections) == (DnsState.RESOLVED, ("192.0.2.7",), 0)


@pytest.mark.parametrize("name", ["", "." * 5, "x" * 64 + ".example", "a..b"])
async def test_impossible_name_is_unknown(servers: Servers, name: str) -> None:
    """What cannot be a name raises nothing and is not asked."""
    served = await doh(servers, records(rcode=dns.rcode.NXDOMAIN))
    assert (await Resolver([url(served)]).resolve(name)).state in {DnsState.UNKNOWN, DnsState.MISSING}


@settings(deadline=None)
@given(body=st.binary(max_size=600), flip=st.booleans(), at=st.integers(0, 200), value=st.integers(0, 255))
def test_any_bytes_are_an_answer_or_a_probe_error(body: bytes, flip: bool, at: int, value: int) -> None:
    """Whatever bytes a server sends, whole or a right answer with one byte changed, nothing else is raised."""
    query = dns.message.make_query(NAME, "A", id=0)
    if flip:
        right = bytearray(records("192.0.2.1")(query).to_wire())
        right[at % len(right)] = value
        body = bytes(right)
    with contextlib.suppress(ProbeError):
        doh_module._understood(Answer(200, {}, body), Question.of(NAME, "A"), Server.at("https://192.0.2.1/dns-query"))


async def test_headers_of_the_answer_are_kept(servers: Servers) -> None:
    """The date on a server's answer can be compared with this machine's clock."""
    served = await doh(servers, records("192.0.2.1"))
    heard = await ask(Server.at(url(served)), NAME, "A", timeout=5)
    assert heard.headers["content-type"] == "application/dns-message"
