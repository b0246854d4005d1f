"""What outlives this prx: a rate limit of the quick-tunnel service, the protocol for this network, the versions of programs.

All are facts about this machine and its network, not about one configuration, so all instances share the file. Times
in it are wall-clock, the only ones that mean anything to another process.

What could not be written is kept apart from what was read, as changes: they hold at once for every caller, and `retry` applies
them to the file as it is then, which another prx may have written meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prx.core.value import Value, value_class
from prx.runtime.host.clock import Clock
from prx.runtime.host.statefile import StateFile

STATE_FILE = "state.json"  # in the data folder
PROTOCOL_LASTS = 24 * 3600.0  # seconds; firewalls change, and QUIC is the better way
_NETWORKS = 16  # that are remembered at most
_PROGRAMS = 8
_LONGEST_WAIT = 3600.0  # a clock that was set back must not keep a tunnel down for years


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Learnt(Value):
    """A protocol that came up when another did not get through, and when that was (wall-clock seconds)."""

    protocol: str
    at: float


class PersistentState:
    """Facts kept in the file at `path`; a file that cannot be read or written is as good as an empty one."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._file = StateFile(path)
        self._clock = clock
        self._changes: dict[tuple[str, str], object] = {}  # by section and key; None: the key is to go

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
        """Keep that `service` must be left alone for `delay` seconds; nothing of a service without a name."""
        if not service:
            return
        limit = {"until": self._clock.wall() + delay, "attempt": attempt}
        self._change("rate_limits", {service: limit})

    def protocol(self, network: str) -> Learnt | None:
        """Return the protocol that came up on `network` (a fingerprint) when another did not, None if none is remembered."""
        entry = self._section("protocols").get(network)
        return _learnt(entry, self._clock.wall())

    def keep_protocol(self, network: str, protocol: str) -> None:
        """Keep, for `PROTOCOL_LASTS`, that `protocol` came up on `network` when another did not; nothing of an unknown one."""
        if not network:
            return
        now = self._clock.wall()
        known = self._section("protocols")
        young = [name for name, entry in known.items() if name != network and _learnt(entry, now)]
        kept = set(young[-(_NETWORKS - 1) :])
        self._change(
            "protocols", {**{name: None for name in known if name not in kept}, network: {"protocol": protocol, "at": now}}
        )

    def forget_protocol(self, network: str | None = None) -> int:
        """Forget what was learnt about `network`, or about all of them; return how many entries that were."""
        gone = [name for name in self._section("protocols") if network in {None, name}]
        if gone:
            self._change("protocols", dict.fromkeys(gone))
        return len(gone)

    @property
    def trouble(self) -> str:
        """Why the file could not be read or written last, in words; empty if it could be."""
        return self._file.problem or self._file.unreadable

    def version(self, file: str, state: Sequence[int]) -> str:
        """Return what the program in `file` said of its version in this `state`; empty if that is not known."""
        match self._section("versions").get(file):
            case {"state": list(then), "said": str(said)} if then == list(state):
                return said
        return ""

    def keep_version(self, file: str, state: Sequence[int], said: str) -> None:
        """Keep what a program said of its version, until its file is in another state."""
        others = [name for name in self._section("versions") if name != file]
        self._change("versions", {**dict.fromkeys(others[: 1 - _PROGRAMS]), file: {"state": list(state), "said": said}})

    def retry(self) -> bool:
        """Write again what could not be written; return whether nothing is left of it."""
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
            entries = {name: entry for name, entry in old.items() if name != key} if isinstance(old, dict) else {}
            data[section] = entries if value is None else {**entries, key: value}
        return data

    def _change(self, section: str, entries: Mapping[str, object]) -> None:
        self._changes |= {(section, key): value for key, value in entries.items()}
        self.retry()


def _learnt(entry: object, now: float) -> Learnt | None:
    """Read an entry of the file; one that is old, from the future or not understood is none."""
    if not isinstance(entry, dict):
        return None
    protocol, at = entry.get("protocol"), entry.get("at")
    if not isinstance(protocol, str) or isinstance(at, bool) or not isinstance(at, (int, float)):
        return None
    return Learnt(protocol, at) if -60.0 < now - at < PROTOCOL_LASTS else None
