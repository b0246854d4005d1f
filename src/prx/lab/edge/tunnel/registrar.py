"""Registration: who becomes a connection of a tunnel, and until when. The same for every carrier.

Theory of operation
-------------------
A connector registers on its control stream. Refused, it gets the reason and the connection is closed at once: cloudflared
2026.8.2 waits forever if an edge leaves it open. Accepted, the connection gets visitors' requests from that moment
on; a tunnel that has a remote configuration pushes it. When the connector unregisters, the connection gets no more
requests; those under way may finish, then the edge closes it, and cloudflared waits for just that.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final, Protocol, TypeAlias
from uuid import uuid4

from prx.lab.edge.carrier import TunnelConnection
from prx.lab.edge.config import LabConfig
from prx.lab.edge.event_hub import EventHub
from prx.lab.edge.faults.active import ActiveFaults
from prx.lab.edge.forgetting import Forgetting
from prx.lab.edge.registry import Connection, Registry, Tunnel
from prx.lab.edge.state import PushResult
from prx.lab.events import (
    ConfigurationPushed,
    ConnectionLost,
    ConnectionRegistered,
    ConnectionRejected,
    ConnectionUnregistered,
    LocalConfigurationReceived,
)
from prx.lab.faults import DelayRegistration, RejectRegistration
from prx.lab.protocol.errors import ProtocolError
from prx.lab.protocol.rpc.registration import (
    Register,
    Registered,
    RegisterRequest,
    RegistrationServer,
    Rejected,
    ServerEvent,
    Unregister,
    UpdateLocalConfiguration,
)

Spawn: TypeAlias = Callable[[Coroutine[Any, Any, None], str], None]

_SETTLE_SECONDS: Final = 1.0
_UNKNOWN_TUNNEL: Final = Rejected("Unauthorized: Tunnel not found")
_WRONG_SECRET: Final = Rejected("Unauthorized: Invalid tunnel secret")
_TOO_MANY: Final = Rejected("Tunnel has too many connections", retry_after=10.0, should_retry=True)


class ControlStream(Protocol):
    """The byte stream that carries the RPC of one connection."""

    async def read(self) -> bytes:
        """Wait for bytes of the connector; b"" at the end."""

    async def send_data(self, data: bytes) -> None:
        """Send bytes to the connector."""


class Registrar:
    """Serves control streams; `spawn(coroutine, name)` starts a task that must not raise."""

    def __init__(
        self,
        registry: Registry,
        faults: ActiveFaults,
        hub: EventHub,
        config: LabConfig,
        spawn: Spawn,
        *,
        forgetting: Forgetting,
    ) -> None:
        self._registry = registry
        self._forgetting = forgetting
        self._faults = faults
        self._hub = hub
        self._config = config
        self._spawn = spawn

    async def serve(self, stream: ControlStream, carrier: TunnelConnection, slot: int) -> None:
        """Serve one control stream to its end and close the carrier; `slot` is the edge address that was dialled."""
        session = _Session(self, stream, carrier, slot)
        reason = ""
        try:
            await session.run()
        except ProtocolError as error:
            reason = str(error)
        finally:
            self._leave(session.connection, reason)
            carrier.close()
        await carrier.wait_closed()

    async def decide(self, request: RegisterRequest, location: str) -> tuple[Tunnel, Registered] | Rejected:
        """Decide on a registration, as faults, credentials and limits say."""
        if (delay := self._faults.use(DelayRegistration)) is not None:
            await self._config.sleep(delay.seconds)
        if (fault := self._faults.use(RejectRegistration, index=request.conn_index)) is not None:
            return fault.answer()
        tunnel = self._registry.find_id(request.tunnel_id)
        if tunnel is None:
            return _UNKNOWN_TUNNEL
        if not hmac.compare_digest(tunnel.secret, request.tunnel_secret):
            return _WRONG_SECRET
        if len(tunnel.connections) >= self._config.max_connections:
            return _TOO_MANY
        return tunnel, Registered(uuid4(), location, remotely_managed=tunnel.remote or tunnel.config is not None)

    def location(self, slot: int) -> str:
        """Name the location behind an edge address."""
        return self._config.locations[slot % len(self._config.locations)]

    def reject(self, request: RegisterRequest, answer: Rejected) -> None:
        """Note a refused registration."""
        tunnel = self._registry.find_id(request.tunnel_id)
        hostname = tunnel.hostname if tunnel else ""
        self._hub.emit(ConnectionRejected(self._hub.now(), hostname, request.conn_index, answer.cause))

    def join(self, tunnel: Tunnel, request: RegisterRequest, answer: Registered, carrier: TunnelConnection) -> Connection:
        """Have a connection take requests, in the place of an older one of the same connector and index."""
        opened_at = self._config.wall()
        connection = Connection(answer.uuid, tunnel, request, answer.location, carrier, self._hub.now(), opened_at)
        for other in tunnel.connections:
            if other.connector == connection.connector and other.index == connection.index:
                other.carrier.abort("replaced by a newer connection")
        if self._registry.find_id(tunnel.id) is None:  # forgotten while the answer was on its way
            carrier.abort("the tunnel is no more")
        if not tunnel.connections:
            tunnel.active_at, tunnel.inactive_at = opened_at, None
        tunnel.connections.append(connection)
        self._hub.emit(
            ConnectionRegistered(
                self._hub.now(),
                hostname=tunnel.hostname,
                connector=connection.connector,
                version=request.version,
                index=request.conn_index,
                location=connection.location,
                protocol=carrier.protocol,
            )
        )
        if tunnel.config is not None:
            self._spawn(self._push_quietly(connection), f"push-{tunnel.hostname}-{request.conn_index}")
        return connection

    async def drain(self, connection: Connection) -> None:
        """Send no more requests, and wait until those under way have ended."""
        connection.draining = True
        self._hub.emit(
            ConnectionUnregistered(self._hub.now(), connection.tunnel.hostname, connection.connector, connection.index)
        )
        try:
            async with asyncio.timeout(self._config.drain_seconds):
                await connection.carrier.wait_idle()
        except TimeoutError:
            connection.carrier.abort("requests took too long after the unregistration")

    def note_local_configuration(self, connection: Connection | None, config: bytes) -> None:
        """Note a connector's own configuration."""
        if connection is not None:
            self._hub.emit(
                LocalConfigurationReceived(
                    self._hub.now(), connection.tunnel.hostname, connection.index, config.decode("utf-8", "replace")
                )
            )

    async def push(self, connection: Connection) -> PushResult:
        """Push the tunnel's configuration to one connection."""
        tunnel = connection.tunnel
        version = tunnel.config_version
        try:
            answer = await connection.carrier.push_configuration(version, tunnel.config or b"{}")
            connection.config_version = answer.applied
            result = PushResult(connection.connector, connection.index, answer.applied, answer.error)
        except ProtocolError as error:
            result = PushResult(connection.connector, connection.index, 0, str(error))
        self._hub.emit(
            ConfigurationPushed(self._hub.now(), tunnel.hostname, connection.index, version, result.applied, result.error)
        )
        return result

    def push_soon(self, tunnel: Tunnel) -> None:
        """Push the tunnel's configuration to all of its live connections, without waiting for their answers."""
        for connection in tunnel.connections:
            if not connection.draining:
                self._spawn(self._push_quietly(connection), f"push-{tunnel.name}-{connection.index}")

    async def _push_quietly(self, connection: Connection) -> None:
        await self.push(connection)

    def _leave(self, connection: Connection | None, reason: str) -> None:
        if connection is not None:
            connection.tunnel.leave(connection, self._config.wall())
            self._forgetting.watch(connection.tunnel)
            self._hub.emit(
                ConnectionLost(self._hub.now(), connection.tunnel.hostname, connection.connector, connection.index, reason)
            )


class _Session:
    """One control stream: what came, what was answered, and the connection that became of it."""

    def __init__(self, registrar: Registrar, stream: ControlStream, carrier: TunnelConnection, slot: int) -> None:
        self._registrar = registrar
        self._stream = stream
        self._carrier = carrier
        self._slot = slot
        self._server = RegistrationServer()
        self.connection: Connection | None = None

    async def run(self) -> None:
        """Answer calls until the connector is refused, has left, or hangs up."""
        while data := await self._stream.read():
            try:
                events = self._server.feed(data)
            finally:
                await self._send(self._server.data_to_send())
            for event in events:
                if not await self._handle(event):
                    return

    async def _handle(self, event: ServerEvent) -> bool:
        """Handle one event; whether the stream goes on."""
        match event:
            case Register():
                return await self._register(event)
            case Unregister():
                await self._send(self._server.done(event))
                await self._settle()
                if self.connection is not None:
                    await self._registrar.drain(self.connection)
                return False
            case UpdateLocalConfiguration(config=config):
                self._registrar.note_local_configuration(self.connection, config)
                await self._send(self._server.done(event))
                return True
            case _:
                return False

    async def _register(self, event: Register) -> bool:
        if self.connection is not None:
            await self._send(self._server.fail(event, "this connection is registered already"))
            return True
        decision = await self._registrar.decide(event.request, self._registrar.location(self._slot))
        if isinstance(decision, Rejected):
            self._registrar.reject(event.request, decision)
            await self._send(self._server.refuse(event, decision))
            await self._settle()
            return False
        tunnel, answer = decision
        await self._send(self._server.accept(event, answer))
        self.connection = self._registrar.join(tunnel, event.request, answer, self._carrier)
        return True

    async def _settle(self) -> None:
        """Wait until the connector has taken note of an answer: closing on bytes that it sends could lose the answer."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_SETTLE_SECONDS):
                self._server.feed(await self._stream.read())

    async def _send(self, data: bytes) -> None:
        if data:
            await self._stream.send_data(data)
