"""What outlives this prx: a rate limit of the quick-tunnel service, and the protocol that gets through this network.

Both are facts about this machine's place in the network, not about one configuration, so all instances share the file. Times
in it are wall-clock, the only ones that mean anything to another process.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prx.runtime.clock import Clock
from prx.runtime.statefile import StateFile

_LONGEST_WAIT = 3600.0  # a clock that was set back must not keep a tunnel down for years


class Memory:
    """Facts kept in the file at `path`; a file that cannot be read or written is as good as an empty one."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._file = StateFile(path)
        self._clock = clock

    def rate_limit(self, service: str) -> tuple[float, int]:
        """Return for how many seconds `service` must still be left alone, and in which attempt that was met; (0, 0) if not."""
        entry = self._section("rate_limits").get(service)
        if not isinstance(entry, dict):
            return 0.0, 0
        until, attempt = entry.get("until"), entry.get("attempt")
        if not isinstance(until, (int, float)) or not isinstance(attempt, int):
            return 0.0, 0
        left = until - self._clock.wall()
        return (left, max(1, attempt)) if 0 < left < _LONGEST_WAIT else (0.0, 0)

    def keep_rate_limit(self, service: str, delay: float, attempt: int) -> None:
        """Keep that `service` must be left alone for `delay` seconds."""
        self._update("rate_limits", service, {"until": self._clock.wall() + delay, "attempt": attempt})

    def protocol(self, network: str) -> str:
        """Return the protocol that was found to get through on `network` (a fingerprint), or an empty string."""
        found = self._section("protocols").get(network)
        return found if isinstance(found, str) else ""

    def keep_protocol(self, network: str, protocol: str) -> None:
        """Keep that `protocol` gets through on `network`; only the present network is remembered."""
        data = self._file.load()
        self._file.save({**data, "protocols": {network: protocol}})

    def _section(self, name: str) -> dict[str, Any]:
        section = self._file.load().get(name)
        return section if isinstance(section, dict) else {}

    def _update(self, section: str, key: str, value: object) -> None:
        data = self._file.load()
        self._file.save({**data, section: {**self._section(section), key: value}})
