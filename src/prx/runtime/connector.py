"""The shell of one connector: inputs go into its machine, its effects are performed, and nothing is decided here.

inbox ──► Machine.handle(now, input) ──► effects ──► processes, timers, checks, facts
  ▲                                                            │
  └──────────── Spawned, Exited, Checked, TimerFired … ◄───────┘

Its facts go to the tunnel that it is one of (`prx.runtime.tunnel`), which makes one story of those of all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from prx.backends.base import Counters
from prx.config.schema import TunnelSettings
from prx.core import effects, inputs
from prx.core.errors import PrxError
from prx.core.events import Probed
from prx.core.evidence import Evidence
from prx.core.machine import Machine
from prx.core.replicas import as_replica
from prx.core.sightings import Sightings
from prx.core.states import ChildState, MachineSettings, State
from prx.core.story import inside
from prx.core.verdicts import Diagnosis, Verdict
from prx.runtime.bulkhead import contained, keep_running
from prx.runtime.bus import redacted
from prx.runtime.child_start import explain, start_child
from prx.runtime.client_program import ClientProgram, Programs
from prx.runtime.context import TunnelContext
from prx.runtime.health_check import HealthChecker
from prx.runtime.machine_timers import MachineTimers
from prx.runtime.origin_trust import OriginTrust, Rotated
from prx.runtime.protocol_choice import ProtocolChoice
from prx.runtime.role import Role
from prx.runtime.run import Run
from prx.runtime.waiting import Inbox

if TYPE_CHECKING:
    from prx.runtime.childless_check import ChildlessCheck
    from prx.runtime.connector_owner import Owner

STOP_MARGIN = 2.0  # seconds beyond the child's own grace period before it is killed
COMING = frozenset({State.STARTING, State.BACKOFF})


class Connector:
    """One connector, supervised; `run` returns when it is down for good, which `send(Stop())` causes.

    context: what the next child is started with. generation: counts what makes a new child necessary; see `is_outdated`.
    is_wanted: it was not asked to end, or was asked for since; its machine knows a moment later. kept_for: why another one is
    to take its place, in words; until then it goes on as it is, and should its child end, the next one is started with what
    that one had. completes: its first child ends the replacement that led to the one before, and is no restart of its own.
    """

    def __init__(
        self, context: TunnelContext, owner: Owner, protocol: ProtocolChoice, *, takes_over: Connector | None = None
    ) -> None:
        self.context = context
        self.role = Role()
        self.generation = 0
        self.kept_for: set[str] = set()
        self.completes = False
        self.is_wanted = True
        self.checker: HealthChecker | None = None
        self._owner = owner
        self._inbox: Inbox[inputs.Input] = Inbox()
        self._timers = MachineTimers(context.shared, self.send)
        self._sightings = Sightings()
        self._run: Run | None = None
        self._run_generation = 0
        self._has_worked = False  # the last child that has ended had a connection
        self._childless: ChildlessCheck | None = None  # made for a tunnel of another program
        self.trust = OriginTrust()
        self.program: ClientProgram = ClientProgram(takes_over.program if takes_over is not None else None)
        self._protocol = protocol
        self._tasks: asyncio.TaskGroup | None = None
        self._jobs: set[asyncio.Task[None]] = set()
        self._lacks = False  # this machine had nothing left for the last check
        self.machine = Machine(context.name, self._machine_settings(), jitter=context.shared.jitter)

    @property
    def index(self) -> int:
        """Which of the tunnel's connectors it is, counted from 0."""
        return self.context.connector

    @property
    def state(self) -> State:
        """The observed state."""
        return self.machine.state

    @property
    def at_rest(self) -> bool:
        """Return whether nothing is being done just now: only time, or the world, can change something."""
        return self._inbox.is_empty and not self.machine.busy

    @property
    def ready(self) -> int:
        """How many connections with the edge its child has, as far as was seen; 0 while it is asked to end."""
        return 0 if self._run is None or self.state is State.STOPPING else self._run.ready

    @property
    def has_served(self) -> bool:
        """Return whether its child lives and has had a connection: it comes back by itself, if it has none now."""
        return self._run is not None and self.state is not State.STOPPING and self._run.has_connected

    @property
    def comes_back(self) -> bool:
        """Return whether it serves, or has served with this child or the last one, and goes on to try."""
        return self.has_served or (self._has_worked and self.state in COMING)

    @property
    def lacks_port(self) -> bool:
        """Return whether its child has another port than the fixed one."""
        return self._run is not None and self._run.lacks_port

    @property
    def shown(self) -> Diagnosis | None:
        """What is shown of it; without a child it has no connection, whatever it was."""
        shown, gone = self.machine.shown, self.machine.child.state is ChildState.NONE
        return replace(shown, connected=False) if shown is not None and gone else shown

    @property
    def child_context(self) -> TunnelContext:
        """What its child was started with; without a child what the next one will be."""
        return self.context if self._run is None else self._run.context

    @property
    def has_child(self) -> bool:
        """Return whether a child of it runs."""
        return self._run is not None

    @property
    def is_kept(self) -> bool:
        """Return whether it goes on as it is until another connector has taken its place."""
        return bool(self.kept_for)

    @property
    def is_outdated(self) -> bool:
        """Return whether it goes by what was in force before something changed that makes a new child necessary."""
        return self.is_kept or (self._run is not None and self._run_generation < self.generation)

    def send(self, event: inputs.Input) -> None:
        """Put an input into the inbox; callable from anywhere on the loop."""
        if isinstance(event, inputs.Stop | inputs.Kill):
            self.is_wanted = False
        elif isinstance(event, inputs.Start) or (isinstance(event, inputs.Restart) and event.asked):
            self.is_wanted = True
        self._inbox.put(event)

    async def run(self) -> None:
        """Supervise until the connector has been stopped."""
        self._inbox.put(inputs.Start(*self.context.shared.state.rate_limit(self._rate_limiter)))
        async with asyncio.TaskGroup() as self._tasks:
            while True:
                event = await self._inbox.get()
                if event == inputs.Woken("network"):  # what was remembered holds for the old network
                    self.reconfigure()
                    if self._run is not None:
                        self._run.forget_network()
                if isinstance(event, inputs.Start | inputs.Restart) or self.machine.state is State.FAILED:
                    self.context.admission.forget_refusals()
                for effect in self.machine.handle(self.context.clock.monotonic(), event):
                    self._perform(effect)
                if self.machine.state is State.STOPPING:
                    self.program.give_up()
                self._owner.take_input(self)
                if self.machine.state is State.IDLE and not self.machine.wanted:
                    break
            for job in self._jobs:  # a check whose result is not needed any more
                job.cancel()

    def take(self, settings: TunnelSettings, *, asked: bool, changed: bool) -> None:
        """Go on with settings that do not concern the child.

        asked: the user wants it, which ends a wait. changed: they differ from those of before, which ends one too, except the
        wait that a rate limit asks for.
        """
        self.context.take(settings)
        self._childless = None
        self.reconfigure()
        limited = self.shown is not None and self.shown.verdict is Verdict.RATE_LIMITED
        if self.state in {State.FAILED, State.BACKOFF} and (asked or (changed and not limited)):
            self.send(inputs.Restart("the configuration changed", asked=False))
        else:
            self.check_now()

    def renew(self, context: TunnelContext, *, kept_for: str = "") -> None:
        """Take in that there is to be another child, started with `context`: its own, or a successor's if this one is kept."""
        self.generation += 1
        if kept_for:
            self.kept_for.add(kept_for)
        else:
            self.kept_for.clear()
            self.context, self._childless = context, None
        self.reconfigure(afresh=not kept_for)

    def take_back(self, reason: str) -> None:
        """Take in that it need not be replaced for `reason`: a successor that is coming up for that gives up."""
        self.generation += 1
        self._run_generation = self.generation
        self.kept_for.discard(reason)

    def reconfigure(self, *, afresh: bool = False) -> None:
        """Have the machine go by the settings of the context, and by what was learnt of the network."""
        self.machine.reconfigure(self._machine_settings(), afresh=afresh)

    def check_now(self) -> None:
        """Check at once, if there is a child."""
        if self._run is not None:
            self.send(inputs.CheckNow(self._run.number))

    def inherit(self, checker: HealthChecker | None) -> None:
        """Go on with what the checks of another connector have found out."""
        if checker is not None and self.checker is not None:
            self.checker.inherit(checker)

    # ------------------------------------------------------------------ settings

    def _machine_settings(self) -> MachineSettings:
        context, settings, client = self.context, self.context.settings, self.context.backend.client
        return MachineSettings(
            interval=settings.health_check_interval_secs,
            max_failures=settings.max_failures,
            restart_on_any=settings.health_check_restart == "any",
            grace=(client.stop_grace if client is not None else 0.0) + STOP_MARGIN,
            protocols=self._protocol.protocols(context),
            has_child=client is not None,
            quick=context.backend.url_is_temporary,
            replicated=context.backend.replicas > 1,
        )

    @property
    def _rate_limiter(self) -> str:
        return self.context.backend.rate_limiter(self.context.shared.site)

    # ------------------------------------------------------------------ effects

    def _perform(self, effect: effects.Effect) -> None:
        shared = self.context.shared
        match effect:
            case effects.Publish():
                self._owner.take_fact(self, effect.fact)
            case effects.SetTimer():
                self._timers.set(effect)
            case effects.CancelTimers():
                self._timers.cancel()
            case effects.Check():
                self._start("check", contained("a check of the tunnel", self._check(effect.run), self._report))
            case effects.Spawn():
                self._start("run", self._live(effect))
            case effects.Terminate() | effects.Kill():
                self._signal(effect)
            case effects.WatchForChange():
                self._owner.errands.attempt("the watch for changes", self._watch_for_change)
            case effects.RememberRateLimit():
                shared.state.keep_rate_limit(self._rate_limiter, effect.delay, effect.attempt)
            case effects.RememberProtocol():
                shared.state.keep_protocol(shared.network.fingerprint(), effect.protocol)

    def _start(self, what: str, work: Coroutine[Any, Any, None]) -> None:
        assert self._tasks is not None
        job = self._tasks.create_task(work, name=f"{self.context.name}: {what}")
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)

    def _report(self, failure: str) -> None:
        self.context.log("error", failure)

    def _signal(self, effect: effects.Terminate | effects.Kill) -> None:
        run = self._run
        if run is None or run.number != effect.run:
            return
        if isinstance(effect, effects.Kill):
            run.process.kill()
        else:
            run.process.terminate()
            work = contained("a question to the connector that ends", run.report_draining(), self._report)
            self._start("draining", work)

    def _watch_for_change(self) -> None:
        if self.program.has_changed(self.context) or self.trust.has_changed(self.context.settings):
            self.send(inputs.Woken("binary"))
        self.context.shared.recheck()

    def replaced_program(self, known: Programs) -> str:
        """Return the path of the program of the living child, once, if it was replaced; else an empty string."""
        return self.program.replaced_while_running(self._run.context, known) if self._run is not None else ""

    def rotated_trust(self) -> Rotated | None:
        """Return that `origin_ca` holds other certificates than the living child has read, once; None if it does not."""
        settings = self.context.settings
        if self._run is None or not settings.origin_ca or settings.is_relayed:  # a relay reads the file again by itself
            return None
        return self.trust.rotated(settings)

    async def abandon(self) -> None:
        """End the child at once: the supervision has failed."""
        self._timers.cancel()
        run, self._run = self._run, None
        if run is not None:
            await run.aclose()

    def verdict_details(self) -> dict[str, Any]:
        """Return what the supervision knows of the present verdict (`prx.core.story.inside`)."""
        found = inside(self.machine, self._sightings, self._timers.due, self.context.clock.monotonic())
        clean: dict[str, Any] = redacted(found, self.context.shared.bus.redactor)
        return clean

    @property
    def pid(self) -> int:
        """Return the process id of the child; 0 if none runs."""
        return 0 if self._run is None or self._run.is_over else self._run.process.pid

    async def counters(self, *, max_age: float) -> Counters | None:
        """Return what the running child counts, at most `max_age` seconds old; None if it cannot be asked."""
        return None if self._run is None else await self._run.counters(max_age=max_age)

    async def confirm(self) -> bool:
        """Ask its child now whether it serves, and return whether it says so."""
        return self._run is not None and self.ready > 0 and await self._run.confirm()

    async def visitors(self) -> int | None:
        """Return how many requests have come that were not prx's own, None if that is not known."""
        return None if self._run is None else await self._run.visitors()

    # ------------------------------------------------------------------ the child

    async def _live(self, effect: effects.Spawn) -> None:
        """Take one run of the child from its start to its end."""
        context, self._run_generation = self.context, self.generation
        if not self._owner.is_covered(self):
            context.phases.restart()
        try:
            run, version = await start_child(effect, context, self.program, self.trust, send=self.send, role=self.role)
        except (PrxError, OSError, RuntimeError, MemoryError) as error:
            self._spawn_failed(effect.run, explain(error, context))
            return
        self._run, self.checker = run, run.checker
        self.send(inputs.Spawned(effect.run, run.process.pid, version))
        context.phases.reached("spawned", f"pid {run.process.pid}")
        async with asyncio.TaskGroup() as helpers:
            work = keep_running("the watch of the connector", run.watch, context.clock, self._report)
            watch = helpers.create_task(work, name=f"{self.context.name}: watch")
            ended = await run.wait()
            watch.cancel()
        self._run, self._has_worked = None, run.has_connected
        self._sightings.take(Evidence(context.clock.monotonic(), exit=ended.exit), ended.diagnosis)
        self.send(ended)

    def _spawn_failed(self, number: int, diagnosis: Diagnosis) -> None:
        diagnosis = replace(diagnosis, judge="the start of the connector")
        self._sightings.take_unseen(self.context.clock.monotonic(), diagnosis)
        self.send(inputs.SpawnFailed(number, diagnosis))

    # ------------------------------------------------------------------ checks

    async def _check(self, number: int) -> None:
        run = self._run
        if run is not None and run.number == number:
            evidence, checked = await run.check()
        elif not self.machine.settings.has_child:
            evidence, checked = await self._check_childless(number)
        else:
            return
        if isinstance(checked, inputs.NotChecked):
            self._not_checked(checked, evidence)
            return
        self._lacks = False
        covered, unaware = self._owner.is_covered(self), self._owner.is_edge_unaware(self, evidence)
        kept, proven = self.is_kept, self.role.proven
        found = as_replica(checked.diagnosis, evidence, covered=covered, edge_unaware=unaware, succeeded=kept, proven=proven)
        checked = replace(checked, diagnosis=found)
        if run is self._run:  # else its child has ended meanwhile, which says more
            self._sightings.take(evidence, checked.diagnosis)
        self._publish_probe(evidence, checked)
        self.send(checked)

    def _not_checked(self, checked: inputs.NotChecked, evidence: Evidence) -> None:
        """Report once what prx lacked for its checks; the machine waits for the next one with what is known."""
        if not self._lacks:
            self.context.log("warn", f"prx itself cannot check the tunnel now and keeps what it knows: {evidence.lacking}")
        self._lacks = True
        self.send(checked)

    async def _check_childless(self, number: int) -> tuple[Evidence, inputs.Checked | inputs.NotChecked]:
        from prx.runtime.childless_check import ChildlessCheck  # noqa: PLC0415 - few tunnels have no child

        if self._childless is None:
            self._childless = ChildlessCheck(self.context)
        return await self._childless.run(number)

    def _publish_probe(self, evidence: Evidence, checked: inputs.Checked) -> None:
        if (public := evidence.public) is not None:
            verdict, name = checked.diagnosis.verdict, self.context.name
            probed = Probed(
                tunnel=name, status=public.status, latency_ms=public.latency_ms, verdict=verdict, error=public.error
            )
            self.context.publish(probed)
