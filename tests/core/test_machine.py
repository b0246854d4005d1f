"""Stories of one tunnel in virtual time: what happens, when, and what is published."""

import random
from typing import Any, TypeVar

import pytest

from prx.core import effects as do
from prx.core import events, inputs
from prx.core.causes import RESTART_CHANGES, Cause
from prx.core.events import Fact
from prx.core.evidence import ChildExit, ExitCause
from prx.core.machine import Machine
from prx.core.states import MachineSettings
from prx.core.verdicts import Action, Diagnosis, Verdict

_Fact = TypeVar("_Fact", bound=Fact)


class Story:
    """A machine with a shell of virtual time: children live at once, looks find `verdict`, timers fire in their order."""

    def __init__(self, settings: MachineSettings | None = None) -> None:
        self.machine = Machine("web", settings or MachineSettings())
        self.now = 0.0
        self.verdict = Verdict.HEALTHY
        self.more: dict[str, Any] = {}  # of the diagnosis
        self.url = "https://a"
        self.spawned_at: list[float] = []
        self.protocols: list[str] = []
        self.looks: list[float] = []
        self.facts: list[Fact] = []
        self.other: list[do.Effect] = []
        self.slow = False  # looks do not come back
        self.in_vain = False  # or find nothing out
        self.obedient = True  # the child ends when it is asked to
        self.alive = 0
        self._timers: dict[str, tuple[float, inputs.TimerFired]] = {}

    def feed(self, event: inputs.Input) -> None:
        """Hand in an input and everything that follows from it at once."""
        for effect in self.machine.handle(self.now, event):
            self._perform(effect)

    def _perform(self, effect: do.Effect) -> None:
        match effect:
            case do.Spawn(run=run, protocol=protocol):
                self.spawned_at.append(self.now)
                self.protocols.append(protocol)
                self.alive = run
                self.feed(inputs.Spawned(run, 1000 + run, "1"))
            case do.Check() if self.slow:
                self.looks.append(self.now)
            case do.Check(run=run) if self.in_vain:
                self.looks.append(self.now)
                self.feed(inputs.NotChecked(run))
            case do.Check(run=run):
                self.looks.append(self.now)
                self.feed(inputs.Checked(run, Diagnosis(self.verdict, str(self.verdict), **self.more), self.url))
            case do.SetTimer(name=name, token=token, delay=delay):
                self._timers[name] = (self.now + delay, inputs.TimerFired(name, token))
            case do.CancelTimers():
                self._timers.clear()
            case do.Publish(fact=fact):
                self.facts.append(fact)
            case do.Terminate() | do.Kill() if self.obedient or isinstance(effect, do.Kill):
                self.end(Verdict.CRASHED, ExitCause.STOPPED)
            case _:
                self.other.append(effect)

    def end(self, verdict: Verdict, cause: ExitCause = ExitCause.CRASH) -> None:
        """End the child."""
        run, self.alive = self.alive, 0
        self.feed(inputs.Exited(run, 1000 + run, ChildExit(1, None, cause), Diagnosis(verdict, "ended")))

    def advance(self, seconds: float) -> None:
        """Advance the time, timer by timer."""
        until = self.now + seconds
        while self._timers:
            name, (at, fired) = min(self._timers.items(), key=lambda item: item[1][0])
            if at > until:
                break
            del self._timers[name]
            self.now = max(self.now, at)
            self.feed(fired)
        self.now = until

    def told(self, kind: type[_Fact]) -> list[_Fact]:
        """Return the facts of one kind."""
        return [fact for fact in self.facts if isinstance(fact, kind)]

    def states(self) -> list[str]:
        """Return the states in their order."""
        return [fact.new for fact in self.facts if isinstance(fact, events.StateChanged)]

    @property
    def restarts(self) -> int:
        """Return how often the child was started again."""
        return len(self.spawned_at) - 1


@pytest.fixture
def story() -> Story:
    """Return a story that has started, and is ready."""
    story = Story()
    story.feed(inputs.Start())
    story.advance(1)
    assert story.machine.state == "ready"
    return story


def test_the_way_up(story: Story) -> None:
    """A start leads through starting to ready, and tells the URL once."""
    assert story.states() == ["starting", "ready"]
    assert story.told(events.UrlChanged) == [events.UrlChanged(tunnel="web", url="https://a", old="")]
    story.advance(600)
    assert len(story.told(events.UrlChanged)) == 1


def test_a_healthy_tunnel_is_looked_at_once_an_interval(story: Story) -> None:
    """Ten quiet minutes cost 20 looks."""
    before = len(story.looks)
    story.advance(600)
    assert len(story.looks) - before == 20


def test_crashes_wait_longer_and_longer() -> None:
    """A child that dies at once is started after 5, 10, 20, 40, 80, 160, 300, 300 seconds."""
    story = Story()
    story.verdict = Verdict.STARTING
    story.feed(inputs.Start())
    for _ in range(8):
        story.end(Verdict.CRASHED)
        story.advance(story.told(events.RestartScheduled)[-1].delay)
    waits = [later - earlier for earlier, later in zip(story.spawned_at, story.spawned_at[1:], strict=False)]
    assert waits == [5, 10, 20, 40, 80, 160, 300, 300]


def test_being_ready_for_long_forgets_the_crashes(story: Story) -> None:
    """After a minute of readiness the next crash waits 5 s again; after less it does not."""
    story.end(Verdict.CRASHED)
    story.advance(5)
    story.advance(50)
    story.end(Verdict.CRASHED)
    assert story.told(events.RestartScheduled)[-1].delay == 10
    story.advance(10 + 61)
    story.end(Verdict.CRASHED)
    assert story.told(events.RestartScheduled)[-1].delay == 5


def test_an_origin_that_is_down_never_restarts_the_tunnel(story: Story) -> None:
    """Ten minutes without origin: degraded, no restart, and ready again within one look after its return."""
    story.verdict = Verdict.ORIGIN_DOWN
    story.advance(600)
    assert story.machine.state == "degraded"
    assert story.restarts == 0
    story.verdict = Verdict.HEALTHY
    story.advance(5)
    assert story.machine.state == "ready"


def test_a_name_that_is_late_is_waited_for() -> None:
    """A fresh name that resolves after four minutes: no restart, no failure counted."""
    story = Story()
    story.verdict = Verdict.DNS_PENDING
    story.feed(inputs.Start())
    story.advance(240)
    assert story.machine.state == "starting"
    assert (story.restarts, story.machine.failures.count) == (0, 0)
    story.verdict = Verdict.HEALTHY
    story.advance(5)
    assert story.machine.state == "ready"


LOST_FOR_GOOD = {"remedy": Action.REPLACE, "because": Cause.CONNECTOR_STUCK, "connected": False}


@pytest.mark.parametrize("verdict", [Verdict.EDGE_LOST, Verdict.UNREACHABLE])
@pytest.mark.parametrize("quick", [True, False], ids=["quick", "named"])
def test_what_a_restart_cannot_help_is_waited_for(verdict: Verdict, quick: bool) -> None:
    """An hour of an edge that is away, or of a fault on the way to it: the child is kept, and so is the URL."""
    story = Story(MachineSettings(quick=quick))
    story.feed(inputs.Start())
    story.advance(1)
    story.verdict = verdict
    story.feed(inputs.CheckNow(story.machine.run))
    story.advance(3600)
    assert (story.machine.state, story.restarts) == ("degraded", 0)
    story.verdict = Verdict.HEALTHY
    story.advance(5)
    assert (story.machine.state, story.machine.attempt) == ("ready", 0)
    assert len(story.told(events.UrlChanged)) == 1


@pytest.mark.parametrize("cause", [cause for cause, changes in RESTART_CHANGES.items() if not changes])
@pytest.mark.parametrize("action", [Action.COUNT, Action.REPLACE])
def test_no_restart_without_a_cause_that_it_changes(story: Story, cause: Cause, action: Action) -> None:
    """Whatever a judge may ask for: the table of causes decides."""
    story.verdict, story.more = Verdict.EDGE_LOST, {"because": cause, "remedy": action}
    story.advance(3600)
    assert story.restarts == 0


def test_an_hour_of_good_and_bad_in_turn_restarts_nothing(story: Story) -> None:
    """200 and 502 alternate at every look: no restart, and no flood of changes on the screen."""
    before = len(story.states())
    for turn in range(240):
        bad = turn % 2 == 0
        story.verdict = Verdict.UNREACHABLE if bad else Verdict.HEALTHY
        story.more = {"because": Cause.NONE} if bad else {}
        story.feed(inputs.CheckNow(story.machine.run))
        story.advance(15)
    assert story.restarts == 0
    assert len(story.states()) - before <= 2 * 240


def test_the_wait_runs_before_the_child_is_replaced(story: Story) -> None:
    """The schedule runs while the child lives: 5, 10, 20 s … each before its replacement, announced with what it costs."""
    story.machine.settings = MachineSettings(quick=True)
    story.verdict, story.more = Verdict.EDGE_LOST, LOST_FOR_GOOD
    began = story.now
    story.feed(inputs.CheckNow(story.machine.run))
    story.advance(100)
    scheduled = story.told(events.RestartScheduled)
    assert [(fact.delay, fact.attempt) for fact in scheduled][:3] == [(5, 1), (10, 2), (20, 3)]
    assert all(fact.costs_url for fact in scheduled)
    assert story.spawned_at[1] - began == 5
    assert "backoff" not in story.states()


@pytest.mark.parametrize(
    ("quick", "well_for", "delays"),
    [
        (False, 8.0, [5, 5, 5, 5]),
        (False, 0.0, [5, 10, 20, 40]),
        (True, 8.0, [5, 10, 20, 40]),  # the price is the URL: the child gets more time each time
        (True, 0.0, [5, 10, 20, 40]),
    ],
    ids=["named", "named, in vain", "quick", "quick, in vain"],
)
def test_a_replacement_that_helped_makes_the_next_incident_wait_no_longer(
    quick: bool, well_for: float, delays: list[float]
) -> None:
    """One incident after another: the waits of a named tunnel grow if nothing came of the replacement before."""
    story = Story(MachineSettings(quick=quick))
    story.feed(inputs.Start())
    story.advance(2)
    for incident in range(1, 5):
        story.verdict, story.more = Verdict.EDGE_LOST, LOST_FOR_GOOD
        story.feed(inputs.CheckNow(story.machine.run))
        while story.restarts < incident:
            story.advance(1)
        if well_for:
            story.verdict, story.more = Verdict.HEALTHY, {}
            story.feed(inputs.CheckNow(story.machine.run))
            story.advance(well_for)
    scheduled = story.told(events.RestartScheduled)
    assert [fact.delay for fact in scheduled][:4] == delays


@pytest.mark.parametrize(
    ("cause", "quick", "lasted", "delays"),
    [
        (Cause.CONNECTOR_STUCK, False, 4.0, [1, 10]),  # it was watched for as long as that already
        (Cause.CONNECTOR_STUCK, False, 30.0, [0, 10]),
        (Cause.REFUSED, False, 8.0, [0, 5]),
        (Cause.CONNECTOR_STUCK, True, 30.0, [5, 10]),  # the price is the URL: the whole wait
        (Cause.CHILD_SILENT, False, 30.0, [5, 10]),  # it may be slow only
        (Cause.UDP_BLOCKED, False, 30.0, [5, 10]),
    ],
    ids=["named, waits", "named, waited for long", "named, refused", "quick", "silent", "another protocol"],
)
def test_time_spent_waiting_is_a_part_of_the_wait_if_a_restart_is_free(
    cause: Cause, quick: bool, lasted: float, delays: list[float]
) -> None:
    """A child that only waits, while a fresh one would be connected at once, is replaced by the schedule from its loss on."""
    story = Story(MachineSettings(quick=quick))
    story.feed(inputs.Start())
    story.advance(2)
    story.verdict = Verdict.EDGE_LOST
    story.more = {"because": cause, "remedy": Action.REPLACE, "connected": False, "since": story.now - lasted}
    story.feed(inputs.CheckNow(story.machine.run))
    while story.restarts < 1:
        story.advance(1)
    story.more["since"] = None  # unknown: nothing is taken off
    while story.restarts < 2:
        story.advance(1)
    scheduled = story.told(events.RestartScheduled)
    assert [fact.delay for fact in scheduled][:2] == delays


@pytest.mark.parametrize("healed", [Verdict.HEALTHY, Verdict.ORIGIN_DOWN, Verdict.OFFLINE, Verdict.PROTECTED])
def test_a_child_that_comes_back_during_the_wait_is_kept(story: Story, healed: Verdict) -> None:
    """The edge is back before the wait is over, or what is wrong now is something else: nothing is lost, no attempt counted."""
    story.verdict, story.more = Verdict.EDGE_LOST, LOST_FOR_GOOD
    story.feed(inputs.CheckNow(story.machine.run))
    story.advance(4)
    story.verdict, story.more = healed, {}
    story.advance(60)
    assert (story.restarts, story.machine.attempt) == (0, 0)
    assert len(story.told(events.RestartCancelled)) == 1


@pytest.mark.parametrize(
    "cause", [Cause.CHILD_SILENT, Cause.CONNECTOR_STUCK, Cause.UDP_BLOCKED, Cause.REFUSED, Cause.NO_NAME_TOLD]
)
@pytest.mark.parametrize("quick", [True, False], ids=["quick", "named"])
def test_a_fault_that_is_only_counted_takes_back_a_replacement_for_another(cause: Cause, quick: bool) -> None:
    """What a replacement was scheduled for is over: the rest has a patience of its own, and the reported wait is taken back."""
    story = Story(MachineSettings(quick=quick))
    story.feed(inputs.Start())
    story.advance(1)
    story.verdict = Verdict.EDGE_LOST
    story.more = {"remedy": Action.REPLACE, "because": cause, "connected": False}
    story.feed(inputs.CheckNow(story.machine.run))
    story.advance(4)
    assert len(story.told(events.RestartScheduled)) == 1
    story.verdict = Verdict.UNREACHABLE
    story.more = {"remedy": Action.COUNT, "because": Cause.CONNECTION_STALE, "patience": 180.0}
    story.advance(160)
    assert (story.restarts, story.machine.attempt, len(story.told(events.RestartCancelled))) == (0, 0, 1)
    story.advance(100)
    scheduled = story.told(events.RestartScheduled)
    assert (story.restarts, [fact.delay for fact in scheduled]) == (1, [5.0, 5.0]), "with a wait of its own"


@pytest.mark.parametrize(
    "cause", [Cause.CHILD_SILENT, Cause.CONNECTOR_STUCK, Cause.UDP_BLOCKED, Cause.REFUSED, Cause.NO_NAME_TOLD]
)
@pytest.mark.parametrize("quick", [True, False], ids=["quick", "named"])
def test_a_fault_that_no_restart_has_helped_takes_back_a_replacement_for_another(cause: Cause, quick: bool) -> None:
    """The other fault is over: when it comes again, its replacement waits as at first, and is not carried out at once."""
    story = Story(MachineSettings(quick=quick))
    story.feed(inputs.Start())
    story.advance(1)
    stale = {"remedy": Action.COUNT, "because": Cause.CONNECTION_STALE}
    other = {"remedy": Action.REPLACE, "because": cause, "connected": False}
    story.verdict, story.more = Verdict.UNREACHABLE, stale
    story.advance(200)
    assert story.restarts == 1, "in vain"
    story.verdict, story.more = Verdict.EDGE_LOST, other
    story.feed(inputs.CheckNow(story.machine.run))
    story.advance(2)
    assert story.machine.timers.get("replace") is not None
    cancelled = len(story.told(events.RestartCancelled))
    story.verdict, story.more = Verdict.UNREACHABLE, stale
    story.advance(300)
    assert len(story.told(events.RestartCancelled)) == cancelled + 1
    assert story.restarts == 1
    story.verdict, story.more = Verdict.EDGE_LOST, other
    story.feed(inputs.CheckNow(story.machine.run))
    story.advance(1)
    assert story.restarts == 1
    assert story.told(events.RestartScheduled)[-1].delay >= 5


@pytest.mark.parametrize("what", ["network", "sleep", "binary", "configuration"])
def test_what_a_restart_has_not_helped_it_may_help_after_a_change(story: Story, what: str) -> None:
    """That the edge knew no connector in one network says nothing of another; without a change it is not tried again."""
    story.verdict, story.more = Verdict.UNREACHABLE, {"remedy": Action.COUNT, "because": Cause.CONNECTION_STALE}
    story.advance(3600)
    assert story.restarts == 1
    story.feed(inputs.Woken("no network"))
    story.advance(3600)
    assert story.restarts == 1
    story.feed(inputs.Woken(what))
    story.advance(3600)
    assert story.restarts == 2


@pytest.mark.parametrize(
    ("verdict", "more", "state"),
    [
        (Verdict.HEALTHY, {}, "ready"),
        (Verdict.ORIGIN_DOWN, {}, "degraded"),
        (Verdict.EDGE_LOST, {"connected": False}, "degraded"),
        (Verdict.UNREACHABLE, {"remedy": Action.COUNT, "because": Cause.CONNECTION_STALE, "patience": 180.0}, "degraded"),
        (Verdict.STARTING, {"connected": False}, "starting"),
    ],
)
def test_a_check_that_could_not_be_made_changes_nothing(verdict: Verdict, more: dict[str, Any], state: str) -> None:
    """For an hour prx itself has nothing left to ask with: verdict, state and child stay, and checks go on."""
    story = Story(MachineSettings(quick=True))
    story.verdict = Verdict.STARTING if verdict is Verdict.STARTING else Verdict.HEALTHY
    story.feed(inputs.Start())
    story.advance(1)
    story.verdict, story.more = verdict, more
    story.advance(45)
    before, looks = story.facts[:], len(story.looks)
    assert story.machine.state == state
    story.in_vain = True
    story.advance(3600)
    assert (story.facts, story.restarts, story.machine.state) == (before, 0, state)
    assert len(story.looks) - looks >= 100
    story.in_vain, story.verdict, story.more = False, Verdict.HEALTHY, {}
    story.advance(35)
    assert story.machine.state == "ready"


@pytest.mark.parametrize(("connected", "seconds"), [(False, 0.5), (True, 32.0)], ids=["idle", "in flight"])
def test_a_child_without_connections_is_stopped_at_once(story: Story, connected: bool, seconds: float) -> None:
    """Nothing can be in flight without a connection: half a second, then SIGKILL; the grace period is for requests."""
    story.obedient = False
    story.verdict, story.more = Verdict.EDGE_LOST, {**LOST_FOR_GOOD, "connected": connected}
    story.feed(inputs.CheckNow(story.machine.run))
    story.advance(5)
    assert story.machine.state == "stopping"
    story.advance(seconds - 0.1)
    assert story.restarts == 0
    story.advance(0.2)
    assert story.restarts == 1


def test_the_operators_stop_keeps_the_grace_period(story: Story) -> None:
    """A stop or restart that is asked for gives requests their time, whatever the verdict is."""
    story.obedient = False
    story.verdict, story.more = Verdict.EDGE_LOST, {"connected": False}
    story.advance(60)
    story.feed(inputs.Stop())
    story.advance(31.9)
    assert story.machine.state == "stopping"
    story.advance(0.2)
    assert story.machine.state == "idle"


def test_a_deleted_quick_tunnel_is_replaced_at_once_and_the_cost_is_told() -> None:
    """There is nothing to wait for: the old URL is dead."""
    story = Story(MachineSettings(quick=True))
    story.feed(inputs.Start())
    story.advance(1)
    story.verdict = Verdict.EDGE_LOST
    story.more = {"remedy": Action.REPLACE_NOW, "because": Cause.QUICK_TUNNEL_GONE, "connected": False}
    story.feed(inputs.CheckNow(story.machine.run))
    assert story.restarts >= 1
    scheduled = story.told(events.RestartScheduled)[0]
    assert (scheduled.delay, scheduled.costs_url) == (0, True)


@pytest.mark.parametrize("patience", [0.0, 180.0, 600.0])
def test_a_stale_connection_is_replaced_once_after_its_patience(story: Story, patience: float) -> None:
    """A count needs max_failures and its patience; a replacement that has changed nothing is not repeated."""
    story.verdict = Verdict.UNREACHABLE
    story.more = {"remedy": Action.COUNT, "because": Cause.CONNECTION_STALE, "patience": patience}
    story.feed(inputs.CheckNow(story.machine.run))
    story.advance(max(60, patience))
    assert story.restarts == 0
    story.advance(5 + 12)  # the wait, and looks are up to 5 s apart
    assert story.restarts == 1
    story.advance(7200)
    assert story.restarts == 1
    story.verdict, story.more = Verdict.HEALTHY, {}
    story.advance(10)
    story.verdict, story.more = Verdict.UNREACHABLE, {"remedy": Action.COUNT, "because": Cause.CONNECTION_STALE}
    story.advance(200)
    assert story.restarts == 2


@pytest.mark.parametrize(
    "verdict", [Verdict.EDGE_LOST, Verdict.UNREACHABLE, Verdict.ORIGIN_DOWN, Verdict.ORIGIN_ERROR, Verdict.OFFLINE]
)
def test_a_suspicion_ends_by_its_own_timer(story: Story, verdict: Verdict) -> None:
    """A trouble that lasts is on the screen within its `visible_after`, though the next look takes long."""
    story.verdict = verdict
    story.feed(inputs.CheckNow(story.machine.run))
    story.slow = True  # no look comes back any more
    story.advance(2.0)
    assert story.machine.shown is not None
    assert story.machine.shown.verdict is verdict


@pytest.mark.parametrize("more_looks", [0.0, 0.9])  # seconds of them, before none comes back any more
@pytest.mark.parametrize("seen_before", [None, 0.0, 0.5, 1.0, 30.0])
def test_what_is_shown_is_dated_from_when_it_was_first_seen(story: Story, seen_before: float | None, more_looks: float) -> None:
    """A trouble that was kept back began with the first look that saw it, or before: not with the last one."""
    story.advance(100)
    began = story.now - (seen_before or 0.0)
    story.verdict, story.more = Verdict.ORIGIN_DOWN, {} if seen_before is None else {"since": began}
    story.feed(inputs.CheckNow(story.machine.run))
    if seen_before != 30.0:
        story.more = {}
        story.advance(more_looks)
        story.slow = True
        story.advance(2.0)
    assert story.machine.shown is not None
    assert (story.machine.shown.verdict, story.machine.shown.since) == (Verdict.ORIGIN_DOWN, began)


def test_what_was_seen_for_long_is_shown_at_once(story: Story) -> None:
    """A look that took longer than `visible_after`, or evidence that is older, has lasted already."""
    story.advance(100)
    story.verdict, story.more = Verdict.ORIGIN_DOWN, {"since": story.now - 4}
    story.feed(inputs.CheckNow(story.machine.run))
    assert story.machine.state == "degraded"


def test_a_number_that_runs_is_no_news(story: Story) -> None:
    """A port, an age or a count in a reason is not published again and again."""
    before = len(story.told(events.VerdictChanged))
    for number in range(20):
        story.feed(inputs.Checked(1, Diagnosis(Verdict.ORIGIN_DOWN, f"read tcp 127.0.0.1:{number}: reset", since=-10)))
    assert len(story.told(events.VerdictChanged)) == before + 1


def test_a_wish_to_be_left_alone_is_honoured(story: Story) -> None:
    """Retry-After: the next look comes not sooner, and not before the interval; one beyond an hour is not believed."""
    for asked, pause in ((120.0, 120.0), (1.0, 30.0), (1e9, 3600.0)):
        story.verdict, story.more = Verdict.EDGE_REFUSED, {"retry_after": asked}
        story.feed(inputs.CheckNow(story.machine.run))
        last = story.looks[-1]
        story.more = {}
        story.advance(pause + 1)
        assert next(at for at in story.looks if at > last) - last == pause


@pytest.mark.parametrize(
    ("verdict", "more"),
    [
        (Verdict.EDGE_LOST, {"connected": False}),
        (Verdict.OFFLINE, {"connected": False}),
        (Verdict.ORIGIN_DOWN, {}),
        (Verdict.UNREACHABLE, {}),
    ],
)
def test_a_wish_to_be_left_alone_covers_no_other_fault(story: Story, verdict: Verdict, more: dict[str, Any]) -> None:
    """Cloudflare asks for an hour of peace, and then something else fails: that is watched at the usual pace."""
    story.verdict, story.more = Verdict.EDGE_REFUSED, {"retry_after": 3600.0}
    story.feed(inputs.CheckNow(story.machine.run))
    story.advance(60)
    story.verdict, story.more = verdict, more
    story.feed(inputs.CheckNow(story.machine.run))
    before = len(story.looks)
    story.advance(60)
    assert len(story.looks) - before >= 10
    story.verdict, story.more = Verdict.EDGE_LOST, LOST_FOR_GOOD
    story.advance(20)
    assert story.restarts >= 1, "what a restart helps is helped"


def test_an_unproven_url_is_told_once_and_as_such(story: Story) -> None:
    """A URL that cannot be proven from here is reported with `proven` false, and again when it is proven."""
    story = Story(MachineSettings(quick=True))
    story.verdict, story.more = Verdict.DNS_PENDING, {"publish_unproven": True}
    story.feed(inputs.Start())
    story.advance(60)
    assert story.told(events.UrlChanged) == [events.UrlChanged(tunnel="web", url="https://a", old="", proven=False)]
    story.verdict, story.more = Verdict.HEALTHY, {}
    story.advance(10)
    assert story.told(events.UrlChanged)[1:] == [events.UrlChanged(tunnel="web", url="https://a", old="", proven=True)]


def test_a_short_trouble_is_not_shown(story: Story) -> None:
    """A loss of a second and a half is examined at once and never reaches the screen."""
    before = list(story.facts)
    story.verdict = Verdict.EDGE_LOST
    story.feed(inputs.CheckNow(story.machine.run))
    story.advance(1.5)
    story.verdict = Verdict.HEALTHY
    story.feed(inputs.CheckNow(story.machine.run))
    story.advance(3)
    assert story.facts == before
    assert story.machine.state == "ready"


BLOCKED: dict[str, Any] = {"remedy": Action.SWITCH_PROTOCOL, "because": Cause.UDP_BLOCKED, "connected": False}


def test_udp_blocked_goes_on_with_http2() -> None:
    """Where only QUIC fails and the choice is prx's, the child is replaced at once by one that speaks HTTP/2."""
    story = Story()
    story.verdict, story.more = Verdict.UDP_BLOCKED, BLOCKED
    story.feed(inputs.Start())
    story.advance(1)
    assert story.protocols[:2] == ["quic", "http2"]
    assert story.now - story.spawned_at[1] <= 1


def test_quic_that_was_lost_for_long_is_replaced_by_http2(story: Story) -> None:
    """The wait runs first; then the other protocol is taken, and remembered once it is up."""
    story.verdict = Verdict.EDGE_LOST
    story.more = {"remedy": Action.REPLACE, "because": Cause.UDP_BLOCKED, "connected": False}
    story.feed(inputs.CheckNow(story.machine.run))
    story.advance(4.9)
    assert story.protocols == ["quic"]
    story.verdict, story.more = Verdict.EDGE_LOST, story.more
    story.advance(0.2)
    assert story.protocols == ["quic", "http2"]
    story.verdict, story.more = Verdict.HEALTHY, {}
    story.advance(10)
    assert do.RememberProtocol("http2") in story.other


def test_a_protocol_is_remembered_only_after_it_came_up() -> None:
    """HTTP/2 that does not get through either is nothing to remember for this network."""
    story = Story()
    story.verdict, story.more = Verdict.UDP_BLOCKED, BLOCKED
    story.feed(inputs.Start())
    story.advance(1)
    story.verdict, story.more = Verdict.EDGE_LOST, {"connected": False}
    story.advance(100)
    assert not any(isinstance(effect, do.RememberProtocol) for effect in story.other)
    story.verdict, story.more = Verdict.ORIGIN_DOWN, {}
    story.advance(10)
    assert do.RememberProtocol("http2") in story.other


BOTH, ONE = ("quic", "http2"), ("http2",)


@pytest.mark.parametrize(
    ("before", "after", "next_one"),
    [(BOTH, BOTH, "http2"), (BOTH, ONE, "http2"), (ONE, BOTH, "http2"), (BOTH, ("quic",), "quic")],
    ids=[
        "nothing about it changed",
        "it was learnt for this network",
        "what was learnt is too old",
        "it is no choice any more",
    ],
)
def test_other_settings_leave_the_protocol_that_was_chosen(
    before: tuple[str, ...], after: tuple[str, ...], next_one: str
) -> None:
    """A reload is no news of the network: the next child speaks what the last one did, as long as that may be spoken."""
    story = Story(MachineSettings(protocols=before))
    story.feed(inputs.Start())
    if before == BOTH:
        story.feed(inputs.Checked(1, Diagnosis(Verdict.UDP_BLOCKED, "blocked", **BLOCKED)))
    assert story.machine.protocol == "http2"
    story.machine.reconfigure(MachineSettings(protocols=after, interval=20.0))
    assert story.machine.protocol == next_one
    story.end(Verdict.CRASHED)
    story.advance(10)
    assert story.protocols[-1] == next_one


def test_another_child_begins_with_the_best_protocol() -> None:
    """Started for other settings, or because it was asked for: what it finds is not taken for what the last one found."""
    story = Story()
    story.feed(inputs.Start())
    story.feed(inputs.Checked(1, Diagnosis(Verdict.UDP_BLOCKED, "blocked", **BLOCKED)))
    story.machine.reconfigure(MachineSettings(), afresh=True)
    story.feed(inputs.Restart("asked to restart"))
    story.advance(60)
    assert story.protocols == ["quic", "http2", "quic"]
    assert not any(isinstance(effect, do.RememberProtocol) for effect in story.other)


def test_udp_blocked_is_only_told_where_the_user_chose_quic() -> None:
    """With protocol = "quic" nothing is restarted: it could not help."""
    story = Story(MachineSettings(protocols=("quic",)))
    story.verdict, story.more = Verdict.UDP_BLOCKED, BLOCKED
    story.feed(inputs.Start())
    story.advance(600)
    assert story.restarts == 0


def test_rejections_without_a_reason_are_asked_about_over_http2() -> None:
    """QUIC tells no reason for a rejection: the child is replaced at once by one that can say it; nothing is remembered."""
    story = Story()
    story.feed(inputs.Start())
    asking = Diagnosis(Verdict.STARTING, "rejected", because=Cause.REASON_UNKNOWN, remedy=Action.SWITCH_PROTOCOL)
    story.feed(inputs.Checked(1, asking))
    assert story.protocols == ["quic", "http2"]
    story.feed(inputs.Checked(2, asking))
    assert story.restarts == 1
    story.advance(60)
    assert not any(isinstance(effect, do.RememberProtocol) for effect in story.other)


def test_a_rate_limit_waits_long_and_is_remembered() -> None:
    """429 from the quick-tunnel service: 60 s, then 120 s; each wait is kept for the next prx."""
    story = Story()
    story.verdict = Verdict.STARTING
    story.feed(inputs.Start())
    story.end(Verdict.RATE_LIMITED)
    story.advance(59)
    assert story.restarts == 0
    story.advance(1)
    story.end(Verdict.RATE_LIMITED)
    assert do.RememberRateLimit(60, 1) in story.other
    assert do.RememberRateLimit(120, 2) in story.other


@pytest.mark.parametrize("what", ["sleep", "binary"])
def test_a_rate_limit_is_not_ended_by_what_does_not_concern_it(what: str) -> None:
    """A lid that was closed, or another program, is no reason to ask the service sooner; the operator's wish is."""
    story = Story()
    story.feed(inputs.Start(retry_in=600, attempt=3))
    story.advance(2)
    story.feed(inputs.Woken(what))
    story.advance(500)
    assert story.spawned_at == []
    story.feed(inputs.Restart("asked"))
    assert len(story.spawned_at) == 1


def test_a_remembered_rate_limit_delays_the_start() -> None:
    """A prx that starts during a rate limit waits for its end first."""
    story = Story()
    story.feed(inputs.Start(retry_in=45, attempt=2))
    story.advance(44)
    assert story.spawned_at == []
    story.advance(1)
    assert story.spawned_at == [45]


@pytest.mark.parametrize("verdict", [Verdict.AUTH_REJECTED, Verdict.MISCONFIGURED])
def test_permanent_faults_never_loop(verdict: Verdict) -> None:
    """A child that cannot work is not started again by itself, however long one waits."""
    story = Story()
    story.verdict = Verdict.STARTING
    story.feed(inputs.Start())
    story.end(verdict)
    story.advance(3600)
    assert (story.machine.state, story.restarts) == ("failed", 0)


def test_a_changed_binary_ends_failed() -> None:
    """What was wrong was changed: the tunnel is started at once."""
    story = Story()
    story.feed(inputs.Start())
    story.end(Verdict.MISCONFIGURED)
    story.feed(inputs.Woken("binary"))
    assert story.restarts == 1


def test_a_network_that_is_gone_is_a_reason_to_look_and_no_more(story: Story) -> None:
    """A tunnel that runs is checked once, before its next check is due; a wait goes on."""
    story.advance(1)
    story.feed(inputs.Woken("no network"))
    assert story.looks[-1] == story.now
    story.end(Verdict.CRASHED)
    spawned = len(story.spawned_at)
    story.feed(inputs.Woken("no network"))
    assert (len(story.spawned_at), story.machine.state) == (spawned, "backoff")


def test_other_nameservers_end_a_wait_for_the_network(story: Story) -> None:
    """They may end an outage of DNS, which no route shows, and nothing else: no crash, no rate limit."""
    for verdict in (Verdict.CRASHED, Verdict.RATE_LIMITED, Verdict.OFFLINE):
        looks, spawned = len(story.looks), len(story.spawned_at)
        story.feed(inputs.Woken("nameservers"))
        assert len(story.looks) == looks
        story.end(verdict)
        story.feed(inputs.Woken("nameservers"))
        assert len(story.spawned_at) == spawned + (verdict is Verdict.OFFLINE)
        story.feed(inputs.Restart("asked"))


@pytest.mark.parametrize("what", ["network", "sleep", "binary"])
def test_a_wait_ends_early(story: Story, what: str) -> None:
    """The network's return, a wake-up or a new binary ends a backoff at once and starts the schedule again."""
    for wait in (5, 10, 20, 40):
        story.end(Verdict.CRASHED)
        story.advance(wait)
    story.end(Verdict.CRASHED)
    story.feed(inputs.Woken(what))
    assert story.spawned_at[-1] == story.now
    story.end(Verdict.CRASHED)
    assert story.told(events.RestartScheduled)[-1].delay == 5


@pytest.mark.parametrize("event", [inputs.Restart("asked to restart"), inputs.Woken("network")], ids=["user", "network"])
def test_a_new_beginning_is_told(story: Story, event: inputs.Input) -> None:
    """The events say that the count of attempts starts again, once."""
    story.end(Verdict.CRASHED)
    assert story.machine.attempt == 1
    for _ in range(2):
        story.feed(event)
    assert story.machine.attempt == 0
    assert story.told(events.AttemptsForgotten) == [events.AttemptsForgotten(tunnel="web", after=0.0)]


def test_being_offline_burns_no_attempts() -> None:
    """Ends without a network are waited out, ever longer, and are no attempts; the network's return ends the wait."""
    story = Story()
    story.verdict = Verdict.STARTING
    story.feed(inputs.Start())
    for wait in (5, 10, 20, 40, 80):
        story.end(Verdict.OFFLINE)
        assert story.told(events.RestartScheduled)[-1].delay == wait
        story.advance(wait)
    assert story.machine.attempt == 0
    story.end(Verdict.OFFLINE)
    story.advance(1)
    story.feed(inputs.Woken("network"))
    assert story.spawned_at[-1] == story.now
    story.end(Verdict.OFFLINE)
    assert story.told(events.RestartScheduled)[-1].delay == 5


def test_a_child_that_ignores_the_stop_is_killed() -> None:
    """After grace and margin comes SIGKILL, and it is repeated."""
    story = Story(MachineSettings(grace=32))
    story.feed(inputs.Start())
    story.obedient = False
    story.feed(inputs.Stop())
    story.advance(31)
    assert story.machine.state == "stopping"
    story.advance(1)
    assert story.machine.state == "idle"


def test_a_second_stop_kills_at_once(story: Story) -> None:
    """Kill does not wait for the grace period."""
    story.obedient = False
    story.feed(inputs.Stop())
    story.feed(inputs.Kill())
    assert story.machine.state == "idle"


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ([inputs.Restart("the configuration changed")], "the configuration changed"),
        ([inputs.Restart("asked to restart"), inputs.Restart("the token changed")], "the token changed"),
        ([inputs.Stop(), inputs.Start()], "asked to start"),
        ([inputs.Stop(), inputs.Restart("asked to restart")], "asked to restart"),
    ],
    ids=["restart", "two restarts", "start after stop", "restart after stop"],
)
def test_another_start_says_what_asked_for_it(story: Story, asked: list[inputs.Input], why: str) -> None:
    """A child that is started after another one has ended says why: not that a stop was asked for."""
    story.obedient = False
    for event in asked:
        story.feed(event)
    story.end(Verdict.CRASHED, ExitCause.STOPPED)
    assert [change.reason for change in story.told(events.StateChanged) if change.old == "stopping"] == [why]


@pytest.mark.parametrize("dies", [True, False], ids=["with a child", "without"])
def test_a_restart_that_no_user_asked_for_leaves_a_stop_alone(story: Story, *, dies: bool) -> None:
    """A changed configuration is taken by what is wanted only."""
    story.obedient = False
    story.feed(inputs.Stop())
    if not dies:
        story.end(Verdict.CRASHED, ExitCause.STOPPED)
    story.feed(inputs.Restart("the configuration changed", asked=False))
    if dies:
        story.end(Verdict.CRASHED, ExitCause.STOPPED)
    assert (story.machine.state, story.machine.wanted) == ("idle", False)


@pytest.mark.parametrize("cause", [ExitCause.UPDATED, ExitCause.PORT_TAKEN])
def test_ends_that_are_nobodys_fault_cost_nothing(story: Story, cause: ExitCause) -> None:
    """A self-update and a port lost in a race start the child again at once, but not forever."""
    story.verdict = Verdict.STARTING
    for _ in range(3):
        story.end(Verdict.CRASHED, cause)
    assert story.restarts == 3
    assert story.machine.attempt == 0
    story.end(Verdict.CRASHED, cause)
    assert story.machine.state == "backoff"


def test_with_any_every_wrong_answer_counts() -> None:
    """health_check_restart = "any" restarts for an origin's error too."""
    story = Story(MachineSettings(restart_on_any=True))
    story.feed(inputs.Start())
    story.advance(1)
    story.verdict = Verdict.ORIGIN_ERROR
    story.advance(100)
    assert story.restarts == 1


def test_a_restarted_quick_tunnel_tells_its_new_url(story: Story) -> None:
    """The new URL is reported with the old one, and only when it has been verified."""
    story.verdict, story.url = Verdict.DNS_PENDING, "https://b"
    story.feed(inputs.Restart("asked"))
    story.advance(30)
    assert len(story.told(events.UrlChanged)) == 1
    story.verdict = Verdict.HEALTHY
    story.advance(5)
    assert story.told(events.UrlChanged)[-1] == events.UrlChanged(tunnel="web", url="https://b", old="https://a")


def test_without_a_child_nothing_is_restarted() -> None:
    """A URL that other means keep up is watched; failures are reported and nothing more."""
    story = Story(MachineSettings(has_child=False))
    story.feed(inputs.Start())
    assert story.machine.state == "ready"
    story.verdict = Verdict.UNREACHABLE
    story.advance(600)
    assert (story.machine.state, story.spawned_at) == ("degraded", [])
    story.feed(inputs.Stop())
    assert story.machine.state == "idle"


@pytest.mark.parametrize("seed", range(5))
def test_a_day_of_faults_costs_as_many_restarts_as_it_must(seed: int) -> None:
    """24 hours with seeded faults at random times: restarts equal the faults that need one, and all is well in the end."""
    chance = random.Random(seed)
    story = Story()
    story.feed(inputs.Start())
    story.advance(10)
    needed = 0
    while story.now < 24 * 3600:
        ends = chance.random() < 0.5
        if ends:
            story.end(*chance.choice([(Verdict.CRASHED, ExitCause.CRASH), (Verdict.OFFLINE, ExitCause.CRASH)]))
            needed += 1
        else:
            story.verdict = chance.choice(HARMLESS)
        story.advance(chance.uniform(1, 900))
        story.verdict = Verdict.HEALTHY
        story.advance(chance.uniform(400, 2000))
        assert story.machine.state == "ready"
        assert story.restarts == needed


HARMLESS = [
    Verdict.ORIGIN_DOWN,
    Verdict.ORIGIN_ERROR,
    Verdict.OFFLINE,
    Verdict.PROTECTED,
    Verdict.ACCESS_REJECTED,
    Verdict.ROUTE_MISMATCH,
    Verdict.DNS_PENDING,
]


@pytest.mark.parametrize(
    ("verdict", "more", "settings", "forgotten"),
    [
        (Verdict.ORIGIN_DOWN, {}, MachineSettings(), True),
        (Verdict.ORIGIN_ERROR, {}, MachineSettings(), True),
        (Verdict.UNREACHABLE, {}, MachineSettings(quick=True), True),
        (Verdict.EDGE_LOST, {"connected": False}, MachineSettings(), False),
        (Verdict.UNREACHABLE, {"because": Cause.CONNECTION_STALE}, MachineSettings(), False),
        (Verdict.ORIGIN_DOWN, {}, MachineSettings(restart_on_any=True, max_failures=99), False),
    ],
    ids=["service down", "service fails", "no way for visitors", "edge lost", "connection stale", "any failure restarts"],
)
def test_a_connector_that_does_its_part_settles(
    verdict: Verdict, more: dict[str, Any], settings: MachineSettings, forgotten: bool
) -> None:
    """What is wrong with the service or the edge's routes is no break: the next end of the child is a first one again."""
    story = Story(settings)
    story.feed(inputs.Start())
    story.advance(1)
    for turn in range(3):
        story.end(Verdict.CRASHED)
        story.advance(5 * 2**turn + 2)
    story.advance(20)
    assert story.machine.attempt == 3
    story.verdict, story.more = verdict, more
    story.feed(inputs.CheckNow(story.machine.run))
    story.advance(60)
    assert (story.machine.attempt == 0) is forgotten
