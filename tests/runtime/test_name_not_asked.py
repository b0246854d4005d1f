"""A name that prx itself could not ask for: nothing is known of it, and no DNS service is called at fault."""

from __future__ import annotations

import asyncio
import errno
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.contexts import shared
from tests.support.lacks import no_descriptors
from tests.support.servers import Servers, answer

from prx.config.schema import TunnelSettings
from prx.core import inputs
from prx.core.diagnosis import diagnose
from prx.core.events import Log
from prx.core.evidence import Connector, Dns, DnsState, Evidence, Public, Unasked
from prx.core.policy import Policy
from prx.core.status_codes import StatusSet
from prx.core.verdicts import Verdict
from prx.runtime import public_name
from prx.runtime.childless_check import ChildlessCheck
from prx.runtime.context import TunnelContext
from prx.runtime.probes.connect import Endpoint, FailureKind, ProbeError, _most_telling
from prx.runtime.probes.origin import probe_origin
from prx.runtime.probes.own_resolver import addresses_of
from prx.runtime.probes.resolver import Resolver, _together, by_system
from prx.runtime.public_name import PublicName
from prx.testing.clock import ManualClock

NAME = "app.example.com"
POLICY = Policy(StatusSet.parse("2xx"))
NOTHING_LEFT = Dns(DnsState.UNKNOWN, detail="too many open files", unasked=Unasked.FOR_NOW)
SILENT = Dns(DnsState.UNKNOWN, detail="no answer in time")
KNOWN = Dns(DnsState.RESOLVED, ("192.0.2.1",))


async def test_public_dns_was_not_asked(servers: Servers) -> None:
    """Without a descriptor that is said; a server that answers something else was asked."""
    served = await servers.canned(answer(200, b"no DNS"))
    resolver = Resolver([f"http://127.0.0.1:{served.port}/dns-query"])
    with no_descriptors():
        found = await resolver.resolve(NAME)
    assert (found.state, found.unasked) == (DnsState.UNKNOWN, Unasked.FOR_NOW)
    assert "Too many open files" in found.detail
    asked = await resolver.resolve(NAME)
    assert (asked.state, asked.unasked) == (DnsState.UNKNOWN, Unasked.NO)


async def test_a_file_of_authorities_that_cannot_be_used_is_no_fault_of_the_server(tmp_path: Path) -> None:
    """It keeps prx from asking until it is changed: the verdict says so, and does not advise another server."""
    found = await Resolver(["https://127.0.0.1:9/dns-query"], ca_file=tmp_path / "none.pem").resolve(NAME)
    assert (found.state, found.unasked) == (DnsState.UNKNOWN, Unasked.AS_SET_UP)
    diagnosis = diagnose(Evidence(0.0, f"https://{NAME}", network_up=True, dns=found), POLICY)
    assert diagnosis.verdict is Verdict.DNS_PENDING
    assert "none.pem cannot be read" in diagnosis.reason
    assert "doh" not in diagnosis.hint
    silent = diagnose(Evidence(0.0, f"https://{NAME}", network_up=True, dns=SILENT), POLICY)
    assert "key doh" in silent.hint


@pytest.mark.parametrize(
    ("reasons", "together"),
    [
        ([], Unasked.NO),
        ([Unasked.NO, Unasked.NO], Unasked.NO),
        ([Unasked.NO, Unasked.FOR_NOW], Unasked.FOR_NOW),
        ([Unasked.AS_SET_UP, Unasked.FOR_NOW], Unasked.FOR_NOW),
        ([Unasked.AS_SET_UP, Unasked.NO], Unasked.NO),
        ([Unasked.AS_SET_UP, Unasked.AS_SET_UP], Unasked.AS_SET_UP),
    ],
)
def test_one_server_that_could_not_be_asked_for_now_may_know_the_name(reasons: list[Unasked], together: Unasked) -> None:
    """As long as one question is only put off, nothing is concluded from the others."""
    assert _together(reasons) is together


CONNECTED = Connector(age=100.0, answers=True, ready=4, ever_ready=True)
ROUNDS = {
    "a new name": (Evidence(0.0, dns=NOTHING_LEFT), "too many open files"),
    "a new name of a connector": (Evidence(0.0, connector=CONNECTED, dns=NOTHING_LEFT), "too many open files"),
    "addresses are known": (Evidence(0.0, dns=replace(NOTHING_LEFT, addresses=("192.0.2.1",), known=True)), ""),
    "no connection": (Evidence(0.0, connector=replace(CONNECTED, ready=0), dns=NOTHING_LEFT), ""),
    "no connection, asked before": (
        Evidence(0.0, connector=replace(CONNECTED, ready=0), public=Public(None, "lack", unasked=Unasked.FOR_NOW)),
        "",
    ),
    "no network": (Evidence(0.0, network_up=False, dns=NOTHING_LEFT), ""),
    "as set up": (Evidence(0.0, dns=replace(NOTHING_LEFT, unasked=Unasked.AS_SET_UP)), ""),
    "no answer": (Evidence(0.0, dns=SILENT), ""),
}


@pytest.mark.parametrize(("evidence", "lacking"), ROUNDS.values(), ids=ROUNDS)
def test_a_round_without_the_name_is_none_if_nothing_else_decides_it(evidence: Evidence, lacking: str) -> None:
    """A connector without a connection, a machine without a network and a name that is known are judged all the same."""
    assert evidence.lacking == lacking


async def test_a_new_tunnel_whose_name_cannot_be_asked_for_keeps_what_is_known(tmp_path: Path, servers: Servers) -> None:
    """The whole check: without a descriptor it has found nothing out, which changes no verdict."""
    served = await servers.canned(answer(200, b"no DNS"))
    settings = TunnelSettings(backend="none", public_url=f"https://{NAME}", doh=(f"http://127.0.0.1:{served.port}/dns-query",))
    context = TunnelContext.create("web", settings, shared(tmp_path, ManualClock()))
    check = ChildlessCheck(context)
    with no_descriptors():
        evidence, checked = await check.run(1)
    assert checked == inputs.NotChecked(1)
    assert "Too many open files" in evidence.lacking


@pytest.mark.parametrize("name", ["localhost", "service.internal", "app.example.com", "a.b.c.d.e"])
async def test_the_systems_resolver_was_not_asked(name: str) -> None:
    """What the C library says of a lack of descriptors it says of an unknown name, too: no service is called down for it."""
    with no_descriptors():
        found = await by_system(name)
        origin = await probe_origin(name, 9)
    assert (found.state, found.unasked) == (DnsState.UNKNOWN, Unasked.FOR_NOW)
    assert (origin.status, origin.unasked) == (None, Unasked.FOR_NOW)
    assert "ulimit -n" in origin.hint


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (socket.gaierror(socket.EAI_MEMORY, "x"), errno.ENOMEM),
        (socket.gaierror(socket.EAI_NONAME, "x"), socket.EAI_NONAME),
        (socket.gaierror(socket.EAI_AGAIN, "x"), socket.EAI_AGAIN),
        (OSError(errno.EBUSY, "x"), errno.EBUSY),
    ],
    ids=["memory", "no name", "try again", "of the system"],
)
async def test_memory_that_a_resolver_lacks_is_no_unknown_name(
    monkeypatch: pytest.MonkeyPatch, error: OSError, raised: int
) -> None:
    """Its own number for that is translated, and no other."""

    async def getaddrinfo(*_: object, **__: object) -> list[Any]:
        raise error

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    with pytest.raises(OSError, match=r".") as caught:
        await addresses_of("service.internal", 80, timeout=1)
    assert caught.value.errno == raised
    assert (caught.value is error) is (raised == error.errno)


@pytest.mark.parametrize(
    "error",
    [
        socket.gaierror(socket.EAI_NONAME, "x"),
        socket.gaierror(socket.EAI_AGAIN, "x"),
        socket.gaierror(socket.EAI_FAIL, "x"),
        OSError(errno.EBUSY, "of something before"),
    ],
)
async def test_without_a_descriptor_the_words_of_the_library_count_for_nothing(
    monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    """It has none for that lack; which it takes instead depends on what happened before."""

    async def getaddrinfo(*_: object, **__: object) -> list[Any]:
        raise error

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    with no_descriptors(), pytest.raises(OSError, match="Too many open files"):
        await addresses_of("service.internal", 80, timeout=1)


@pytest.fixture
def name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[PublicName, list[Dns], list[Log], ManualClock]:
    """Return what is known of a name, the answers that it will get, what is logged, and the clock."""
    clock = ManualClock()
    context = TunnelContext.create("web", TunnelSettings(), shared(tmp_path, clock))
    answers, said = list[Dns](), list[Log]()

    async def resolve(_: str) -> Dns:
        return answers.pop(0)

    async def by_own_resolver(_: str) -> Dns:
        return answers.pop(0) if answers else SILENT

    monkeypatch.setattr(context.resolver, "resolve", resolve)
    monkeypatch.setattr(public_name, "by_system", by_own_resolver)
    monkeypatch.setattr(TunnelContext, "publish", lambda _, fact: said.append(fact))
    return PublicName(context), answers, said, clock


Fixture = tuple[PublicName, list[Dns], list[Log], ManualClock]


@pytest.mark.parametrize(
    ("found", "own", "unasked"),
    [
        (NOTHING_LEFT, SILENT, Unasked.FOR_NOW),
        (SILENT, NOTHING_LEFT, Unasked.FOR_NOW),
        (replace(SILENT, unasked=Unasked.AS_SET_UP), SILENT, Unasked.AS_SET_UP),
        (SILENT, SILENT, Unasked.NO),
    ],
    ids=["public DNS", "the own resolver", "as set up", "both are silent"],
)
async def test_what_either_resolver_lacked_counts(name: Fixture, found: Dns, own: Dns, unasked: Unasked) -> None:
    """The one that could not be asked might have known the way."""
    known, answers, _, _ = name
    answers += [found, own]
    assert (await known.resolve(NAME)).unasked is unasked


@pytest.mark.parametrize("proven", [True, False], ids=["proven", "not proven"])
@pytest.mark.parametrize(
    ("found", "words"), [(SILENT, "no public DNS service answers"), (NOTHING_LEFT, "prx itself cannot ask public DNS")]
)
async def test_an_unknown_takes_no_addresses_away(name: Fixture, proven: bool, found: Dns, words: str) -> None:
    """A service that is down keeps its verdict while no resolver answers: the URL was asked at the addresses that are known."""
    known, answers, said, clock = name
    answers.append(KNOWN)
    await known.resolve(NAME)
    known.proven = proven
    clock.advance(public_name.ADDRESSES_LAST)
    answers += [found, SILENT]
    refreshed = await known.refresh(NAME)
    assert refreshed is not None
    assert (refreshed.addresses, refreshed.known) == (KNOWN.addresses, True)
    assert [line.message.startswith(words) for line in said] == [True]
    evidence = Evidence(0.0, f"https://{NAME}", network_up=True, dns=refreshed, public=Public(200))
    assert diagnose(evidence, POLICY).verdict is Verdict.HEALTHY
    assert evidence.lacking == ""


async def test_a_name_that_was_never_proven_and_is_missing_is_still_waited_for(name: Fixture) -> None:
    """The addresses may be those of the zone: what public DNS says of the name itself counts."""
    known, answers, _, clock = name
    answers.append(KNOWN)
    await known.resolve(NAME)
    clock.advance(public_name.ADDRESSES_LAST)
    answers.append(Dns(DnsState.MISSING))
    refreshed = await known.refresh(NAME)
    assert refreshed == Dns(DnsState.MISSING)


@pytest.mark.parametrize(
    ("kinds", "telling"),
    [
        ([FailureKind.REFUSED, FailureKind.SHORT], FailureKind.SHORT),
        ([FailureKind.NO_ROUTE, FailureKind.SHORT], FailureKind.SHORT),
        ([FailureKind.SHORT, FailureKind.TIMEOUT], FailureKind.SHORT),
        ([FailureKind.REFUSED, FailureKind.REFUSED], FailureKind.REFUSED),
        ([FailureKind.NO_ROUTE, FailureKind.TIMEOUT], FailureKind.TIMEOUT),
    ],
)
def test_an_address_that_could_not_be_tried_may_have_answered(kinds: list[FailureKind], telling: FailureKind) -> None:
    """That one family refuses is no answer while the other one was not asked."""
    failures = [ProbeError(kind, kind.name) for kind in kinds]
    assert _most_telling([Endpoint("127.0.0.1", 9)] * len(failures), failures).trouble is telling
