"""The story of a verdict: from evidence and the machine, in virtual time, to what `prx why` prints."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from prx.core import effects as do
from prx.core import inputs
from prx.core.diagnosis import Policy, diagnose
from prx.core.events import Event
from prx.core.evidence import ChildExit, Connector, Dns, DnsState, Edge, Evidence, ExitCause, Origin, Public, Reach
from prx.core.machine import Machine
from prx.core.sightings import Sightings
from prx.core.states import MachineSettings, State
from prx.core.status import TunnelStatus, fold
from prx.core.status_codes import StatusSet
from prx.core.story import beside, inside, story
from prx.core.verdicts import Diagnosis, Verdict
from prx.ui.why_lines import why_lines

POLICY = Policy(StatusSet.parse("2xx"), quick=True)
UP = Connector(age=100, answers=True, ready=4, ever_ready=True, protocol="quic")
FINE = Evidence(
    at=0,
    url="https://x.example",
    connector=UP,
    network_up=True,
    dns=Dns(DnsState.RESOLVED, ("192.0.2.1",)),
    public=Public(200, latency_ms=31.0),
)
DOWN = replace(
    FINE, public=Public(502), origin=Origin("127.0.0.1:8080", listening=False, error="connection refused by 127.0.0.1:8080")
)
LOST = replace(
    FINE,
    public=None,
    dns=None,
    connector=replace(UP, ready=0, lost_for=12.0, last_error="dial timeout"),
    edge=Edge(tcp=Reach.CLOSED, error="connection refused by 192.0.2.9:7844"),
)
PENDING = replace(FINE, public=None, dns=Dns(DnsState.MISSING, detail="1.1.1.1: NXDOMAIN"))


class Scene:
    """One tunnel without a runtime: a machine, what was seen, and the status that its facts lead to."""

    def __init__(self) -> None:
        self.now = 1000.0
        settings = MachineSettings(
            interval=30, max_failures=3, restart_on_any=False, grace=30, protocols=("quic", "http2"), has_child=True, quick=True
        )
        self.machine = Machine("web", settings)
        self.sightings = Sightings()
        self.due: dict[str, float] = {}
        self.status = TunnelStatus("web", mode="quick", local_addr="127.0.0.1:8080")
        self.give(inputs.Start())
        self.give(inputs.Spawned(self.machine.run, 7, "1"))

    def give(self, event: inputs.Input) -> None:
        for effect in self.machine.handle(self.now, event):
            if isinstance(effect, do.SetTimer):
                self.due[effect.name] = self.now + effect.delay
            elif isinstance(effect, do.Publish):
                self.status = fold(self.status, Event(1, self.now, effect.fact))

    def see(self, evidence: Evidence) -> Scene:
        self.now += 5
        evidence = replace(evidence, at=self.now)
        diagnosis = diagnose(evidence, POLICY)
        self.sightings.take(evidence, diagnosis)
        if evidence.exit is None:
            self.give(inputs.Checked(self.machine.run, diagnosis, evidence.url))
        else:
            self.give(inputs.Exited(self.machine.run, 7, evidence.exit, diagnosis))
        return self

    def tell(self, after: float = 1.5) -> dict[str, Any]:
        self.now += after
        return story(self.status, self.now, inside(self.machine, self.sightings, self.due, self.now))


def exits(cause: ExitCause, code: int = 1) -> Evidence:
    """Return the evidence of a child's end."""
    return Evidence(0, exit=ChildExit(code=code, signal=None, cause=cause, detail="its last words", hint="do this"))


def parts(told: dict[str, Any], *, judged: bool = True) -> set[str]:
    """Return the parts of which the story has evidence."""
    return {item["part"] for item in told["evidence"] if item["judged"] is judged}


def steps(told: dict[str, Any]) -> dict[str, float | None]:
    """Return what is done next, by its name."""
    return {item["what"]: item["in"] for item in told["next"]}


def test_healthy() -> None:
    """All is well: who decided, each piece of evidence with its age, the next check, and nothing to be done."""
    told = Scene().see(FINE).tell()
    assert (told["state"], told["verdict"], told["judge"]) == ("ready", "healthy", "the public answer")
    assert parts(told) == {"connector", "network", "public DNS", "public URL"}
    assert {item["ago"] for item in told["evidence"]} == {1.5}
    assert steps(told)["check"] is not None
    assert (told["restart"], told["advice"], told["suspected"]) == ("", [], None)
    assert "  you can    nothing is to be done" in why_lines(told)


def test_origin_down_before_and_after_it_is_shown() -> None:
    """A fault that is young stands beside the verdict that is shown; later it is the verdict, and no restart is announced."""
    scene = Scene().see(FINE).see(DOWN)
    told = scene.tell(0.5)
    assert told["verdict"] == "healthy"
    assert told["suspected"]["verdict"] == "origin_down"
    assert steps(told)["suspicion"] == 1.5
    told = scene.see(DOWN).tell()
    assert (told["state"], told["verdict"], told["judge"]) == ("degraded", "origin_down", "the public answer")
    assert {"local service", "public URL"} <= parts(told)
    assert told["restart"] == "a restart of the connector would change nothing about it"
    assert told["advice"][0] == "start the service on 127.0.0.1:8080"
    assert "replace" not in steps(told)


def test_edge_lost_keeps_what_was_seen_before() -> None:
    """A lost edge names the dial and the connector's complaint; older parts stand apart: they did not decide."""
    told = Scene().see(FINE).see(DOWN).see(LOST).see(LOST).tell()
    assert (told["verdict"], told["judge"]) == ("edge_lost", "the connector and its way to the edge")
    assert parts(told) == {"connector", "network", "edge"}
    assert {"local service", "public DNS"} <= parts(told, judged=False)
    words = {item["part"]: item["words"] for item in told["evidence"]}
    assert words["edge"] == "prx's own dial: TCP does not answer (connection refused by 192.0.2.9:7844), QUIC not known"
    assert "it says: dial timeout" in words["connector"]


def test_well_again_forgets_the_fault() -> None:
    """Once all is well, what was seen while it was not is no longer shown."""
    told = Scene().see(FINE).see(LOST).see(FINE).tell()
    assert parts(told, judged=False) == set()


def test_backoff_says_when_the_next_try_is() -> None:
    """After a crash: the child's last words, what the restart changes, the seconds to it and what would end the wait."""
    told = Scene().see(FINE).see(exits(ExitCause.CRASH)).tell()
    assert (told["state"], told["verdict"], told["judge"]) == ("backoff", "crashed", "the end of the connector")
    assert steps(told)["backoff"] == 3.5
    assert told["restart"] == "a restart helps: there is a connector again"
    assert parts(told) == {"end of the connector"}
    assert any("ends the wait" in item["words"] for item in told["next"])
    assert any("its last words (crash)" in line for line in why_lines(told))


def test_dns_pending() -> None:
    """A name that is not known yet is waited for; the resolver's own answer is shown."""
    told = Scene().see(PENDING).tell()
    assert (told["verdict"], told["judge"]) == ("dns_pending", "the public name")
    assert "does not know the name (1.1.1.1: NXDOMAIN)" in [item["words"] for item in told["evidence"]]
    assert told["url"] == ""


def test_failed_says_that_it_is_the_operators_turn() -> None:
    """A tunnel that failed for good names the hint, and that a change is noticed."""
    told = Scene().see(exits(ExitCause.AUTH)).tell()
    assert (told["state"], told["verdict"]) == ("failed", "auth_rejected")
    assert told["advice"][0] == "do this"
    assert "prx restart web begins at once" in told["advice"][1]
    assert told["next"][-1]["words"].startswith("nothing else until you change something")


def test_a_replacement_that_is_scheduled_says_what_it_costs() -> None:
    """A connector that hangs is replaced in a while, and a quick tunnel's URL goes with it."""
    hung = replace(LOST, connector=replace(UP, ready=0, answers=False, silent_for=20.0))
    told = Scene().see(FINE).see(hung).tell()
    (step,) = [item for item in told["next"] if item["what"] == "replace"]
    assert step["in"] == 3.5
    assert "costs the URL" in step["words"]


def test_a_tunnel_that_has_no_supervision_is_told_from_its_status() -> None:
    """One that was stopped, or has not started, has no evidence and no judge, and says so by its state."""
    told = story(TunnelStatus("web", reason="stopped as asked"), 1000.0)
    assert (told["state"], told["judge"], told["evidence"], told["next"]) == ("idle", "", [], [])
    assert why_lines(told)[1] == "  state      idle"


@pytest.mark.parametrize("verdict", list(Verdict))
def test_every_verdict_has_a_story(verdict: Verdict) -> None:
    """No verdict is without words, and none breaks the story."""
    scene = Scene()
    scene.sightings.take_unseen(scene.now, Diagnosis(verdict, "so it is"))
    scene.give(inputs.Checked(scene.machine.run, Diagnosis(verdict, "so it is"), ""))
    told = scene.tell()
    assert told["judge"] == "prx itself, without a check"
    assert why_lines(told)


def test_diagnoses_differ_in_no_way_by_their_judge() -> None:
    """The judge's name is for `prx why` alone: it makes no news of a verdict."""
    assert Diagnosis(Verdict.HEALTHY, "ok", judge="one") == Diagnosis(Verdict.HEALTHY, "ok", judge="another")


@pytest.mark.parametrize("width", [40, 60, 80, 140])
def test_lines_are_wrapped_between_words(width: int) -> None:
    """No line is wider than the terminal except for a word that is, and no URL is broken."""
    told = Scene().see(FINE).see(DOWN).see(DOWN).tell() | {"url": "https://four-random-words-make.trycloudflare.com"}
    lines = why_lines(told, width)
    assert "https://four-random-words-make.trycloudflare.com" in lines[0]
    assert all(len(line) <= width or " " not in line.strip() for line in lines[1:])


def test_a_connector_that_is_missing_is_in_the_story() -> None:
    """What was seen of it, its next start and where its words are; what concerns the tunnel is said once, by the leader."""

    def details(*parts: str, **steps: float | None) -> dict[str, Any]:
        evidence = [{"part": part, "words": "as seen", "ago": 1.0, "judged": True} for part in parts]
        following = [{"what": what, "in": wait, "words": what} for what, wait in steps.items()]
        return {**inside(Machine("web", MachineSettings()), Sightings(), {}, 0.0), "evidence": evidence, "next": following}

    leader, missing = (
        details("connector", "public URL", check=28.0, failures=None),
        details("end of the connector", "network", backoff=4.0),
    )
    found = beside(leader, [(1, missing), (2, details("connector"))])
    assert [item["part"] for item in found["evidence"]] == ["connector", "public URL", "end of connector 1", "connector 2"]
    assert [item["words"] for item in found["next"]] == ["connector 1: backoff", "check", "failures"]
    status = TunnelStatus("web", state=State.READY, verdict=Verdict.HEALTHY, replicas=2)
    assert story(status, 0.0, found)["advice"] == [
        "prx logs web has the words of the connector that is missing; the others serve meanwhile"
    ]
    assert story(replace(status, replicas=1), 0.0, found)["advice"] == []
