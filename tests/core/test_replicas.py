"""One verdict for a tunnel with several connectors."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prx.core.causes import Cause
from prx.core.effects import SetTimer
from prx.core.evidence import ChildExit, Connector, Evidence, ExitCause, Origin, Public
from prx.core.inputs import Checked, Exited, Spawned, Start, TimerFired
from prx.core.machine import Machine
from prx.core.policy import Policy
from prx.core.replicas import Standing, TunnelStanding, as_replica, choose_leader, fold, follow
from prx.core.states import MachineSettings, State
from prx.core.status_codes import StatusSet
from prx.core.unnoticed import Unnoticed
from prx.core.verdicts import Action, Diagnosis, Verdict

WELL = Diagnosis(Verdict.HEALTHY, "the public URL answers 200")
FOLLOWS = Diagnosis(Verdict.HEALTHY, "connected to the edge", second_hand=True)
DOWN = Diagnosis(Verdict.ORIGIN_DOWN, "the service refuses")
CRASHED = Diagnosis(Verdict.CRASHED, "killed by signal 9", connected=False)
LOST = Diagnosis(Verdict.EDGE_LOST, "all connections to the edge are lost", connected=False)
BAD_TOKEN = Diagnosis(Verdict.AUTH_REJECTED, "the token is not accepted", "take another")
NOTHING = TunnelStanding()
POLICY = Policy(StatusSet.parse("auto"))

SILENT = Evidence(100.0, origin=Origin("127.0.0.1:1", listening=True, status=200), public=Public(None, "no answer in time"))

LEADS = Standing(0, State.READY, WELL, leads=True)
FOLLOWER = Standing(1, State.READY, FOLLOWS)


def test_one_connector_is_the_tunnel() -> None:
    """Whatever a tunnel's only connector shows is what the tunnel shows, word by word."""
    for state in State:
        for diagnosis in (None, WELL, DOWN, CRASHED, LOST, BAD_TOKEN):
            found = fold([Standing(0, state, diagnosis, leads=True)], NOTHING)
            assert (found.state, found.diagnosis) == (state, diagnosis)


def test_all_serve() -> None:
    """What the leader has seen of the public URL is the verdict."""
    found = fold([LEADS, FOLLOWER], NOTHING, replicas=2)
    assert (found.state, found.diagnosis, found.serving) == (State.READY, WELL, 2)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (Standing(1, State.BACKOFF, CRASHED), "1 of 2 connectors; connector 1: crashed: killed by signal 9"),
        (Standing(1, State.STARTING, CRASHED), "1 of 2 connectors"),
        (Standing(1, State.DEGRADED, LOST), "1 of 2 connectors; connector 1: edge_lost: all connections to the edge are lost"),
        (Standing(1, State.STOPPING, WELL), "1 of 2 connectors"),
    ],
    ids=["died", "coming up", "cut off", "ending"],
)
def test_one_of_two_is_missing(other: Standing, words: str) -> None:
    """The tunnel stays healthy, and says how many serve and what the missing one lacks; below the least number, degraded."""
    found = fold([LEADS, other], NOTHING, replicas=2)
    assert found.diagnosis is not None
    assert (found.state, found.diagnosis.verdict, found.diagnosis.reason) == (State.READY, Verdict.HEALTHY, words)
    assert fold([LEADS, other], NOTHING, replicas=2, least=2).state is State.DEGRADED


def test_a_fault_of_the_service_keeps_its_words() -> None:
    """With a connector missing as well, the service is still what is at fault."""
    leads = Standing(0, State.DEGRADED, DOWN, leads=True)
    found = fold([leads, Standing(1, State.BACKOFF, CRASHED)], NOTHING, replicas=2)
    assert found.diagnosis is not None
    assert (found.state, found.diagnosis.verdict) == (State.DEGRADED, Verdict.ORIGIN_DOWN)
    assert found.diagnosis.reason.startswith("the service refuses; 1 of 2 connectors")


def test_a_connector_that_cannot_work_is_a_fault() -> None:
    """The others serve, and the operator must change something: degraded, with the verdict and hint of the one that failed."""
    found = fold([LEADS, Standing(1, State.FAILED, BAD_TOKEN)], NOTHING, replicas=2)
    assert found.diagnosis is not None
    assert (found.state, found.diagnosis.verdict, found.diagnosis.hint) == (
        State.DEGRADED,
        Verdict.AUTH_REJECTED,
        "take another",
    )


def test_a_successor_that_cannot_work_leaves_the_old_one() -> None:
    """One of one serves, and its successor failed: degraded, with the words that the old one is kept."""
    found = fold([LEADS, Standing(0, State.FAILED, BAD_TOKEN)], NOTHING)
    assert found.diagnosis is not None
    assert found.state is State.DEGRADED
    assert "is kept; the new one cannot run; auth_rejected" in found.diagnosis.reason


@pytest.mark.parametrize("state", [State.BACKOFF, State.STARTING])
def test_a_successor_that_has_failed_is_named(state: State) -> None:
    """While the new connector ends again and again the tunnel is ready, and says without a break what keeps it out."""
    found = fold([LEADS, Standing(0, state, CRASHED)], NOTHING)
    assert (found.state, found.serving) == (State.READY, 1)
    assert found.diagnosis is not None
    assert found.diagnosis.verdict is Verdict.HEALTHY
    said = "the connector that serves is kept; the new one does not come up; crashed: killed by signal 9"
    assert found.diagnosis.reason == said


def test_one_that_is_being_succeeded_is_not_restarted() -> None:
    """A restart would give what its successor is already, and may not run: it is left to come back, unless it is frozen."""
    for verdict in Verdict:
        for remedy in Action:
            before = replace(LOST, verdict=verdict, remedy=remedy)
            found = as_replica(before, SILENT, covered=False, edge_unaware=False, succeeded=True)
            assert found.action not in {Action.COUNT, Action.REPLACE, Action.REPLACE_NOW, Action.SWITCH_PROTOCOL}
            assert found.action is remedy or found.action is Action.WAIT
            assert as_replica(before, SILENT, covered=False, edge_unaware=False) is before
    frozen = replace(LOST, because=Cause.CHILD_SILENT, remedy=Action.REPLACE)
    assert as_replica(frozen, SILENT, covered=False, edge_unaware=False, succeeded=True) is frozen


def test_a_succession_is_not_seen() -> None:
    """Old and new one, in all the states that they pass through: ready and healthy all the time."""
    before = fold([LEADS], NOTHING)
    for old, new in (
        (LEADS, Standing(0)),
        (LEADS, Standing(0, State.STARTING)),
        (LEADS, Standing(0, State.STARTING, FOLLOWS)),
        (LEADS, Standing(0, State.READY, FOLLOWS)),
        (Standing(0, State.STOPPING, WELL), Standing(0, State.READY, FOLLOWS, leads=True)),
        (Standing(0, State.IDLE, WELL), Standing(0, State.READY, WELL, leads=True)),
    ):
        before = fold([old, new], before)
        assert (before.state, before.diagnosis) == (State.READY, WELL)


def test_another_leader_goes_on_with_what_was_seen() -> None:
    """Until it has asked the public URL itself, the verdict is what the former leader saw: no flap to healthy and back."""
    before = fold([Standing(0, State.DEGRADED, DOWN, leads=True), FOLLOWER], NOTHING, replicas=2)
    leads = Standing(1, State.READY, FOLLOWS, leads=True)
    found = fold([Standing(0, State.BACKOFF, CRASHED), leads], before, replicas=2)
    assert found.diagnosis is not None
    assert (found.state, found.diagnosis.verdict) == (State.DEGRADED, Verdict.ORIGIN_DOWN)


def test_none_serves() -> None:
    """The tunnel stands as the connector that is nearest to serving; failed only if all are."""
    backoff, starting = Standing(0, State.BACKOFF, CRASHED, leads=True), Standing(1, State.STARTING, LOST)
    failed = Standing(0, State.FAILED, BAD_TOKEN)
    assert fold([backoff, starting], NOTHING, replicas=2).state is State.STARTING
    assert fold([failed, Standing(1, State.BACKOFF, CRASHED)], NOTHING, replicas=2).state is State.BACKOFF
    assert fold([failed, Standing(1, State.FAILED, BAD_TOKEN)], NOTHING, replicas=2).state is State.FAILED


STANDINGS = st.lists(
    st.builds(Standing, st.integers(0, 3), st.sampled_from(State), st.sampled_from([None, WELL, FOLLOWS, DOWN, CRASHED, LOST])),
    min_size=1,
    max_size=6,
)


@given(STANDINGS, st.integers(1, 4), st.integers(1, 4))
def test_the_fold_is_total_and_up_if_one_serves(standings: list[Standing], replicas: int, least: int) -> None:
    """Any standings give a state and a verdict; the tunnel is up exactly if a connector serves, or is shown as up."""
    found = fold(standings, NOTHING, replicas=replicas, least=min(least, replicas))
    assert found.serving == min(replicas, sum(item.serves for item in standings))
    if found.serving:
        assert found.state.is_up
        assert found.diagnosis is not None
    else:
        assert found.state in {item.state for item in standings}


@pytest.mark.parametrize(
    ("connected", "present", "leader", "chosen"),
    [
        ("ab", "ab", "b", "b"),
        ("b", "ab", "a", "b"),
        ("", "ab", "b", "b"),
        ("", "ab", "x", "a"),
        ("", "", "x", None),
    ],
    ids=["stays", "is away", "none is connected", "is gone", "none is left"],
)
def test_who_leads(connected: str, present: str, leader: str | None, chosen: str | None) -> None:
    """A leader leads while it is connected; another one that is takes its place."""
    assert choose_leader(connected, present, leader) == chosen


def test_a_follower_is_judged_by_itself() -> None:
    """Connected: healthy at second hand, once another one has proven the URL; not connected: what its own signs say."""
    ready = Evidence(100.0, connector=Connector(age=50.0, answers=True, ready=4))
    assert follow(ready, POLICY, proven=True).second_hand
    assert follow(ready, POLICY, proven=True).action is Action.NONE
    assert follow(ready, POLICY, proven=False).action is Action.WAIT
    lost = Evidence(100.0, connector=Connector(age=500.0, answers=True, ready=0, ever_ready=True, lost_for=5.0))
    assert follow(lost, POLICY, proven=True).verdict is Verdict.EDGE_LOST


def test_a_frozen_replica_is_replaced_at_once() -> None:
    """The edge may go on to give it visitors; nothing else is hastened."""
    frozen = Diagnosis(Verdict.EDGE_LOST, "silent", because=Cause.CHILD_SILENT, remedy=Action.REPLACE)
    assert as_replica(frozen, SILENT, covered=True, edge_unaware=False).action is Action.REPLACE_NOW
    for other in (
        WELL,
        DOWN,
        LOST,
        Diagnosis(Verdict.EDGE_LOST, "stuck", because=Cause.CONNECTOR_STUCK, remedy=Action.REPLACE),
    ):
        assert as_replica(other, SILENT, covered=True, edge_unaware=False) is other


def test_a_request_that_met_the_dead_says_nothing_of_the_living() -> None:
    """Just after a connector ended, a public URL that does not answer is no fault of the others; a moment later it is."""
    unreachable = Diagnosis(Verdict.UNREACHABLE, "no answer")
    for silent in (unreachable, DOWN):
        assert as_replica(silent, SILENT, covered=True, edge_unaware=True).second_hand
        assert as_replica(silent, SILENT, covered=True, edge_unaware=False) is silent
    for other in (LOST, WELL):
        assert as_replica(other, SILENT, covered=True, edge_unaware=True) is other
    refused = replace(SILENT, origin=Origin("127.0.0.1:1", listening=False, error="refused"))
    assert as_replica(DOWN, refused, covered=True, edge_unaware=True) is DOWN


def test_the_last_that_lives_is_not_blamed_for_the_dead() -> None:
    """With nothing else that serves, a silence while the edge is unaware is still no fault of the one that is judged."""
    for silent in (Diagnosis(Verdict.UNREACHABLE, "no answer"), DOWN):
        assert as_replica(silent, SILENT, covered=False, edge_unaware=True).second_hand
        assert as_replica(silent, SILENT, covered=False, edge_unaware=False) is silent
    frozen = Diagnosis(Verdict.EDGE_LOST, "silent", because=Cause.CHILD_SILENT, remedy=Action.REPLACE)
    for unaware in (True, False):
        assert as_replica(frozen, SILENT, covered=False, edge_unaware=unaware) is frozen


def test_nothing_is_called_well_without_a_proof_after_all_have_gone() -> None:
    """If none has served since, what met the dead leaves the tunnel on its way up; with a proof it is well as before."""
    for silent in (Diagnosis(Verdict.UNREACHABLE, "no answer"), DOWN):
        found = as_replica(silent, SILENT, covered=True, edge_unaware=True, proven=False)
        assert (found.verdict, found.action, found.second_hand) == (Verdict.STARTING, Action.WAIT, True)
        assert as_replica(silent, SILENT, covered=True, edge_unaware=True, proven=True).verdict is Verdict.HEALTHY


@pytest.mark.parametrize("state", [State.BACKOFF, State.DEGRADED], ids=["died", "cut off"])
def test_one_that_is_to_go_serves_for_one_that_is_away(state: State) -> None:
    """There are as many as are wanted, and not the right ones: the tunnel is well, and says which is missing."""
    found = fold([Standing(0, state, CRASHED), Standing(2, State.READY, WELL, leads=True)], NOTHING, replicas=1)
    assert found.diagnosis is not None
    assert (found.state, found.serving) == (State.READY, 1)
    assert found.diagnosis.reason == "a connector that is to go serves until connector 0 does; crashed: killed by signal 9"


def test_the_edge_notices_within_seconds() -> None:
    """A request sent at any time until 6 s after a connector has gone may have met it; before any has gone, none may."""
    unnoticed = Unnoticed[str]()
    assert not unnoticed.may_have_met(0.0)
    unnoticed.take("a", 100.0)
    assert unnoticed.last == "a"
    assert [unnoticed.may_have_met(began) for began in (90.0, 100.0, 105.9, 106.0)] == [True, True, True, False]


def delays(settings: MachineSettings, *, up_for: float, times: int) -> list[float]:
    """Return the waits before each new start of a child that is killed again and again, `up_for` seconds after it was up."""
    machine, now, found = Machine("web", settings), 0.0, []
    effects = machine.handle(now, Start())
    for _ in range(times):
        machine.handle(now, Spawned(machine.run, 7, "1"))
        machine.handle(now, TimerFired("check", machine.timers["check"]))
        machine.handle(now, Checked(machine.run, WELL, "https://a"))
        now += up_for
        end = Exited(machine.run, 7, ChildExit(None, 9, ExitCause.CRASH), Diagnosis(Verdict.CRASHED, "killed"))
        effects = machine.handle(now, end)
        delay = next(item.delay for item in effects if isinstance(item, SetTimer) and item.name == "backoff")
        found.append(delay)
        now += delay
        machine.handle(now, TimerFired("backoff", machine.timers["backoff"]))
    return found


def test_a_replica_that_was_up_comes_back_quickly() -> None:
    """Killed every few seconds it is back within two; one that does not stay up waits as long as any child."""
    several, alone = MachineSettings(replicated=True), MachineSettings()
    assert delays(several, up_for=5, times=6) == [0.5, 1.0, 2.0, 2.0, 2.0, 2.0]
    assert delays(several, up_for=1, times=4) == delays(alone, up_for=5, times=4) == [5.0, 10.0, 20.0, 40.0]
