"""What the doctor itself has nothing left to ask with is not checked: neither a failure nor a success."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from tests.doctor.conftest import SceneOf, by_check
from tests.support.lacks import no_descriptors
from tests.support.servers import Served, Servers, answer

from prx.backends.base import EdgeSite
from prx.config.schema import TunnelSettings
from prx.core.evidence import Public, Unasked
from prx.doctor import service
from prx.doctor.context import Context
from prx.doctor.examine import examine
from prx.doctor.finding import Finding, Mark
from prx.doctor.reach import check_edge, check_public_dns
from prx.doctor.service import _public_finding, check_service


@pytest.fixture
async def served(servers: Servers) -> Served:
    """Serve something that is neither DNS nor an edge."""
    return await servers.canned(answer(200, b"ok"))


@pytest.fixture
def context(scene_of: SceneOf, served: Served) -> Context:
    """Return a scene in which everything is asked at one port of this machine."""
    place = f"127.0.0.1:{served.port}"
    site = EdgeSite(doh=(f"http://{place}/dns-query",), edge_addrs=(place,), public_scheme="http", public_port=served.port)
    return scene_of(site=site, local_addr=place)


async def ask_the_service(context: Context) -> list[Finding]:
    """Ask the local service."""
    return await check_service("web", context.config.tunnels["web"])


CHECKS: dict[str, tuple[Callable[[Context], Awaitable[list[Finding]]], Mark]] = {
    "service": (ask_the_service, Mark.OK),
    "public-dns": (check_public_dns, Mark.FAIL),
}


@pytest.mark.parametrize("check", CHECKS)
async def test_what_could_not_be_asked_is_not_checked(context: Context, check: str) -> None:
    """With a descriptor the same question has a finding of its own."""
    ask, verdict = CHECKS[check]
    with no_descriptors():
        found = by_check(await ask(context))[check]
    assert (found.verdict, found.words.startswith("not checked: ")) == (Mark.SKIP, True)
    assert "Too many open files" in found.words
    assert by_check(await ask(context))[check].verdict is verdict


async def test_an_edge_that_could_not_be_tried_is_not_closed(context: Context) -> None:
    """No firewall is to be opened for a limit of this process."""
    with no_descriptors():
        found = [finding for finding in await examine(context) if finding.check in {"edge", "edge-tcp", "edge-udp"}]
    assert [(finding.verdict, finding.words) for finding in found] == [
        (Mark.SKIP, "not checked: this machine gives prx no more open files")
    ]
    assert "ulimit -n" in found[0].remedy
    assert by_check(await check_edge(context))["edge-udp"].verdict is Mark.WARN


@pytest.mark.parametrize("unasked", [Unasked.FOR_NOW, Unasked.AS_SET_UP])
def test_a_public_url_that_could_not_be_asked_does_not_fail(unasked: Unasked) -> None:
    """Visitors may well be served."""
    found = _public_finding("web", TunnelSettings(), "https://a.example", Public(None, "why not", unasked=unasked))
    assert (found.verdict, found.words) == (Mark.SKIP, "not checked: why not")


async def test_a_service_that_does_not_answer_under_a_public_name_is_not_said_to_take_it(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No answer is no permission."""

    async def silent(*_: object, **__: object) -> Public:
        return Public(None, "no answer within 5 s", silent=True)

    monkeypatch.setattr(service, "probe_public", silent)
    found = by_check(await ask_the_service(context))["host-name"]
    assert (found.verdict, "no answer within 5 s" in found.words) == (Mark.SKIP, True)
