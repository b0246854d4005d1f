"""The life of one tunnel's connector: `handle(now, input)` returns the list of effects.

Theory of operation. The user's wish (`wanted`) and the observed state are two things. The states:

    idle       not wanted, no child                         (the only state without a timer)
    starting   child on its way; nothing public yet         timer check, possibly replace
    ready      the public URL answers as it should          timers check, steady, possibly suspicion, replace
    degraded   it was up, or the fault is not the tunnel's  timer check, possibly replace
    stopping   the child was asked to end                   timer grace; `after_stop` says what comes then
    backoff    no child; waiting for the next try           timers backoff, recheck
    failed     no child; the operator must change something timer recheck

A child that lives is replaced only for a cause that a restart changes something about, and the wait of the schedule runs before
that (timer replace), while it is watched: if it comes back, it is kept, and with it the URL of a quick tunnel.

Invariants, each held by a property test: every state but idle owns a timer, so nothing can hang; `Spawn` is wanted only while
no child lives or is being born, so one connector never has two; after the user's stop nothing is spawned; inputs of earlier
runs, late timers and doubled answers change nothing.

Each part owns what it decides, and its timers: `Child` the child's life and end (grace, reap), `Cadence` when a check is due,
`RemedyChoice` what is done about its result, `Restarts` attempts and waits (replace, steady), `Display` what is shown
(suspicion), `ProtocolChoice` what the child speaks, `ObservedState` the state, and which changes of it there are. What is left
here is which part is asked when, and which state follows.

Failures are counted at most once an interval although checks come faster while something is wrong: `max_failures` of them mean
that the fault has lasted for `max_failures - 1` intervals, whatever the pace of checks.
"""

from __future__ import annotations

from collections.abc import Callable

from prx.core import effects as do
from prx.core import inputs
from prx.core.cadence import CHECK_LIMIT, PACE, Cadence
from prx.core.causes import Cause
from prx.core.child import Child
from prx.core.damping import FailureCounter
from prx.core.display import Display
from prx.core.effects import Effect
from prx.core.evidence import ExitCause
from prx.core.observed_state import ObservedState
from prx.core.outbox import Outbox
from prx.core.protocols import ProtocolChoice
from prx.core.remedies import RemedyChoice, does_its_part
from prx.core.restarts import Restarts
from prx.core.states import AfterStop, ChildState, MachineSettings, State
from prx.core.verdicts import BLUNT, Action, Diagnosis, Verdict

RECHECK_EVERY = 2.0  # seconds; a wait ends within 5 s of the change that makes it pointless
IDLE_GRACE = 0.5  # seconds for a child without connections: nothing can be in flight, and each one costs visitors


class Machine:
    """The machine of one connector of the tunnel `name`. `jitter` draws a number from 0 to 1 for each backoff."""

    def __init__(self, name: str, settings: MachineSettings, *, jitter: Callable[[], float] = lambda: 0.0) -> None:
        self.name = name
        self.settings = settings
        self.wanted = False
        self._out = Outbox()
        self._observed = ObservedState(name, self._out)
        self.child = Child(name, self._out)
        self.failures = FailureCounter()
        self._remedies = RemedyChoice(self.failures)
        self._cadence = Cadence()
        self._display = Display(name, self._out, self._cadence)
        self._restarts = Restarts(name, self._out, jitter=jitter, costs_url=lambda: self.restart_costs_url)
        self._protocol = ProtocolChoice(settings, self._out)
        self._after_stop = AfterStop.IDLE
        self._why = ""  # that comes
        self._now = 0.0

    @property
    def state(self) -> State:
        """The observed state."""
        return self._observed.state

    @property
    def run(self) -> int:
        """The number of the present start of the child; 0 before the first."""
        return self.child.run

    @property
    def attempt(self) -> int:
        """How many tries have failed in a row."""
        return self._restarts.attempt

    @property
    def url(self) -> str:
        """The proven public URL; empty before the first one."""
        return self._display.url

    @property
    def protocol(self) -> str:
        """What the child speaks to the edge, or the next child will."""
        return self._protocol.current

    @property
    def shown(self) -> Diagnosis | None:
        """The diagnosis that is shown."""
        return self._display.diagnosis

    @property
    def timers(self) -> dict[str, int]:
        """The token of each timer that runs."""
        return self._out.timers

    @property
    def busy(self) -> bool:
        """Return whether an answer of the runtime is awaited: to a check, or to a spawn."""
        return self._cadence.under_way or self.child.state is ChildState.SPAWNING

    def handle(self, now: float, input: inputs.Input) -> list[Effect]:  # noqa: A002 - an event is a fact here
        """Return what is to be done about `input` at monotonic time `now` (seconds)."""
        self._now = now
        self._out.begin()
        match input:
            case inputs.Start():
                self._on_start(input)
            case inputs.Stop():
                self._on_stop()
            case inputs.Kill():
                self._on_kill()
            case inputs.Restart():
                self._on_restart(input)
            case inputs.Woken():
                self._on_woken(input.what)
            case inputs.TimerFired():
                self._on_timer(input)
            case _ if input.run == self.run:
                self._on_child(input)
        return self._out.effects

    # ------------------------------------------------------------------ the user

    def _on_start(self, event: inputs.Start) -> None:
        self.wanted = True
        if self.state is State.STOPPING and self._after_stop is AfterStop.IDLE:
            self._after_stop, self._why = AfterStop.SPAWN, "asked to start"
        elif self.state in {State.IDLE, State.FAILED} and event.retry_in > 0:
            self._restarts.attempt = event.attempt
            self._display.show(Diagnosis(Verdict.RATE_LIMITED, "the quick-tunnel service asked to wait"))
            self._wait(event.retry_in, "the quick-tunnel service asked to wait")
        elif self.state in {State.IDLE, State.FAILED}:
            self._spawn("asked to start")

    def _on_stop(self) -> None:
        self.wanted = False
        if self.state is State.STOPPING:
            self._after_stop = AfterStop.IDLE
        elif not self.child.exists:
            self._enter(State.IDLE, "asked to stop")
        else:
            self._stop_child(AfterStop.IDLE, "asked to stop")

    def _on_kill(self) -> None:
        self._on_stop()
        self.child.kill()

    def _on_restart(self, event: inputs.Restart) -> None:
        if not (self.wanted or event.asked):
            return
        self.wanted, reason = True, event.reason
        self._restarts.forget_attempts()
        if self.state is State.STOPPING:
            self._after_stop, self._why = AfterStop.SPAWN, reason
        elif not self.child.exists:
            self._spawn(reason)
        else:
            self._stop_child(AfterStop.SPAWN, reason)

    def reconfigure(self, settings: MachineSettings, *, afresh: bool = False) -> None:
        """Take new settings; a change that concerns the child is followed by a Restart input.

        afresh: they are for another child, which begins with their best protocol; else the one that was chosen stays chosen.
        """
        self.settings = settings
        self._protocol.take(settings)
        if afresh:
            self._protocol.take_best()

    # ------------------------------------------------------------------ the world

    def _on_woken(self, what: str) -> None:
        if what == "no network":
            if self._observed.is_running():
                self._check_now()
            return
        if what == "nameservers" and not (self.state is State.BACKOFF and self._display.shows(Verdict.OFFLINE)):
            return
        if what == "network":
            self._protocol.take_best()  # what was learnt about the old one does not hold
        if self.state is State.BACKOFF and self._display.shows(Verdict.RATE_LIMITED) and what in {"sleep", "binary"}:
            return  # neither changes anything about what the service has asked for
        if self.state in {State.BACKOFF, State.FAILED} and self.wanted:
            self._restarts.forget_attempts()
            self._spawn(f"{what} changed" if what != "sleep" else "the machine woke up")
        elif self._observed.is_running():
            self.failures.forget()
            self._restarts.forget_vain()
            self._check_now()

    def _on_timer(self, event: inputs.TimerFired) -> None:
        if not self._out.take(event):
            return
        match event.name:
            case "check":
                self._cadence.give_up()  # if one is still under way, it has outlived its limit
                self._check_now()
            case "suspicion":
                self._end_suspicion()
            case "replace":
                self._restarts.make_due()
                self._check_now()  # once more; the child is replaced unless it has come back
            case "steady":
                self._restarts.settle()
            case "grace" | "reap":
                self.child.on_overdue()
            case "backoff":
                self._spawn("the wait is over")
            case "recheck":
                self._out.set_timer("recheck", RECHECK_EVERY)
                self._out.add(do.WatchForChange())

    def _on_child(self, event: inputs.OfChild) -> None:
        match event:
            case inputs.Spawned() if self.child.state is ChildState.SPAWNING:
                self._on_spawned(event)
            case inputs.SpawnFailed() if self.child.state is ChildState.SPAWNING:
                self.child.forget()
                self._ended(event.diagnosis, None)
            case inputs.Exited() if self.child.exists:
                self.child.on_exited(event, stopping=self.state is State.STOPPING)
                self._ended(event.diagnosis, event.exit.cause)
            case inputs.Checked() | inputs.NotChecked():
                self._on_checked(event)
            case inputs.CheckNow() if self._observed.is_running():
                self._cadence.hurry()
                self._check_now()

    def _on_spawned(self, event: inputs.Spawned) -> None:
        self.child.on_spawned(event, self.protocol)
        if self.state is State.STOPPING:
            self.child.end_as_asked()
        else:
            self._out.set_timer("check", PACE[0])

    def _ended(self, diagnosis: Diagnosis, cause: ExitCause | None) -> None:
        """Go on after the end of the child, or after its failed birth."""
        if self.state is State.STOPPING:
            self._after_stopping()
            return
        if cause in {ExitCause.UPDATED, ExitCause.PORT_TAKEN} and self._restarts.take_free():
            self._spawn(diagnosis.reason)
            return
        self._display.show(diagnosis)
        if diagnosis.action is Action.FAIL:
            self._enter(State.FAILED, diagnosis.reason)
        else:
            quick = self.settings.replicated and self._observed.was_up(self._now)
            delay = self._restarts.delay_after(diagnosis, quick=quick)
            self._wait(delay, diagnosis.reason)

    def _after_stopping(self) -> None:
        match self._after_stop:
            case AfterStop.IDLE:
                self._enter(State.IDLE, "stopped as asked")
            case AfterStop.SPAWN:
                self._spawn(self._why)
            case AfterStop.FAIL:
                self._enter(State.FAILED, self._why)

    # ------------------------------------------------------------------ checks

    def _check_now(self) -> None:
        if self.child.state is not ChildState.ALIVE:
            self._out.set_timer("check", PACE[-1])
        elif self._cadence.begin():
            self._out.set_timer("check", CHECK_LIMIT)
            self._out.add(do.Check(self.run))

    def _on_checked(self, event: inputs.Checked | inputs.NotChecked) -> None:
        again, rest = self._cadence.finish(), 0.0
        if not self._observed.is_running():
            return
        if isinstance(event, inputs.Checked):
            rest = event.rest
            self._judge(event.diagnosis, event.url)
        if not self._observed.is_running():  # the verdict has ended it
            return
        if again:
            self._check_now()
        else:
            well = self.state is State.READY and not self._display.suspects
            self._out.set_timer("check", self._cadence.next_in(self._now, self.settings.interval, well=well, rest=rest))

    def _judge(self, diagnosis: Diagnosis, url: str) -> None:
        """Act on what a check has found."""
        action = self._remedies.choose(self._now, diagnosis, self.settings, other_protocol=self._protocol.has_other)
        self._protocol.remember(diagnosis)
        self._cadence.spare(self._now, diagnosis.retry_after, self.settings.interval)
        self._display.publish_url(diagnosis, url)
        at_once = self.state is not State.READY or action is Action.NONE
        if self._display.is_settled(self._now, diagnosis, at_once=at_once):
            self._show_checked(diagnosis, action)
        self._act(diagnosis, action)

    def _act(self, diagnosis: Diagnosis, action: Action) -> None:
        match action:
            case Action.COUNT:  # there are not yet enough failures, and what a replacement was scheduled for is over
                self._restarts.cancel(diagnosis)
            case Action.REPLACE:
                if self.settings.has_child and self._restarts.schedule(diagnosis, self._lasted(diagnosis)):
                    self._replace(diagnosis)
            case Action.REPLACE_NOW:
                self._restarts.announce_now(diagnosis.reason)
                self._stop_child(AfterStop.SPAWN, diagnosis)
            case Action.FAIL:
                self._stop_child(AfterStop.FAIL, diagnosis)
            case Action.SWITCH_PROTOCOL:
                self._protocol.take_other(diagnosis)
                self._stop_child(AfterStop.SPAWN, diagnosis)
            case _:
                self._restarts.cancel(diagnosis)
                if action is Action.NONE:
                    self._restarts.may_help_again()

    def _end_suspicion(self) -> None:
        """Show what has been suspected for long enough, without waiting for the check that is under way."""
        diagnosis = self._display.end_suspicion()
        if diagnosis is not None and self._observed.is_running():
            self._show_checked(diagnosis, diagnosis.action)

    def _show_checked(self, diagnosis: Diagnosis, action: Action) -> None:
        self._display.show_checked(diagnosis)
        if action is Action.NONE:
            self._observed.change(self._now, State.READY, diagnosis.reason)
        elif action is Action.REPORT or self.state is State.READY or diagnosis.verdict in BLUNT:
            self._observed.change(self._now, State.DEGRADED, diagnosis.reason)
        steady = self.state is State.DEGRADED and does_its_part(diagnosis, self.settings)
        self._restarts.watch(steady=steady or self.state is State.READY)

    def _lasted(self, diagnosis: Diagnosis) -> float:
        return 0.0 if diagnosis.since is None else max(0.0, self._now - diagnosis.since)

    def _replace(self, diagnosis: Diagnosis) -> None:
        """Replace the child: the wait is over, and it has not come back."""
        self._restarts.carry_out(diagnosis)
        if diagnosis.cause is Cause.UDP_BLOCKED and self._protocol.has_other:
            self._protocol.take_other(diagnosis)
        self._display.show(diagnosis)
        self._stop_child(AfterStop.SPAWN, diagnosis)

    @property
    def restart_costs_url(self) -> bool:
        """Return whether a restart changes the public URL."""
        return self.settings.quick and bool(self.url)

    # ------------------------------------------------------------------ moves

    def _spawn(self, reason: str) -> None:
        self.child.renew()
        self.failures.forget()
        self._display.renew()
        self._cadence.restart()
        self._enter(State.STARTING, reason)
        if self.settings.has_child:
            self._out.set_timer("check", CHECK_LIMIT)
            self.child.spawn(self.protocol)
        else:
            self.child.take_for_alive()
            self._check_now()

    def _stop_child(self, then: AfterStop, why: Diagnosis | str) -> None:
        """Tell the child to end. One that is stopped for a fault and has no connection has nothing in flight to finish."""
        self._after_stop, self._why = then, why.reason if isinstance(why, Diagnosis) else why
        idle = isinstance(why, Diagnosis) and not why.connected
        self._enter(State.STOPPING, self._why)
        self._out.set_timer("grace", min(IDLE_GRACE, self.settings.grace) if idle else self.settings.grace)
        if self.settings.has_child:
            self.child.terminate()
        else:
            self.child.forget()
            self._after_stopping()

    def _wait(self, delay: float, reason: str) -> None:
        self._enter(State.BACKOFF, reason)
        self._out.set_timer("backoff", delay)
        self._out.set_timer("recheck", RECHECK_EVERY)
        self._restarts.announce(delay, reason)

    def _enter(self, state: State, reason: str) -> None:
        """Change the state; all timers of the old one are taken back."""
        self._restarts.drop()  # a replacement that was not needed
        self._out.clear_timers()
        if state is State.FAILED:
            self._out.set_timer("recheck", RECHECK_EVERY)
        self._observed.change(self._now, state, reason)
