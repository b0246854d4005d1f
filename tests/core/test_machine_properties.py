"""The machine against a world that does everything at any time: late, doubled, out of order."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from prx.core import effects as do
from prx.core import inputs
from prx.core.causes import Cause, restart_helps
from prx.core.evidence import ChildExit, ExitCause
from prx.core.machine import Machine
from prx.core.states import ChildState, MachineSettings, State
from prx.core.verdicts import Action, Diagnosis, Verdict

LOOKED = st.sampled_from(
    [verdict for verdict in Verdict if verdict not in {Verdict.CRASHED, Verdict.RATE_LIMITED, Verdict.MISCONFIGURED}]
)
ENDED = st.sampled_from([Verdict.CRASHED, Verdict.RATE_LIMITED, Verdict.MISCONFIGURED, Verdict.AUTH_REJECTED, Verdict.OFFLINE])


class World(RuleBasedStateMachine):
    """Plays the shell: performs effects, and answers them, or not, whenever it likes."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.alive: set[int] = set()  # runs whose child lives
        self.unborn: list[int] = []
        self.old_timers: list[inputs.TimerFired] = []
        self.timers: dict[str, inputs.TimerFired] = {}
        self.stopped = False
        self.spawned_since_stop = 0

    @initialize(failures=st.integers(1, 4), blunt=st.booleans(), protocols=st.sampled_from([("quic", "http2"), ("http2",)]))
    def build(self, failures: int, blunt: bool, protocols: tuple[str, ...]) -> None:
        """Make a machine with some settings."""
        self.blunt = blunt
        self.machine = Machine(
            "t", MachineSettings(interval=30, max_failures=failures, restart_on_any=blunt, protocols=protocols)
        )

    def feed(self, event: inputs.Input) -> None:
        """Hand an input to the machine and perform its effects."""
        for effect in self.machine.handle(self.now, event):
            match effect:
                case do.Spawn():
                    assert not self.alive, "a connector must never have two live children"
                    assert not self.unborn, "nor one alive and one on its way"
                    self.unborn.append(effect.run)
                    self.spawned_since_stop += 1
                case do.SetTimer():
                    assert effect.delay >= 0
                    if old := self.timers.get(effect.name):
                        self.old_timers.append(old)
                    self.timers[effect.name] = inputs.TimerFired(effect.name, effect.token)
                case do.CancelTimers():
                    self.old_timers.extend(self.timers.values())
                    self.timers.clear()
                case do.Terminate() | do.Kill():
                    assert effect.run in self.alive, "only a live child can be signalled"

    @rule(seconds=st.floats(0, 400))
    def time_passes(self, seconds: float) -> None:
        """Advance the time and do nothing else."""
        self.now += seconds

    @rule(retry_in=st.sampled_from([0.0, 0.0, 30.0]))
    def start(self, retry_in: float) -> None:
        """The user starts it."""
        self.stopped = False
        self.feed(inputs.Start(retry_in, 1 if retry_in else 0))

    @rule(hard=st.booleans())
    def stop(self, hard: bool) -> None:
        """The user stops it, gently or not."""
        self.stopped = True
        self.spawned_since_stop = 0
        self.feed(inputs.Kill() if hard else inputs.Stop())

    @rule()
    def restart(self) -> None:
        """The user restarts it."""
        self.stopped = False
        self.feed(inputs.Restart("asked"))

    @rule(what=st.sampled_from(["network", "nameservers", "sleep", "binary"]))
    def wake(self, what: str) -> None:
        """Something changed."""
        self.feed(inputs.Woken(what))

    @precondition(lambda self: self.unborn)
    @rule(works=st.booleans(), verdict=ENDED)
    def birth(self, works: bool, verdict: Verdict) -> None:
        """The child that was asked for lives, or could not be started."""
        run = self.unborn.pop()
        if works:
            self.alive.add(run)
            self.feed(inputs.Spawned(run, 100 + run, "1"))
        else:
            self.feed(inputs.SpawnFailed(run, Diagnosis(verdict, "no")))

    @precondition(lambda self: self.alive)
    @rule(verdict=ENDED, cause=st.sampled_from(ExitCause))
    def death(self, verdict: Verdict, cause: ExitCause) -> None:
        """The child ends, for whatever reason."""
        run = self.alive.pop()
        self.feed(inputs.Exited(run, 100 + run, ChildExit(1, None, cause), Diagnosis(verdict, "gone")))

    @rule(
        verdict=LOOKED,
        late=st.integers(0, 2),
        url=st.sampled_from(["", "https://a", "https://b"]),
        remedy=st.none() | st.sampled_from([Action.COUNT, Action.REPLACE, Action.REPLACE_NOW, Action.SWITCH_PROTOCOL]),
        cause=st.none() | st.sampled_from(Cause),
    )
    def looked(self, verdict: Verdict, late: int, url: str, remedy: Action | None, cause: Cause | None) -> None:
        """A look is over: of this run, or of an earlier one (which changes nothing), asked for or not."""
        before, runs = self.seen(), self.machine.run
        running = self.machine.state in {State.STARTING, State.READY, State.DEGRADED}
        diagnosis = Diagnosis(verdict, "seen", remedy=remedy, because=cause)
        self.feed(inputs.Checked(self.machine.run - late, diagnosis, url))
        assert late == 0 or self.seen() == before
        if late == 0 and running and not self.blunt and self.machine.state is State.STOPPING:
            assert restart_helps(diagnosis.cause) or diagnosis.action is Action.FAIL, (
                "no restart without a cause that it changes"
            )
        assert self.machine.run == runs

    @rule(late=st.integers(0, 2))
    def looked_in_vain(self, late: int) -> None:
        """A look has found nothing out, of this run or of an earlier one: state and child stay."""
        before = self.machine.state, self.machine.run, self.machine.attempt
        self.feed(inputs.NotChecked(self.machine.run - late))
        assert (self.machine.state, self.machine.run, self.machine.attempt) == before

    @precondition(lambda self: not self.alive and not self.unborn and self.machine.run)
    @rule(born=st.booleans())
    def doubled(self, born: bool) -> None:
        """The birth or the end of the last child is reported once more: nothing happens."""
        run, before = self.machine.run, self.seen()
        end = inputs.Exited(run, 100 + run, ChildExit(1, None, ExitCause.CRASH), Diagnosis(Verdict.CRASHED, "again"))
        self.feed(inputs.Spawned(run, 100 + run, "1") if born else end)
        assert self.seen() == before

    @rule(late=st.integers(0, 1))
    def noticed(self, late: int) -> None:
        """The child stirs."""
        self.feed(inputs.CheckNow(self.machine.run - late))

    @precondition(lambda self: self.timers)
    @rule(data=st.data())
    def timer(self, data: st.DataObject) -> None:
        """A timer fires."""
        name = data.draw(st.sampled_from(sorted(self.timers)))
        self.feed(self.timers.pop(name))

    @precondition(lambda self: self.old_timers)
    @rule(data=st.data())
    def late_timer(self, data: st.DataObject) -> None:
        """A timer fires that was taken back or replaced: nothing happens."""
        fired = data.draw(st.sampled_from(self.old_timers))
        before = self.seen()
        self.feed(fired)
        assert self.seen() == before

    def seen(self) -> tuple[object, ...]:
        """Return what must not change if nothing happens."""
        machine = self.machine
        return (machine.state, machine.run, machine.attempt, machine.url, machine.shown, dict(machine.timers))

    @invariant()
    def nothing_can_hang(self) -> None:
        """Every state but idle owns a timer that will fire."""
        if self.machine.state is not State.IDLE:
            live = {name for name, fired in self.timers.items() if self.machine.timers.get(name) == fired.token}
            assert live, f"{self.machine.state} waits for nothing"

    @invariant()
    def a_stop_wins(self) -> None:
        """After the user's stop nothing is spawned, until the user wants it again."""
        if self.stopped:
            assert self.spawned_since_stop == 0
            assert self.machine.state in {State.IDLE, State.STOPPING}

    @invariant()
    def the_machine_knows_its_child(self) -> None:
        """What the machine believes of its child is true."""
        assert (self.machine.child.state is ChildState.ALIVE) == bool(self.alive)
        assert (self.machine.child.state is ChildState.SPAWNING) == bool(self.unborn)
        if self.machine.state in {State.IDLE, State.BACKOFF, State.FAILED}:
            assert self.machine.child.state is ChildState.NONE


TestWorld = World.TestCase
TestWorld.settings = settings(max_examples=300, stateful_step_count=60, deadline=None)
