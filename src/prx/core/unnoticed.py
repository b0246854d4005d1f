"""Which connector has gone without unregistering at the edge, and when: visitors may be given to it for some seconds yet."""

from __future__ import annotations

from typing import Generic, TypeVar

EDGE_NOTICES_AFTER = 6.0  # seconds; a QUIC connection ends after 5 s of silence (cloudflared's idle time-out), at both ends

T = TypeVar("T")


class Unnoticed(Generic[T]):
    """The `last` connector of a tunnel that has gone (None: none has); times are monotonic seconds."""

    def __init__(self) -> None:
        self.last: T | None = None
        self._gone_at = -EDGE_NOTICES_AFTER

    def take(self, connector: T, now: float) -> None:
        """Take in that a connector has ended by itself, or was seen to hang."""
        self.last, self._gone_at = connector, now

    def may_have_met(self, began: float) -> bool:
        """Return whether the edge may have given it a request that was sent at `began`, or does not end before it notices."""
        return began - self._gone_at < EDGE_NOTICES_AFTER
