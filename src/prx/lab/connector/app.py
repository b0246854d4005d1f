"""Run the connector: from the command line to the exit code.

Theory of operation: what can be known to be wrong without the network ends the process first, and in cloudflared's order:
usage (exit 0, text on stdout), configuration file (1), token (255), settings (1). Then the metrics server starts and the
supervisor runs until the first SIGTERM or SIGINT. That signal removes its own handler, so that a second one kills. After
it the connections have the grace period to finish; what is left then is cut off, and the process ends, whatever holds it
up (`prx.lab.connector.ending`). The exit code of an orderly stop is 0, whatever state the connections were in. Observed with
cloudflared 2026.8.2.
"""

from __future__ import annotations

import asyncio
import os
import platform
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from prx.lab.connector import ingress_commands
from prx.lab.connector.command_line import Action, FlagError, Invocation, Values, parse
from prx.lab.connector.config_file import ConfigFileError, load_config_file, with_file
from prx.lab.connector.credentials import Credentials, read_credentials
from prx.lab.connector.edge.addresses import EdgeAddresses, NoEdgeError, resolve
from prx.lab.connector.edge.fallback import Protocols, read_protocols
from prx.lab.connector.edge.http2 import Http2Transport, tls_context
from prx.lab.connector.edge.supervisor import Supervisor, Timing
from prx.lab.connector.edge.transport import EdgeConnectionError, Shared, Transport
from prx.lab.connector.ending import LAST_WORDS, Leave, run_to_the_end
from prx.lab.connector.errors import StartError
from prx.lab.connector.log import Log, utc_now, write_stderr
from prx.lab.connector.management.service import Management
from prx.lab.connector.metrics import Metrics
from prx.lab.connector.metrics_server import MetricsServer, open_listener
from prx.lab.connector.origin.access import CERTS_URL, AccessGate
from prx.lab.connector.origin.ingress import NO_RULES
from prx.lab.connector.origin.proxy import Proxy
from prx.lab.connector.origin.rules_in_force import Configuration
from prx.lab.connector.protected.guests import GuestList
from prx.lab.connector.quick import request_tunnel
from prx.lab.connector.settings import (
    Settings,
    environment_line,
    make_log,
    read_guests,
    read_rules,
    read_settings,
    settings_line,
)
from prx.lab.connector.state import State
from prx.lab.connector.stdin_control import StdinControl
from prx.lab.connector.usage import usage, usage_error
from prx.lab.connector.version import BUILD, CLOUDFLARED_VERSION

_SIGNALS: Final = {signal.SIGTERM: "terminated", signal.SIGINT: "interrupt"}
_NOTHING_TO_DO: Final = (
    "You did not specify any valid additional argument to the cloudflared tunnel command.\n\n"
    "If you are trying to run a Quick Tunnel then you need to explicitly pass the --url flag.\n"
    "Eg. cloudflared tunnel --url localhost:8080/.\n\n"
    "Please note that Quick Tunnels are meant to be ephemeral and should only be used for testing purposes.\n"
    "For production usage, we recommend creating Named Tunnels. "
    "(https://developers.cloudflare.com/cloudflare-one/connections/connect-apps/install-and-setup/tunnel-guide/)\n"
)


def main(arguments: Sequence[str], environment: Mapping[str, str] = os.environ, *, leave: Leave = lambda _code: None) -> int:
    """Do what the command line (without the program's name) asks for; return the exit code.

    After a tunnel `leave` is called with that code, before asyncio joins its threads; it may end the process.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until the tunnel runs, a signal simply ends the process
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        invocation = parse(arguments, environment)
    except FlagError as error:
        sys.stdout.write(usage_error(str(error), after_run=error.after_run))
        return 0
    match invocation.action:
        case Action.VERSION:
            sys.stdout.write(f"cloudflared version {CLOUDFLARED_VERSION} ({BUILD})\n")
        case Action.SHORT_VERSION:
            sys.stdout.write(f"{CLOUDFLARED_VERSION}\n")
        case Action.HELP:
            sys.stdout.write(usage(after_run=invocation.after_run))
        case Action.INGRESS | Action.QUICK | Action.NAMED:
            return _act(invocation, environment, leave)
    return 0


def _act(invocation: Invocation, environment: Mapping[str, str], leave: Leave) -> int:
    if invocation.action is not Action.INGRESS:
        return run_to_the_end(run(invocation, environment, leave=leave), leave)
    try:
        sys.stdout.write(ingress_commands.run(invocation.values, invocation.arguments))
    except StartError as error:
        write_stderr(f"{error}\n")
        return error.code
    return 0


async def run(
    invocation: Invocation,
    environment: Mapping[str, str] = os.environ,
    timing: Timing | None = None,
    *,
    leave: Leave = lambda _code: None,
) -> None:
    """Carry the tunnel until a signal has stopped it; raise StartError for whatever ends it otherwise.

    `leave` is called a moment after the grace period if something still holds up the end then.
    """
    quick = invocation.action is Action.QUICK
    try:
        config = load_config_file(invocation.values)
        values = with_file(invocation.values, config or {}, named=not quick)
    except ConfigFileError as error:
        raise StartError(str(error)) from None
    if quick and (invocation.arguments or not any(name in values for name in ("url", "hello-world", "unix-socket"))):
        raise StartError(_NOTHING_TO_DO)
    credentials = None if quick else read_credentials(replace(invocation, values=values), config or {})
    guests = read_guests(values, quick=quick)
    log = make_log(values)
    try:
        if config is None:
            log.error(f"Configuration file {values.text('config')} was empty")
        if credentials is None:
            credentials = await request_tunnel(
                values.text("quick-service").rstrip("/"), log, guests=guests, origin=_origin(values, config or {})
            )
        else:
            log.info("Starting tunnel", tunnelID=str(credentials.tunnel_id))
        _log_settings(values, environment, log)
        shared = timing or Timing()
        tunnel = _Tunnel(values, config or {}, credentials, log=log, timing=shared, environment=environment, guests=guests)
        await tunnel.run(leave)
    finally:
        log.close()


def _log_settings(values: Values, environment: Mapping[str, str], log: Log) -> None:
    """Log what this program is and what its settings are."""
    log.info(f"Version {CLOUDFLARED_VERSION} ({BUILD})")
    log.info(f"GOOS: {platform.system().lower()}, Python: {platform.python_version()}, GoArch: {platform.machine()}")
    if values.from_command_line:
        log.info(f"Settings: {settings_line(values)}")
    if shown := environment_line(environment):
        log.info(f"Environmental variables {shown}")


class _Tunnel:
    """The parts of a running tunnel, put together."""

    def __init__(
        self,
        values: Values,
        config: dict[str, Any],
        credentials: Credentials,
        *,
        log: Log,
        timing: Timing,
        environment: Mapping[str, str],
        guests: GuestList | None = None,
    ) -> None:
        self._environment = environment
        self._values = values
        self._guests = guests
        self._config = config
        self._credentials = credentials
        self._log = log
        self._timing = timing
        self._stopping = asyncio.Event()
        self._state: State | None = None

    async def run(self, leave: Leave) -> None:
        """Carry the tunnel until a signal has stopped it."""
        try:
            shared, protocols, transports = self._prepare()
        except StartError as error:
            self._log.error("Couldn't start tunnel", error=str(error))
            raise
        listener = open_listener(shared.settings.metrics, self._log)
        self._catch_signals(lambda: leave(0), shared.settings.grace_period + LAST_WORDS)
        server = MetricsServer(shared.state, shared.configuration, self._log)
        await server.start(listener)
        failure: Exception | None = None
        try:
            await self._carry(shared, protocols, transports)
        except (EdgeConnectionError, NoEdgeError) as error:
            failure = error
        finally:
            shared.proxy.close()
            self._log.info("Tunnel server stopped")
            if failure is not None:
                self._log.error("Initiating shutdown", error=str(failure))
            await server.stop()
        if failure is not None:
            raise StartError(str(failure))

    def _prepare(self) -> tuple[Shared, Protocols, dict[str, Transport]]:
        """Check the settings and build what needs no network; raise StartError."""
        rules, defaults = read_rules(self._values, self._config)
        metrics = Metrics()
        credentials = self._credentials
        state = State(credentials.tunnel_id, metrics, credentials.quick_hostname)
        self._state = state
        self._log.info(f"Generated Connector ID: {state.connector_id}")
        if not rules and "token" not in self._values:
            self._log.warn(NO_RULES)
        quick = bool(credentials.quick_hostname)
        protocols = read_protocols(self._values, quick=quick, log=self._log)
        self._log.info(f"Initial protocol {protocols.first}")
        settings = read_settings(self._values, quick=quick)
        context = tls_context(settings.cacert)
        configuration = Configuration(rules, defaults=defaults, flags=settings.reported, log=self._log)
        tags = {"Id": str(state.connector_id), **dict(settings.tags)}
        management = Management(
            self._values.text("management-hostname"),
            state,
            self._log,
            label=self._values.text("label"),
            diagnostics=bool(self._values.get("management-diagnostics")),
        )
        proxy = self._proxy(configuration, tags=tags, metrics=metrics, own=management)
        if credentials.quick_hostname:
            metrics.add("tunnel_user_hostnames_counts", userHostname=f"https://{credentials.quick_hostname}")
        shared = Shared(settings, credentials, configuration, proxy, state, self._log, self._stopping)
        transports: dict[str, Transport] = {Http2Transport.name: Http2Transport(shared, context)}
        if "quic" in protocols.all:
            from prx.lab.connector.edge.quic import QuicTransport  # noqa: PLC0415 - costs a third of a second, and few need it

            transports[QuicTransport.name] = QuicTransport(shared)
        return shared, protocols, transports

    def _proxy(self, configuration: Configuration, *, tags: Mapping[str, str], metrics: Metrics, own: Management) -> Proxy:
        """Return what carries requests: those of guests alone if the tunnel is protected."""
        now, log = self._timing.now, self._log
        gate = AccessGate(self._environment.get(CERTS_URL, ""))
        if self._guests is None:
            return Proxy(configuration, tags=tags, metrics=metrics, log=log, now=now, gate=gate, own=own)
        from prx.lab.connector.protected.assertions import Assertions  # noqa: PLC0415 - few tunnels are protected
        from prx.lab.connector.protected.guard import Guard, GuardedProxy, GuardError  # noqa: PLC0415 - the same

        login = self._credentials.login
        verify = Assertions(login, now=now).verify
        try:
            guard = Guard(
                self._credentials.quick_hostname, self._guests, login, verify=verify, wall=lambda: utc_now().timestamp()
            )
        except GuardError as error:
            raise StartError(str(error)) from None
        return GuardedProxy(guard, configuration, tags=tags, metrics=metrics, log=log, now=now, gate=gate, own=own)

    async def _carry(self, shared: Shared, protocols: Protocols, transports: dict[str, Transport]) -> None:
        """Run the supervisor; after a stop was asked for, for the grace period at most."""
        settings = shared.settings
        failure: EdgeConnectionError | NoEdgeError | None = None
        resolved = False

        async def carry() -> None:
            nonlocal failure, resolved
            try:
                supervisor = await self._supervisor(shared, transports, protocols)
                resolved = True
                await supervisor.run()
            except (EdgeConnectionError, NoEdgeError) as error:
                failure = error

        async with asyncio.TaskGroup() as tasks:  # an error that left it would come out wrapped in a group
            carrying = tasks.create_task(carry(), name="supervisor")
            stop = tasks.create_task(self._stopping.wait(), name="stop asked for")
            await asyncio.wait({carrying, stop}, return_when=asyncio.FIRST_COMPLETED)
            if resolved and not carrying.done():
                await asyncio.wait({carrying}, timeout=settings.grace_period)
            carrying.cancel()
            stop.cancel()
        if failure is not None:
            raise failure

    async def _supervisor(self, shared: Shared, transports: dict[str, Transport], protocols: Protocols) -> Supervisor:
        """Find the edge and return the supervisor of the connections to it; raise NoEdgeError."""
        settings = shared.settings
        slots = await resolve(settings.edge, ip_version=self._values.text("edge-ip-version"))
        addresses = EdgeAddresses(slots, pick=lambda count: int(self._timing.random() * count))
        supervisor = Supervisor(
            shared, transports, addresses, self._timing, protocols=protocols, on_first=lambda: _write_pid(settings)
        )
        if self._values.get("stdin-control"):
            StdinControl(self._log, supervisor.reconnect).start()
        return supervisor

    def _catch_signals(self, leave: Callable[[], object], after: float) -> None:
        loop = asyncio.get_running_loop()
        for number, word in _SIGNALS.items():
            loop.add_signal_handler(number, self._stop, word, leave, after)

    def _stop(self, word: str, leave: Callable[[], object], after: float) -> None:
        """Ask for a stop, after which the process has so many seconds; the next signal kills."""
        loop = asyncio.get_running_loop()
        loop.call_later(after, leave)
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)
        if self._state is not None:
            self._state.leave()
        self._log.info(f"Initiating graceful shutdown due to signal {word} ...")
        self._stopping.set()


def _origin(values: Values, config: Mapping[str, Any]) -> str:
    """Name the local service in a line for people."""
    if config.get("ingress"):
        return "configured ingress"
    if values.get("hello-world"):
        return "built-in Hello World server (managed by cloudflared)"
    return values.text("url") if "url" in values else f"unix:{values.text('unix-socket')}"


def _write_pid(settings: Settings) -> None:
    if settings.pidfile:
        Path(settings.pidfile).write_text(str(os.getpid()), encoding="ascii")
