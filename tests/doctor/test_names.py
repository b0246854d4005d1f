"""This machine's resolver compared with public DNS."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from tests.doctor.conftest import SceneOf

from prx.core.evidence import Dns, DnsState
from prx.doctor import names
from prx.doctor.finding import Mark
from prx.doctor.names import check_local_dns, nameservers

NAME = "agent.example.com"
KNOWN = Dns(DnsState.RESOLVED, ("192.0.2.1",))
Reply = Callable[[dns.message.Message], bytes]


@contextlib.asynccontextmanager
async def nameserver(tmp_path: Path, reply: Reply) -> AsyncIterator[tuple[int, list[str]]]:
    """Run a nameserver over UDP, and name it in resolv.conf."""
    asked: list[str] = []

    class Server(asyncio.DatagramProtocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, addr: Any) -> None:
            query = dns.message.from_wire(data)
            asked.append(query.question[0].name.to_text())
            self.transport.sendto(reply(query), addr)

    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/resolv.conf").write_text("nameserver 127.0.0.1\n")
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Server, local_addr=("127.0.0.1", 0))
    try:
        yield transport.get_extra_info("sockname")[1], asked
    finally:
        transport.close()


def good(query: dns.message.Message, address: str = "192.0.2.1", kind: str = "A", ttl: int = 60) -> bytes:
    """Answer with an address."""
    response = dns.message.make_response(query)
    response.answer = [dns.rrset.from_text(query.question[0].name, ttl, "IN", kind, address)]
    return response.to_wire()


def failing(code: dns.rcode.Rcode) -> Reply:
    """Make a resolver that gives no address, with this code."""

    def reply(query: dns.message.Message) -> bytes:
        response = dns.message.make_response(query)
        response.set_rcode(code)
        return response.to_wire()

    return reply


def truncated(query: dns.message.Message) -> bytes:
    """Answer that the whole does not fit."""
    response = dns.message.make_response(query)
    response.flags |= dns.flags.TC
    return response.to_wire()


def missing(query: dns.message.Message) -> bytes:
    """Answer from a cache that the name does not exist, for another 25 minutes."""
    response = dns.message.make_response(query)
    response.set_rcode(dns.rcode.NXDOMAIN)
    soa = "ns.example.com. dns.example.com. 1 2 3 4 1800"
    response.authority = [dns.rrset.from_text("example.com.", 1500, "IN", "SOA", soa)]
    return response.to_wire()


async def test_same_answer_is_fine(scene_of: SceneOf, tmp_path: Path) -> None:
    """A resolver that knows the name is fine."""
    async with nameserver(tmp_path, good) as (port, asked):
        [finding] = await check_local_dns(scene_of(), "web", NAME, KNOWN, port=port)
    assert finding.verdict is Mark.OK
    assert asked == [f"{NAME}."]


async def test_remembered_failure_is_pointed_out(scene_of: SceneOf, tmp_path: Path) -> None:
    """A resolver that remembers that the name does not exist is named, with the time that it takes to forget."""
    async with nameserver(tmp_path, missing) as (port, _):
        [finding] = await check_local_dns(scene_of(), "web", NAME, KNOWN, port=port)
    assert finding.verdict is Mark.WARN
    assert "this machine's resolver 127.0.0.1 remembers that it does not exist (for up to 25 min more)" in finding.words
    assert "flush" in finding.remedy


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (dns.rcode.SERVFAIL, "SERVFAIL"),
        (dns.rcode.REFUSED, "REFUSED"),
        (dns.rcode.NOTIMP, "NOTIMP"),
        (dns.rcode.NOERROR, "that it has no address"),
    ],
)
async def test_a_resolver_that_fails_does_not_know_the_name(
    scene_of: SceneOf, tmp_path: Path, code: dns.rcode.Rcode, said: str
) -> None:
    """An answer without an address is not said to be the same as that of public DNS."""
    async with nameserver(tmp_path, failing(code)) as (port, _):
        [finding] = await check_local_dns(scene_of(), "web", NAME, KNOWN, port=port)
    assert finding.verdict is Mark.WARN
    assert f"127.0.0.1 says {said}" in finding.words


@pytest.mark.parametrize(
    ("address", "kind", "public"),
    [
        ("0.0.0.0", "A", "192.0.2.1"),
        ("127.0.0.1", "A", "192.0.2.1"),
        ("::", "AAAA", "2001:db8::1"),
        ("::1", "AAAA", "2001:db8::1"),
    ],
)
async def test_a_filter_is_pointed_out(scene_of: SceneOf, tmp_path: Path, address: str, kind: str, public: str) -> None:
    """A filter in the network (Pi-hole, a company's DNS) leads blocked names nowhere: that is no knowledge of the name."""
    async with nameserver(tmp_path, lambda query: good(query, address, kind)) as (port, _):
        [finding] = await check_local_dns(scene_of(), "web", NAME, Dns(DnsState.RESOLVED, (public,)), port=port)
    assert finding.verdict is Mark.WARN
    assert f"127.0.0.1 gives {address} for {NAME}: a filter in this network blocks the name" in finding.words


@pytest.mark.parametrize(
    ("reply", "public", "verdict"),
    [
        (lambda query: good(query, "10.0.0.5"), "192.0.2.1", Mark.OK),
        (lambda query: good(query, "127.0.0.1"), "127.0.0.1", Mark.OK),
        (lambda query: good(query, "2001:db8::2", "AAAA"), "2001:db8::1", Mark.OK),
        (truncated, "192.0.2.1", Mark.SKIP),
    ],
    ids=["an address of the network's own", "as public DNS says", "IPv6 alone", "too long"],
)
async def test_nothing_is_blamed_that_was_not_compared(
    scene_of: SceneOf, tmp_path: Path, reply: Reply, public: str, verdict: Mark
) -> None:
    """Another address is an answer (a company's own DNS), and one that was cut off is none."""
    async with nameserver(tmp_path, reply) as (port, _):
        [finding] = await check_local_dns(scene_of(), "web", NAME, Dns(DnsState.RESOLVED, (public,)), port=port)
    assert finding.verdict is verdict


@pytest.mark.parametrize("state", [DnsState.MISSING, DnsState.UNKNOWN])
async def test_unknown_name_is_never_asked_for(scene_of: SceneOf, tmp_path: Path, state: DnsState) -> None:
    """What public DNS does not know is not asked for: the failure would be remembered."""
    async with nameserver(tmp_path, missing) as (port, asked):
        [finding] = await check_local_dns(scene_of(), "web", NAME, Dns(state), port=port)
    assert finding.verdict is Mark.SKIP
    assert asked == []


@pytest.mark.parametrize("reply", [lambda _: b"garbage", lambda _: good(dns.message.make_query("other.example", "A"))])
async def test_silent_or_lying_resolver(
    scene_of: SceneOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reply: Reply
) -> None:
    """An answer that is none, or to another question, is no answer."""
    monkeypatch.setattr(names, "_WAIT", 0.2)
    async with nameserver(tmp_path, reply) as (port, _):
        [finding] = await check_local_dns(scene_of(), "web", NAME, KNOWN, port=port)
    assert finding.verdict is Mark.WARN
    assert "does not answer (127.0.0.1)" in finding.words


async def test_no_resolver_at_all(scene_of: SceneOf) -> None:
    """Without a nameserver there is nothing to compare."""
    [finding] = await check_local_dns(scene_of(), "web", NAME, KNOWN)
    assert finding.verdict is Mark.SKIP


def test_resolv_conf(tmp_path: Path) -> None:
    """Comments, names and what the system would not use are passed over."""
    file = tmp_path / "resolv.conf"
    file.write_text(
        "# nameserver 192.0.2.9\nsearch example\nnameserver 127.0.0.53 x\nnameserver dns.example\nnameserver\n"
        "nameserver fe80::1%eth0\nnameserver 192.0.2.1\nnameserver 192.0.2.2\n"
    )
    assert nameservers(file) == ["127.0.0.53", "fe80::1%eth0", "192.0.2.1"]
