"""No sentence speaks of a part that the tunnel does not have: a connector that is not prx's, a program that is another one."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import replace

import pytest

from prx.core import inputs
from prx.core.diagnosis import Policy, diagnose
from prx.core.evidence import Connector, Delivery, Dns, DnsState, Edge, Evidence, Origin, Public, Reach
from prx.core.machine import Machine
from prx.core.sightings import Sightings
from prx.core.states import MachineSettings, State
from prx.core.status import TunnelStatus
from prx.core.status_codes import StatusSet
from prx.core.story import inside, story
from prx.core.verdicts import Diagnosis, Verdict
from prx.ui.why_lines import why_lines

WATCHED = Policy(StatusSet.parse("auto"), watched=True)
ORIGINS = (
    None,
    Origin("127.0.0.1:8080", True, 200),
    Origin("127.0.0.1:8080", True, 404),
    Origin("127.0.0.1:8080", False, error="connection refused by 127.0.0.1:8080"),
    Origin("127.0.0.1:8080", True, error="no answer within 5 s", silent=True),
    Origin("127.0.0.1:8080", True, 200, broken_off=True),
)
ANSWERS = (
    Public(200),
    Public(404),
    Public(502),
    Public(503),
    Public(520),
    Public(524),
    Public(530, edge_error=1033),
    Public(301, location="/"),
    Public(200, broken_off=True),
    Public(403, mitigated="challenge"),
    Public(403),
    Public(429, edge_error=1015),
    Public(302, access=True),
    Public(302, access=True, sent_token=True),
    Public(None, "connection refused by 192.0.2.1:443"),
    Public(None, "no answer", silent=True),
    Public(502, by_cloudflare=False),
    Public(500, edge_error=1101),
)
NAMES = (
    Dns(DnsState.RESOLVED, ("192.0.2.1",)),
    Dns(DnsState.MISSING),
    Dns(DnsState.MISSING, ("192.0.2.1",), known=True),
    Dns(DnsState.UNKNOWN),
)
# what a URL that another program keeps up has nothing of, as far as prx knows
NOT_OF_A_WATCHED_URL = re.compile(r"connector|cloudflared|\btoken\b.*same|the tunnel is fine|public hostname of the tunnel")


def watched() -> Iterator[Evidence]:
    """Yield what can be seen of a URL that another program keeps up."""
    for origin, public, network in itertools.product(ORIGINS, ANSWERS, (True, False, None)):
        for edge in (None, Edge(tcp=Reach.CLOSED, error="no route")):
            yield Evidence(0.0, "https://a.example", network_up=network, origin=origin, public=public, edge=edge, dns=NAMES[0])
    for dns in NAMES[1:]:
        yield Evidence(0.0, "https://a.example", network_up=True, dns=dns)
    yield Evidence(0.0, "https://a.example", network_up=False)


def stories(policy: Policy, seen: Iterator[Evidence], *, backend: str, has_child: bool) -> Iterator[tuple[Diagnosis, str]]:
    """Yield each diagnosis, with all that `prx why` prints of it, in each state."""
    for evidence, state in itertools.product(seen, (State.DEGRADED, State.FAILED, State.IDLE)):
        found = diagnose(evidence, policy)
        settings = MachineSettings(has_child=has_child, max_failures=3, restart_on_any=True)
        machine, sightings = Machine("web", settings), Sightings()
        machine.handle(0.0, inputs.Start())
        sightings.take(evidence, found)
        machine.handle(1.0, inputs.Checked(machine.run, found, evidence.url))
        machine.handle(2.0, inputs.Checked(machine.run, found, evidence.url))
        status = TunnelStatus(
            "web", backend=backend, state=state, verdict=found.verdict, reason=found.reason, hint=found.hint, replicas=0
        )
        told = story(status, 10.0, inside(machine, sightings, {"check": 30.0}, 3.0))
        yield found, "\n".join(why_lines(told, 1000))


def test_a_watched_url_has_no_connector() -> None:
    """`backend = "none"`: no reason, hint, evidence, step or advice speaks of a connector, or of a tunnel that prx knows."""
    seen = {}
    for found, told in stories(WATCHED, watched(), backend="none", has_child=False):
        seen[found.verdict] = told
        proven = found.verdict is Verdict.ORIGIN_ERROR  # the service's own answer has come through the tunnel
        text = told.replace("(the tunnel is fine)", "") if proven else told
        assert not (match := NOT_OF_A_WATCHED_URL.search(text)), f"{match}\n{text}"
    assert {Verdict.ORIGIN_DOWN, Verdict.UNREACHABLE, Verdict.DNS_PENDING, Verdict.EDGE_REFUSED, Verdict.OFFLINE} <= seen.keys()


UP = Connector(age=100, answers=True, ready=4, ever_ready=True, worked=True, protocol="quic")
DOWN = replace(UP, ready=0, lost_for=50.0, quiet_for=50.0)
LOST = (
    DOWN,
    replace(DOWN, turned_away=True),
    replace(DOWN, answers=False, silent_for=9.0),
    replace(DOWN, ever_ready=False, age=900.0),
    replace(DOWN, quic_dial_failures=4, ever_ready=False, quic_blocked=False),
    replace(DOWN, rejected=9, rejected_for=900.0),
    replace(DOWN, unauthorized_for=900.0),
    replace(DOWN, tunnel_gone_for=900.0),
    replace(DOWN, rejected=9, worked=False, ever_ready=False),
)


def connected() -> Iterator[Evidence]:
    """Yield what can be seen of a tunnel whose connector is prx's."""
    edges = (None, Edge(tcp=Reach.OPEN, tcp_open_for=900.0), Edge(tcp=Reach.CLOSED), Edge(tcp=Reach.OPEN, quic=Reach.CLOSED))
    for connector, edge in itertools.product(LOST, edges):
        yield Evidence(0.0, "https://a.example", connector=connector, network_up=True, edge=edge)
    deliveries = (Delivery(), Delivery(reached=True), Delivery(reached=False), Delivery(reached=True, failed=True))
    for origin, public, delivery in itertools.product(ORIGINS, ANSWERS, deliveries):
        yield Evidence(
            0.0,
            "https://a.example",
            connector=UP,
            network_up=True,
            origin=origin,
            public=public,
            delivery=delivery,
            dns=NAMES[0],
        )


@pytest.mark.parametrize("quick", [True, False])
def test_what_prx_says_of_a_connector_holds_for_each_program(quick: bool) -> None:
    """The builtin connector is no cloudflared: a sentence of prx's own calls it the connector."""
    policy = Policy(StatusSet.parse("auto"), quick=quick)
    for _, text in stories(policy, connected(), backend="cloudflare", has_child=True):
        assert "cloudflared" not in text, text
