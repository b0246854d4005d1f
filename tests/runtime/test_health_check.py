"""What a round of checks counts as prx's own."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.contexts import shared

from prx.backends.base import Counters, LineKind, LogLine, Readiness
from prx.config.schema import CloudflareSettings, GateSettings, InspectSettings, TunnelSettings
from prx.core.diagnosis import diagnose
from prx.core.evidence import Delivery, Dns, DnsState, Edge, Evidence, Origin, Public, Unasked
from prx.core.evidence import Reach as EdgeReach
from prx.core.verdicts import Verdict
from prx.runtime import health_check
from prx.runtime.child_monitor import ChildMonitor
from prx.runtime.context import TunnelContext
from prx.runtime.health_check import HealthChecker
from prx.runtime.probes.exposure import Exposure, Reach
from prx.secrets.value import Secret
from prx.testing.clock import ManualClock


@pytest.mark.parametrize(
    ("status", "own"),
    [(200, (1, 0)), (404, (1, 0)), (500, (1, 1)), (502, (1, 1)), (503, (1, 1)), (530, (0, 0)), (None, (1, 0))],
)
async def test_the_question_of_a_stranger_is_no_visitor_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int | None, own: tuple[int, int]
) -> None:
    """What the connector counts as a failure for prx itself is no visitor's error; what the edge answers it does not count."""

    async def answered(url: str, *_: object, **_options: object) -> Exposure:
        return Exposure(url, Reach.UNKNOWN, status)

    monkeypatch.setattr(health_check, "check_exposure", answered)
    checker = HealthChecker(TunnelContext.create("web", TunnelSettings(), shared(tmp_path, ManualClock())), None)
    checker.url = "https://a.example"
    await checker._exposed(("192.0.2.1",), 1.0)
    assert (checker.asked, checker.failed) == own


@pytest.mark.parametrize(
    ("settings", "marked"),
    [
        (TunnelSettings(), (False, False)),
        (TunnelSettings(inspect=InspectSettings(enabled=True)), (True, True)),
        (TunnelSettings(inspect=InspectSettings(catch=True)), (True, True)),
        (TunnelSettings(gate=GateSettings(allow_ip=("192.0.2.0/24",))), (True, False)),
        (TunnelSettings(inspect=InspectSettings(enabled=True), gate=GateSettings(bearer=Secret("t"))), (True, False)),
        (TunnelSettings(backend="none", inspect=InspectSettings(enabled=True)), (False, False)),
    ],
    ids=["neither", "inspect", "catch", "gate", "both", "watched"],
)
async def test_checks_carry_the_word_of_the_relay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: TunnelSettings, marked: tuple[bool, bool]
) -> None:
    """A relay knows them by it and takes it away, so no other way gets it; a stranger has none to pass a gate with."""
    seen: list[str] = []

    async def asked(url: str, *_: object, own_mark: str, **_options: object) -> Public:
        seen.append(own_mark)
        return Public(200)

    async def exposed(url: str, *_: object, own_mark: str, **_options: object) -> Exposure:
        seen.append(own_mark)
        return Exposure(url, Reach.UNKNOWN, 200)

    monkeypatch.setattr(health_check, "probe_public", asked)
    monkeypatch.setattr(health_check, "check_exposure", exposed)
    context = TunnelContext.create("web", settings, shared(tmp_path, ManualClock()))
    context.shared.own_mark = "a-word"
    checker = HealthChecker(context, None)
    checker.url = "https://a.example"
    await checker._ask_public(("192.0.2.1",), 1.0)
    await checker._exposed(("192.0.2.1",), 1.0)
    assert seen == ["a-word" if one else "" for one in marked]


class Routes:
    """What the system shows of the network."""

    def __init__(self) -> None:
        self.shown: bool | None = False

    def up(self) -> bool | None:
        """Return whether there is one."""
        return self.shown


@pytest.mark.parametrize(
    ("statuses", "known"),
    [([], False), ([200], False), ([200, 404], None), ([200, 530], False), ([502, 530, None], False), ([302, 502, 200], None)],
)
async def test_good_answers_prove_a_network_that_the_system_does_not_show(
    tmp_path: Path, statuses: list[int | None], known: bool | None
) -> None:
    """One may have been under way when the network went; after two the table of routes has been proven wrong."""
    routes = Routes()
    context = TunnelContext.create("web", TunnelSettings(), shared(tmp_path, ManualClock()))
    context.shared.network = routes  # type: ignore[assignment]
    checker = HealthChecker(context, None)
    for status in statuses:
        checker._learn_of_network(Evidence(0.0, network_up=False), Public(status))
    assert checker._network_up() is known
    routes.shown = True
    assert checker._network_up() is True
    checker.forget_network()
    routes.shown = False
    assert checker._network_up() is False


class Readings:
    """A watch whose readings are given."""

    def __init__(self, *deliveries: Delivery) -> None:
        self.left = list(deliveries)

    async def end(self) -> Delivery:
        """Return the next one."""
        return self.left.pop(0)


LATE = Delivery(reached=True)
DONE = Delivery(reached=True, said=frozenset({200}), answered=True)
BROKEN = Delivery(reached=True, failed=True)


@pytest.mark.parametrize(
    ("first", "readings", "last"),
    [(LATE, [DONE], DONE), (LATE, [LATE, DONE], DONE), (LATE, [LATE, LATE], LATE), (LATE, [BROKEN], BROKEN), (DONE, [], DONE)],
    ids=["held up on the way", "for longer", "the service is slow", "it fails", "all is answered"],
)
async def test_what_was_held_up_until_now_is_no_slowness_of_the_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: Delivery, readings: list[Delivery], last: Delivery
) -> None:
    """An edge that goes on hands over at once what it has kept: the service gets a second to answer that."""
    monkeypatch.setattr(health_check, "HELD_UP", (0.0, 0.0))
    checker = HealthChecker(TunnelContext.create("web", TunnelSettings(), shared(tmp_path, ManualClock())), None)
    watch = Readings(*readings)
    assert await checker._given_time(watch, first) == last  # type: ignore[arg-type]
    assert watch.left == []


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.5", "203.0.113.9", "2001:db8::7"])
def test_only_a_name_of_a_known_edge_can_lead_elsewhere(tmp_path: Path, address: str) -> None:
    """A URL that another program keeps up may lead anywhere; the name of a tunnel at Cloudflare has to lead there."""
    named = TunnelSettings(cloudflare=CloudflareSettings(mode="named", hostname="app.example.com"))
    watched = TunnelSettings(backend="none", public_url="https://app.example.com")
    found = []
    for settings in (named, watched):
        checker = HealthChecker(TunnelContext.create("web", settings, shared(tmp_path, ManualClock())), None)
        checker.url = "https://app.example.com"
        found.append(checker._strays((address,)))
    assert (address in found[0], found[1]) == (True, "")


@pytest.mark.parametrize("unasked", list(Unasked))
async def test_a_question_that_was_not_put_has_come_through_no_connector(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unasked: Unasked
) -> None:
    """The counters moved for a visitor: that visitor is not taken for prx, and the service does not owe prx an answer."""
    context = TunnelContext.create("web", TunnelSettings(), shared(tmp_path, ManualClock()))
    numbers = itertools.count(1)

    async def count() -> Counters:
        number = next(numbers)
        return Counters(requests=number, said={200: number})

    async def found(*_: object, **__: object) -> Any:
        return Dns(DnsState.RESOLVED, ("192.0.2.1",))

    async def public(*_: object, **__: object) -> Public:
        return Public(None, "why not", unasked=unasked)

    async def stranger(url: str, *_: object, **__: object) -> Exposure:
        return Exposure(url, Reach.UNKNOWN, None if unasked else 530, unasked=unasked)

    async def origin(*_: object, **__: object) -> Origin:
        return Origin("127.0.0.1:8080", True, 200)

    async def no_dial(**_: object) -> None:
        return None

    context.shared.ways.add(context.group, count)
    checker = HealthChecker(context, None)
    checker.url = "https://a.example"
    for name, substitute in (("probe_public", public), ("check_exposure", stranger), ("check_origin", origin)):
        monkeypatch.setattr(health_check, name, substitute)
    monkeypatch.setattr(health_check, "SETTLE", 0.0)
    monkeypatch.setattr(health_check, "HELD_UP", (0.0, 0.0))
    monkeypatch.setattr(context.resolver, "resolve", found)
    monkeypatch.setattr(checker, "_dial_edge", no_dial)
    evidence = await checker.check()
    assert (checker.asked, evidence.delivery.reached) == ((0, None) if unasked else (1, True))


@pytest.mark.parametrize(
    ("edge", "mode", "refused"),
    [
        (Edge(tcp=EdgeReach.CLOSED), "named", False),
        (Edge(tcp=EdgeReach.CLOSED, quic=EdgeReach.CLOSED), "named", False),
        (Edge(tcp=EdgeReach.CLOSED, quic=EdgeReach.OPEN), "named", True),
        (Edge(tcp=EdgeReach.OPEN), "named", True),
        (Edge(), "named", True),
        (Edge(tcp=EdgeReach.CLOSED), "quick", True),
    ],
    ids=["away", "away over both", "QUIC gets through", "there", "not known", "quick: it is deleted meanwhile"],
)
async def test_a_token_is_not_rejected_by_an_edge_that_cannot_be_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, edge: Edge, mode: str, refused: bool
) -> None:
    """It was refused once, and the edge is away since: a minute later the tunnel is not ended for good."""
    clock = ManualClock()
    cloudflare = CloudflareSettings(mode="named", hostname="a.example") if mode == "named" else CloudflareSettings()
    context = TunnelContext.create("web", TunnelSettings(cloudflare=cloudflare), shared(tmp_path, clock))
    routes = Routes()
    routes.shown = None
    context.shared.network = routes  # type: ignore[assignment]
    child = ChildMonitor(context, "http2", 1)
    child.observer.see_readiness(clock.monotonic(), Readiness(0, "x"))
    child.observer.see_line(clock.monotonic(), LogLine("error", "Unauthorized", LineKind.UNAUTHORIZED, 0))
    child.observer.see_line(clock.monotonic(), LogLine("error", "dial tcp", LineKind.DIAL_FAILED, 0))
    checker = HealthChecker(context, child)

    async def dial(*, quic: bool) -> Edge:
        return edge

    async def counters(**_: object) -> None:
        return None

    monkeypatch.setattr(checker, "_dial_edge", dial)
    monkeypatch.setattr(child, "counters", counters)
    clock.advance(120)
    seen = replace(checker._evidence(0.0, edge=await checker._dial(child)), network_up=True)
    assert (seen.connector is not None and seen.connector.unauthorized_for is not None) is refused
    if mode == "named":
        assert (diagnose(seen, context.policy).verdict is Verdict.AUTH_REJECTED) is refused
    child.close()
