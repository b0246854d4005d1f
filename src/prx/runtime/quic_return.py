"""When a named tunnel that fell back to HTTP/2 may try QUIC again: not often, and only while no visitor is there."""

from __future__ import annotations

from typing import ClassVar, Final

from prx.runtime.host.clock import Clock


class QuicReturn:
    """Says when a try is due. It is asked every `EVERY` seconds while the tunnel is up over HTTP/2."""

    EVERY: ClassVar[float] = 60.0  # seconds: the quiet minute
    FIRST_AFTER: Final = 600.0  # seconds of being up over HTTP/2
    AGAIN_AFTER: Final = 6 * 3600.0  # seconds after a try

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._not_before: float | None = None
        self._visitors: int | None = None

    def interrupt(self) -> None:
        """Take in that the tunnel is not up over HTTP/2 just now."""
        self._visitors = None

    def is_due(self, visitors: int | None) -> bool:
        """Return whether to try now; `visitors`: requests of visitors so far, None if that is not known."""
        now = self._clock.monotonic()
        if self._not_before is None:
            self._not_before = now + self.FIRST_AFTER
        before, self._visitors = self._visitors, visitors
        if visitors is None or before is None or visitors > before or now < self._not_before:
            return False
        self._not_before = now + self.AGAIN_AFTER
        return True
