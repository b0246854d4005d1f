"""One verdict for a tunnel with several connectors: a fold over how each of them stands.

Each connector has a machine of its own, which knows nothing of the others. One connector *leads*: its checks ask the public
URL, and what they find is the tunnel's verdict while any connector serves. The others are checked as far as they can be by
themselves, which gives a diagnosis at second hand (`follow`). That a connector is missing is said beside the verdict, as
"1 of 2 connectors", and makes the tunnel degraded only if fewer serve than `least`, or if the missing one cannot work at all.

Of a tunnel with one connector, the fold is the connector itself.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TypeVar

from prx.core.causes import Cause
from prx.core.events import VerdictChanged
from prx.core.evidence import Evidence
from prx.core.judge_connector import judge_connector
from prx.core.policy import Policy
from prx.core.states import State
from prx.core.status_codes import EDGE_STATUSES
from prx.core.value import Value, value_class
from prx.core.verdicts import Action, Diagnosis, NoVerdict, Verdict, summary

# Connectors of one tunnel (Cloudflare's documentation, "Tunnel availability and failover": 25 replicas, 4 connections each).
MOST = 25

T = TypeVar("T")

_CONNECTED = "connected to the edge"
_JUDGE = "the connector alone: another one asks the public URL"

_REPLACING = frozenset({Action.COUNT, Action.REPLACE, Action.REPLACE_NOW, Action.SWITCH_PROTOCOL})

# If none serves, the tunnel stands as the connector does that is nearest to serving.
_NEAREST = (State.READY, State.DEGRADED, State.STARTING, State.BACKOFF, State.STOPPING, State.FAILED, State.IDLE)


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Standing(Value):
    """How one connector stands: its number in the tunnel, its state, and what is shown of it (None: nothing yet).

    leads: its checks of the public URL are the tunnel's.
    """

    connector: int
    state: State = State.IDLE
    diagnosis: Diagnosis | None = None
    leads: bool = False

    @property
    def serves(self) -> bool:
        """Return whether visitors can come through it."""
        return self.state.is_up and self.diagnosis is not None and self.diagnosis.connected

    @property
    def verdict(self) -> Verdict | NoVerdict:
        """The verdict that is shown, empty before the first."""
        return "" if self.diagnosis is None else self.diagnosis.verdict

    @property
    def is_silent(self) -> bool:
        """Return whether its child is seen to hang."""
        return self.diagnosis is not None and self.diagnosis.cause is Cause.CHILD_SILENT


@value_class(frozen=True, slots=True, eq=False, repr=False)
class TunnelStanding(Value):
    """How the tunnel stands: `state` and `diagnosis` as they are shown.

    serving: how many connectors serve. seen: state and diagnosis of the last check of the public URL, while one serves.
    """

    state: State = State.IDLE
    diagnosis: Diagnosis | None = None
    serving: int = 0
    seen: tuple[State, Diagnosis] | None = None

    @property
    def verdict(self) -> Verdict | NoVerdict:
        """The verdict that is shown, empty before the first."""
        return "" if self.diagnosis is None else self.diagnosis.verdict

    def lasted(self, now: float) -> float:
        """Return for how many seconds the diagnosis has been true at monotonic time `now`; 0 if that is not known."""
        since = now if self.diagnosis is None or self.diagnosis.since is None else self.diagnosis.since
        return round(max(0.0, now - since), 3)

    def news(self, tunnel: str, old: TunnelStanding, *, count: bool = False) -> VerdictChanged | None:
        """Return what has changed of the verdict, or of its reason, since `old`; None if nothing has.

        count: another number of connectors serves than was published last, which is news too.
        """
        new = self.diagnosis
        if new is None:
            return None
        if old.diagnosis is not None and (new.verdict, new.reason) == (old.verdict, old.diagnosis.reason) and not count:
            return None
        return VerdictChanged(
            tunnel=tunnel, old=old.verdict, new=new.verdict, reason=new.reason, hint=new.hint, serving=self.serving
        )


def fold(standings: Sequence[Standing], before: TunnelStanding, *, replicas: int = 1, least: int = 1) -> TunnelStanding:
    """Return how a tunnel of `replicas` connectors stands; `before` is how it stood. `standings` is not empty.

    There may be more standings than replicas, while a connector takes the place of another.
    """
    serving = [item for item in standings if item.serves]
    if not serving:
        nearest = min(standings, key=lambda item: (_NEAREST.index(item.state), not item.leads))
        return TunnelStanding(nearest.state, nearest.diagnosis)
    state, diagnosis = seen = _seen(serving, before)
    count = min(len(serving), replicas)
    served = {item.connector for item in serving}
    missing = _missing(standings, count < replicas or not served.issuperset(range(replicas)))
    if missing is None and count == replicas:
        return TunnelStanding(state, diagnosis, count, seen)
    if count < least or (missing is not None and missing.state is State.FAILED):
        state = State.DEGRADED
    return TunnelStanding(state, _with_missing(diagnosis, missing, count, replicas, served), count, seen)


def _seen(serving: Sequence[Standing], before: TunnelStanding) -> tuple[State, Diagnosis]:
    """Return what the last check of the public URL has found: that of the leader, or of the one that led before it."""
    leader = next((item for item in serving if item.leads), serving[0])
    assert leader.diagnosis is not None
    if leader.diagnosis.second_hand and before.seen is not None:
        return before.seen
    return leader.state, leader.diagnosis


def _missing(standings: Sequence[Standing], lacking: bool) -> Standing | None:
    """Return a connector that does not serve and should: one that cannot work at all, any if one is `lacking`, or a successor.

    A successor is one too many. It is missed only once it has failed: until then it may be about to come up.
    """
    absent = [item for item in standings if not item.serves and item.state not in {State.IDLE, State.STOPPING}]
    broken = [item for item in absent if item.state is State.FAILED]
    return next(iter(broken or (absent if lacking else [item for item in absent if _has_failed(item)])), None)


def _has_failed(item: Standing) -> bool:
    """Return whether a connector waits for its next start, or was started again and is not known yet to do better."""
    found = item.diagnosis
    return found is not None and found.verdict is not Verdict.STARTING and found.action is not Action.NONE


def _with_missing(
    diagnosis: Diagnosis, missing: Standing | None, count: int, replicas: int, served: Collection[int]
) -> Diagnosis:
    lacking, succeeding = count < replicas, missing is not None and missing.connector in served
    words = f"{count} of {replicas} connectors" if lacking else _kept_words(missing, succeeding=succeeding)
    says_why = missing is not None and (missing.state is not State.STARTING or (succeeding and not lacking))
    fault = missing.diagnosis if missing is not None and says_why else None
    if missing is not None and fault is not None:
        number = f"connector {missing.connector}: " if replicas > 1 else ""
        words += f"; {number}{summary(fault.verdict, fault.reason)}"
        if missing.state is State.FAILED:
            return replace(diagnosis, verdict=fault.verdict, reason=words, hint=fault.hint)
    if diagnosis.action is Action.NONE:
        return replace(diagnosis, reason=words)
    return replace(diagnosis, reason=f"{diagnosis.reason}; {words}")


def _kept_words(missing: Standing | None, *, succeeding: bool) -> str:
    """Return why there are enough that serve although one is missing: a former one is kept for it."""
    failed = missing is None or missing.state is State.FAILED
    if missing is None or failed or succeeding:
        return f"the connector that serves is kept; the new one {'cannot run' if failed else 'does not come up'}"
    return f"a connector that is to go serves until connector {missing.connector} does"


def follow(evidence: Evidence, policy: Policy, *, proven: bool) -> Diagnosis:
    """Judge a connector without the public URL, which another connector asks; total.

    proven: that other one has been seen to serve the same URL, so that this one does, too, once it is connected.
    """
    found = judge_connector(evidence, policy)
    if found is not None:
        return replace(found, judge=_JUDGE)
    return _by_itself(proven, evidence.began)


def _by_itself(proven: bool, since: float | None) -> Diagnosis:
    verdict = Verdict.HEALTHY if proven else Verdict.STARTING
    return Diagnosis(verdict, _CONNECTED, since=since, second_hand=True, judge=_JUDGE)


def as_replica(
    diagnosis: Diagnosis, evidence: Evidence, *, covered: bool, edge_unaware: bool, succeeded: bool = False, proven: bool = True
) -> Diagnosis:
    """Return what to make of a diagnosis, and its evidence, of one of several connectors.

    covered: another one serves as well. One that is frozen is replaced without a wait then: the edge may go on to give it
    visitors, who wait in vain, and its replacement costs none. edge_unaware: the edge may not have known that a connector had
    gone. A request that gets no answer has met that one, and says nothing of those that live, be it only the one that is
    judged, nor of the service, if that answers here. succeeded: a successor has been started, which is all that a restart could
    give. It may never come up, so the connector that lives is left to come back by itself, unless it is frozen. proven: one
    that serves has been seen to serve the URL; if none has since all had gone, the tunnel is not called well without a proof.
    """
    if succeeded and diagnosis.action in _REPLACING and diagnosis.cause is not Cause.CHILD_SILENT:
        return replace(diagnosis, remedy=Action.WAIT)
    if covered and diagnosis.cause is Cause.CHILD_SILENT and diagnosis.action is Action.REPLACE:
        return replace(diagnosis, remedy=Action.REPLACE_NOW)
    if edge_unaware and diagnosis.connected and _may_have_met_the_dead(diagnosis, evidence):
        return _by_itself(proven, diagnosis.since)
    return diagnosis


def _may_have_met_the_dead(diagnosis: Diagnosis, evidence: Evidence) -> bool:
    if diagnosis.verdict is Verdict.UNREACHABLE:
        return True
    origin = evidence.origin
    answers = origin is not None and origin.status is not None and not origin.error
    far = evidence.public is not None and (evidence.public.status is None or evidence.public.status in EDGE_STATUSES)
    return answers and far and diagnosis.verdict in {Verdict.ORIGIN_DOWN, Verdict.ORIGIN_ERROR}


def choose_leader(connected: Sequence[T], present: Sequence[T], leader: T | None) -> T | None:
    """Return which of the connectors `present` is to ask the public URL: the leader while it is connected, or another that is.

    If none is connected, the leader stays; None if there is none to choose.
    """
    if leader in connected:
        return leader
    if connected:
        return connected[0]
    return leader if leader in present else next(iter(present), None)
