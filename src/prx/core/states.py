"""The states of a tunnel, of its child, and the settings that the machine goes by."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class State(enum.StrEnum):
    """The observed state of a tunnel."""

    IDLE = "idle"
    STARTING = "starting"
    READY = "ready"
    DEGRADED = "degraded"
    BACKOFF = "backoff"
    STOPPING = "stopping"
    FAILED = "failed"


class AfterStop(enum.Enum):
    """What comes when the child that was told to end has ended."""

    IDLE = enum.auto()
    SPAWN = enum.auto()
    FAIL = enum.auto()


class ChildState(enum.Enum):
    """Whether there is a child of the present run."""

    NONE = enum.auto()
    BEING_BORN = enum.auto()
    ALIVE = enum.auto()


@dataclass(frozen=True, slots=True)
class Settings:
    """What the machine needs of the configuration. Times are seconds; `protocols` is best first."""

    interval: float = 30.0
    max_failures: int = 3
    restart_on_any: bool = False
    grace: float = 32.0  # the child's own grace period and a margin
    protocols: tuple[str, ...] = ("quic", "http2")
    has_child: bool = True  # False: the URL is kept up by others; it is only watched
    quick: bool = False  # the URL dies with the child

    @property
    def protocol_is_free(self) -> bool:
        """Tell whether there is another protocol to go on with."""
        return len(self.protocols) > 1
