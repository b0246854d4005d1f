"""What outlives this prx: a rate limit of the quick-tunnel service, and the protocol that gets through this network.

Both are facts about this machine's place in the network, not about one configuration, so all instances share the file. Times
in it are wall-clock, the only ones that mean anything to another process.

What could not be written is kept apart from what was read, as changes: they hold at once for whoever asks, and `retry` applies
them to the file as it is then, which another prx may have written meanwhile.
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
        self._changes: dict[tuple[str, str], object] = {}  # by section and key ("": the whole section)

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
        self._change("rate_limits", service, {"until": self._clock.wall() + delay, "attempt": attempt})

    def protocol(self, network: str) -> str:
        """Return the protocol that was found to get through on `network` (a fingerprint), or an empty string."""
        found = self._section("protocols").get(network)
        return found if isinstance(found, str) else ""

    def keep_protocol(self, network: str, protocol: str) -> None:
        """Keep that `protocol` gets through on `network`; only the present network is remembered, and none that is unknown."""
        if network:
            self._change("protocols", "", {network: protocol})

    def retry(self) -> bool:
        """Write again what could not be written; True when nothing is left of it."""
        if not self._changes:
            return True
        data = self._load()
        if self._file.unread or not self._file.save(data):
            self._file.pending = False  # the changes are pending, not the file as it was
            return False
        self._changes.clear()
        return True

    def _section(self, name: str) -> dict[str, Any]:
        section = self._load().get(name)
        return section if isinstance(section, dict) else {}

    def _load(self) -> dict[str, Any]:
        """Return what the file holds, with the changes that it does not have yet."""
        data = dict(self._file.load())
        for (section, key), value in self._changes.items():
            old = data.get(section)
            data[section] = {**(old if isinstance(old, dict) else {}), key: value} if key else value
        return data

    def _change(self, section: str, key: str, value: object) -> None:
        self._changes[section, key] = value
        self.retry()
