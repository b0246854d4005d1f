"""What happens in a lab, one frozen class per fact. `at` is the lab's clock in seconds (monotonic)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

__all__ = [
    "ConfigurationPushed",
    "ConnectionLost",
    "ConnectionRegistered",
    "ConnectionRejected",
    "ConnectionUnregistered",
    "FaultCleared",
    "FaultInjected",
    "HandshakeFailed",
    "LabEvent",
    "LocalConfigurationReceived",
    "QuickServiceAnswered",
    "RequestServed",
    "TunnelCreated",
    "TunnelForgotten",
]


@dataclass(frozen=True, slots=True)
class LabEvent:
    """The base of every event."""

    at: float


@dataclass(frozen=True, slots=True)
class TunnelCreated(LabEvent):
    """A tunnel exists now: by the quick service (`quick`) or by a token."""

    hostname: str
    tunnel_id: str
    quick: bool


@dataclass(frozen=True, slots=True)
class TunnelForgotten(LabEvent):
    """A tunnel no longer exists: a quick one that was without connections for too long, or one that a fault has deleted."""

    hostname: str
    tunnel_id: str
    quick: bool


@dataclass(frozen=True, slots=True)
class QuickServiceAnswered(LabEvent):
    """The quick service answered a request for a tunnel."""

    status: int


@dataclass(frozen=True, slots=True)
class ConnectionRegistered(LabEvent):
    """A connector's connection is registered: traffic can flow."""

    hostname: str
    connector: str
    version: str
    index: int
    location: str
    protocol: str


@dataclass(frozen=True, slots=True)
class ConnectionRejected(LabEvent):
    """A registration was refused; `hostname` is empty if the tunnel is not known."""

    hostname: str
    index: int
    cause: str


@dataclass(frozen=True, slots=True)
class ConnectionUnregistered(LabEvent):
    """A connector said that this connection leaves; requests under way go on."""

    hostname: str
    connector: str
    index: int


@dataclass(frozen=True, slots=True)
class ConnectionLost(LabEvent):
    """A registered connection is gone; `reason` is empty for an orderly end."""

    hostname: str
    connector: str
    index: int
    reason: str


@dataclass(frozen=True, slots=True)
class HandshakeFailed(LabEvent):
    """A client connected to the edge and never became a connection."""

    slot: int
    reason: str


@dataclass(frozen=True, slots=True)
class ConfigurationPushed(LabEvent):
    """A connector answered a pushed configuration; `applied` is the version it runs now."""

    hostname: str
    index: int
    version: int
    applied: int
    error: str


@dataclass(frozen=True, slots=True)
class LocalConfigurationReceived(LabEvent):
    """A connector reported its own configuration (JSON text)."""

    hostname: str
    index: int
    config: str


@dataclass(frozen=True, slots=True)
class RequestServed(LabEvent):
    """A visitor's request is over.

    `source` says who answered: origin, connector, edge, access; `index` is the connection's, -1 if none was used;
    `seconds` counts from the request's head to the last byte; `complete` is false if either side broke off.
    """

    hostname: str
    method: str
    path: str
    status: int
    source: str
    index: int
    seconds: float
    sent: int
    complete: bool


@dataclass(frozen=True, slots=True)
class ApiAnswered(LabEvent):
    """A call of the API is over; `path` is below /client/v4, `status` 0 if no answer was sent, `code` 0 if there is none.

    `changed`: whether it took effect and was no mere question.
    """

    method: str
    path: str
    status: int
    code: int
    changed: bool


@dataclass(frozen=True, slots=True)
class FaultInjected(LabEvent):
    """A fault begins to act, or has acted if it acts once."""

    fault: str


@dataclass(frozen=True, slots=True)
class FaultCleared(LabEvent):
    """A fault no longer acts."""

    fault: str


Listener: TypeAlias = Callable[[LabEvent], None]
