"""A connector that this machine gives too little differs from a service that is down, and from an edge that is lost."""

from __future__ import annotations

import errno
from dataclasses import replace

import pytest
from tests.core.test_diagnosis import DIALS, DOWN, FINE, GONE, OPEN, ORIGIN, PAST, POLICY, SHUT, UP

from prx.core.causes import Cause
from prx.core.diagnosis import diagnose
from prx.core.evidence import Delivery, Evidence, Origin, Public, Unasked
from prx.core.shortage import FOR_NOW, PORTS_HINT
from prx.core.verdicts import Action, Verdict

OPEN_FILES = FOR_NOW[errno.EMFILE].hint

FAILED = Delivery(reached=True, failed=True)


def seen(lacks: str, *, public: Public | None = None, origin: Origin | None = ORIGIN, delivery: Delivery = FAILED) -> Evidence:
    """Return the evidence of a connector that has said what it lacks; the service answers here."""
    connector = replace(UP, lacks=lacks)
    return replace(FINE, connector=connector, public=public or Public(502), origin=origin, delivery=delivery)


@pytest.mark.parametrize(
    ("lacks", "hint"),
    [
        ("too many open files", OPEN_FILES),
        ("too many open files in system", FOR_NOW[errno.ENFILE].hint),
        ("cannot allocate memory", FOR_NOW[errno.ENOMEM].hint),
        ("cannot assign requested address", PORTS_HINT),
        ("no buffer space available", FOR_NOW[errno.ENOBUFS].hint),
    ],
)
def test_the_machine_is_to_blame_and_not_the_service(lacks: str, hint: str) -> None:
    """The tunnel is not up, the service is, and a connector with the same limits would fail alike: no restart."""
    for delivery in (FAILED, Delivery()):
        found = diagnose(seen(lacks, delivery=delivery), POLICY)
        assert (found.verdict, found.cause, found.action) == (Verdict.UNREACHABLE, Cause.MACHINE, Action.REPORT)
        assert lacks in found.reason
        assert "the service answers 200 here" in found.reason
        assert found.hint == hint


def test_the_service_is_to_blame_if_it_is_down_here_too() -> None:
    """What the connector lacked before says nothing of a service that does not answer prx either, or that itself says 502."""
    lacks = "too many open files"
    assert diagnose(seen(lacks, origin=GONE), POLICY).verdict is Verdict.ORIGIN_DOWN
    assert diagnose(seen(lacks, origin=replace(ORIGIN, status=None, error="slow")), POLICY).verdict is Verdict.ORIGIN_DOWN
    assert diagnose(seen(lacks, origin=replace(ORIGIN, status=502)), POLICY).verdict is Verdict.ORIGIN_ERROR
    said = Delivery(reached=True, said=frozenset({502}))
    assert diagnose(seen(lacks, delivery=said), POLICY).verdict is Verdict.ORIGIN_ERROR
    assert diagnose(seen("", origin=ORIGIN), POLICY).verdict is Verdict.ORIGIN_DOWN
    assert diagnose(seen(lacks, public=Public(200)), POLICY).verdict is Verdict.HEALTHY
    assert diagnose(seen(lacks, delivery=PAST), POLICY).cause is not Cause.MACHINE


@pytest.mark.parametrize(
    "lacks",
    ["too many open files in system", "cannot allocate memory", "cannot assign requested address", "no buffer space available"],
)
def test_the_machine_is_to_blame_if_prx_cannot_ask_the_service_either(lacks: str) -> None:
    """What the whole machine has no more of, prx lacks too: the connector's words are enough, and no service is called down."""
    unasked = Origin(ORIGIN.address, False, error="this machine has none left", unasked=Unasked.FOR_NOW)
    evidence = seen(lacks, origin=unasked)
    assert evidence.lacking == ""
    found = diagnose(evidence, POLICY)
    assert (found.verdict, found.cause, found.action) == (Verdict.UNREACHABLE, Cause.MACHINE, Action.REPORT)
    assert "prx gets none either" in found.reason
    for other in (
        seen("", origin=unasked),
        seen(lacks, origin=unasked, public=Public(404)),
        seen(lacks, origin=unasked, delivery=PAST),
        seen(lacks, origin=unasked, delivery=Delivery(reached=True, said=frozenset({502}))),
    ):
        assert other.lacking == unasked.error


ERROR = "failed to dial to edge with quic: listen udp :0: socket: too many open files"


def test_a_connector_without_descriptors_is_not_stopped_by_the_network() -> None:
    """That no socket can be had for QUIC is no block of UDP: HTTP/2 needs one, too, and the limit is what helps."""
    for edge in (OPEN, SHUT):
        young = replace(DIALS, ever_ready=False, quic_blocked=False, last_error=ERROR)
        found = diagnose(replace(FINE, connector=young, edge=edge), POLICY)
        assert (found.verdict, found.hint) == (Verdict.EDGE_LOST, OPEN_FILES)
        assert "too many open files" in found.reason
        assert diagnose(replace(FINE, connector=replace(DOWN, last_error=ERROR), edge=edge), POLICY).hint == OPEN_FILES


def test_a_connector_that_is_silent_for_lack_of_descriptors_names_the_limit() -> None:
    """One that cannot take prx's own question any more has said why: it is not stuck."""
    silent = replace(DOWN, answers=False, silent_for=9.0)
    found = diagnose(replace(FINE, connector=replace(silent, lacks="too many open files")), POLICY)
    assert (found.verdict, found.hint) == (Verdict.EDGE_LOST, OPEN_FILES)
    assert "too many open files" in found.reason
    assert diagnose(replace(FINE, connector=silent), POLICY).reason.endswith("it is stopped or stuck")
