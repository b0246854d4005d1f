"""What was found out about a file a moment ago: hundreds of starts in a row ask the same of the same program."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from prx.files.fingerprint import file_fingerprint

_T = TypeVar("_T")

MOMENT: Final = 1.0  # seconds; a folder further up may be another one by then, which the fingerprint does not show
_MOST: Final = 64  # files


class Recent(Generic[_T]):
    """Calls `find(path)`, and keeps what it returned for `MOMENT` seconds, as long as the file and its folder look the same.

    An error is not kept, nor what was found of a file that cannot be seen, or of a relative path, which leads elsewhere from
    another folder. now: returns monotonic seconds.
    """

    def __init__(self, find: Callable[[str], _T], *, now: Callable[[], float] = time.monotonic) -> None:
        self._find = find
        self._now = now
        self._kept: dict[str, tuple[tuple[int, ...], float, _T]] = {}  # by path: how the file looked, when, and what was found

    def __call__(self, path: str) -> _T:
        """Return what was found of `path` a moment ago, or what `find` returns of it now; raise what that does."""
        looks, now = file_fingerprint(path), self._now()
        if not looks or not path.startswith("/"):
            return self._find(path)
        if (kept := self._kept.get(path)) is not None and kept[0] == looks and now - kept[1] < MOMENT:
            return kept[2]
        found = self._find(path)
        if len(self._kept) >= _MOST:
            self._kept.clear()
        self._kept[path] = (looks, now, found)
        return found
