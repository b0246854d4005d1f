"""Register a connection over its control stream, and unregister it when a stop is asked for.

Theory of operation: the control stream is opened as soon as the connection is up, over HTTP/2 by the edge, over QUIC by
the connector; both of its directions carry Cap'n Proto RPC. The connector registers, reports its configuration if the edge
does not manage it (connection 0 only), then waits: for a stop, on which it unregisters and ends the stream (the edge then
closes the connection once it is idle), or for the stream's end, which means that the connection is lost. Observed with
cloudflared 2026.8.2.
"""

from __future__ import annotations

import asyncio
import ipaddress
import platform
from contextlib import suppress
from typing import Final

from prx.lab.connector.edge.transport import DuplicateError, EdgeConnectionError, Link, NoAnswerError, RejectedError, Shared
from prx.lab.connector.origin.messages import ByteStream
from prx.lab.connector.state import Connected
from prx.lab.connector.version import CLIENT_VERSION
from prx.lab.protocol.errors import ProtocolError, StreamError
from prx.lab.protocol.rpc.endpoint import Aborted
from prx.lab.protocol.rpc.registration import CallFailed, ClientEvent, Registered, RegisterRequest, RegistrationClient, Rejected

FEATURES: Final = ("allow_remote_config", "serialized_headers", "support_quic_eof", "management_logs")  # no datagrams
DUPLICATE: Final = "EDUPCONN"
CONNECTION_EVENT: Final = 0  # the number that marks log lines about the connector's own work


class ControlError(Exception):
    """The control stream could not be left in good order; the text is cloudflared's."""


class ControlStream:
    """The connector's side of one control stream; `unregistered` says whether it was left as asked."""

    def __init__(self, stream: ByteStream, link: Link, shared: Shared, protocol: str, local_ip: str) -> None:
        self._stream = stream
        self._link = link
        self._shared = shared
        self._protocol = protocol
        self._local_ip = local_ip
        self._client = RegistrationClient()
        self._events: asyncio.Queue[ClientEvent | None] = asyncio.Queue()
        self._lost = asyncio.Event()
        self.unregistered = False

    async def run(self) -> None:
        """Register, wait and unregister; raise EdgeConnectionError if refused, ControlError if lost afterwards."""
        failure: Exception | None = None
        async with asyncio.TaskGroup() as tasks:  # an error that left it would come out wrapped in a group
            reading = tasks.create_task(self._read(), name="control stream: read")
            try:
                await self._converse(tasks)
            except (EdgeConnectionError, ControlError, StreamError) as error:
                failure = error
            reading.cancel()
        if failure is not None:
            raise failure

    async def _converse(self, tasks: asyncio.TaskGroup) -> None:
        await self._register()
        stopping = tasks.create_task(self._shared.stopping.wait(), name="control stream: stop asked for")
        lost = tasks.create_task(self._lost.wait(), name="control stream: lost")
        await asyncio.wait({stopping, lost}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        lost.cancel()
        self._shared.state.gone(self._link.index)
        if self._lost.is_set():
            raise ControlError("Error shutting down control stream: context canceled")
        await self._unregister()

    async def _register(self) -> None:
        metrics = self._shared.state.metrics
        answer = await self._call("register_connection", self._client.register(self._request()))
        match answer:
            case Registered():
                metrics.add("tunnel_tunnel_register_success", rpcName="registerConnection")
                self._announce(answer)
                if self._link.index == 0 and not answer.remotely_managed:
                    await self._send_configuration()
            case Rejected(cause=cause) | CallFailed(reason=cause) | Aborted(reason=cause):
                duplicate = cause == DUPLICATE
                metrics.add(
                    "tunnel_tunnel_register_fail",
                    error="dup_edge_conn" if duplicate else "server_error",
                    rpcName="registerConnection",
                )
                if duplicate:
                    raise DuplicateError("already connected to this server, trying another address")
                raise RejectedError(cause)
            case _:
                raise RejectedError(f"unexpected answer to the registration: {type(answer).__name__}")

    def _announce(self, answer: Registered) -> None:
        ip = self._link.address.ip
        self._shared.state.connected(self._link.index, Connected(self._protocol, ip, answer.location))
        self._shared.log.info(
            "Registered tunnel connection",
            connIndex=self._link.index, connection=str(answer.uuid), event=CONNECTION_EVENT, ip=ip,
            location=answer.location, protocol=self._protocol,
        )  # fmt: skip
        self._link.registered()

    async def _send_configuration(self) -> None:
        config = self._shared.configuration.for_edge()
        metrics = self._shared.state.metrics
        try:
            answer = await self._call("update_local_configuration", self._client.update_local_configuration(config))
            failed = answer.reason if isinstance(answer, CallFailed | Aborted) else ""
        except EdgeConnectionError as error:
            failed = str(error)
        metrics.add("config_local_config_pushes")
        if failed:
            metrics.add("config_local_config_pushes_errors")
            self._shared.log.error("unable to send local configuration", error=failed)

    async def _unregister(self) -> None:
        try:
            async with asyncio.timeout(self._shared.settings.grace_period):
                await self._call("unregister_connection", self._client.unregister())
        except (TimeoutError, EdgeConnectionError) as error:
            cause = "context deadline exceeded" if isinstance(error, TimeoutError) else str(error)
            raise ControlError(f"Error shutting down control stream: {cause}") from None
        self.unregistered = True
        self._shared.log.info(
            "Unregistered tunnel connection",
            connIndex=self._link.index,
            event=CONNECTION_EVENT,
            ip=self._link.address.ip,
        )
        with suppress(StreamError):  # the edge may close first
            await self._stream.send_data(b"", end=True)

    async def _call(self, method: str, data: bytes) -> ClientEvent:
        """Return what comes back for a call; raise NoAnswerError when nothing does in time."""
        answer: ClientEvent | None = None
        cause = "rpc: connection closed"
        try:
            async with asyncio.timeout(self._shared.settings.rpc_timeout):
                await self._stream.send_data(data)
                answer = await self._events.get()
        except TimeoutError:
            cause = "context deadline exceeded"
        except StreamError:
            pass
        failed = answer is None or isinstance(answer, Rejected | CallFailed | Aborted)
        self._shared.state.metrics.called(method, failed=failed)
        if answer is None:
            raise NoAnswerError(cause)
        return answer

    async def _read(self) -> None:
        """Hand what the edge sends to the RPC client until the stream ends."""
        try:
            while data := await self._stream.read():
                for event in self._client.feed(data):
                    self._events.put_nowait(event)
                if out := self._client.data_to_send():
                    await self._stream.send_data(out)
        except ProtocolError:
            pass  # what waits for an answer learns it below
        self._events.put_nowait(None)
        self._lost.set()

    def _request(self) -> RegisterRequest:
        credentials = self._shared.credentials
        return RegisterRequest(
            account_tag=credentials.account_tag,
            tunnel_secret=credentials.secret,
            tunnel_id=credentials.tunnel_id,
            conn_index=self._link.index,
            client_id=self._shared.state.connector_id,
            features=FEATURES,
            version=CLIENT_VERSION,
            arch=f"{platform.system().lower()}_{platform.machine()}",
            origin_local_ip=ipaddress.ip_address(self._local_ip).packed,
            num_previous_attempts=min(self._link.attempts, 255),
        )
