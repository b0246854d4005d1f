"""Faults that visitors meet: Cloudflare's own refusals, and what DNS over HTTPS says; with a scripted connector."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import dns.message
import dns.rcode
import dns.rdatatype
import httpx2
import pytest
from tests.lab.edge.connector import registered
from tests.support.wire import get

from prx.lab import AccessFront, Lab
from prx.lab.edge.faults import notation
from prx.lab.edge.faults.script import Script
from prx.lab.edge.faults.visitor_faults import Dns, DohError, RefuseVisitors
from prx.lab.edge.public.error_pages import BY_CODE
from prx.lab.events import LabEvent, RequestServed
from prx.lab.faults import NxDomain
from prx.runtime.probes.public import probe_public

HTML = [("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")]
JSON = [("Accept", "application/problem+json, text/html;q=0.5")]
STATUS = {
    "1009": 403,
    "1010": 403,
    "1015": 429,
    "1020": 403,
    "1102": 503,
    "1016": 530,
    "1033": 530,
    "520": 520,
    "521": 521,
    "522": 522,
    "523": 523,
    "524": 524,
    "525": 525,
    "526": 526,
}


@pytest.mark.parametrize(("kind", "status"), STATUS.items())
async def test_refusals_have_their_status_and_number(lab: Lab, kind: str, status: int) -> None:
    """It refuses with the status and number of Cloudflare's page: a line, a page or a document, as the visitor accepts."""
    async with registered(lab, lab.token("web")):
        lab.inject(RefuseVisitors(kind))
        line, page, document = [await get(lab, "web.localhost", headers=accept) for accept in ([], HTML, JSON)]
        assert [reply.status for reply in (line, page, document)] == [status] * 3
        assert line.body == f"error code: {kind}".encode()
        assert kind.encode() in page.body
        assert page.header("content-type") == "text/html; charset=UTF-8"
        assert document.header("content-type") == "application/problem+json; charset=utf-8"
        told = json.loads(document.body)
        assert (told["error_code"], told["status"], told["ray_id"]) == (int(kind), status, document.header("cf-ray")[:16])
        for reply in (line, page, document):
            assert (reply.header("server"), reply.header("cf-error-type")) == ("cloudflare", kind)
            assert reply.header("retry-after") == str(told.get("retry_after", ""))
        lab.clear(RefuseVisitors)
        assert (await get(lab, "web.localhost")).status == 200


@pytest.mark.parametrize(("words", "status"), [("challenge", 403), ("challenge status=503", 503), ("challenge 429", 429)])
async def test_challenge(lab: Lab, words: str, status: int) -> None:
    """A challenge is a page for every client, is marked by its header alone, and has no number."""
    async with registered(lab, lab.token("web")):
        lab.inject(notation.from_words(["refuse-visitors", *words.split()]))
        for accept in ([], JSON, HTML):
            reply = await get(lab, "web.localhost", headers=accept)
            assert (reply.status, reply.header("cf-mitigated"), reply.header("server")) == (status, "challenge", "cloudflare")
            assert reply.header("cf-ray")
            assert not reply.header("cf-error-type")
            assert b"Just a moment..." in reply.body


async def test_rate_limit_says_when(lab: Lab) -> None:
    """A rate limit says after how many seconds to come again: 30, or what the test wants."""
    lab.inject(RefuseVisitors("1015"))
    assert (await get(lab, "web.localhost")).header("retry-after") == "30"
    lab.inject(RefuseVisitors("1015", retry_after=7))
    assert (await get(lab, "web.localhost")).header("retry-after") == "7"


async def test_refusal_is_over_after_its_times(lab: Lab, events: list[LabEvent]) -> None:
    """A refusal may be meant for the next visitors only, for one name, or for one client; the service sees none of it."""
    async with registered(lab, lab.token("web")), registered(lab, lab.token("other")):
        lab.inject(RefuseVisitors("1020", times=2, hostname="web", agent="prx/"))
        me = [("User-Agent", "prx/1.0")]
        seen = [
            (await get(lab, name, headers=headers)).status
            for name, headers in (
                ("other.localhost", me),
                ("web.localhost", []),
                ("web.localhost", me),
                ("web.localhost", me),
                ("web.localhost", me),
            )
        ]
    assert seen == [200, 200, 403, 403, 200]
    sources = [event.source for event in events if isinstance(event, RequestServed)]
    assert sources == ["origin", "origin", "edge", "edge", "origin"]


@pytest.mark.parametrize(("kind", "first"), [("challenge", 403), ("1015", 429), ("1020", 403), ("1016", 302), ("1102", 302)])
async def test_firewall_comes_before_access(lab: Lab, kind: str, first: int) -> None:
    """Bot and firewall rules check a request before Access does; routing and Workers do so behind it."""
    lab.protect("web", AccessFront("id.access", "s3cret"))
    lab.inject(RefuseVisitors(kind))
    assert (await get(lab, "web.localhost")).status == first


@pytest.mark.parametrize("kind", ["1009", "1015", "1020", "1102", "1016"])
async def test_the_probe_reads_the_refusal(lab: Lab, kind: str) -> None:
    """The look that prx takes at the public URL finds Cloudflare's number in it."""
    lab.inject(RefuseVisitors(kind))
    seen = await probe_public(lab.url("web"), ["127.0.0.1"])
    assert (seen.status, seen.edge_error) == (BY_CODE[int(kind)].status, int(kind))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("refuse-visitors 1234", "expected challenge or one of 500"),
        ("refuse-visitors 1015 status=200", "expected 400 to 599"),
        ("refuse-visitors", "needs kind"),
        ("refuse-visitors 1020 hostname=a_b", "no host name"),
        ("dns web nonsense", "'nonsense' is no address"),
        ("dns a_b 127.0.0.1", "no host name"),
        ("doh-error sometimes", "expected one of status, page"),
        ("doh-error status=99", "expected 200 to 599"),
    ],
)
def test_mistakes_are_told(words: str, told: str) -> None:
    """A fault that is written wrongly is refused with what is expected."""
    with pytest.raises(ValueError, match=told):
        Script.parse(words)


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ("dns web", Dns("web")),
        ("dns web 192.0.2.1", Dns("web", ("192.0.2.1",))),
        ("dns web fd10:aec2:5dae::1 192.0.2.1", Dns("web", ("fd10:aec2:5dae::1", "192.0.2.1"))),
        ("dns hostname=* addresses=192.0.2.1,::1", Dns("*", ("192.0.2.1", "::1"))),
        ("doh-error page times=2", DohError("page", times=2)),
        ("refuse-visitors 1015 retry_after=5", RefuseVisitors("1015", retry_after=5)),
    ],
)
def test_words_and_json(words: str, fault: Any) -> None:
    """These faults can be written as words and as JSON, lists included."""
    assert notation.from_words(words.split()) == fault
    assert notation.from_json(notation.describe(fault)) == fault


async def ask(lab: Lab, name: str, kind: dns.rdatatype.RdataType) -> tuple[int, list[str]]:
    """Ask the lab's DNS; gives the response code and the addresses."""
    async with httpx2.AsyncClient(trust_env=False) as client:
        query = dns.message.make_query(name, kind)
        headers = {"Content-Type": "application/dns-message"}
        answer = await client.post(lab.doh, content=query.to_wire(), headers=headers)
    message = dns.message.from_wire(answer.content)
    return message.rcode(), sorted(item.to_text() for rrset in message.answer for item in rrset)


@pytest.mark.parametrize(
    ("addresses", "old", "new"),
    [
        (("fd10:aec2:5dae::1",), [], ["fd10:aec2:5dae::1"]),
        (("192.0.2.1", "192.0.2.2"), ["192.0.2.1", "192.0.2.2"], []),
        (("127.0.0.1",), ["127.0.0.1"], []),
        (("::1",), [], ["::1"]),
        ((), [], []),
    ],
)
async def test_names_that_lead_elsewhere(lab: Lab, addresses: tuple[str, ...], old: list[str], new: list[str]) -> None:
    """DNS can be made to lead a name elsewhere, in both families, one or none; other names are as before."""
    lab.token("web")
    lab.token("other")
    lab.inject(Dns("web", addresses))
    assert await ask(lab, "web.localhost", dns.rdatatype.A) == (dns.rcode.NOERROR, old)
    assert await ask(lab, "web.localhost", dns.rdatatype.AAAA) == (dns.rcode.NOERROR, new)
    assert await ask(lab, "web.localhost", dns.rdatatype.TXT) == (dns.rcode.NOERROR, [])
    assert await ask(lab, "other.localhost", dns.rdatatype.A) == (dns.rcode.NOERROR, ["127.0.0.1"])
    lab.clear()
    assert await ask(lab, "web.localhost", dns.rdatatype.A) == (dns.rcode.NOERROR, ["127.0.0.1"])


async def test_a_denied_name_stays_denied_for_others(lab: Lab) -> None:
    """A record of its own beats a denial; `*` is every name, also one without a tunnel."""
    lab.inject(NxDomain())
    lab.inject(Dns("web", ("192.0.2.1",)))
    assert await ask(lab, "web.localhost", dns.rdatatype.A) == (dns.rcode.NOERROR, ["192.0.2.1"])
    assert await ask(lab, "other.localhost", dns.rdatatype.A) == (dns.rcode.NXDOMAIN, [])
    lab.inject(Dns("*", ("192.0.2.9",)))
    assert await ask(lab, "other.localhost", dns.rdatatype.A) == (dns.rcode.NOERROR, ["192.0.2.9"])


@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        (DohError(), lambda answer: answer.status_code == 503),
        (DohError("status", 429), lambda answer: answer.status_code == 429),
        (DohError("page"), lambda answer: answer.status_code == 200 and "html" in answer.headers["content-type"]),
        (DohError("garbage"), lambda answer: answer.status_code == 200 and len(answer.content) == 7),
        (DohError("servfail"), lambda answer: dns.message.from_wire(answer.content).rcode() == dns.rcode.SERVFAIL),
        (DohError("refused"), lambda answer: dns.message.from_wire(answer.content).rcode() == dns.rcode.REFUSED),
    ],
)
async def test_resolver_that_fails(lab: Lab, fault: DohError, seen: Callable[[httpx2.Response], bool]) -> None:
    """The resolver fails as real ones do, as often as asked for, and answers again."""
    lab.token("web")
    lab.inject(DohError(fault.kind, fault.status, times=1))
    query = dns.message.make_query("web.localhost", "A").to_wire()
    async with httpx2.AsyncClient(trust_env=False, headers={"Content-Type": "application/dns-message"}) as client:
        assert seen(await client.post(lab.doh, content=query))
        assert dns.message.from_wire((await client.post(lab.doh, content=query)).content).rcode() == dns.rcode.NOERROR


@pytest.mark.parametrize("kind", ["drop", "silence"])
async def test_resolver_that_gives_no_answer(lab: Lab, kind: Any) -> None:
    """The resolver can close the connection, or say nothing."""
    lab.inject(DohError(kind))
    query = dns.message.make_query("web.localhost", "A").to_wire()
    expected = httpx2.RemoteProtocolError if kind == "drop" else TimeoutError
    async with httpx2.AsyncClient(trust_env=False, headers={"Content-Type": "application/dns-message"}) as client:
        with pytest.raises(expected):
            async with asyncio.timeout(0.3):
                await client.post(lab.doh, content=query)
