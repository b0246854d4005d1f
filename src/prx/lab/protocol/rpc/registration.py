"""Registration of a connection, as both sides see it on the control stream: typed messages over `endpoint`.

The connector calls `registerConnection` right after the control stream opens. When it is accepted, and the answer says
that the tunnel is not remotely managed, connection 0 sends its own configuration with `updateLocalConfiguration`. When
it wants to leave it calls `unregisterConnection`; the edge answers and then closes the connection once it is idle
(observed with cloudflared 2026.8.2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias
from uuid import UUID

from prx.lab.protocol.errors import RpcError
from prx.lab.protocol.rpc import endpoint
from prx.lab.protocol.rpc.schema import TUNNEL, Fields

_INTERFACE: Final = 0xF71695EC7FE85497
REGISTER: Final = endpoint.Method(_INTERFACE, 0, TUNNEL.RegisterParams, TUNNEL.RegisterResults)
UNREGISTER: Final = endpoint.Method(_INTERFACE, 1, TUNNEL.Nothing, TUNNEL.Nothing)
UPDATE_LOCAL: Final = endpoint.Method(_INTERFACE, 2, TUNNEL.LocalConfigurationParams, TUNNEL.Nothing)

NANOSECONDS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class RegisterRequest:
    """What a connector says of itself and of one connection when it registers.

    `client_id` is the connector's own id, the same for all its connections; `conn_index` is 0 to 255;
    `origin_local_ip` is 4 or 16 bytes, or empty.
    """

    account_tag: str
    tunnel_secret: bytes = field(repr=False)
    tunnel_id: UUID
    conn_index: int
    client_id: UUID
    features: tuple[str, ...] = ()
    version: str = ""
    arch: str = ""
    origin_local_ip: bytes = b""
    replace_existing: bool = False
    compression_quality: int = 0
    num_previous_attempts: int = 0


@dataclass(frozen=True, slots=True)
class Registered:
    """The edge accepted the connection: its id, the edge's location, and who holds the configuration."""

    uuid: UUID
    location: str
    remotely_managed: bool = False


@dataclass(frozen=True, slots=True)
class Rejected:
    """The edge refused the connection; `retry_after` is in seconds.

    cloudflared 2026.8.2 ignores `retry_after` and `should_retry`; what counts is the text of `cause`.
    """

    cause: str
    retry_after: float = 0.0
    should_retry: bool = False


# -- the edge's side ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Register:
    """A connector asks to be registered; answer with `RegistrationServer.accept` or `refuse`."""

    call: endpoint.Called = field(repr=False)
    request: RegisterRequest


@dataclass(frozen=True, slots=True)
class Unregister:
    """A connector wants to leave; answer with `RegistrationServer.done`, then close once idle."""

    call: endpoint.Called = field(repr=False)


@dataclass(frozen=True, slots=True)
class UpdateLocalConfiguration:
    """A connector reports its own configuration (JSON); answer with `RegistrationServer.done`."""

    call: endpoint.Called = field(repr=False)
    config: bytes


ServerEvent: TypeAlias = Register | Unregister | UpdateLocalConfiguration | endpoint.Aborted


class RegistrationServer:
    """The edge's end of a control stream: feed bytes, get calls, answer them; every answer is bytes to send."""

    def __init__(self) -> None:
        self._endpoint = endpoint.Endpoint([REGISTER, UNREGISTER, UPDATE_LOCAL])

    def feed(self, data: bytes) -> list[ServerEvent]:
        """Take the connector's bytes; RpcError ends the stream. Send `data_to_send` after each call."""
        events: list[ServerEvent] = []
        for event in self._endpoint.feed(data):
            match event:
                case endpoint.Called(method=method) if method is REGISTER:
                    events.append(Register(event, _read_request(event.params)))
                case endpoint.Called(method=method) if method is UNREGISTER:
                    events.append(Unregister(event))
                case endpoint.Called():
                    events.append(UpdateLocalConfiguration(event, event.params.get("config", b"")))
                case endpoint.Aborted():
                    events.append(event)
        return events

    def data_to_send(self) -> bytes:
        """Return the bytes that must go to the connector now."""
        return self._endpoint.data_to_send()

    def accept(self, event: Register, answer: Registered) -> bytes:
        """Answer that the connection is registered."""
        details = {
            "uuid": answer.uuid.bytes,
            "locationName": answer.location,
            "tunnelIsRemotelyManaged": answer.remotely_managed,
        }
        return self._endpoint.reply(event.call, {"result": {"result": {"connectionDetails": details}}})

    def refuse(self, event: Register, answer: Rejected) -> bytes:
        """Answer that the connection is refused."""
        error = {
            "cause": answer.cause,
            "retryAfter": round(answer.retry_after * NANOSECONDS),
            "shouldRetry": answer.should_retry,
        }
        return self._endpoint.reply(event.call, {"result": {"result": {"error": error}}})

    def done(self, event: Unregister | UpdateLocalConfiguration) -> bytes:
        """Answer a call that has no result."""
        return self._endpoint.reply(event.call, {})

    def fail(self, event: Register | Unregister | UpdateLocalConfiguration, reason: str) -> bytes:
        """Answer a call with an exception of the RPC itself."""
        return self._endpoint.reject(event.call, reason)

    def abort(self, reason: str) -> bytes:
        """End the RPC connection and report why."""
        return self._endpoint.abort(reason)


# -- the connector's side ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Unregistered:
    """The edge has taken note that the connection leaves."""


@dataclass(frozen=True, slots=True)
class LocalConfigurationUpdated:
    """The edge has taken note of the connector's own configuration."""


@dataclass(frozen=True, slots=True)
class CallFailed:
    """The edge answered a call with an exception of the RPC; `call` is register, unregister or update."""

    call: str
    reason: str


ClientEvent: TypeAlias = Registered | Rejected | Unregistered | LocalConfigurationUpdated | CallFailed | endpoint.Aborted

_CALLS: Mapping[endpoint.Method, str] = {REGISTER: "register", UNREGISTER: "unregister", UPDATE_LOCAL: "update"}


class RegistrationClient:
    """The connector's end of a control stream: every call is bytes to send, `feed` returns what comes back."""

    def __init__(self) -> None:
        self._endpoint = endpoint.Endpoint()
        self._open: dict[int, endpoint.Method] = {}

    def register(self, request: RegisterRequest) -> bytes:
        """Ask to be registered; comes back as Registered, Rejected or CallFailed."""
        return self._call(REGISTER, _write_request(request))

    def unregister(self) -> bytes:
        """Say that the connection leaves; comes back as Unregistered or CallFailed."""
        return self._call(UNREGISTER, {})

    def update_local_configuration(self, config: bytes) -> bytes:
        """Report the connector's own configuration (JSON); comes back as LocalConfigurationUpdated or CallFailed."""
        return self._call(UPDATE_LOCAL, {"config": config})

    def feed(self, data: bytes) -> list[ClientEvent]:
        """Take the edge's bytes; RpcError ends the stream. Send `data_to_send` after each call."""
        events: list[ClientEvent] = []
        for event in self._endpoint.feed(data):
            match event:
                case endpoint.Returned(question=question, results=results):
                    events.append(_read_results(self._open.pop(question), results))
                case endpoint.Failed(question=question, reason=reason):
                    events.append(CallFailed(_CALLS[self._open.pop(question)], reason))
                case endpoint.Aborted():
                    events.append(event)
        return events

    def data_to_send(self) -> bytes:
        """Return the bytes that must go to the edge now."""
        return self._endpoint.data_to_send()

    def _call(self, method: endpoint.Method, params: Fields) -> bytes:
        question, data = self._endpoint.call(method, params)
        self._open[question] = method
        return data


def _read_results(method: endpoint.Method, results: Fields) -> ClientEvent:
    if method is UNREGISTER:
        return Unregistered()
    if method is UPDATE_LOCAL:
        return LocalConfigurationUpdated()
    result = results.get("result", {}).get("result", {})
    if "connectionDetails" in result:
        details = result["connectionDetails"]
        return Registered(
            _uuid(details.get("uuid", b""), "the connection id"),
            details.get("locationName", ""),
            details["tunnelIsRemotelyManaged"],
        )
    error = result.get("error")
    if error is None:
        raise RpcError("the answer to a registration holds neither details nor an error")
    return Rejected(error.get("cause", ""), error["retryAfter"] / NANOSECONDS, error["shouldRetry"])


def _read_request(params: Fields) -> RegisterRequest:
    auth = params.get("auth", {})
    options = params.get("options", {})
    client = options.get("client", {})
    return RegisterRequest(
        account_tag=auth.get("accountTag", ""),
        tunnel_secret=auth.get("tunnelSecret", b""),
        tunnel_id=_uuid(params.get("tunnelId", b""), "the tunnel id"),
        conn_index=params["connIndex"],
        client_id=_uuid(client.get("clientId", b""), "the client id"),
        features=tuple(client.get("features", ())),
        version=client.get("version", ""),
        arch=client.get("arch", ""),
        origin_local_ip=options.get("originLocalIp", b""),
        replace_existing=options.get("replaceExisting", False),
        compression_quality=options.get("compressionQuality", 0),
        num_previous_attempts=options.get("numPreviousAttempts", 0),
    )


def _write_request(request: RegisterRequest) -> Fields:
    client = {
        "clientId": request.client_id.bytes,
        "features": list(request.features),
        "version": request.version,
        "arch": request.arch,
    }
    return {
        "auth": {"accountTag": request.account_tag, "tunnelSecret": request.tunnel_secret},
        "tunnelId": request.tunnel_id.bytes,
        "connIndex": request.conn_index,
        "options": {
            "client": client,
            "originLocalIp": request.origin_local_ip,
            "replaceExisting": request.replace_existing,
            "compressionQuality": request.compression_quality,
            "numPreviousAttempts": request.num_previous_attempts,
        },
    }


def _uuid(raw: bytes, what: str) -> UUID:
    if len(raw) != 16:
        raise RpcError(f"{what} has {len(raw)} bytes; a UUID has 16")
    return UUID(bytes=raw)
