"""One run of the child: from the decision to start it until it is reaped.

A `Run` owns the process, watches its `/ready` so that a change that its log does not report is noticed within `CALM_EVERY`,
gathers evidence when it is asked to, and reports to the tunnel, through inputs and facts, what happens. It decides nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace

from prx.backends.base import Counters, LaunchContext, LineKind, LogLine
from prx.core import inputs
from prx.core.cadence import rest_of
from prx.core.diagnosis import diagnose
from prx.core.events import ConnectionLost, ConnectionRegistered, Traffic
from prx.core.evidence import Evidence, ExitCause
from prx.core.replicas import follow
from prx.core.verdicts import PROVES_URL, Action, Verdict
from prx.runtime.alarm import Alarm
from prx.runtime.attention import Attention
from prx.runtime.child_log import ChildLog
from prx.runtime.child_monitor import ChildMonitor
from prx.runtime.child_signs import LogWatch, explain_kill, oom_kills
from prx.runtime.context import TunnelContext
from prx.runtime.health_check import HealthChecker
from prx.runtime.host.clock import TimerHandle, gathered, until_beat
from prx.runtime.probes.http import prepare
from prx.runtime.probes.quick_checks import QuickChecks
from prx.runtime.process.child import ChildProcess
from prx.runtime.role import Role

READY_EVERY = 1.0  # seconds between two questions to /ready of a child that is not ready, or did not answer
# Of one that is ready: its end and its log are noticed at once, so that this is for one that is frozen, which is to be
# reported within five seconds: it is asked within two, and silent after two and a half.
CALM_EVERY = 2.0
ANSWER_AT_HAND_AFTER = 0.005  # seconds after a question to a child, or a connection to a service, of this machine
GOLDEN = 0.618  # multiples of it, without their whole part, lie evenly however many there are
QUIET_COUNTERS_EVERY = 2 * CALM_EVERY  # seconds; if no request came lately, the counters are read every other time
# Of the time for which a child has never answered, so much may pass until it is asked again; its log is read at once. A check
# asks it as well, after half of that time (`prx.core.cadence`): while there are checks, these are the questions.
SILENT_SHARE = 0.75
SILENT_AT_MOST = 15.0  # seconds: one that comes up is watched from then on
QUICK_CHECK_EVERY = 2  # of these; see `prx.runtime.probes.quick_checks`
NOTICE_AGAIN_AFTER = 2.0  # seconds; visitors' errors may come by the hundred
CHECKS_AT_MOST = 3  # in a row, if prx itself was held up and so cannot tell what is wrong
PREPARE_AFTER = 0.005  # seconds
_NOT_BAD = frozenset({Action.NONE, Action.WAIT})

logger = logging.getLogger(__name__)

ConnectionFact = ConnectionRegistered | ConnectionLost


class Run:
    """Run number `number` of a tunnel's child; made by `start`. What it notices goes to the machine through `send`.

    is_over: the child has ended, and what it had counted is kept elsewhere.
    """

    def __init__(
        self,
        number: int,
        context: TunnelContext,
        send: Callable[[inputs.Input], None],
        protocol: str,
        port: int,
        *,
        role: Role | None = None,
    ) -> None:
        self.number = number
        self.context = context
        self._port = port
        self.role = role or Role()
        self._send = send
        self.is_over = False
        self._process: ChildProcess | None = None
        self._started = context.clock.monotonic()
        self._child = ChildMonitor(context, protocol, port)
        self._observer = self._child.observer
        self._log = ChildLog(context, self._on_line)
        self.checker = HealthChecker(context, self._child)
        self._quick_checks = QuickChecks()
        self._phase = 0.0
        self._quiet = False  # no request has come between the last two readings of the counters
        self._visits = 0
        self._has_asked = False  # child and service were asked at the beat
        self._counts = False  # the counters were asked for last, and not whether the child is ready
        self._noticed_at = self._started
        self._edge_learnt = False
        self._well = False  # the last check found nothing wrong
        self._suspicion = Alarm()  # the last quick check found the service wanting
        self._suspect_since: float | None = None  # when the quick checks began to find the service wanting
        self._oom_kills: int | None = None
        self._log_watch = LogWatch(context.clock, self._is_alive, lambda message: context.log("warn", message))

    async def start(self, launch_context: LaunchContext) -> None:
        """Spawn the child. Raises SpawnError, and PermanentError if the settings ask for what this program cannot do."""
        try:
            if self._port == self.context.client.metrics_port:
                self.context.shared.ports.take(self._port)
            self._oom_kills = oom_kills()
            launch = self.context.client.launch(launch_context)
            self._process = await ChildProcess.spawn(
                launch,
                on_line=self._log.take,
                on_block=self._log.take_block,
                is_behind=self.context.shared.bus.is_behind,
                on_error=self._log.report_failure,
                on_close=self._log_watch.closed,
            )
        except BaseException:
            self._close()
            raise
        ledger = self.context.shared.ledger
        self._phase = GOLDEN * ledger.living % 1  # one alone beats with the heartbeat, many spread over the time between
        ledger.add(self._process.identity, self.context.name)
        self.role.visitors.begin(self.checker)
        asyncio.get_running_loop().call_later(PREPARE_AFTER, self._prepare_checks)  # the child has yet to come up

    def _prepare_checks(self) -> None:
        site = self.context.shared.site
        prepare(site.public_ca, tls=site.public_scheme == "https")

    async def aclose(self) -> None:
        """Kill the child, and forget it: nothing waits for its end."""
        try:
            await self.process.aclose()
        finally:
            self._forget()

    def _close(self) -> None:
        self._child.close()
        port, self._port = self._port, 0
        if port and port == self.context.client.metrics_port:
            self.context.shared.ports.free(port)

    def _forget(self) -> None:
        if not self.is_over:
            self.is_over = True
            self.context.shared.keep_count(self.context.name, self._child.counted)
        self._close()
        self.role.visitors.end(self.checker)
        self._log_watch.cancel()
        self.context.shared.ledger.remove(self.process.identity)

    @property
    def lacks_port(self) -> bool:
        """Return whether the child has another port than the fixed one, as long as it lives."""
        return self._port != 0 and self.context.client.metrics_port not in {0, self._port}

    def _is_alive(self) -> bool:
        return self._process is not None and self._process.exit is None

    def forget_network(self) -> None:
        """Take in that the machine is in another network."""
        self.checker.forget_network()
        self._observer.forget_network(self.context.clock.monotonic())

    @property
    def process(self) -> ChildProcess:
        """The child, once started."""
        assert self._process is not None
        return self._process

    @property
    def ready(self) -> int:
        """How many connections are ready, as far as was seen."""
        return self._observer.ready

    @property
    def has_connected(self) -> bool:
        """Return whether it has had a connection in the network that this machine is in."""
        return self._observer.ever_ready

    async def wait(self) -> inputs.Exited:
        """Wait for the end of the child and return what it means."""
        context = self.context
        end = await self.process.wait()
        self._forget()
        self._publish(self._observer.lose_all())
        now = context.clock.monotonic()
        child_exit = context.client.classify_exit(end, self._log.tail(), age=now - self._started)
        child_exit = explain_kill(child_exit, self._oom_kills, oom_kills())
        if child_exit.cause is ExitCause.UPDATED:
            context.log("warn", "the connector has replaced itself with a newer version; it is restarted at once")
        connector = self._child.evidence()
        evidence = Evidence(now, self.checker.url, exit=child_exit, connector=connector, network_up=context.shared.network.up())
        return inputs.Exited(self.number, self.process.pid, child_exit, diagnose(evidence, context.policy))

    async def watch(self) -> None:
        """Notice within a few seconds when the tunnel, or the service behind it, comes up or goes down; forever."""
        beat = 0
        while True:
            calm = self._observer.ready > 0 and self._observer.answers
            await (self._ask_at_beat() if calm else self.context.clock.sleep(self._next_question()))
            self._log.report_skipped()
            if not calm and self._left_alone_for() > 0:
                continue
            changed = await self._ask_child(quick_checks=calm or (self._child.has_answered and beat % QUICK_CHECK_EVERY == 1))
            beat += 1
            if changed:
                self._notice()

    def _next_beat(self) -> float:
        return until_beat(self.context.clock.monotonic(), CALM_EVERY, self._phase * CALM_EVERY)

    def _next_question(self) -> float:
        """Return the seconds until a child is asked that is not ready, or does not answer."""
        delay = _rest_after(self._silent_for())
        if delay == SILENT_AT_MOST and (left := self._left_alone_for()) > 0:  # until then the checks are never that far apart
            delay = max(READY_EVERY, left)
        return gathered(self.context.clock.monotonic(), delay, self.context.shared.ledger.living)

    def _left_alone_for(self) -> float:
        """Return for how many seconds more a child that never answers is not asked, as a check has; not positive: it is due."""
        if self._silent_for() == 0:
            return 0.0
        refused_at = self._child.refused_at
        return refused_at + _rest_after(refused_at - self._started) - self.context.clock.monotonic()

    def _silent_for(self) -> float:
        """Return for how many seconds the child has not answered since its start; 0 for one that has ever answered."""
        return 0.0 if self._child.has_answered else self.context.clock.monotonic() - self._started

    def _notice(self) -> None:
        self._noticed_at = self.context.clock.monotonic()
        self._send(inputs.CheckNow(self.number))

    async def _ask_child(self, *, quick_checks: bool) -> bool:
        """Return whether something has changed: the child's readiness, or with `quick_checks` the service behind it."""
        try:
            if quick_checks and not self._has_asked:
                self._ask_ahead()
                await asyncio.sleep(ANSWER_AT_HAND_AFTER)
            self._has_asked = False
            changed = not (self._counts and self._child.has_counted()) and await self._child.check_ready()
            if not quick_checks or not self._observer.ready or not self.checker.url:
                return changed
            counters = await self._child.counters(max_age=QUIET_COUNTERS_EVERY - READY_EVERY if self._quiet else READY_EVERY)
            if counters is None and await self._child.check_ready():  # it may have fallen silent since
                return True
            began = self.context.clock.monotonic()
            self._count(began, counters)
            if self.role.leads:
                found = self._quick_checks.check(self.context.settings, counters, self.checker.usual_ms, own=self.checker.asked)
                changed |= await found
                self._suspect(began)
                changed |= self._quick_checks.failing and self._well  # else the errors may be those that prx has got itself
        except (OSError, RuntimeError, MemoryError):  # this machine is short of something: the next question may be luckier
            return False
        return changed

    def _suspect(self, now: float) -> None:
        """Note what the last quick check thinks of the service."""
        if self._quick_checks.suspect:
            self._suspect_since = self._suspect_since or now
            self._suspicion.set()
        else:
            self._suspect_since = None
            self._suspicion.clear()

    async def _ask_at_beat(self) -> None:
        """Ask child and service ahead at the next beat, and return once both had a moment; no task wakes for the questions."""
        loop = asyncio.get_running_loop()
        answered = loop.create_future()
        timer: TimerHandle

        def ask() -> None:
            nonlocal timer
            try:
                self._ask_ahead()
                timer = loop.call_later(ANSWER_AT_HAND_AFTER, go_on)
                self._has_asked = True
            except Exception:  # noqa: BLE001 - `_ask_child` asks again, and meets it in its task
                self._has_asked = False
                go_on()

        def go_on() -> None:
            if not answered.done():
                answered.set_result(None)

        timer = self.context.clock.call_later(self._next_beat(), ask)
        try:
            await answered
        finally:
            timer.cancel()

    def _ask_ahead(self) -> None:
        """Ask child and service at once, so that the answers of both are read later without a wait of their own.

        While no visitor comes the child is asked for its counters every other time, and only then: an answer is a sign of life.
        """
        self._counts = self._quiet and self._observer.answers and not self._counts
        self._child.ask_ahead(counters=self._counts)
        if self.role.leads and self._observer.ready and self.checker.url:
            self._quick_checks.begin(self.context.settings)

    def _count(self, now: float, counters: Counters | None) -> None:
        """Publish what visitors have asked all connectors for, as those have counted it anyway."""
        if counters is None:
            self._quiet = False
            return
        visits = counters.requests - self.checker.asked
        self._quiet, self._visits = visits == self._visits, visits
        if reading := self.role.visitors.see(now, self.checker, counters):
            recent = asdict(reading.status)
            new = {"new_requests": reading.new_requests, "new_errors": reading.new_errors}
            self.context.publish(Traffic(tunnel=self.context.name, **recent, **new))

    async def check(self) -> tuple[Evidence, inputs.Checked | inputs.NotChecked]:
        """Gather evidence and judge it; without the public URL, if another connector of the tunnel leads."""
        leads = False

        def led() -> bool:
            nonlocal leads
            leads = self.role.leads
            return leads

        for _ in range(CHECKS_AT_MOST):
            with Attention() as attention:
                evidence = await self._gather(led)
            if not attention.lapsed or diagnose(evidence, self.context.policy).action in _NOT_BAD:
                break
            logger.debug("prx was held up for %.1f s during a check: it is made again", attention.longest)
        if evidence.lacking:
            return evidence, inputs.NotChecked(self.number)
        if not leads and self._observer.ready and self.checker.url:
            return evidence, inputs.Checked(self.number, follow(evidence, self.context.policy, proven=self.role.proven))
        diagnosis = diagnose(evidence, self.context.policy)
        self._well = diagnosis.action is Action.NONE
        if diagnosis.verdict is Verdict.ORIGIN_DOWN and self._suspect_since is not None and diagnosis.since is not None:
            diagnosis = replace(diagnosis, since=min(diagnosis.since, self._suspect_since))
        if diagnosis.verdict in PROVES_URL:
            self.checker.prove()
            if not self._edge_learnt:
                self._edge_learnt = True
                await self._learn_edge()
        rest = 0.0 if self._observer.has_tried else rest_of(self._silent_for(), self.context.policy.startup_timeout)
        return evidence, inputs.Checked(self.number, diagnosis, evidence.url, rest)

    async def _gather(self, leads: Callable[[], bool]) -> Evidence:
        """Gather evidence; begin again, with less patience, once a quick check finds that the service does not answer."""
        if not self._observer.ready:  # nothing is asked of the service, and there may be hundreds
            return await self.checker.check(suspect=self._suspicion.is_set(), leads=leads)
        if not self._suspicion.is_set():
            patient = self.checker.check(leads=leads)
            if (found := await self._suspicion.unless(patient)) is not None:
                return found
        return await self.checker.check(suspect=True, leads=leads)

    async def _learn_edge(self) -> None:
        if self.context.backend.has_known_edge:
            await self.context.shared.edge.learn()

    async def counters(self, *, max_age: float) -> Counters | None:
        """Return what the child counts, at most `max_age` seconds old; None if it cannot be asked."""
        return await self._child.counters(max_age=max_age)

    async def report_draining(self) -> None:
        """Publish what the child, which was asked to end, waits for."""
        counters = await self.counters(max_age=0.0)
        if counters is not None and counters.in_flight > 0 and not self.is_over:
            what = "1 request" if counters.in_flight == 1 else f"{counters.in_flight} requests"
            words = f"finishing {what}, at most {self.context.client.stop_grace:.0f} s"
            self.context.log("info", words, in_flight=counters.in_flight)

    async def confirm(self) -> bool:
        """Ask the child now whether it has a connection to the edge, and return whether it says so."""
        await self._child.check_ready()
        return self.ready > 0 and self._child.observer.answers

    async def visitors(self) -> int | None:
        """Return how many requests have come that were not prx's own, None if that is not known."""
        counters = await self._child.counters()
        return None if counters is None else counters.requests - self.checker.asked

    def _publish(self, facts: Iterable[ConnectionFact]) -> None:
        pid = self._process.identity.pid if self._process is not None else 0
        for fact in facts:
            self.context.publish(replace(fact, pid=pid))

    def _on_line(self, line: LogLine) -> None:
        now = self.context.clock.monotonic()
        self._publish(self._observer.see_line(now, line))
        if line.kind is LineKind.QUICK_URL:
            self._child.logged_url = self.context.client.announced_url(line, self.context.shared.site)
        visitors_fail = line.kind is LineKind.ORIGIN_ERROR and self._well and now - self._noticed_at >= NOTICE_AGAIN_AFTER
        if visitors_fail:
            self.role.on_failures()
        if visitors_fail or self._observer.stirs(line):
            self._notice()


def _rest_after(silence: float) -> float:
    """Return the seconds until a child is asked again that has not answered for so long since its start."""
    return max(READY_EVERY, min(silence * SILENT_SHARE, SILENT_AT_MOST))
