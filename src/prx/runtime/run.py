"""One run of the child: from the decision to start it until it is reaped.

A `Run` owns the process, watches its `/ready` so that a change is noticed within `READY_EVERY`, gathers evidence when it is
asked to, and tells the tunnel, through inputs and facts, what happens. It decides nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from prx.backends.base import Backend, LaunchContext, LineKind, LogLine
from prx.core import inputs
from prx.core.diagnosis import Policy, diagnose
from prx.core.events import Fact, Log
from prx.core.evidence import Evidence, ExitCause
from prx.core.verdicts import PROVES_URL, Action, Verdict
from prx.logs.text import decode
from prx.runtime.health_check import HealthChecker, TunnelContext
from prx.runtime.observer import ConnectorObserver
from prx.runtime.omens import LogWatch, explain_kill, oom_kills
from prx.runtime.probes.connector import ConnectorEndpoints
from prx.runtime.probes.pulse import Pulse
from prx.runtime.process.child import ChildProcess
from prx.runtime.process.orphans import ChildLedger

TAIL_LINES = 128  # cloudflared's usage text has up to 116 lines, and its first one names the wrong flag
READY_EVERY = 1.0  # seconds between two questions to /ready while nothing else tells of a change
PULSE_EVERY = 2  # of these; see `prx.runtime.probes.pulse`
NOTICE_AGAIN_AFTER = 2.0  # seconds; visitors' errors may come by the hundred


@dataclass(frozen=True, slots=True)
class RunContext:
    """What every run of a tunnel has in common."""

    view: TunnelContext
    policy: Policy
    ledger: ChildLedger
    send: Callable[[inputs.Input], None]
    publish: Callable[[Fact], None]
    on_line: Callable[[str, LogLine], None]
    redact: Callable[[str], str]


class Run:
    """Run number `number` of a tunnel's child; made by `start`."""

    def __init__(self, number: int, common: RunContext, protocol: str, port: int) -> None:
        view = common.view
        self.number = number
        self._process: ChildProcess | None = None
        self._tail: deque[tuple[str, bytes]] = deque(maxlen=TAIL_LINES)
        self._common = common
        self._started = view.clock.monotonic()
        self._observer = ConnectorObserver(view.name, protocol, self._started)
        self._budget = LineRateLimiter(self._started)
        self._checker = HealthChecker(view, self._observer, ConnectorEndpoints(port))
        self._pulse = Pulse(view.settings)
        self._noticed_at = self._started
        self._edge_learnt = False
        self._well = False  # the last check found nothing wrong
        self._suspect_since: float | None = None  # when the pulse began to find the service wanting
        self._oom_kills: int | None = None
        self._log_watch = LogWatch(view.clock, lambda: self._process is not None and self._process.exit is None, view.warn)

    async def start(self, context: LaunchContext) -> None:
        """Spawn the child. Raises SpawnError."""
        launch = self.backend.launch(context)
        self._oom_kills = oom_kills()
        self._process = await ChildProcess.spawn(launch, on_line=self._on_line, on_close=self._log_watch.closed)
        self._common.ledger.add(self._process.identity, self._common.view.name)

    def adopt(self, common: RunContext) -> None:
        """Go on in other surroundings: settings have changed that do not concern the child."""
        self._common = common
        self._checker.adopt(common.view)
        self._pulse = Pulse(common.view.settings)

    def forget_network(self) -> None:
        """Take in that the machine is in another network."""
        self._checker.forget_network()

    @property
    def backend(self) -> Backend:
        """The backend that the child belongs to."""
        return self._common.view.backend

    @property
    def process(self) -> ChildProcess:
        """The child, once started."""
        assert self._process is not None
        return self._process

    async def wait(self) -> inputs.Exited:
        """Wait for the end of the child and say what it means."""
        end = await self.process.wait()
        self._checker.close()
        self._log_watch.cancel()
        self._common.ledger.remove(self.process.identity)
        for fact in self._observer.lose_all():
            self._common.publish(fact)
        now = self._common.view.clock.monotonic()
        tail = [self._parse(stream, line) for stream, line in self._tail]
        child_exit = self.backend.classify_exit(end, tail, age=now - self._started)
        child_exit = explain_kill(child_exit, self._oom_kills, oom_kills())
        if child_exit.cause is ExitCause.UPDATED:
            self._common.view.warn("the connector has replaced itself with a newer version; it is started anew at once")
        network = self._common.view.network.up()
        evidence = Evidence(now, self._checker.url, exit=child_exit, network_up=network)
        return inputs.Exited(self.number, self.process.pid, child_exit, diagnose(evidence, self._common.policy))

    async def watch(self) -> None:
        """Notice within a few seconds when the tunnel, or the service behind it, comes up or goes down; for ever."""
        clock = self._common.view.clock
        beat = 0
        while True:
            await clock.sleep(READY_EVERY)
            self._tell_skipped()
            changed = await self._ask_child(pulse=beat % PULSE_EVERY == 1)
            beat += 1
            if changed:
                self._notice()

    def _notice(self) -> None:
        self._noticed_at = self._common.view.clock.monotonic()
        self._common.send(inputs.CheckNow(self.number))

    async def _ask_child(self, *, pulse: bool) -> bool:
        """Return whether something has changed: the child's readiness, or with `pulse` the service behind it."""
        try:
            changed = await self._checker.check_ready()
            if pulse and self._observer.ready and self._checker.url:
                counters = await self._checker.counters()
                began = self._common.view.clock.monotonic()
                changed |= await self._pulse.beat(counters, self._checker.usual_ms)
                self._suspect_since = (self._suspect_since or began) if self._pulse.suspect else None
                changed |= self._pulse.failing and self._well  # else the errors may be those that prx has got itself
        except (OSError, RuntimeError, MemoryError):  # this machine is short of something: the next question may be luckier
            return False
        return changed

    async def check(self) -> tuple[Evidence, inputs.Checked]:
        """Gather evidence and judge it."""
        evidence = await self._checker.check(suspect=self._pulse.suspect)
        diagnosis = diagnose(evidence, self._common.policy)
        self._well = diagnosis.action is Action.NONE
        if diagnosis.verdict is Verdict.ORIGIN_DOWN and self._suspect_since is not None and diagnosis.since is not None:
            diagnosis = replace(diagnosis, since=min(diagnosis.since, self._suspect_since))
        if diagnosis.verdict in PROVES_URL:
            self._checker.prove()
            if not self._edge_learnt:
                self._edge_learnt = True
                await self._common.view.edge.learn()
        return evidence, inputs.Checked(self.number, diagnosis, evidence.url)

    async def visitors(self) -> int | None:
        """Return how many requests have come that were not prx's own, None if the child does not tell."""
        counters = await self._checker.counters()
        return None if counters is None else counters.requests - self._checker.asked

    def _on_line(self, stream: str, line: bytes) -> None:
        self._tail.append((stream, line))
        now = self._common.view.clock.monotonic()
        if not self._budget.take(now):
            return
        parsed = self._parse(stream, line)
        for fact in self._observer.see_line(now, parsed):
            self._common.publish(fact)
        self._common.on_line(stream, parsed)
        if parsed.kind is LineKind.QUICK_URL:
            self._checker.logged_hostname = str(parsed.fields.get("hostname", ""))
        visitors_fail = parsed.kind is LineKind.ORIGIN_ERROR and self._well and now - self._noticed_at >= NOTICE_AGAIN_AFTER
        if visitors_fail or self._observer.stirs(parsed):
            self._notice()

    def _parse(self, stream: str, line: bytes) -> LogLine:
        """Understand a line, redacted before anything of it is kept."""
        return self.backend.parse_line(stream, self._common.redact(decode(line)).encode())

    def _tell_skipped(self) -> None:
        if skipped := self._budget.settle():
            message = f"{skipped} lines of the connector's log were skipped: too many at once"
            self._common.publish(Log(tunnel=self._common.view.name, level="warn", message=message))


RATE = 2000.0  # lines a second; cloudflared at level debug writes about 30 for each request
BURST = 4000.0


class LineRateLimiter:
    """A token bucket: `take` says whether this line is within `RATE` lines a second, after a burst of up to `BURST`.

    `skipped` counts those that were not, since `settle` was last called. Times are monotonic seconds.
    """

    def __init__(self, now: float) -> None:
        self.skipped = 0
        self._left = BURST
        self._at = now

    def take(self, now: float) -> bool:
        """Take in one line."""
        self._left = min(BURST, self._left + (now - self._at) * RATE)
        self._at = now
        if self._left < 1:
            self.skipped += 1
            return False
        self._left -= 1
        return True

    def settle(self) -> int:
        """Return how many lines were skipped since the last call."""
        skipped, self.skipped = self.skipped, 0
        return skipped
