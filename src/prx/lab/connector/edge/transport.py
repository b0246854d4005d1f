"""Define what every transport to the edge is given and how it reports: the seam between HTTP/2, QUIC and the supervisor.

`Transport.serve` carries one connection from dialling to its end. It returns when the connection was unregistered and
closed as asked, and raises an EdgeConnectionError otherwise. What follows from a failure is decided by the supervisor, from
its class alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from prx.lab.connector.credentials import Credentials
from prx.lab.connector.edge.addresses import EdgeAddress
from prx.lab.connector.log import Log
from prx.lab.connector.origin.proxy import Proxy
from prx.lab.connector.origin.rules_in_force import Configuration
from prx.lab.connector.settings import Settings
from prx.lab.connector.state import State


class EdgeConnectionError(Exception):
    """A connection to the edge ended; the base stands for causes without a rule of their own."""


class DialError(EdgeConnectionError):
    """The edge could not be reached, or its certificate is not trusted: another address is tried, forever."""


class QuicDialError(DialError):
    """The edge could not be reached over QUIC; the log says so already."""


class SilentError(QuicDialError):
    """Nothing was heard of the edge over QUIC: UDP may be blocked."""


class ServeError(EdgeConnectionError):
    """A connection over QUIC ended, refused or lost; it is tried again forever, whatever the cause."""


class DuplicateError(EdgeConnectionError):
    """This connection exists at that edge already: another address is tried, forever."""


class RejectedError(EdgeConnectionError):
    """The edge refused the registration."""


class NoAnswerError(RejectedError):
    """The edge did not answer; that counts as a refusal."""


class ReconnectError(EdgeConnectionError):
    """The operator wants the connection restarted after `delay` seconds."""

    def __init__(self, delay: float) -> None:
        super().__init__("reconnect signal")
        self.delay = delay


@dataclass(frozen=True, slots=True)
class Shared:
    """What all connections of a connector share; `stopping` is set when a stop has been asked for."""

    settings: Settings
    credentials: Credentials
    configuration: Configuration
    proxy: Proxy
    state: State
    log: Log
    stopping: asyncio.Event


@dataclass(frozen=True, slots=True)
class Link:
    """One connection to be made; `registered` is called once, when the edge has accepted it."""

    index: int
    address: EdgeAddress
    attempts: int
    registered: Callable[[], None]


class Transport(Protocol):
    """Connections to the edge over one protocol."""

    async def serve(self, link: Link) -> None:
        """Carry one connection until it ends."""
