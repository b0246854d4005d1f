"""The shell of one tunnel: inputs go into the machine, its effects are performed, and nothing is decided here.

inbox ──► Machine.handle(now, input) ──► effects ──► processes, timers, looks, facts
  ▲                                                            │
  └──────────── Spawned, Exited, Checked, TimerFired … ◄───────┘
"""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prx.backends import create
from prx.backends.base import EdgeSite, LaunchContext, LogLine
from prx.config.schema import TunnelSettings
from prx.core import effects, inputs
from prx.core.diagnosis import Policy, diagnose
from prx.core.errors import CredentialError, PermanentError, PrxError
from prx.core.events import ConfigReloaded, Fact, Log, Phase, Probed, UrlChanged, UrlKnown
from prx.core.evidence import Evidence, Reach
from prx.core.machine import Machine
from prx.core.states import MachineSettings, State
from prx.core.status import TunnelStatus
from prx.core.verdicts import Diagnosis, Verdict
from prx.files.fingerprint import file_fingerprint
from prx.install.programs import HINT, builtin_connector, find_client, needed_environment
from prx.runtime.bulkhead import words_of
from prx.runtime.bus import Bus
from prx.runtime.delivery import Ways
from prx.runtime.health_check import HealthChecker, TunnelContext
from prx.runtime.host.clock import Clock, TimerHandle
from prx.runtime.host.network import Network
from prx.runtime.persistent_state import Learnt, PersistentState
from prx.runtime.probes.access import ServiceToken
from prx.runtime.probes.edge import EdgeWatch
from prx.runtime.probes.resolver import Resolver
from prx.runtime.process.orphans import ChildLedger
from prx.runtime.process.pace import SpawnPace
from prx.runtime.process.ports import draw_port
from prx.runtime.process.spawn import SpawnError
from prx.runtime.process.version import ask_version, short_version
from prx.runtime.quic_return import QuicReturn
from prx.runtime.replaced import LastProgram
from prx.runtime.run import Run, RunContext

EMPTY_CONFIG = "config.yml"
STOP_MARGIN = 2.0  # seconds beyond the child's own grace period before it is killed


@dataclass(frozen=True, slots=True)
class Shared:
    """What all tunnels of one prx share."""

    site: EdgeSite
    clock: Clock
    network: Network
    bus: Bus
    memory: PersistentState
    ledger: ChildLedger
    edge: EdgeWatch
    ways: Ways
    private: Path  # a directory of ours: the child's HOME, and its empty configuration
    service_token: ServiceToken | None
    inherited: Mapping[str, str]
    redact: Callable[[str], str]
    jitter: Callable[[], float]
    pace: SpawnPace
    recheck: Callable[[], None]


class Tunnel:
    """One tunnel, supervised; `run` returns when it is down for good, which `send(Stop())` brings about."""

    def __init__(self, name: str, settings: TunnelSettings, shared: Shared) -> None:
        self.name = name
        self.settings = settings
        self._shared = shared
        self._inbox: asyncio.Queue[inputs.Input] = asyncio.Queue()
        self._timers: dict[str, TimerHandle] = {}
        self._run: Run | None = None
        self._alone: HealthChecker | None = None
        self._asking: asyncio.Timeout | None = None  # while the program is asked for its version
        self._program_seen: tuple[object, ...] | None = None  # None: not looked at yet
        self._program_running: tuple[object, ...] = ()
        self._last_program = LastProgram()
        self._told_of_memory: float | None = None
        self._quic = QuicReturn(shared.clock)
        self._phases: set[str] = set()
        self._phases_from = shared.clock.monotonic()
        self._tasks: asyncio.TaskGroup | None = None
        self._jobs: set[asyncio.Task[None]] = set()
        self._take_settings(settings)
        self.machine = Machine(name, self._machine_settings(), jitter=shared.jitter)
        shared.bus.track(self._blank_status())

    @property
    def state(self) -> State:
        """The observed state."""
        return self.machine.state

    @property
    def at_rest(self) -> bool:
        """Tell whether nothing is being done just now: only time, or the world, can change something."""
        return self._inbox.empty() and not self.machine.busy

    def send(self, event: inputs.Input) -> None:
        """Put an input into the inbox; callable from anywhere on the loop."""
        self._inbox.put_nowait(event)

    async def run(self) -> None:
        """Supervise until the tunnel has been stopped."""
        retry_in, attempt = self._shared.memory.rate_limit(self._service)
        quick = self.backend.mode == "quick"
        self.send(inputs.Start(retry_in, attempt) if quick else inputs.Start())
        async with asyncio.TaskGroup() as self._tasks:
            self._start("quic", self._return_to_quic())
            while True:
                event = await self._inbox.get()
                if event == inputs.Woken("network"):  # what was remembered holds for the old network
                    self.machine.reconfigure(self._machine_settings())
                    if self._run is not None:
                        self._run.forget_network()
                for effect in self.machine.handle(self._shared.clock.monotonic(), event):
                    self._perform(effect)
                if self.machine.state is State.STOPPING:
                    self._give_up_asking()
                if self.machine.state is State.IDLE and not self.machine.wanted:
                    break
            for job in self._jobs:  # a check that nobody waits for any more
                job.cancel()

    def reload(self, settings: TunnelSettings, shared: Shared) -> None:
        """Take new settings, and what all tunnels share.

        A living child is started anew only where they concern it, because a quick URL would change.
        """
        restart = self._child_keys(settings) != self._child_keys(self.settings)
        self._shared = shared
        self._take_settings(settings)
        self.machine.reconfigure(self._machine_settings())
        self._publish(ConfigReloaded(tunnel=self.name, restarted=restart))
        if restart or self.state in {State.FAILED, State.BACKOFF}:
            self.send(inputs.Restart("the configuration changed"))
        elif self._run is not None:
            self._run.adopt(self._surroundings())
            self.send(inputs.CheckNow(self._run.number))

    # ------------------------------------------------------------------ settings

    @staticmethod
    def _child_keys(settings: TunnelSettings) -> tuple[object, ...]:
        trust = (settings.origin_tls_verify, settings.origin_ca, settings.origin_server_name)
        return (settings.backend, settings.local_addr, settings.host_header, trust, settings.public_url, settings.cloudflare)

    def _take_settings(self, settings: TunnelSettings) -> None:
        self.settings = settings
        self._alone = None
        self.backend = create(settings)
        self._policy = Policy(
            expect=settings.expected_status,
            startup_timeout=settings.startup_timeout_secs,
            protocol_is_free=settings.cloudflare.protocol == "auto",
            quick=self.backend.mode == "quick",
            path=settings.health_check_path,
        )
        doh = settings.doh or self._shared.site.doh
        self._view = TunnelContext(
            name=self.name,
            settings=settings,
            backend=self.backend,
            site=self._shared.site,
            clock=self._shared.clock,
            resolver=Resolver(doh, clock=self._shared.clock),
            network=self._shared.network,
            edge=self._shared.edge,
            ways=self._shared.ways,
            way=self._way(),
            service_token=self._shared.service_token,
            tell_phase=self._tell_phase,
            tell_url=lambda url: self._publish(UrlKnown(tunnel=self.name, url=url)),
            warn=lambda message: self._publish(Log(tunnel=self.name, level="warn", message=message)),
        )

    def _way(self) -> str:
        """Return what the connectors of one tunnel have in common: the tunnel's id; a quick tunnel has one connector."""
        try:
            return self.backend.tunnel_id or self.name
        except PermanentError:  # a malformed token: told when the child is to be started
            return self.name

    def _machine_settings(self) -> MachineSettings:
        settings = self.settings
        return MachineSettings(
            interval=settings.health_check_interval_secs,
            max_failures=settings.max_failures,
            restart_on_any=settings.health_check_restart == "any",
            grace=settings.cloudflare.grace_period_secs + STOP_MARGIN,
            protocols=self._protocols(),
            has_child=self.backend.name != "none",
            quick=self.backend.mode == "quick",
        )

    def _protocols(self) -> tuple[str, ...]:
        chosen = self.settings.cloudflare.protocol
        if chosen != "auto":
            return (chosen,)
        known = self._shared.site.protocols
        learnt = self._shared.memory.protocol(self._shared.network.fingerprint())
        if learnt is None or learnt.protocol not in known or learnt.protocol == known[0]:
            return known
        if self._told_of_memory != learnt.at:
            self._told_of_memory = learnt.at
            self._tell_of_memory(learnt)
        return (learnt.protocol,)

    def _tell_of_memory(self, learnt: Learnt) -> None:
        hours = max(0.0, self._shared.clock.wall() - learnt.at) / 3600
        when = f"{hours:.0f} h ago" if hours >= 1 else "less than an hour ago"
        name = {"http2": "HTTP/2", "quic": "QUIC"}.get(learnt.protocol, learnt.protocol)
        message = f"{name} is spoken with the edge: on this network QUIC did not get through, {when} (`prx forget` clears that)"
        self._publish(Log(tunnel=self.name, level="info", message=message))

    def _blank_status(self) -> TunnelStatus:
        return TunnelStatus(self.name, backend=self.backend.name, mode=self.backend.mode, local_addr=str(self.settings.origin))

    @property
    def _service(self) -> str:
        return self._shared.site.quick_service or "cloudflare"

    # ------------------------------------------------------------------ effects

    def _perform(self, effect: effects.Effect) -> None:
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
                self._recheck()
            case effects.RememberRateLimit():
                self._shared.memory.keep_rate_limit(self._service, effect.delay, effect.attempt)
            case effects.RememberProtocol():
                self._shared.memory.keep_protocol(self._shared.network.fingerprint(), effect.protocol)

    def _set_timer(self, effect: effects.SetTimer) -> None:
        if old := self._timers.get(effect.name):
            old.cancel()
        fired = inputs.TimerFired(effect.name, effect.token)
        self._timers[effect.name] = self._shared.clock.call_later(effect.delay, lambda: self.send(fired))

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

    def _recheck(self) -> None:
        seen, before = self._look_at_program(), self._program_seen
        self._program_seen = seen
        if before is not None and seen != before:  # a program seen for the first time has not changed
            self.send(inputs.Woken("binary"))
        self._shared.recheck()

    def look_at_running_program(self) -> None:
        """Say it once when the program of the living child was replaced; that the file is away says nothing (yet)."""
        if self._run is None or not (seen := self._look_at_program()) or seen == self._program_running:
            return
        old, self._program_running = self._program_running, seen
        if old:
            message = (
                f"{seen[0]} was replaced; the connector that runs is the old one: prx restart {self.name} takes the new one"
            )
            self._publish(Log(tunnel=self.name, level="info", message=message))

    async def abandon(self) -> None:
        """End the child at once: the supervision of this tunnel has failed."""
        self._cancel_timers()
        run, self._run = self._run, None
        if run is not None:
            await run.process.aclose()
            self._shared.ledger.remove(run.process.identity)

    # ------------------------------------------------------------------ back to QUIC

    async def _return_to_quic(self) -> None:
        """Let a named tunnel that speaks HTTP/2 because QUIC did not get through try QUIC again, in a quiet minute."""
        while True:
            await self._shared.clock.sleep(QuicReturn.EVERY)
            run, protocols = self._run, self._shared.site.protocols
            fallen_back = self.settings.cloudflare.protocol == "auto" and self.machine.protocol != protocols[0]
            if run is None or self.backend.mode != "named" or self.state is not State.READY or not fallen_back:
                self._quic.interrupt()
            elif self._quic.is_due(await run.visitors()) and (await self._shared.edge.dial(quic=True)).quic is Reach.OPEN:
                self._shared.memory.forget_protocol(self._shared.network.fingerprint())
                self.machine.reconfigure(self._machine_settings())
                self.send(inputs.Restart("QUIC gets through again"))

    # ------------------------------------------------------------------ the child

    async def _live(self, effect: effects.Spawn) -> None:
        """Take one run of the child from its start to its end."""
        self._phases = set()
        self._phases_from = self._shared.clock.monotonic()
        try:
            run = await self._spawn(effect)
        except PrxError as error:
            self.send(inputs.SpawnFailed(effect.run, _explain(error)))
            return
        except (OSError, RuntimeError, MemoryError) as error:  # this machine is short of something: not for ever
            diagnosis = Diagnosis(Verdict.CRASHED, f"the connector cannot be started: {words_of(error)}")
            self.send(inputs.SpawnFailed(effect.run, diagnosis))
            return
        async with asyncio.TaskGroup() as helpers:
            watch = helpers.create_task(run.watch(), name=f"{self.name}: watch")
            ended = await run.wait()
            watch.cancel()
        self._run = None
        self.send(ended)

    async def _spawn(self, effect: effects.Spawn) -> Run:
        self._program_seen = self._look_at_program()
        self.backend.check()
        program = self._program()
        version = await self._ask_version(program)
        if change := await self._last_program.change(self._program_seen, short_version(version)):
            self._publish(Log(tunnel=self.name, level="info", message=change))
        port = self.settings.cloudflare.metrics_port or draw_port()
        context = LaunchContext(
            program=program,
            version=version,
            metrics_port=port,
            config_file=self._shared.private / EMPTY_CONFIG,
            home=self._shared.private,
            protocol=effect.protocol,
            site=self._shared.site,
            inherited=self._shared.inherited,
            needs=needed_environment(program, self._shared.inherited),
        )
        run = Run(effect.run, self._surroundings(), effect.protocol, port)
        await run.start(context)
        self._run = run
        self._program_running = self._program_seen
        self.send(inputs.Spawned(effect.run, run.process.pid, short_version(version)))
        self._tell_phase("spawned", f"pid {run.process.pid}")
        return run

    async def _ask_version(self, program: tuple[str, ...]) -> str:
        """Wait for our turn to start a child, and ask the program for its version.

        Raises PrxError where the tunnel is told to stop meanwhile: a program may hang.
        """
        try:
            async with asyncio.timeout(None) as self._asking:
                await self._shared.pace.turn()
                return await ask_version(program)
        except TimeoutError as error:
            raise PrxError("asked to stop before it was started") from error
        finally:
            self._asking = None

    def _give_up_asking(self) -> None:
        asking, self._asking = self._asking, None
        if asking is not None:
            asking.reschedule(asyncio.get_running_loop().time())

    def _surroundings(self) -> RunContext:
        return RunContext(
            view=self._view,
            policy=self._policy,
            ledger=self._shared.ledger,
            send=self.send,
            publish=self._publish,
            on_line=self._on_line,
            redact=self._shared.redact,
        )

    def _program(self) -> tuple[str, ...]:
        path = self.settings.cloudflare.cloudflared_path
        return builtin_connector() if path == "builtin" else (find_client(path, self._shared.inherited) or path,)

    def _look_at_program(self) -> tuple[object, ...]:
        """Return what changes when the program is installed, replaced or made executable."""
        name = self._program()[0]
        found = find_client(name, self._shared.inherited) or shutil.which(name, mode=os.F_OK)
        return () if found is None else (found, *file_fingerprint(found))

    def _on_line(self, stream: str, line: LogLine) -> None:
        fields = {**line.fields, "stream": stream}
        if line.error:
            fields["error"] = line.error
        self._publish(
            Log(
                tunnel=self.name,
                level=line.level,
                message=line.message,
                source=self.backend.name,
                kind=str(line.kind),
                fields=fields,
            )
        )

    # ------------------------------------------------------------------ looking

    async def _check(self, number: int) -> None:
        run = self._run
        try:
            if run is not None and run.number == number:
                evidence, checked = await run.check()
            elif not self.machine.settings.has_child:
                evidence, checked = await self._check_alone(number)
            else:
                return
        except Exception as error:  # noqa: BLE001 - a mistake in a probe must not take a running tunnel down; the machine looks again
            self._publish(Log(tunnel=self.name, level="error", message=f"a look at the tunnel failed: {error!r}"))
            return
        self._tell_probe(evidence, checked)
        self.send(checked)

    async def _check_alone(self, number: int) -> tuple[Evidence, inputs.Checked]:
        if self._alone is None:
            self._alone = HealthChecker(self._view, None, None)
        evidence = await self._alone.check()
        return evidence, inputs.Checked(number, diagnose(evidence, self._policy), evidence.url)

    def _tell_probe(self, evidence: Evidence, checked: inputs.Checked) -> None:
        public = evidence.public
        if public is not None:
            self._publish(
                Probed(
                    tunnel=self.name,
                    status=public.status,
                    latency_ms=public.latency_ms,
                    verdict=checked.diagnosis.verdict,
                    error=public.error,
                )
            )

    # ------------------------------------------------------------------ telling

    def _tell_phase(self, phase: str, detail: str) -> None:
        if phase not in self._phases:
            self._phases.add(phase)
            elapsed = self._shared.clock.monotonic() - self._phases_from
            self._publish(Phase(tunnel=self.name, phase=phase, elapsed_ms=round(elapsed * 1000, 1), detail=detail))

    def _publish(self, fact: Fact) -> None:
        if isinstance(fact, UrlChanged) and fact.proven:
            self._tell_phase("verified", fact.url)
        self._shared.bus.publish(fact)


def _explain(error: PrxError) -> Diagnosis:
    """Say what a failed start means: who is at fault, and whether another try can help."""
    if isinstance(error, CredentialError):
        verdict = Verdict.AUTH_REJECTED
    elif isinstance(error, PermanentError) or (isinstance(error, SpawnError) and error.permanent):
        verdict = Verdict.MISCONFIGURED
    else:
        verdict = Verdict.CRASHED
    hint = error.hint
    if isinstance(error, SpawnError) and error.errno == errno.ENOENT:
        hint = f"{HINT}, or set cloudflared_path in the configuration"
    return Diagnosis(verdict, error.message, hint)
