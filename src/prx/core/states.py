"""The states of a tunnel, of its child, and the settings that the machine goes by."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType

from prx.core.value import Value, value_class


class State(enum.StrEnum):
    """The observed state of a tunnel."""

    IDLE = "idle"
    STARTING = "starting"
    READY = "ready"
    DEGRADED = "degraded"
    BACKOFF = "backoff"
    STOPPING = "stopping"
    FAILED = "failed"

    @property
    def is_up(self) -> bool:
        """Return whether requests reach the local service through the tunnel, as far as that lies with the tunnel."""
        return self in UP

    @property
    def is_final(self) -> bool:
        """Return whether the operator must change something before it changes by itself."""
        return self is State.FAILED


UP = frozenset({State.READY, State.DEGRADED})
"""The states in which a tunnel is up, also for what comes as text (JSON of another process): `text in UP`."""


TRANSITIONS: Mapping[State, Mapping[State, str]] = MappingProxyType(
    {
        State.IDLE: {State.STARTING: "start", State.BACKOFF: "start during a rate limit"},
        State.STARTING: {
            State.READY: "proven",
            State.DEGRADED: "proven, but not as it should be",
            State.BACKOFF: "ended by itself",
            State.FAILED: "ended, cannot work",
            State.STOPPING: "asked to end",
        },
        State.READY: {
            State.DEGRADED: "a fault that lasts",
            State.BACKOFF: "ended by itself",
            State.FAILED: "ended, cannot work",
            State.STARTING: "updated itself",
            State.STOPPING: "asked to end",
        },
        State.DEGRADED: {
            State.READY: "well again",
            State.BACKOFF: "ended by itself",
            State.FAILED: "ended, cannot work",
            State.STARTING: "updated itself",
            State.STOPPING: "asked to end",
        },
        State.STOPPING: {State.IDLE: "by the operator", State.STARTING: "restart", State.FAILED: "cannot work"},
        State.BACKOFF: {State.STARTING: "the wait is over, or pointless", State.IDLE: "asked to end"},
        State.FAILED: {
            State.STARTING: "what was wrong has changed",
            State.BACKOFF: "start during a rate limit",
            State.IDLE: "asked to end",
        },
    }
)
"""Every change of state that there is, and the words of the diagram in the documentation; the machine makes no other."""


def diagram() -> str:
    """Return the changes of state as a Mermaid diagram, which stands in the documentation."""
    arrows = [f"    {old} --> {new}: {words}" for old, news in TRANSITIONS.items() for new, words in news.items()]
    return "\n".join(["stateDiagram-v2", "    [*] --> idle", *arrows])


class AfterStop(enum.Enum):
    """What comes when the child that was asked to end has ended."""

    IDLE = enum.auto()
    SPAWN = enum.auto()
    FAIL = enum.auto()


class ChildState(enum.Enum):
    """Whether there is a child of the present run."""

    NONE = enum.auto()
    SPAWNING = enum.auto()
    ALIVE = enum.auto()


@value_class(frozen=True, slots=True, eq=False, repr=False)
class MachineSettings(Value):
    """What the machine needs of the configuration. Times are seconds; `protocols` is best first."""

    interval: float = 30.0
    max_failures: int = 3
    restart_on_any: bool = False
    grace: float = 32.0  # the child's own grace period and a margin
    protocols: tuple[str, ...] = ("quic", "http2")
    has_child: bool = True  # False: the URL is kept up by others; it is only watched
    quick: bool = False  # the URL dies with the child
    replicated: bool = False  # the tunnel has other connectors, so this one is worth a quick return

    @property
    def protocol_is_free(self) -> bool:
        """Return whether there is another protocol to go on with."""
        return len(self.protocols) > 1
