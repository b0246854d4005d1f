"""What was called: every request with its answer, so that tests can count what wrote and what was asked for."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final

READS: Final = frozenset(("GET", "HEAD"))
_KEPT: Final = 10_000


@dataclass(frozen=True)
class Entry:
    """One call; `at` is seconds since 1970, `code` that of the error or 0, `status` 0 if no answer was sent.

    `permission`: the permission group that the call needs, or ''. `changed`: whether it took effect.
    """

    at: float
    method: str
    path: str
    status: int
    code: int
    permission: str
    changed: bool

    @property
    def writes(self) -> bool:
        """Return whether it is a call that means to change something."""
        return self.method not in READS


class Journal:
    """The last calls, the oldest first; counts are of all of them."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque(maxlen=_KEPT)
        self._counts: Counter[str] = Counter()

    def __iter__(self) -> Iterator[Entry]:
        return iter(tuple(self._entries))

    @property
    def reads(self) -> int:
        """How many calls only asked."""
        return self._counts["reads"]

    @property
    def writes(self) -> int:
        """How many calls meant to change something, whatever became of it."""
        return self._counts["writes"]

    def note(self, entry: Entry) -> None:
        """Note a call."""
        self._entries.append(entry)
        self._counts["writes" if entry.writes else "reads"] += 1

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._counts.clear()

    def describe(self) -> dict[str, Any]:
        """Write it as plain data."""
        return {"reads": self.reads, "writes": self.writes, "requests": [asdict(entry) for entry in self]}
