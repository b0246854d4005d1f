"""One run of `prx start`: everything that lives from the command to the last line.

Theory of operation. Around the supervisor stand, from the outside in: the hello page, the instance lock, the log file, the
views on stdout and stderr, the control socket, the user's own service, the local edge. They come up in this order and go down
in the opposite one, so that the service still answers the last request, and the control socket can be asked to the end. Events
join them: the supervisor publishes; views and log file render.

A stop can come at any time. While things come up it ends the wait for them; from then on it is the supervisor's `stop`. A
second one kills everything, and the exit code is 128 + n.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from prx import __version__
from prx.app.ahead import ask_for_version
from prx.app.config_in_force import ConfigInForce
from prx.app.dashboard import DashboardChild
from prx.app.hardening import require_folder
from prx.app.holders import FreeHold, Hold, Holders, stopping
from prx.app.inspection import Inspection
from prx.app.lab_mode import explain, join_or_start
from prx.app.log_file import EventLog, log_file
from prx.app.memory import freeze_objects, no_collection, short_pauses
from prx.app.memory_keeper import MemoryKeeper
from prx.app.options import StartOptions
from prx.app.outcome import Outcome, first_error
from prx.app.reload import Reloader
from prx.app.running_config import RunningConfig
from prx.app.signals import Signals
from prx.app.stop_request import StopRequest
from prx.backends import create
from prx.backends.base import CLOUDFLARE, Counters
from prx.config.paths import ensure_private_dir
from prx.config.schema import Config
from prx.control.messages import Message
from prx.control.server import ControlServer, EventSource
from prx.core.errors import PermanentError
from prx.core.events import Log, timestamp
from prx.core.states import State
from prx.core.status import TunnelStatus
from prx.core.story import story
from prx.runtime.bulkhead import keep_running, stray_handler
from prx.runtime.bus import Bus
from prx.runtime.host.clock import SystemClock
from prx.runtime.host.lock import InstanceLock
from prx.runtime.host.sd_notify import Notifier
from prx.runtime.process.child import our_children
from prx.runtime.process.reaper import OrphanReaper
from prx.runtime.process.version import forget_ahead
from prx.ui.errors import describe_os_error
from prx.ui.screen import choose_views, showing

if TYPE_CHECKING:
    from prx.app.served_command import ServedCommand
    from prx.runtime.supervisor import Supervisor

KILL_SECONDS = 1.0  # from the second signal to the end, whatever still hangs

OfferClient: TypeAlias = Callable[[Config, StartOptions, Mapping[str, str]], Awaitable[None]]


class Session:
    """Run once: `await Session(options, os.environ, …).run()` returns the exit code or raises PrxError.

    `on_settled(outcome)` is called when every tunnel was verified for the first time, or has failed. `offer_client` is awaited
    once the configuration is known, and may install a client that it asks for.
    """

    def __init__(
        self,
        options: StartOptions,
        environ: Mapping[str, str],
        *,
        offer_client: OfferClient,
        on_settled: Callable[[Outcome], None] = lambda _: None,
    ) -> None:
        self._options = options
        self._offer_client = offer_client
        self._environ = environ
        self._on_settled = on_settled
        self._clock = SystemClock()
        self._bus = Bus(self._clock)
        self._redactor = self._bus.redactor
        self._in_force = ConfigInForce(options, environ, self._redactor)
        self._stop_request = StopRequest()
        self._notifier = Notifier.from_environment(environ, self._clock, self._bus.statuses)
        self._inspection = Inspection(self._clock, self._redactor, self._log, folder=self._in_force.caught)
        self._config = RunningConfig(self._in_force, self._inspection, self._stop_request, self._clock, self._log)
        self._reloader = Reloader(
            self._config,
            around=self._notifier.reloading,
            refused=lambda why: self._log("error", f"not reloaded, everything stays as it is: {why}"),
        )
        self._supervisor: Supervisor | None = None
        self._service: ServedCommand | None = None
        self._dashboard: DashboardChild | None = None
        self._holders = Holders(self._stop_unused) if options.held else None
        self._killed_by = 0

    async def run(self) -> int:
        """Run until stopped, or until nothing is left that could run."""
        require_folder()
        asyncio.get_running_loop().set_exception_handler(stray_handler(self._log))
        say = partial(self._log, "info")
        signals = Signals(stop=self.stop, kill=self._kill, reload=self._reloader.reload_soon, say=say)
        with signals, OrphanReaper(our_children):
            try:
                return await self._run()
            except BaseExceptionGroup as group:
                raise first_error(group) from group

    # ------------------------------------------------------------------ what the control socket asks for

    def about(self) -> dict[str, Any]:
        """Return what identifies this prx among others."""
        own = {"pid": os.getpid(), "version": __version__, "log": str(self._log_file)}
        return own | self._in_force.about() | {"dashboard": self._dashboard and self._dashboard.about()}

    def statuses(self) -> tuple[TunnelStatus, ...]:
        """Return the status of every tunnel, in the order of the configuration; those that are being removed come last.

        With them are those that wait for the edge or the service to come up.
        """
        known = {status.name: status for status in self._bus.statuses()}
        reason = self._service.waiting if self._service is not None else "prx is starting"
        configured = {
            name: TunnelStatus(name, item.backend, create(item).mode, item.local_addr, State.STARTING, "", reason)
            if name not in self._stop_request.tunnels
            else TunnelStatus(name, item.backend, create(item).mode, item.local_addr, reason="stopped as asked")
            for name, item in self._in_force.config.tunnels.items()
        }
        return tuple((configured | known).values())

    def stories(self, name: str | None = None) -> list[dict[str, Any]]:
        """Return the story of one tunnel's verdict, or of every tunnel's."""
        details = self._supervisor.verdict_details() if self._supervisor is not None else {}
        wall = self._clock.wall()
        return [story(status, wall, details.get(status.name)) for status in self.statuses() if name in {None, status.name}]

    def subscribe(self) -> EventSource:
        """Return a new subscription to the events."""
        return self._bus.subscribe()

    def stop(self, name: str | None = None) -> None:
        """Stop one tunnel, or (as the first signal does) everything."""
        if name is None:
            self._notifier.stopping()
            self._stop_request.make()
        if self._supervisor is not None:
            self._supervisor.stop(name)
        elif name is not None:
            self._stop_request.tunnels.add(name)

    def restart(self, name: str | None = None) -> None:
        """Restart one tunnel, or all."""
        self._config.require_supervisor().restart(name)

    async def _counters(self) -> Mapping[str, Mapping[int, Counters | None]]:
        return {} if self._supervisor is None else await self._supervisor.counters(max_age=1.0)

    def hold(self, *, keep: float, also: Sequence[int]) -> Hold | FreeHold:
        """Keep running for a program, if that is what this prx runs for. Raises PrxError (`stopping`) if it is too late."""
        if self._stop_request.made:
            raise stopping()
        return FreeHold() if self._holders is None else self._holders.hold(keep=keep, also=also)

    def _stop_unused(self) -> None:
        self._log("info", "no program uses this prx any more")
        self.stop()

    async def reload(self) -> list[str]:
        """Read the configuration again, return what has changed; raise ConfigError and change nothing if it has mistakes."""
        self._config.require_supervisor()
        return await self._reloader.reload()

    async def traffic(self, request: Message) -> Message:
        """Answer what is asked of traffic that prx carries."""
        if request.get("do") == "retarget":
            self._config.retarget(request.get("tunnel"), str(request.get("addr", "")))
            return {}
        if request.get("do") == "own_mark":
            return {"own_mark": self._own_mark_for(str(request.get("url", "")))}
        return await self._inspection.answer(request)

    def _own_mark_for(self, url: str) -> str:
        """Return the word by which the relay knows checks of its own at `url`; empty if none carries what comes there."""
        tunnels = self._in_force.config.tunnels
        names = [status.name for status in self._bus.statuses() if url and status.url == url]
        return self._inspection.own_mark if any(name in tunnels and tunnels[name].is_relayed for name in names) else ""

    def _kill(self, number: int) -> None:
        self._killed_by = number
        if self._supervisor is not None:
            self._supervisor.kill()
        if self._service is not None:
            self._service.kill()
        asyncio.get_running_loop().call_later(KILL_SECONDS, os._exit, 128 + number)

    # ------------------------------------------------------------------ coming up and going down

    async def _run(self) -> int:
        async with AsyncExitStack() as stack:
            if self._holders is not None:
                stack.callback(self._holders.close)
                self._holders.watch_stdin()
            if self._options.hello:
                from prx.app.hello_page import HelloPage  # an HTTP server, with `email` and more

                self._in_force.serve(stack.enter_context(HelloPage()).local_addr)
            try:
                self._in_force.take(self._in_force.read())
            except click.Abort:  # Ctrl-C at the prompt for the master password: a stop as asked
                return 0
            if not await self._stop_request.in_time(self._offer_client(self._in_force.config, self._options, self._environ)):
                return self._result(0)
            try:
                await self._prepare(stack)
            except OSError as error:
                raise describe_os_error(error, self._in_force.data_dir) from error
            came_up = await self._stop_request.in_time(self._bring_up(stack))
            code = await self._supervise() if came_up else 0
        return self._result(code)

    async def _prepare(self, stack: AsyncExitStack) -> None:
        """Take the lock and open what the user sees and asks: log file, views, control socket."""
        config = self._in_force.config
        instance = self._in_force.instance()
        since = timestamp(self._clock.wall())
        what = str(self._in_force.path or next(iter(config.tunnels.values())).local_addr)
        stack.enter_context(InstanceLock.acquire(instance.lock, what=f"with {what}", since=since))
        self._log_file = log_file(ensure_private_dir(self._in_force.data_dir), instance.key)
        loop = asyncio.get_running_loop()

        def warn(text: str) -> None:
            loop.call_soon_threadsafe(self._log, "warn", text)

        logbook = stack.enter_context(EventLog(self._log_file, self._redactor, self._clock, warn=warn))
        self._bus.listen(logbook.see)
        self._bus.keep_with(logbook.keep, logbook.is_behind)
        if config.history.keep_days:
            from prx.history.recorder import recorder_for  # only if something is kept

            warned = partial(self._log, "warn")
            recorder = recorder_for(
                config,
                self._in_force.data_dir,
                instance.key,
                status_of=self._bus.status,
                clock=self._clock,
                warn=warned,
            )
            self._bus.listen(stack.enter_context(recorder).see)
        self._outcome = Outcome(config.tunnels, self._settled)
        self._bus.listen(self._outcome.see)
        self._memory = MemoryKeeper(self._clock)
        stack.callback(self._memory.close)
        self._bus.listen(self._memory.see)
        self._bus.listen(self._notifier.see)
        if not self._options.quiet:
            views = choose_views(
                as_json=self._options.as_json,
                detail=self._in_force.detail,
                bus=self._bus,
                clock=self._clock,
                plain=self._options.plain,
            )
            await stack.enter_async_context(showing(views, self._bus))
        await stack.enter_async_context(ControlServer(instance.socket, self, wall=self._clock.wall, served=self._memory.look))
        if config.web.probes:
            from prx.app.probes_pages import serve_probes  # only if it is asked for

            await serve_probes(stack, config.web.probes, self._bus, self.statuses, self._counters)

    def _settled(self) -> None:
        self._memory.settled()
        self._on_settled(self._outcome)

    async def _bring_up(self, stack: AsyncExitStack) -> None:
        """Start the service and the local edge, each if it is asked for, and make the supervisor."""
        for warning in self._in_force.loaded.warnings:
            self._log("warn", warning)
        if self._options.command:
            from prx.app.served_command import ServedCommand

            self._service = ServedCommand(
                self._options.command, self._in_force.loaded, environ=self._environ, clock=self._clock, bus=self._bus
            )
            stack.push_async_callback(self._service.stop)
            await self._service.start()
        site = CLOUDFLARE
        if self._options.lab:
            self._config.lab, site = await join_or_start(
                stack, self._in_force.config, self._options, self._in_force.instance(), self._environ
            )
        config = self._config.current()
        if explained := explain(config, self._in_force.config, lab=self._options.lab):
            self._log("info", explained)
        if self._config.lab is not None:
            self._log("info", f"the lab answers `prx lab …` at {self._config.lab.control}")
        stack.push_async_callback(forget_ahead)
        await ask_for_version(config, self._environ, self._in_force.data_dir, self._clock)
        with no_collection():
            from prx.runtime.supervisor import Supervisor  # the program answers meanwhile

        stack.push_async_callback(self._inspection.close)
        self._inspection.fit(config)
        self._supervisor = self._config.supervisor = Supervisor(
            config,
            clock=self._clock,
            bus=self._bus,
            data_dir=self._in_force.data_dir,
            site=site,
            instance=self._in_force.instance().key,
            folder=self._in_force.path.parent if self._in_force.path else None,
            recheck=self._reloader.reload_if_changed,
            chores=(self._end_unused_relays,),
            environ=self._environ,
            child_settings=self._inspection.child_settings,
            own_mark=self._inspection.own_mark,
        )
        for name in self._stop_request.tunnels:
            self._supervisor.stop(name)
        freeze_objects()
        stack.enter_context(short_pauses())

    def _end_unused_relays(self) -> None:
        assert self._supervisor is not None
        self._inspection.tidy(self._supervisor.has_settled)

    async def _supervise(self) -> int:
        assert self._supervisor is not None
        timer = None if self._options.ttl is None else self._clock.call_later(self._options.ttl, self._time_is_over)
        try:
            async with asyncio.TaskGroup() as group:
                watch = group.create_task(self._watch_service(), name="service")
                beat = group.create_task(self._kept_running("service manager", self._notifier.run), name="service manager")
                reloads = group.create_task(self._kept_running("reloads", self._reloader.run), name="reloads")
                dashboard = DashboardChild(lambda: self._in_force.config.web, self._environ, self._clock, self._log)
                self._dashboard = self._config.dashboard = dashboard
                page = group.create_task(self._kept_running("dashboard", dashboard.run), name="dashboard")
                code = await self._supervisor.run()
                for task in (watch, beat, reloads, page):
                    task.cancel()
        finally:
            if timer is not None:
                timer.cancel()
        return code

    async def _kept_running(self, what: str, work: Callable[[], Awaitable[None]]) -> None:
        await keep_running(what, work, self._clock, lambda message: self._log("error", message))

    def _time_is_over(self) -> None:
        self._log("info", "the time given with --ttl is over")
        self.stop()

    async def _watch_service(self) -> None:
        if self._service is not None:
            await self._service.watch(self._outcome, is_stopping=lambda: self._stop_request.made)
            if not self._stop_request.made:
                self.stop()

    def _result(self, code: int) -> int:
        """Return the exit code, or raise what went wrong."""
        if self._killed_by:
            return 128 + self._killed_by
        if self._service is not None and self._service.error is not None:
            raise self._service.error
        if code == PermanentError.exit_code:
            self._outcome.raise_failures()
        return code

    def _log(self, level: str, message: str) -> None:
        self._bus.publish(Log(tunnel="", level=level, message=message))
