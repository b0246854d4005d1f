"""The shell of one tunnel: inputs go into the machine, its effects are performed, and nothing is decided here.

inbox ──► Machine.handle(now, input) ──► effects ──► processes, timers, checks, facts
  ▲                                                            │
  └──────────── Spawned, Exited, Checked, TimerFired … ◄───────┘
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

from prx.backends.base import Counters, LaunchContext
from prx.config.schema import TunnelSettings
from prx.core import effects, inputs
from prx.core.diagnosis import diagnose
from prx.core.errors import PrxError
from prx.core.events import ConfigReloaded, Fact, Probed, UrlChanged
from prx.core.evidence import Evidence
from prx.core.machine import Machine
from prx.core.sightings import Sightings
from prx.core.states import MachineSettings, State
from prx.core.status import TunnelStatus
from prx.core.story import inside
from prx.core.verdicts import Diagnosis, Verdict
from prx.install.programs import needed_environment
from prx.runtime.bulkhead import words_of
from prx.runtime.bus import redacted
from prx.runtime.client_program import ClientProgram, explain_failed_start, find_program
from prx.runtime.context import Shared, TunnelContext
from prx.runtime.health_check import HealthChecker
from prx.runtime.host.clock import TimerHandle
from prx.runtime.process.ports import draw_port
from prx.runtime.process.version import short_version
from prx.runtime.protocol_choice import ProtocolChoice
from prx.runtime.quic_return import QuicReturn
from prx.runtime.run import Run

EMPTY_CONFIG = "config.yml"
STOP_MARGIN = 2.0  # seconds beyond the child's own grace period before it is killed


class Tunnel:
    """One tunnel, supervised; `run` returns when it is down for good, which `send(Stop())` causes."""

    def __init__(self, name: str, settings: TunnelSettings, shared: Shared) -> None:
        self.name = name
        self.context = TunnelContext.create(name, settings, shared)
        self._inbox: asyncio.Queue[inputs.Input] = asyncio.Queue()
        self._timers: dict[str, TimerHandle] = {}
        self._due: dict[str, float] = {}  # the monotonic second of each timer that was set
        self._sightings = Sightings()
        self._run: Run | None = None
        self._alone: HealthChecker | None = None
        self._program = ClientProgram()
        self._protocol = ProtocolChoice(shared.clock)
        self._tasks: asyncio.TaskGroup | None = None
        self._jobs: set[asyncio.Task[None]] = set()
        self.machine = Machine(name, self._machine_settings(), jitter=shared.jitter)
        shared.bus.track(self._blank_status())

    @property
    def state(self) -> State:
        """The observed state."""
        return self.machine.state

    def told(self) -> dict[str, Any]:
        """Return what the supervision knows of the present verdict (`prx.core.story.inside`)."""
        found = inside(self.machine, self._sightings, self._due, self.context.clock.monotonic())
        clean: dict[str, Any] = redacted(found, self.context.shared.bus.redactor)
        return clean

    async def counters(self, *, max_age: float) -> Counters | None:
        """Return what the running child counts, at most `max_age` seconds old; None if it cannot be asked."""
        return None if self._run is None else await self._run.counters(max_age=max_age)

    @property
    def at_rest(self) -> bool:
        """Return whether nothing is being done just now: only time, or the world, can change something."""
        return self._inbox.empty() and not self.machine.busy

    def send(self, event: inputs.Input) -> None:
        """Put an input into the inbox; callable from anywhere on the loop."""
        self._inbox.put_nowait(event)

    async def run(self) -> None:
        """Supervise until the tunnel has been stopped."""
        self.send(inputs.Start(*self.context.shared.state.rate_limit(self._rate_limiter)))
        async with asyncio.TaskGroup() as self._tasks:
            self._start("quic", self._return_to_quic())
            while True:
                event = await self._inbox.get()
                if event == inputs.Woken("network"):  # what was remembered holds for the old network
                    self.machine.reconfigure(self._machine_settings())
                    if self._run is not None:
                        self._run.forget_network()
                for effect in self.machine.handle(self.context.clock.monotonic(), event):
                    self._perform(effect)
                if self.machine.state is State.STOPPING:
                    self._program.give_up()
                if self.machine.state is State.IDLE and not self.machine.wanted:
                    break
            for job in self._jobs:  # a check whose result is not needed any more
                job.cancel()

    def reload(self, settings: TunnelSettings) -> None:
        """Take new settings. A living child is replaced only if they concern it: a restart may cost the URL."""
        successor = self.context.successor(settings)
        restart = successor.backend.needs_new_child(self.context.backend)
        if restart:
            self.context = successor
        else:
            self.context.take(settings)
        self._alone = None
        self.machine.reconfigure(self._machine_settings())
        self.context.publish(ConfigReloaded(tunnel=self.name, restarted=restart))
        if restart or self.state in {State.FAILED, State.BACKOFF}:
            self.send(inputs.Restart("the configuration changed"))
        elif self._run is not None:
            self.send(inputs.CheckNow(self._run.number))

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
        )

    def _blank_status(self) -> TunnelStatus:
        backend, local_addr = self.context.backend, str(self.context.settings.origin)
        return TunnelStatus(self.name, backend=backend.name, mode=backend.mode, local_addr=local_addr)

    @property
    def _rate_limiter(self) -> str:
        return self.context.backend.rate_limiter(self.context.shared.site)

    # ------------------------------------------------------------------ effects

    def _perform(self, effect: effects.Effect) -> None:
        shared = self.context.shared
        match effect:
            case effects.Publish():
                self._publish(effect.fact)
            case effects.SetTimer():
                self._set_timer(effect)
            case effects.CancelTimers():
                self._cancel_timers()
            case effects.Check():
                self._start("check", self._check(effect.run))
            case effects.Spawn():
                self._start("run", self._live(effect))
            case effects.Terminate() | effects.Kill():
                self._signal(effect)
            case effects.WatchForChange():
                self._watch_for_change()
            case effects.RememberRateLimit():
                shared.state.keep_rate_limit(self._rate_limiter, effect.delay, effect.attempt)
            case effects.RememberProtocol():
                shared.state.keep_protocol(shared.network.fingerprint(), effect.protocol)

    def _publish(self, fact: Fact) -> None:
        if isinstance(fact, UrlChanged) and fact.proven:
            self.context.phases.reached("verified", fact.url)
        self.context.publish(fact)

    def _set_timer(self, effect: effects.SetTimer) -> None:
        if old := self._timers.get(effect.name):
            old.cancel()
        fired = inputs.TimerFired(effect.name, effect.token)
        self._due[effect.name] = self.context.clock.monotonic() + effect.delay
        self._timers[effect.name] = self.context.clock.call_later(effect.delay, lambda: self.send(fired))

    def _cancel_timers(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _start(self, what: str, work: Coroutine[Any, Any, None]) -> None:
        assert self._tasks is not None
        job = self._tasks.create_task(work, name=f"{self.name}: {what}")
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)

    def _signal(self, effect: effects.Terminate | effects.Kill) -> None:
        run = self._run
        if run is None or run.number != effect.run:
            return
        if isinstance(effect, effects.Kill):
            run.process.kill()
        else:
            run.process.terminate()

    def _watch_for_change(self) -> None:
        if self._program.has_changed(self.context):
            self.send(inputs.Woken("binary"))
        self.context.shared.recheck()

    def check_running_program(self) -> None:
        """Say it once when the program of the living child was replaced."""
        if self._run is not None and (path := self._program.replaced_while_running(self._run.context)):
            message = f"{path} was replaced; the connector that runs is the old one: prx restart {self.name} takes the new one"
            self.context.log("info", message)

    async def abandon(self) -> None:
        """End the child at once: the supervision of this tunnel has failed."""
        self._cancel_timers()
        run, self._run = self._run, None
        if run is not None:
            await run.aclose()

    async def _return_to_quic(self) -> None:
        """Try QUIC again, in a quiet minute, for a named tunnel that uses HTTP/2 because QUIC did not get through."""
        while True:
            await self.context.clock.sleep(QuicReturn.EVERY)
            run = self._run
            fallen_back = self._protocol.has_fallen_back(self.context, self.machine.protocol)
            if run is None or self.state is not State.READY or not fallen_back:
                self._protocol.interrupt()
            elif await self._protocol.may_return(self.context, await run.visitors()):
                self.machine.reconfigure(self._machine_settings())
                self.send(inputs.Restart("QUIC gets through again"))

    # ------------------------------------------------------------------ the child

    async def _live(self, effect: effects.Spawn) -> None:
        """Take one run of the child from its start to its end."""
        context = self.context
        context.phases.restart()
        try:
            run = await self._spawn(effect, context)
        except PrxError as error:
            self._spawn_failed(effect.run, explain_failed_start(error, context.client.install_hint))
            return
        except (OSError, RuntimeError, MemoryError) as error:  # this machine is short of something: not forever
            diagnosis = Diagnosis(Verdict.CRASHED, f"the connector cannot be started: {words_of(error)}")
            self._spawn_failed(effect.run, diagnosis)
            return
        async with asyncio.TaskGroup() as helpers:
            watch = helpers.create_task(run.watch(), name=f"{self.name}: watch")
            ended = await run.wait()
            watch.cancel()
        self._run = None
        self._sightings.take(Evidence(context.clock.monotonic(), exit=ended.exit), ended.diagnosis)
        self.send(ended)

    def _spawn_failed(self, number: int, diagnosis: Diagnosis) -> None:
        diagnosis = replace(diagnosis, judge="the start of the connector")
        self._sightings.take_unseen(self.context.clock.monotonic(), diagnosis)
        self.send(inputs.SpawnFailed(number, diagnosis))

    async def _spawn(self, effect: effects.Spawn, context: TunnelContext) -> Run:
        shared = context.shared
        self._program.about_to_start(context)
        context.backend.check()
        program = find_program(context)
        version = await self._program.ask_version(context, program)
        if change := await self._program.change(short_version(version)):
            context.log("info", change)
        port = context.client.metrics_port or draw_port()
        launch_context = LaunchContext(
            program=program,
            version=version,
            metrics_port=port,
            config_file=shared.private / EMPTY_CONFIG,
            home=shared.private,
            protocol=effect.protocol,
            site=shared.site,
            inherited=shared.inherited,
            needs=needed_environment(program, shared.inherited),
        )
        run = Run(effect.run, context, self.send, effect.protocol, port)
        await run.start(launch_context)
        self._run = run
        self._program.started()
        self.send(inputs.Spawned(effect.run, run.process.pid, short_version(version)))
        context.phases.reached("spawned", f"pid {run.process.pid}")
        return run

    # ------------------------------------------------------------------ checks

    async def _check(self, number: int) -> None:
        run = self._run
        try:
            if run is not None and run.number == number:
                evidence, checked = await run.check()
            elif not self.machine.settings.has_child:
                evidence, checked = await self._check_alone(number)
            else:
                return
        except Exception as error:  # noqa: BLE001 - a mistake in a probe must not take a running tunnel down; the machine checks again
            self.context.log("error", f"a check of the tunnel failed: {error!r}")
            return
        if run is self._run:  # else its child has ended meanwhile, which says more
            self._sightings.take(evidence, checked.diagnosis)
        self._publish_probe(evidence, checked)
        self.send(checked)

    async def _check_alone(self, number: int) -> tuple[Evidence, inputs.Checked]:
        if self._alone is None:
            self._alone = HealthChecker(self.context, None)
        evidence = await self._alone.check()
        return evidence, inputs.Checked(number, diagnose(evidence, self.context.policy), evidence.url)

    def _publish_probe(self, evidence: Evidence, checked: inputs.Checked) -> None:
        public = evidence.public
        if public is not None:
            self.context.publish(
                Probed(
                    tunnel=self.name,
                    status=public.status,
                    latency_ms=public.latency_ms,
                    verdict=checked.diagnosis.verdict,
                    error=public.error,
                )
            )
