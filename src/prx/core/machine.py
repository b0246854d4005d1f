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

Failures are counted at most once an interval although checks come faster while something is wrong: `max_failures` of them mean
that the fault has lasted for `max_failures - 1` intervals, whatever the pace of checks.
"""

from __future__ import annotations

from collections.abc import Callable

from prx.core import effects as do
from prx.core import events, inputs
from prx.core.cadence import CHECK_LIMIT, PACE, Cadence
from prx.core.causes import Cause, restart_helps
from prx.core.damping import FailureCounter
from prx.core.display import Display
from prx.core.effects import Effect
from prx.core.evidence import ChildExit, ExitCause
from prx.core.outbox import Outbox
from prx.core.protocols import ProtocolChoice
from prx.core.restarts import Restarts
from prx.core.states import TRANSITIONS, AfterStop, ChildState, MachineSettings, State
from prx.core.verdicts import BLUNT, RESTARTING, Action, Diagnosis, Verdict

RECHECK_EVERY = 2.0  # seconds; a wait ends within 5 s of the change that makes it pointless
IDLE_GRACE = 2.0  # seconds for a child without connections: nothing can be in flight
UP_FOR = 2.0  # seconds for which a replica was up, so that its end is no failed start
REAP_LIMIT = 5.0  # seconds from SIGKILL to the next SIGKILL, should the first not have helped


class Machine:
    """The machine of one connector of the tunnel `name`. `jitter` draws a number from 0 to 1 for each backoff."""

    def __init__(self, name: str, settings: MachineSettings, *, jitter: Callable[[], float] = lambda: 0.0) -> None:
        self.name = name
        self.settings = settings
        self.state = State.IDLE
        self.wanted = False
        self.child = ChildState.NONE
        self.run = 0
        self.failures = FailureCounter()
        self._out = Outbox()
        self._cadence = Cadence()
        self._display = Display(name, self._out, self._cadence)
        self._restarts = Restarts(name, self._out, jitter)
        self._protocol = ProtocolChoice(settings, self._out)
        self._after_stop = AfterStop.IDLE
        self._cause: Diagnosis | None = None  # why the child is being stopped
        self._kill_when_spawned = False
        self._now = 0.0
        self._up_since = 0.0

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
        return self._cadence.under_way or self.child is ChildState.SPAWNING

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
                self._on_restart(input.reason)
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
            self._after_stop = AfterStop.SPAWN
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
        elif self.child is ChildState.NONE:
            self._enter(State.IDLE, "asked to stop")
        else:
            self._stop_child(AfterStop.IDLE, "asked to stop")

    def _on_kill(self) -> None:
        self._on_stop()
        if self.child is ChildState.ALIVE:
            self._kill()
        elif self.child is ChildState.SPAWNING:
            self._kill_when_spawned = True

    def _on_restart(self, reason: str) -> None:
        self.wanted = True
        self._restarts.forget_attempts()
        if self.state is State.STOPPING:
            self._after_stop = AfterStop.SPAWN
        elif self.child is ChildState.NONE:
            self._spawn(reason)
        else:
            self._stop_child(AfterStop.SPAWN, reason)

    def reconfigure(self, settings: MachineSettings) -> None:
        """Take new settings; a change that concerns the child is followed by a Restart input."""
        self.settings = settings
        self._protocol.take_best(settings)

    # ------------------------------------------------------------------ the world

    def _on_woken(self, what: str) -> None:
        if what == "no network":
            if self._is_running():
                self._check_now()
            return
        if what == "network":
            self._protocol.forget(self.settings)
        if self.state is State.BACKOFF and self._display.shows(Verdict.RATE_LIMITED) and what in {"sleep", "binary"}:
            return  # neither changes anything about what the service has asked for
        if self.state in {State.BACKOFF, State.FAILED} and self.wanted:
            self._restarts.forget_attempts()
            self._spawn(f"{what} changed" if what != "sleep" else "the machine woke up")
        elif self._is_running():
            self.failures.forget()
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
                self._kill()
            case "backoff":
                self._spawn("the wait is over")
            case "recheck":
                self._out.set_timer("recheck", RECHECK_EVERY)
                self._out.add(do.WatchForChange())

    def _on_child(self, event: inputs.Spawned | inputs.SpawnFailed | inputs.Exited | inputs.Checked | inputs.CheckNow) -> None:
        match event:
            case inputs.Spawned() if self.child is ChildState.SPAWNING:
                self._on_spawned(event)
            case inputs.SpawnFailed() if self.child is ChildState.SPAWNING:
                self.child = ChildState.NONE
                self._ended(event.diagnosis, None)
            case inputs.Exited() if self.child is not ChildState.NONE:
                self._on_exited(event)
            case inputs.Checked():
                self._on_checked(event)
            case inputs.CheckNow() if self._is_running():
                self._cadence.hurry()
                self._check_now()

    def _on_spawned(self, event: inputs.Spawned) -> None:
        self.child = ChildState.ALIVE
        self._out.publish(
            events.ChildStarted(tunnel=self.name, pid=event.pid, version=event.version, connector=0, protocol=self.protocol)
        )
        if self.state is State.STOPPING:
            self._kill() if self._kill_when_spawned else self._terminate()
        else:
            self._out.set_timer("check", PACE[0])

    def _on_exited(self, event: inputs.Exited) -> None:
        self.child = ChildState.NONE
        end = event.exit
        self._out.publish(
            events.ChildExited(
                tunnel=self.name,
                pid=event.pid,
                code=end.code,
                signal=end.signal,
                result=_result(end, stopped=self.state is State.STOPPING, killed="reap" in self.timers),
                cause=str(ExitCause.STOPPED if self.state is State.STOPPING else end.cause),
                detail="" if self.state is State.STOPPING else end.detail,
            )
        )
        self._ended(event.diagnosis, end.cause)

    def _ended(self, diagnosis: Diagnosis, cause: ExitCause | None) -> None:
        """Go on after the end of the child, or after its failed birth."""
        if self.state is State.STOPPING:
            self._after_stopping()
            return
        if cause in {ExitCause.UPDATED, ExitCause.PORT_TAKEN} and self._restarts.take_free():
            self._spawn(diagnosis.reason)
            return
        self._display.show(diagnosis)
        self._act_on_end(diagnosis)

    def _act_on_end(self, diagnosis: Diagnosis) -> None:
        match diagnosis.action:
            case Action.FAIL:
                self._enter(State.FAILED, diagnosis.reason)
            case Action.RESTART_RATE_LIMITED:
                delay = self._restarts.next_rate_limited_delay()
                self._out.add(do.RememberRateLimit(delay, self.attempt))
                self._wait(delay, diagnosis.reason)
            case Action.WAIT:  # no network: the try did not count
                self._wait(self._restarts.uncounted_delay(), diagnosis.reason)
            case _ if self.settings.replicated and self.state.is_up and self._now - self._up_since >= UP_FOR:
                self._wait(self._restarts.quick_delay(), diagnosis.reason)
            case _:
                self._wait(self._restarts.next_delay(), diagnosis.reason)

    def _after_stopping(self) -> None:
        reason = self._cause.reason if self._cause else "asked to stop"
        match self._after_stop:
            case AfterStop.IDLE:
                self._enter(State.IDLE, "stopped as asked")
            case AfterStop.SPAWN:
                self._spawn(reason)
            case AfterStop.FAIL:
                self._enter(State.FAILED, reason)

    # ------------------------------------------------------------------ looking

    def _check_now(self) -> None:
        if self.child is not ChildState.ALIVE:
            self._out.set_timer("check", PACE[-1])
        elif self._cadence.begin():
            self._out.set_timer("check", CHECK_LIMIT)
            self._out.add(do.Check(self.run))

    def _on_checked(self, event: inputs.Checked) -> None:
        again = self._cadence.finish()
        if not self._is_running():
            return
        self._judge(event.diagnosis, event.url)
        if not self._is_running():  # the verdict has ended it
            return
        if again:
            self._check_now()
        else:
            well = self.state is State.READY and not self._display.suspects
            self._out.set_timer("check", self._cadence.next_in(self._now, self.settings.interval, well=well))

    def _judge(self, diagnosis: Diagnosis, url: str) -> None:
        """Act on what a check has found."""
        action = self._action(diagnosis)
        self._protocol.remember(diagnosis)
        if diagnosis.retry_after is not None:
            self._cadence.spare(self._now, diagnosis.retry_after, self.settings.interval)
        self._display.tell_url(diagnosis, url)
        at_once = self.state is not State.READY or action is Action.NONE
        if self._display.is_settled(self._now, diagnosis, at_once=at_once):
            self._show_checked(diagnosis, action)
        self._act(diagnosis, action)

    def _action(self, diagnosis: Diagnosis) -> Action:
        """Return what is done about a diagnosis: no restart that changes nothing, unless the user wants one for any failure."""
        if diagnosis.verdict in BLUNT and self.settings.restart_on_any and diagnosis.action not in RESTARTING:
            return Action.COUNT
        if diagnosis.action in RESTARTING and not restart_helps(diagnosis.cause):
            return Action.REPORT
        return diagnosis.action

    def _act(self, diagnosis: Diagnosis, action: Action) -> None:
        match action:
            case Action.COUNT:
                self._count(diagnosis)
            case Action.REPLACE:
                self._schedule(diagnosis)
            case Action.REPLACE_NOW:
                self._restarts.announce_now(diagnosis.reason, costs_url=self.restart_costs_url)
                self._stop_child(AfterStop.SPAWN, diagnosis)
            case Action.FAIL:
                self._stop_child(AfterStop.FAIL, diagnosis)
            case Action.SWITCH_PROTOCOL if self._protocol.has_other(self.settings):
                self._protocol.take_other(self.settings, diagnosis)
                self._stop_child(AfterStop.SPAWN, diagnosis)
            case _:
                self.failures.forget()
                self._restarts.cancel(diagnosis)
                if action is Action.NONE:
                    self._restarts.may_help_again()

    def _end_suspicion(self) -> None:
        """Show what has been suspected for long enough, without waiting for the check that is under way."""
        diagnosis = self._display.end_suspicion()
        if diagnosis is not None and self._is_running():
            self._show_checked(diagnosis, diagnosis.action)

    def _show_checked(self, diagnosis: Diagnosis, action: Action) -> None:
        self._display.show_checked(diagnosis)
        if action is Action.NONE:
            self._become(State.READY, diagnosis.reason)
        elif action is Action.REPORT or self.state is State.READY or diagnosis.verdict in BLUNT:
            self._become(State.DEGRADED, diagnosis.reason)

    def _count(self, diagnosis: Diagnosis) -> None:
        """Count a failure; schedule a replacement once there are enough of them, and they have lasted for long enough."""
        settings = self.settings
        self.failures.add(self._now, settings.interval)
        enough = self.failures.count >= settings.max_failures and self.failures.lasted(self._now) >= diagnosis.patience
        if enough or (settings.restart_on_any and self.failures.count >= settings.max_failures):
            self._schedule(diagnosis)

    def _schedule(self, diagnosis: Diagnosis) -> None:
        """Schedule a replacement of the child; replace it if the wait of an earlier schedule is over."""
        if self.settings.has_child and self._restarts.schedule(diagnosis, costs_url=self.restart_costs_url):
            self._replace(diagnosis)

    def _replace(self, diagnosis: Diagnosis) -> None:
        """Replace the child: the wait is over, and it has not come back."""
        self._restarts.carry_out(diagnosis)
        if diagnosis.cause is Cause.UDP_BLOCKED and self._protocol.has_other(self.settings):
            self._protocol.take_other(self.settings, diagnosis)
        self._display.show(diagnosis)
        self._stop_child(AfterStop.SPAWN, diagnosis)

    @property
    def restart_costs_url(self) -> bool:
        """Return whether a restart changes the public URL."""
        return self.settings.quick and bool(self.url)

    # ------------------------------------------------------------------ moves

    def _is_running(self) -> bool:
        return self.state in {State.STARTING, State.READY, State.DEGRADED}

    def _spawn(self, reason: str) -> None:
        self.run += 1
        self.child = ChildState.SPAWNING
        self.failures.forget()
        self._display.renew()
        self._cause = None
        self._kill_when_spawned = False
        self._cadence.restart()
        self._enter(State.STARTING, reason)
        if self.settings.has_child:
            self._out.set_timer("check", CHECK_LIMIT)
            self._out.add(do.Spawn(self.run, self.protocol))
        else:
            self.child = ChildState.ALIVE
            self._check_now()

    def _stop_child(self, then: AfterStop, why: Diagnosis | str) -> None:
        """Tell the child to end. One that is stopped for a fault and has no connection has nothing in flight to finish."""
        self._after_stop = then
        self._cause = why if isinstance(why, Diagnosis) else None
        reason = why.reason if isinstance(why, Diagnosis) else why
        idle = isinstance(why, Diagnosis) and not why.connected
        self._enter(State.STOPPING, reason)
        self._out.set_timer("grace", min(IDLE_GRACE, self.settings.grace) if idle else self.settings.grace)
        if not self.settings.has_child:
            self.child = ChildState.NONE
            self._after_stopping()
        elif self.child is ChildState.ALIVE:
            self._terminate()

    def _terminate(self) -> None:
        self._out.add(do.Terminate(self.run))

    def _kill(self) -> None:
        self._out.drop_timer("grace")
        self._out.set_timer("reap", REAP_LIMIT)
        if self.child is ChildState.ALIVE:
            self._out.add(do.Kill(self.run))
        else:
            self._kill_when_spawned = True

    def _wait(self, delay: float, reason: str) -> None:
        self._enter(State.BACKOFF, reason)
        self._out.set_timer("backoff", delay)
        self._out.set_timer("recheck", RECHECK_EVERY)
        self._restarts.announce(delay, reason, costs_url=self.restart_costs_url)

    def _become(self, state: State, reason: str) -> None:
        """Change between starting, ready and degraded, which share the child and the check timer."""
        if state is self.state:
            return
        if not self.state.is_up:
            self._up_since = self._now
        self._change(state, reason)
        if state is State.READY:
            self._out.set_timer("steady", self._restarts.steady_after)
        else:
            self._out.drop_timer("steady")

    def _enter(self, state: State, reason: str) -> None:
        """Change the state; all timers of the old one are taken back."""
        self._restarts.drop()  # a replacement that was not needed
        self._out.clear_timers()
        if state is State.FAILED:
            self._out.set_timer("recheck", RECHECK_EVERY)
        if state is not self.state:
            self._change(state, reason)

    def _change(self, state: State, reason: str) -> None:
        old, self.state = self.state, state
        assert state in TRANSITIONS[old], f"{old} -> {state} is no change of state that there is"
        self._out.publish(events.StateChanged(tunnel=self.name, old=old, new=state, reason=reason))


def _result(end: ChildExit, *, stopped: bool, killed: bool) -> str:
    """Return why a child ended in one word: clean, timeout, signal, permanent or crash."""
    if stopped:
        return "timeout" if killed else "clean"
    if end.cause in {ExitCause.AUTH, ExitCause.CONFIG}:
        return "permanent"
    if end.cause is ExitCause.UPDATED:
        return "clean"
    return "crash" if end.signal is None else "signal"
