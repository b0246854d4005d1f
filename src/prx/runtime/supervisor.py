"""The set of tunnels of one prx: started together, watched together, each failing alone."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from prx.backends import create
from prx.backends.base import CLOUDFLARE, Counters, EdgeSite
from prx.config.paths import ensure_private_dir, runtime_dir
from prx.config.schema import Config, TunnelSettings
from prx.core import inputs
from prx.core.errors import PrxError, UsageError, refused
from prx.core.events import Event, Log, StateChanged, UrlChanged
from prx.core.status import TunnelStatus
from prx.runtime.bulkhead import keep_running
from prx.runtime.bus import Bus
from prx.runtime.child_start import EMPTY_CONFIG
from prx.runtime.client_program import Programs
from prx.runtime.context import Shared
from prx.runtime.delivery import Ways
from prx.runtime.handover import Heirs, hand_over
from prx.runtime.hooks import HookRunner, NoticeRunner, load
from prx.runtime.host.change_monitor import ChangeMonitor
from prx.runtime.host.clock import Clock
from prx.runtime.host.network import LocalNetwork, Network, SystemNetwork
from prx.runtime.keeper import Keeper
from prx.runtime.last_tunnels import LastTunnels
from prx.runtime.outdated import outdated_inputs
from prx.runtime.persistent_state import STATE_FILE, PersistentState
from prx.runtime.probes.access import service_token
from prx.runtime.probes.edge import EdgeWatch
from prx.runtime.probes.resolver import Resolver
from prx.runtime.process.orphans import ChildLedger, reap_stale
from prx.runtime.process.spawn_limit import SpawnRateLimiter
from prx.runtime.tunnel import Tunnel

STOPPED_AS_ASKED = 0
NOTHING_CAN_RUN = 3


class Supervisor:
    """Keep the tunnels of `config` up until `stop`.

    `site` says which edge they connect to. `instance` names this prx among those of the same user: two with the same name
    must not run at once (see `prx.runtime.host.lock`). `folder` is the base of relative paths of hooks. Secrets that the
    configuration holds are redacted from all events. `recheck` is called every few seconds while a tunnel waits or has failed:
    the caller reloads the configuration if it has changed, which ends the wait. `chores` are done at each beat of all.
    `child_settings(name, settings)` returns what a tunnel's connector is given; checks of the service go by the user's own
    settings. `own_mark` is the word by which a relay of this prx knows its checks.
    """

    def __init__(
        self,
        config: Config,
        *,
        clock: Clock,
        bus: Bus,
        data_dir: Path,
        site: EdgeSite = CLOUDFLARE,
        instance: str = "default",
        folder: Path | None = None,
        network: Network | None = None,
        recheck: Callable[[], None] = lambda: None,
        chores: Sequence[Callable[[], object]] = (),
        environ: Mapping[str, str] = os.environ,
        own_mark: str = "",
        child_settings: Callable[[str, TunnelSettings], TunnelSettings] = lambda _name, settings: settings,
    ) -> None:
        self.bus = bus
        self.redactor = bus.redactor
        self._clock = clock
        self._data_dir = data_dir
        self._instance = instance
        self._private = runtime_dir(environ) / f"{instance}.child"
        self._ledger_path = runtime_dir(environ) / f"{instance}.children.json"
        self._environ = environ
        self._site = site
        self._folder = folder
        self._recheck = recheck
        self._more_chores = chores
        self._own_mark = own_mark
        self._child_settings = child_settings
        self._network = network or (LocalNetwork() if site.local else SystemNetwork())
        self._config = config
        self._keepers: dict[str, Keeper] = {}
        self._heirs = Heirs(self._keepers)
        self._tasks: asyncio.TaskGroup | None = None
        self._running: set[asyncio.Task[None]] = set()
        self._last = LastTunnels(self._keepers, bus)
        self._stop_asked = False
        self._is_over = False
        self._stopped: set[str] = set()  # by name, before there was anything to stop

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self._config

    @property
    def at_rest(self) -> bool:
        """Return whether no tunnel is doing anything just now: only time, or the world, can change something."""
        return all(keeper.at_rest for keeper in self._keepers.values())

    def statuses(self) -> tuple[TunnelStatus, ...]:
        """Return what is known of every tunnel."""
        return self.bus.statuses()

    def verdict_details(self) -> dict[str, dict[str, Any]]:
        """Return what the supervision of each tunnel knows of its verdict (`prx.core.story.inside`)."""
        return {name: keeper.tunnel.verdict_details() for name, keeper in self._keepers.items()}

    async def counters(self, *, max_age: float) -> dict[str, dict[int, Counters | None]]:
        """Return what the children of each tunnel count (`Tunnel.counters`)."""
        keepers = tuple(self._keepers.values())
        found = await asyncio.gather(*(keeper.tunnel.counters(max_age=max_age) for keeper in keepers))
        return {keeper.name: counters for keeper, counters in zip(keepers, found, strict=True)}

    async def run(self) -> int:
        """Start every tunnel; return the exit code once each is stopped, or once none is left that could run."""
        shared = self._build_shared()
        for stale in await reap_stale(self._ledger_path):
            message = f"ended a connector that an earlier prx had left behind (pid {stale.identity.pid})"
            self.bus.publish(Log(tunnel="", level="warn", message=message))
        if self._stop_asked:  # before there was anything to stop
            return STOPPED_AS_ASKED
        self.bus.listen(self._on_event)
        async with asyncio.TaskGroup() as self._tasks:
            self._shared = shared
            for name in self._config.tunnels:
                self._add(name)
            beat = ChangeMonitor(self._clock, self._network, self._wake, self._chores())
            heartbeat = self._keep_running("heartbeat", beat.run)
            hooks = self._keep_running("hooks", self._hooks.run)
            notices = self._keep_running("notices", self._notices.run)
            while nothing_can_run := await self._last.until_over():
                await self._notices.farewell()
                if self._last.none_can_run:  # else what was wrong has changed meanwhile
                    break
            self._is_over = True
            self._notices.end()
            for task in (heartbeat, hooks, notices, *self._running):
                task.cancel()
        return NOTHING_CAN_RUN if nothing_can_run and not self._stop_asked else STOPPED_AS_ASKED

    # ------------------------------------------------------------------ what the user can ask for

    def stop(self, name: str | None = None) -> None:
        """Stop one tunnel, or all of them and with them `run`, gracefully."""
        self._stop_asked = self._stop_asked or name is None
        if self._tasks is None and name is not None and name in self._config.tunnels:
            self._stopped.add(name)
        self._leave_notices()
        for keeper in self._keepers.values() if name is None else ():  # none of them serves on for another one
            keeper.is_wanted = False
        self._send(name, inputs.Stop())

    def kill(self) -> None:
        """Stop everything now."""
        self._stop_asked = True
        self._leave_notices()
        self._send(None, inputs.Kill())

    def restart(self, name: str | None = None) -> None:
        """Restart one tunnel, or all of them; also those that were stopped.

        Raises UsageError for one that is not in the configuration any more, and only finishes what is in flight; PrxError once
        `run` is about to return, as no tunnel was left.
        """
        self._require_running()
        if self._tasks is None:  # `run` is about to start them
            self._stopped -= self._stopped if name is None else {name}
            return
        if name is not None and name not in self._config.tunnels:
            raise UsageError(f"{name} is not in the configuration any more", hint="put it back, and run prx reload")
        for wanted in self._config.tunnels if name is None else [name]:
            if wanted in self._keepers:
                self._keepers[wanted].send(inputs.Restart("asked to restart"))
            else:
                self._add(wanted)

    def costly(self, config: Config) -> list[str]:
        """Return the names of the tunnels that would lose a URL that works by `reload(config)`."""
        running = [self._keepers[name] for name in self._config.tunnels if name in self._keepers]
        return [keeper.name for keeper in running if keeper.tunnel.loses_url_with(config.tunnels.get(keeper.name))]

    def reload(self, config: Config, *, asked: bool = True) -> None:
        """Apply `config`: what is new is started, what is gone is stopped, what changed is taken.

        A tunnel that the user has stopped stays so. One that waits, or has failed, is started at once if the user has `asked`
        for the reload, or its own settings have changed. Raises PrxError once `run` is about to return, as no tunnel was left.
        """
        self._require_running()
        for settings in config.tunnels.values():
            load(settings)
        old, self._config = self._config, config
        self._learn_secrets(config)
        if self._tasks is None:  # `run` is about to start them
            self._stopped &= config.tunnels.keys()
            return
        access = config.access
        self._shared.service_token = service_token(access.client_id, access.client_secret)
        self._heirs.take(config)
        for name, settings in config.tunnels.items():
            if name in self._keepers:
                self._keepers[name].reload(settings, asked=asked)
            if name not in old.tunnels:
                self._send(name, inputs.Start()) if name in self._keepers else self._add(name)
        for keeper in list(self._keepers.values()):
            self._tell(keeper.tunnel)
        for name in old.tunnels.keys() - config.tunnels.keys():
            self._remove(name)
        for name in self._keepers:
            self.bus.track_changes(name, configured=name in config.tunnels)

    def outdated_inputs(self) -> list[str]:
        """Return a line for each file that a living connector was started with and that is another one by now."""
        tunnels = [keeper.tunnel for keeper in self._keepers.values()]
        return [line for tunnel in tunnels for line in outdated_inputs(tunnel.context, tunnel.connectors)]

    def has_settled(self, name: str) -> bool:
        """Return whether no connector is left of a tunnel that was started with settings that are not in force any more."""
        keeper = self._keepers.get(name)
        return keeper is None or (name in self._config.tunnels and keeper.tunnel.outdated.has_settled)

    def names(self) -> tuple[str, ...]:
        """Return the names of the tunnels that are supervised."""
        return tuple(self._keepers)

    # ------------------------------------------------------------------ inside

    def _leave_notices(self) -> None:
        """Leave what is open to the next prx, if this one has been asked to end: that is no stop of a tunnel."""
        if self._stop_asked and self._tasks is not None:
            self._notices.close()

    def _require_running(self) -> None:
        if self._is_over:
            raise PrxError("prx is ending: no tunnel was left that runs", hint="start it again")

    def _make_folders(self) -> None:
        ensure_private_dir(self._private.parent)
        ensure_private_dir(self._private)
        empty = self._private / EMPTY_CONFIG
        try:
            empty.touch(mode=0o600)
            empty.write_text("{}\n", encoding="ascii")
        except OSError as error:
            raise refused(f"cannot write {empty}: {error.strerror}", error, hint="prx keeps a few small files there") from error
        ensure_private_dir(self._data_dir)

    def _build_shared(self) -> Shared:
        self._make_folders()
        self._learn_secrets(self._config)
        access = self._config.access
        self._hooks = HookRunner(
            self.bus.publish,
            self._clock,
            folder=self._folder,
            environ=self._environ,
            redact=self.redactor.line,
            settings_for=self._settings_for,
        )
        self._notices = NoticeRunner(
            self.bus.publish,
            self._clock,
            self._settings_of,
            folder=self._folder or Path.cwd(),
            environ=self._environ,
            redact=self.redactor.line,
            kept=self._data_dir / "incidents" / f"{self._instance}.json",
        )
        self._edge = EdgeWatch(self._site, Resolver(self._site.doh, clock=self._clock), self._clock)
        return Shared(
            site=self._site,
            clock=self._clock,
            network=self._network,
            bus=self.bus,
            state=PersistentState(self._data_dir / STATE_FILE, self._clock),
            ledger=ChildLedger(self._ledger_path),
            edge=self._edge,
            ways=Ways(),
            private=self._private,
            service_token=service_token(access.client_id, access.client_secret),
            inherited=dict(self._environ),
            jitter=self._jitter,
            spawn_limiter=SpawnRateLimiter(self._clock),
            recheck=self._recheck,
            child_settings=self._child_settings,
            own_mark=self._own_mark,
            moves=self._heirs.moves,
            awaited=self._heirs.awaited,
        )

    def _jitter(self) -> float:
        """Spread the restarts of many tunnels; one alone keeps to the schedule."""
        if len(self._keepers) < 2:
            return 0.0
        import random  # noqa: PLC0415 - 0.2 MiB, for several tunnels alone

        return random.random()  # noqa: S311 - nothing is protected by it

    def _learn_secrets(self, config: Config) -> None:
        for settings in config.tunnels.values():
            for form in create(settings).secrets:
                self.redactor.add(form)
            self.redactor.add(settings.hook_secret.reveal())
        self.redactor.add(config.access.client_secret.reveal())

    def _add(self, name: str) -> None:
        keeper = Keeper(name, lambda: self._begin(name), self._clock, self.bus)
        if name in self._stopped:  # it is known, and does not run
            self._stopped.discard(name)
            self.bus.track_changes(name, wanted=False)
            return
        self._keepers[name] = keeper
        self._run_beside(self._keep(keeper), f"tunnel {name}")

    def _begin(self, name: str) -> Tunnel | None:
        """Return a new supervision of a tunnel; None if the configuration in force has none of this name."""
        settings = self._config.tunnels.get(name)
        if settings is None:
            return None
        tunnel = Tunnel(name, settings, self._shared)
        if before := self._keepers.get(name):  # its supervision has failed
            tunnel.started |= before.tunnel.started
            self._tell(tunnel)
        for warning in tunnel.context.backend.warnings:
            tunnel.context.log("warn", warning)
        if missing := load(settings):
            tunnel.context.log("warn", missing)
        return tunnel

    def _tell(self, tunnel: Tunnel) -> None:
        tunnel.errands.attempt("the search for former connectors", lambda: self._heirs.tell(tunnel))

    def _remove(self, name: str) -> None:
        """Stop a tunnel that is not in the configuration any more, once another one with the same token serves."""
        former = self._keepers.get(name)
        if former is None:  # it was stopped
            self.bus.untrack(name)
            return
        heir = self._heirs.awaited_by(former)
        if not heir or not self._heirs.have_room(former):
            former.send(inputs.Stop())
            return
        former.tunnel.context.log("info", f"it serves until {heir} does, which has the same token")

        def is_gone() -> bool:
            return self._keepers.get(name) is former and name not in self._config.tunnels

        what, tell = f"handover of {name}", former.tunnel.errands.say
        work = keep_running(what, lambda: hand_over(former, self._heirs, is_gone, self._clock), self._clock, tell)
        self._run_beside(work, what)

    def _run_beside(self, work: Coroutine[Any, Any, None], what: str) -> None:
        """Do `work` in a task, which is forgotten when it has ended: tunnels may come and go for years."""
        assert self._tasks is not None
        task = self._tasks.create_task(work, name=what)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def _keep_running(self, what: str, work: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        def say(message: str) -> None:
            self.bus.publish(Log(tunnel="", level="error", message=message))

        assert self._tasks is not None
        return self._tasks.create_task(keep_running(what, work, self._clock, say), name=what)

    def _chores(self) -> tuple[Callable[[], object], ...]:
        """Return what the heartbeat does for all: write what could not be written, check the programs of living children."""
        shared = self._shared
        own = (shared.ledger.retry, shared.state.retry, self._notices.retry, self._check_programs, self._last.check)
        return (*own, *self._more_chores)

    def _check_programs(self) -> None:
        known: Programs = {}  # most tunnels have the same one
        for keeper in list(self._keepers.values()):
            tunnel = keeper.tunnel
            tunnel.errands.attempt("the check for what is outdated", partial(tunnel.outdated.check, known))

    async def _keep(self, keeper: Keeper) -> None:
        await keeper.run()
        del self._keepers[keeper.name]
        if keeper.name not in self._config.tunnels:
            self.bus.untrack(keeper.name)
        self._last.look()

    def _on_event(self, event: Event) -> None:
        fact = event.fact
        self._notices.see(event)
        if isinstance(fact, StateChanged):
            self._last.look()
        elif isinstance(fact, UrlChanged) and fact.tunnel in self._config.tunnels:
            self._hooks.fire(fact, self._config.tunnels[fact.tunnel])

    def _settings_of(self, name: str) -> TunnelSettings | None:
        return self._config.tunnels.get(name)

    def _settings_for(self, fact: UrlChanged) -> TunnelSettings | None:
        """Return the settings of a tunnel that still has the URL of `fact`."""
        status = self.bus.status(fact.tunnel)
        return None if status is None or status.url != fact.url else self._settings_of(fact.tunnel)

    def _send(self, name: str | None, event: inputs.Input) -> None:
        for keeper in list(self._keepers.values()):
            if name in {None, keeper.name}:
                keeper.send(event)

    def _wake(self, what: str) -> None:
        if what == "network":
            self._edge.forget()
        self._send(None, inputs.Woken(what))
        self._hooks.wake()
        self._notices.wake()
