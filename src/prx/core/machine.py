"""The life of one tunnel's connector: `handle(now, input)` gives the list of effects.

Theory of operation. The user's wish (`wanted`) and the observed state are two things. The states:

    idle       not wanted, no child                         (the only state without a timer)
    starting   child on its way; nothing public yet         timer look
    ready      the public URL answers as it should          timers look, steady
    degraded   it was up, or the fault is not the tunnel's  timer look
    stopping   the child was told to end                    timer grace; `after_stop` says what comes then
    backoff    no child; waiting for the next try           timers backoff, recheck
    failed     no child; somebody must change something     timer recheck

Invariants, each held by a property test: every state but idle owns a timer, so nothing can hang; `Spawn` is wanted only while
no child lives or is being born, so one connector never has two; after the user's stop nothing is spawned; inputs of earlier
runs, late timers and doubled answers change nothing.

Failures are counted at most once an interval although looks come faster while something is wrong: `max_failures` of them mean
that the fault has lasted for `max_failures - 1` intervals, whatever the pace of looking.
"""

from __future__ import annotations

from collections.abc import Callable

from prx.core import effects as do
from prx.core import events, inputs
from prx.core.backoff import RATE_LIMITED, RESTART, steady_after
from prx.core.effects import Effect
from prx.core.evidence import ChildExit, ExitCause
from prx.core.patience import Failures, Suspicion
from prx.core.states import AfterStop, ChildState, Settings, State
from prx.core.verdicts import ACTIONS, BLUNT, PROVING, Action, Diagnosis, Verdict

# Looks after a change: quick at first, so that a start is seen within a quarter of a second, then every five seconds.
PACE = (0.25, 0.25, 0.25, 0.25, 0.5, 0.5, 1.0, 1.0, 2.0, 2.0, 5.0)
LOOK_LIMIT = 30.0  # seconds; a round that takes longer is given up (the runtime bounds it at a third of this)
RECHECK_EVERY = 2.0  # seconds; a wait ends within 5 s of the change that makes it pointless
REAP_LIMIT = 5.0  # seconds from SIGKILL to the next SIGKILL, should the first not have helped
INSTANT_RESTARTS = 3  # in a row, for ends that are nobody's fault; then they count like any other


class Machine:
    """The machine of one connector of the tunnel `name`. `jitter` draws a number from 0 to 1 for each backoff."""

    def __init__(self, name: str, settings: Settings, *, jitter: Callable[[], float] = lambda: 0.0) -> None:
        self.name = name
        self.settings = settings
        self.state = State.IDLE
        self.wanted = False
        self.child = ChildState.NONE
        self.run = 0
        self.attempt = 0
        self.failures = Failures()
        self.url = ""
        self.protocol = settings.protocols[0]
        self.shown: Diagnosis | None = None
        self.timers: dict[str, int] = {}
        self._jitter = jitter
        self._after_stop = AfterStop.IDLE
        self._cause: Diagnosis | None = None  # why the child is being stopped
        self._kill_at_birth = False
        self._suspicion = Suspicion()
        self._looking = False
        self._look_again = False
        self._looks = 0  # since the last change, for the pace
        self._instant = 0
        self._last_delay = 0.0
        self._token = 0
        self._effects: list[Effect] = []
        self._now = 0.0

    @property
    def busy(self) -> bool:
        """Tell whether an answer of the runtime is awaited: to a look, or to a spawn."""
        return self._looking or self.child is ChildState.BEING_BORN

    def handle(self, now: float, event: inputs.Input) -> list[Effect]:
        """Return what is to be done about `event` at monotonic time `now` (seconds)."""
        self._now = now
        self._effects = []
        match event:
            case inputs.Start():
                self._on_start(event)
            case inputs.Stop():
                self._on_stop()
            case inputs.Kill():
                self._on_kill()
            case inputs.Restart():
                self._on_restart(event.reason)
            case inputs.Woken():
                self._on_woken(event.what)
            case inputs.TimerFired():
                self._on_timer(event)
            case _ if event.run == self.run:
                self._on_child(event)
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
        elif self.child is ChildState.BEING_BORN:
            self._kill_at_birth = True

    def _on_restart(self, reason: str) -> None:
        self.wanted = True
        self._forget_attempts()
        if self.state is State.STOPPING:
            self._after_stop = AfterStop.SPAWN
        elif self.child is ChildState.NONE:
            self._spawn(reason)
        else:
            self._stop_child(AfterStop.SPAWN, reason)

    def reconfigure(self, settings: Settings) -> None:
        """Take new settings; a change that concerns the child is followed by a Restart input."""
        self.settings = settings
        self.protocol = settings.protocols[0]

    # ------------------------------------------------------------------ the world

    def _on_woken(self, what: str) -> None:
        if what == "network":  # what was learnt about the old network does not hold for the new one
            self.protocol = self.settings.protocols[0]
        if self.state in {State.BACKOFF, State.FAILED} and self.wanted:
            self._forget_attempts()
            self._spawn(f"{what} changed" if what != "sleep" else "the machine woke up")
        elif self._is_running():
            self.failures.forget()
            self._look_now()

    def _on_timer(self, event: inputs.TimerFired) -> None:
        if self.timers.get(event.name) != event.token:
            return
        del self.timers[event.name]
        match event.name:
            case "look":
                self._looking = False  # a round that outlived its limit is given up
                self._look_now()
            case "steady":
                self._instant = 0
                self._forget_attempts(steady_after(self._last_delay))
            case "grace" | "reap":
                self._kill()
            case "backoff":
                self._spawn("the wait is over")
            case "recheck":
                self._set("recheck", RECHECK_EVERY)
                self._effects.append(do.Recheck())

    def _on_child(self, event: inputs.Spawned | inputs.SpawnFailed | inputs.Exited | inputs.Looked | inputs.Noticed) -> None:
        match event:
            case inputs.Spawned() if self.child is ChildState.BEING_BORN:
                self._on_spawned(event)
            case inputs.SpawnFailed() if self.child is ChildState.BEING_BORN:
                self.child = ChildState.NONE
                self._ended(event.diagnosis, None)
            case inputs.Exited() if self.child is not ChildState.NONE:
                self._on_exited(event)
            case inputs.Looked():
                self._on_looked(event)
            case inputs.Noticed() if self._is_running():
                self._looks = 0
                self._look_now()

    def _on_spawned(self, event: inputs.Spawned) -> None:
        self.child = ChildState.ALIVE
        self._publish(
            events.ChildStarted(tunnel=self.name, pid=event.pid, version=event.version, connector=0, protocol=self.protocol)
        )
        if self.state is State.STOPPING:
            self._kill() if self._kill_at_birth else self._terminate()
        else:
            self._set("look", PACE[0])

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
        if cause in {ExitCause.UPDATED, ExitCause.PORT_TAKEN} and self._instant < INSTANT_RESTARTS:
            self._instant += 1
            self._spawn(diagnosis.reason)
            return
        self._show(diagnosis)
        self._act_on_end(diagnosis)

    def _act_on_end(self, diagnosis: Diagnosis) -> None:
        match ACTIONS[diagnosis.verdict]:
            case Action.FAIL:
                self._enter(State.FAILED, diagnosis.reason)
            case Action.RESTART_LATE:
                self.attempt += 1
                delay = RATE_LIMITED.delay(self.attempt)
                self._effects.append(do.RememberRateLimit(delay, self.attempt))
                self._wait(delay, diagnosis.reason)
            case Action.WAIT:  # no network: the try did not count
                self._wait(RESTART.delay(max(1, self.attempt)), diagnosis.reason)
            case _:
                self._back_off(diagnosis.reason)

    def _after_stopping(self) -> None:
        cause = self._cause
        reason = cause.reason if cause else "asked to stop"
        match self._after_stop:
            case AfterStop.IDLE:
                self._enter(State.IDLE, "stopped as asked")
            case AfterStop.SPAWN:
                self._spawn(reason)
            case AfterStop.BACKOFF:
                self._back_off(reason)
            case AfterStop.FAIL:
                self._enter(State.FAILED, reason)

    # ------------------------------------------------------------------ looking

    def _look_now(self) -> None:
        if self.child is not ChildState.ALIVE:
            self._set("look", PACE[-1])
        elif self._looking:
            self._look_again = True
        else:
            self._looking = True
            self._set("look", LOOK_LIMIT)
            self._effects.append(do.Look(self.run))

    def _on_looked(self, event: inputs.Looked) -> None:
        self._looking = False
        if not self._is_running():
            return
        self._judge(event.diagnosis, event.url)
        if not self._is_running():  # the verdict has ended it
            return
        if self._look_again:
            self._look_again = False
            self._look_now()
        else:
            self._set("look", self._pace())

    def _pace(self) -> float:
        """Return the seconds until the next look: the interval when all is well, sooner while it is not."""
        if self.state is State.READY and not self._suspicion:
            return self.settings.interval
        pace = PACE[min(self._looks, len(PACE) - 1)]
        self._looks += 1
        return min(pace, self.settings.interval)

    def _judge(self, diagnosis: Diagnosis, url: str) -> None:
        """Act on what a look has found."""
        verdict = diagnosis.verdict
        action = ACTIONS[verdict]
        if verdict in BLUNT and self.settings.restart_on_any:
            action = Action.COUNT
        if url and verdict in PROVING and url != self.url:
            self._publish(events.UrlChanged(tunnel=self.name, url=url, old=self.url))
            self.url = url
        if self._is_settled(diagnosis, action):
            self._show_looked(diagnosis, action)
        match action:
            case Action.COUNT if not diagnosis.ask_over_http2:
                self._count(diagnosis)
            case Action.FAIL:
                self._cause = diagnosis
                self._stop_child(AfterStop.FAIL, diagnosis.reason)
            case Action.SWITCH_PROTOCOL if self._has_other_protocol():
                self._effects.append(do.RememberProtocol(self.settings.protocols[-1]))
                self._switch_protocol(diagnosis)
            case _ if diagnosis.ask_over_http2 and self._has_other_protocol():
                self._switch_protocol(diagnosis)
            case _:
                self.failures.forget()

    def _is_settled(self, diagnosis: Diagnosis, action: Action) -> bool:
        """Tell whether a verdict is to be shown now."""
        known = self.shown is not None and self.shown.verdict is diagnosis.verdict
        if self.state is not State.READY or action is Action.NONE or known:
            self._suspicion.forget()
            return True
        if not self._suspicion:
            self._looks = 0
        return self._suspicion.lasts(self._now, diagnosis.verdict)

    def _show_looked(self, diagnosis: Diagnosis, action: Action) -> None:
        if self.shown is None or self.shown.verdict is not diagnosis.verdict:
            self._looks = 0
        self._show(diagnosis)
        if action is Action.NONE:
            self._become(State.READY, diagnosis.reason)
        elif action is Action.TELL or self.state is State.READY or diagnosis.verdict in BLUNT:
            self._become(State.DEGRADED, diagnosis.reason)

    def _count(self, diagnosis: Diagnosis) -> None:
        settings = self.settings
        if not self.failures.add(self._now, settings.interval):
            return
        if self.failures.count >= settings.max_failures and settings.has_child:
            self._cause = diagnosis
            self._show(diagnosis)
            reason = f"{diagnosis.verdict} {self.failures.count} times in a row: {diagnosis.reason}"
            self._stop_child(AfterStop.BACKOFF, reason)

    def _has_other_protocol(self) -> bool:
        return self.settings.protocol_is_free and self.protocol != self.settings.protocols[-1]

    def _switch_protocol(self, diagnosis: Diagnosis) -> None:
        self.protocol = self.settings.protocols[-1]
        self._cause = diagnosis
        self._stop_child(AfterStop.SPAWN, diagnosis.reason)

    # ------------------------------------------------------------------ moves

    def _is_running(self) -> bool:
        return self.state in {State.STARTING, State.READY, State.DEGRADED}

    def _spawn(self, reason: str) -> None:
        self.run += 1
        self.child = ChildState.BEING_BORN
        self.failures.forget()
        self._suspicion.forget()
        self._cause = None
        self._kill_at_birth = False
        self._looking = self._look_again = False
        self._looks = 0
        self._enter(State.STARTING, reason)
        if self.settings.has_child:
            self._set("look", LOOK_LIMIT)
            self._effects.append(do.Spawn(self.run, self.protocol))
        else:
            self.child = ChildState.ALIVE
            self._look_now()

    def _stop_child(self, then: AfterStop, reason: str) -> None:
        self._after_stop = then
        self._enter(State.STOPPING, reason)
        self._set("grace", self.settings.grace)
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
            self._kill_at_birth = True

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
        self._publish(events.RestartScheduled(tunnel=self.name, delay=delay, attempt=self.attempt, reason=reason))

    def _become(self, state: State, reason: str) -> None:
        """Change between starting, ready and degraded, which share the child and the look timer."""
        if state is self.state:
            return
        old, self.state = self.state, state
        self._publish(events.StateChanged(tunnel=self.name, old=old, new=state, reason=reason))
        if state is State.READY:
            self._set("steady", steady_after(self._last_delay))
        else:
            self.timers.pop("steady", None)

    def _enter(self, state: State, reason: str) -> None:
        """Change the state; all timers of the old one are taken back."""
        if self.timers:
            self.timers.clear()
            self._effects.append(do.CancelTimers())
        if state is State.FAILED:
            self._set("recheck", RECHECK_EVERY)
        if state is not self.state:
            old, self.state = self.state, state
            self._publish(events.StateChanged(tunnel=self.name, old=old, new=state, reason=reason))

    def _show(self, diagnosis: Diagnosis) -> None:
        old, self.shown = self.shown, diagnosis
        if old is None or (old.verdict, old.reason) != (diagnosis.verdict, diagnosis.reason):
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
