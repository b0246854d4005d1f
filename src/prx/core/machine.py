"""The life of one tunnel's connector: `handle(now, input)` gives the list of effects.

Theory of operation. The user's wish (`wanted`) and the observed state are two things. The states:

    idle       not wanted, no child                         (the only state without a timer)
    starting   child on its way; nothing public yet         timer check, perhaps replace
    ready      the public URL answers as it should          timers check, steady, perhaps suspicion, replace
    degraded   it was up, or the fault is not the tunnel's  timer check, perhaps replace
    stopping   the child was told to end                    timer grace; `after_stop` says what comes then
    backoff    no child; waiting for the next try           timers backoff, recheck
    failed     no child; the operator must change something timer recheck

A child that lives is replaced only for a cause that a restart changes something about, and the wait of the schedule runs before
that (timer replace), while it is watched: if it comes back, it is kept, and with it the URL of a quick tunnel.

Invariants, each held by a property test: every state but idle owns a timer, so nothing can hang; `Spawn` is wanted only while
no child lives or is being born, so one connector never has two; after the user's stop nothing is spawned; inputs of earlier
runs, late timers and doubled answers change nothing.

Failures are counted at most once an interval although looks come faster while something is wrong: `max_failures` of them mean
that the fault has lasted for `max_failures - 1` intervals, whatever the pace of checks.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from prx.core import effects as do
from prx.core import events, inputs
from prx.core.backoff import RATE_LIMITED, RESTART, steady_after
from prx.core.cadence import CHECK_LIMIT, PACE, Cadence
from prx.core.causes import Cause, restart_helps
from prx.core.damping import FailureCounter, FlapDamper
from prx.core.effects import Effect
from prx.core.evidence import ChildExit, ExitCause
from prx.core.states import TRANSITIONS, AfterStop, ChildState, MachineSettings, State
from prx.core.verdicts import BLUNT, PROVES_URL, RESTARTING, Action, Diagnosis, Verdict

RECHECK_EVERY = 2.0  # seconds; a wait ends within 5 s of the change that makes it pointless
IDLE_GRACE = 2.0  # seconds for a child without connections: nothing can be in flight
REAP_LIMIT = 5.0  # seconds from SIGKILL to the next SIGKILL, should the first not have helped
_NUMBERS = re.compile(r"\d+")
INSTANT_RESTARTS = 3  # in a row, for ends that are nobody's fault; then they count like any other


class Machine:
    """The machine of one connector of the tunnel `name`. `jitter` draws a number from 0 to 1 for each backoff."""

    def __init__(self, name: str, settings: MachineSettings, *, jitter: Callable[[], float] = lambda: 0.0) -> None:
        self.name = name
        self.settings = settings
        self.state = State.IDLE
        self.wanted = False
        self.child = ChildState.NONE
        self.run = 0
        self.attempt = 0
        self.failures = FailureCounter()
        self.url = ""
        self._unproven = ""
        self.protocol = settings.protocols[0]
        self.shown: Diagnosis | None = None
        self.timers: dict[str, int] = {}
        self._jitter = jitter
        self._after_stop = AfterStop.IDLE
        self._cause: Diagnosis | None = None  # why the child is being stopped
        self._kill_when_spawned = False
        self._suspicion = FlapDamper()
        self._cadence = Cadence()
        self._free_restarts = 0
        self._last_delay = 0.0
        self._token = 0
        self._replacing: Diagnosis | None = None  # a replacement is scheduled, for this reason
        self._due = False  # and its wait is over
        self._in_vain: Cause | None = None  # a replacement for this cause has changed nothing
        self._switched = False  # the protocol was changed because the other one did not get through
        self._effects: list[Effect] = []
        self._now = 0.0

    @property
    def busy(self) -> bool:
        """Tell whether an answer of the runtime is awaited: to a check, or to a spawn."""
        return self._cadence.under_way or self.child is ChildState.SPAWNING

    def handle(self, now: float, input: inputs.Input) -> list[Effect]:  # noqa: A002 - an event is a fact here
        """Return what is to be done about `input` at monotonic time `now` (seconds)."""
        self._now = now
        self._effects = []
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
        return self._effects

    # ------------------------------------------------------------------ the user

    def _on_start(self, event: inputs.Start) -> None:
        self.wanted = True
        if self.state is State.STOPPING and self._after_stop is AfterStop.IDLE:
            self._after_stop = AfterStop.SPAWN
        elif self.state in {State.IDLE, State.FAILED} and event.retry_in > 0:
            self.attempt = event.attempt
            self._show(Diagnosis(Verdict.RATE_LIMITED, "the quick-tunnel service asked to wait"))
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
        self._forget_attempts()
        if self.state is State.STOPPING:
            self._after_stop = AfterStop.SPAWN
        elif self.child is ChildState.NONE:
            self._spawn(reason)
        else:
            self._stop_child(AfterStop.SPAWN, reason)

    def reconfigure(self, settings: MachineSettings) -> None:
        """Take new settings; a change that concerns the child is followed by a Restart input."""
        self.settings = settings
        self.protocol = settings.protocols[0]

    # ------------------------------------------------------------------ the world

    def _on_woken(self, what: str) -> None:
        if what == "network":  # what was learnt about the old network does not hold for the new one
            self.protocol = self.settings.protocols[0]
            self._switched = False
        if self.state is State.BACKOFF and self._is_rate_limited() and what in {"sleep", "binary"}:
            return  # neither changes anything about what the service has asked for
        if self.state in {State.BACKOFF, State.FAILED} and self.wanted:
            self._forget_attempts()
            self._spawn(f"{what} changed" if what != "sleep" else "the machine woke up")
        elif self._is_running():
            self.failures.forget()
            self._check_now()

    def _is_rate_limited(self) -> bool:
        return self.shown is not None and self.shown.verdict is Verdict.RATE_LIMITED

    def _on_timer(self, event: inputs.TimerFired) -> None:
        if self.timers.get(event.name) != event.token:
            return
        del self.timers[event.name]
        match event.name:
            case "check":
                self._cadence.give_up()  # if one is still under way, it has outlived its limit
                self._check_now()
            case "suspicion":
                self._end_suspicion()
            case "replace":
                self._on_due()
            case "steady":
                self._free_restarts = 0
                self._forget_attempts(steady_after(self._last_delay))
            case "grace" | "reap":
                self._kill()
            case "backoff":
                self._spawn("the wait is over")
            case "recheck":
                self._set("recheck", RECHECK_EVERY)
                self._effects.append(do.WatchForChange())

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
        self._publish(
            events.ChildStarted(tunnel=self.name, pid=event.pid, version=event.version, connector=0, protocol=self.protocol)
        )
        if self.state is State.STOPPING:
            self._kill() if self._kill_when_spawned else self._terminate()
        else:
            self._set("check", PACE[0])

    def _on_exited(self, event: inputs.Exited) -> None:
        self.child = ChildState.NONE
        end = event.exit
        self._publish(
            events.ChildExited(
                tunnel=self.name,
                pid=event.pid,
                code=end.code,
                signal=end.signal,
                result=self._result(end),
                cause=str(ExitCause.STOPPED if self.state is State.STOPPING else end.cause),
                detail="" if self.state is State.STOPPING else end.detail,
            )
        )
        self._ended(event.diagnosis, end.cause)

    def _result(self, end: ChildExit) -> str:
        """Say why it ended in one word: clean, timeout, signal, permanent or crash."""
        if self.state is State.STOPPING:
            return "timeout" if "reap" in self.timers else "clean"
        if end.cause in {ExitCause.AUTH, ExitCause.CONFIG}:
            return "permanent"
        if end.cause is ExitCause.UPDATED:
            return "clean"
        return "crash" if end.signal is None else "signal"

    def _ended(self, diagnosis: Diagnosis, cause: ExitCause | None) -> None:
        """Go on after the end of the child, or after its failed birth."""
        if self.state is State.STOPPING:
            self._after_stopping()
            return
        if cause in {ExitCause.UPDATED, ExitCause.PORT_TAKEN} and self._free_restarts < INSTANT_RESTARTS:
            self._free_restarts += 1
            self._spawn(diagnosis.reason)
            return
        self._show(diagnosis)
        self._act_on_end(diagnosis)

    def _act_on_end(self, diagnosis: Diagnosis) -> None:
        match diagnosis.action:
            case Action.FAIL:
                self._enter(State.FAILED, diagnosis.reason)
            case Action.RESTART_RATE_LIMITED:
                self.attempt += 1
                delay = RATE_LIMITED.delay(self.attempt)
                self._effects.append(do.RememberRateLimit(delay, self.attempt))
                self._wait(delay, diagnosis.reason)
            case Action.WAIT:  # no network: the try did not count
                self._wait(RESTART.delay(max(1, self.attempt)), diagnosis.reason)
            case _:
                self._back_off(diagnosis.reason)

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
            self._set("check", PACE[-1])
        elif self._cadence.begin():
            self._set("check", CHECK_LIMIT)
            self._effects.append(do.Check(self.run))

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
            well = self.state is State.READY and not self._suspicion
            self._set("check", self._cadence.next_in(self._now, self.settings.interval, well=well))

    def _judge(self, diagnosis: Diagnosis, url: str) -> None:
        """Act on what a check has found."""
        action = diagnosis.action
        if diagnosis.verdict in BLUNT and self.settings.restart_on_any and action not in RESTARTING:
            action = Action.COUNT
        elif action in RESTARTING and not restart_helps(diagnosis.cause):
            action = Action.REPORT
        if diagnosis.connected and self._switched:
            self._switched = False
            self._effects.append(do.RememberProtocol(self.protocol))
        if diagnosis.retry_after is not None:
            self._cadence.spare(self._now, diagnosis.retry_after, self.settings.interval)
        self._tell_url(diagnosis, url)
        if self._is_settled(diagnosis, action):
            self._show_checked(diagnosis, action)
        self._act(diagnosis, action)

    def _tell_url(self, diagnosis: Diagnosis, url: str) -> None:
        if not url or url == self.url:
            return
        proven = diagnosis.verdict in PROVES_URL
        if proven or (diagnosis.tell_unproven and url != self._unproven):
            self._publish(events.UrlChanged(tunnel=self.name, url=url, old=self.url, proven=proven))
        if proven:
            self.url = url
        elif diagnosis.tell_unproven:
            self._unproven = url

    def _act(self, diagnosis: Diagnosis, action: Action) -> None:
        match action:
            case Action.COUNT:
                self._count(diagnosis)
            case Action.REPLACE:
                self._schedule(diagnosis)
            case Action.REPLACE_NOW:
                self._warn_of_cost(diagnosis)
                self._stop_child(AfterStop.SPAWN, diagnosis)
            case Action.FAIL:
                self._stop_child(AfterStop.FAIL, diagnosis)
            case Action.SWITCH_PROTOCOL if self._has_other_protocol():
                self._switch_protocol(diagnosis)
            case _:
                self.failures.forget()
                self._unschedule(diagnosis)
                if action is Action.NONE:
                    self._in_vain = None

    def _is_settled(self, diagnosis: Diagnosis, action: Action) -> bool:
        """Return whether a verdict is to be shown now."""
        known = self.shown is not None and self.shown.verdict is diagnosis.verdict
        if self.state is not State.READY or action is Action.NONE or known:
            self._forget_suspicion()
            return True
        if not self._suspicion:
            self._cadence.hurry()
        left = self._suspicion.ends_in(self._now, diagnosis)
        if left <= 0:
            self._forget_suspicion()
            return True
        self._set("suspicion", left)
        return False

    def _end_suspicion(self) -> None:
        """Show what has been suspected for long enough, without waiting for the check that is under way."""
        diagnosis = self._suspicion.pending
        self._suspicion.forget()
        if diagnosis is not None and self._is_running():
            self._show_checked(diagnosis, diagnosis.action)

    def _forget_suspicion(self) -> None:
        self._suspicion.forget()
        self.timers.pop("suspicion", None)

    def _show_checked(self, diagnosis: Diagnosis, action: Action) -> None:
        if self.shown is None or self.shown.verdict is not diagnosis.verdict:
            self._cadence.hurry()
        self._show(diagnosis)
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

    # ------------------------------------------------------------------ replacing a child that lives

    def _schedule(self, diagnosis: Diagnosis) -> None:
        """Begin to wait for the moment at which the living child is replaced; replace it once that has come."""
        if not self.settings.has_child or (diagnosis.cause is self._in_vain and diagnosis.action is Action.COUNT):
            return  # the latter has been tried, and has changed nothing
        if self._replacing is not None:
            self._replacing = diagnosis
            if self._due:
                self._replace(diagnosis)
            return
        self.attempt += 1
        self._replacing = diagnosis
        self._last_delay = RESTART.delay(self.attempt, jitter=self._jitter())
        self._set("replace", self._last_delay)
        self._publish(self._scheduled(self._last_delay, diagnosis.reason))

    def _on_due(self) -> None:
        """Look once more, now that the wait is over; the child is replaced unless it has come back."""
        self._due = True
        self._check_now()

    def _scheduled(self, delay: float, reason: str) -> events.RestartScheduled:
        costs = self.settings.quick and bool(self.url)
        return events.RestartScheduled(tunnel=self.name, delay=delay, attempt=self.attempt, reason=reason, costs_url=costs)

    def _unschedule(self, diagnosis: Diagnosis) -> None:
        """Keep the child: it has come back, or what is wrong now cannot be helped by a restart."""
        if self._replacing is None:
            return
        self._forget_replacement()
        self._publish(events.RestartCancelled(tunnel=self.name, attempt=self.attempt, reason=diagnosis.reason))

    def _forget_replacement(self) -> None:
        """Take a scheduled replacement back, and with it the attempt that it would have been."""
        self.timers.pop("replace", None)
        self._replacing = None
        self._due = False
        self.attempt = max(0, self.attempt - 1)

    def _replace(self, diagnosis: Diagnosis) -> None:
        """Replace the child: the wait is over, and it has not come back."""
        attempt = self.attempt
        self._forget_replacement()
        self.attempt = attempt
        if diagnosis.cause is Cause.UDP_BLOCKED and self._has_other_protocol():
            self._take_other_protocol(diagnosis)
        self._in_vain = diagnosis.cause
        self._show(diagnosis)
        self._stop_child(AfterStop.SPAWN, diagnosis)

    def _warn_of_cost(self, diagnosis: Diagnosis) -> None:
        self._publish(self._scheduled(0.0, diagnosis.reason))

    def _has_other_protocol(self) -> bool:
        return self.settings.protocol_is_free and self.protocol != self.settings.protocols[-1]

    def _switch_protocol(self, diagnosis: Diagnosis) -> None:
        self._take_other_protocol(diagnosis)
        self._stop_child(AfterStop.SPAWN, diagnosis)

    def _take_other_protocol(self, diagnosis: Diagnosis) -> None:
        self.protocol = self.settings.protocols[-1]
        self._switched = diagnosis.cause is Cause.UDP_BLOCKED

    # ------------------------------------------------------------------ moves

    def _is_running(self) -> bool:
        return self.state in {State.STARTING, State.READY, State.DEGRADED}

    def _spawn(self, reason: str) -> None:
        self.run += 1
        self.child = ChildState.SPAWNING
        self.failures.forget()
        self._forget_suspicion()
        self._cause = None
        self._unproven = ""
        self._kill_when_spawned = False
        self._cadence.restart()
        self._enter(State.STARTING, reason)
        if self.settings.has_child:
            self._set("check", CHECK_LIMIT)
            self._effects.append(do.Spawn(self.run, self.protocol))
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
        self._set("grace", min(IDLE_GRACE, self.settings.grace) if idle else self.settings.grace)
        if not self.settings.has_child:
            self.child = ChildState.NONE
            self._after_stopping()
        elif self.child is ChildState.ALIVE:
            self._terminate()

    def _terminate(self) -> None:
        self._effects.append(do.Terminate(self.run))

    def _kill(self) -> None:
        self.timers.pop("grace", None)
        self._set("reap", REAP_LIMIT)
        if self.child is ChildState.ALIVE:
            self._effects.append(do.Kill(self.run))
        else:
            self._kill_when_spawned = True

    def _back_off(self, reason: str) -> None:
        self.attempt += 1
        self._wait(RESTART.delay(self.attempt, jitter=self._jitter()), reason)

    def _forget_attempts(self, after: float = 0.0) -> None:
        """Let the next backoff begin anew."""
        if self.attempt:
            self.attempt = 0
            self._publish(events.AttemptsForgotten(tunnel=self.name, after=after))

    def _wait(self, delay: float, reason: str) -> None:
        self._last_delay = delay
        self._enter(State.BACKOFF, reason)
        self._set("backoff", delay)
        self._set("recheck", RECHECK_EVERY)
        self._publish(self._scheduled(delay, reason))

    def _become(self, state: State, reason: str) -> None:
        """Change between starting, ready and degraded, which share the child and the check timer."""
        if state is self.state:
            return
        self._change(state, reason)
        if state is State.READY:
            self._set("steady", steady_after(self._last_delay))
        else:
            self.timers.pop("steady", None)

    def _enter(self, state: State, reason: str) -> None:
        """Change the state; all timers of the old one are taken back."""
        if self._replacing is not None:  # it was not needed
            self._forget_replacement()
        if self.timers:
            self.timers.clear()
            self._effects.append(do.CancelTimers())
        if state is State.FAILED:
            self._set("recheck", RECHECK_EVERY)
        if state is not self.state:
            self._change(state, reason)

    def _change(self, state: State, reason: str) -> None:
        old, self.state = self.state, state
        assert state in TRANSITIONS[old], f"{old} -> {state} is no change of state that there is"
        self._publish(events.StateChanged(tunnel=self.name, old=old, new=state, reason=reason))

    def _show(self, diagnosis: Diagnosis) -> None:
        old, self.shown = self.shown, diagnosis
        if old is None or _gist(old) != _gist(diagnosis):
            self._publish(
                events.VerdictChanged(
                    tunnel=self.name,
                    old=old.verdict if old else "",
                    new=diagnosis.verdict,
                    reason=diagnosis.reason,
                    hint=diagnosis.hint,
                )
            )

    def _set(self, name: str, delay: float) -> None:
        self._token += 1
        self.timers[name] = self._token
        self._effects.append(do.SetTimer(name, self._token, delay))

    def _publish(self, fact: events.Fact) -> None:
        self._effects.append(do.Publish(fact))


def _gist(diagnosis: Diagnosis) -> tuple[Verdict, str]:
    """Return what is news in a diagnosis: a number that runs, such as a port or an age, is none."""
    return diagnosis.verdict, _NUMBERS.sub("#", diagnosis.reason)
