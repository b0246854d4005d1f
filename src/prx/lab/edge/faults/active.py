"""The faults that act now: since when, for how long, and on how many more occasions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from prx.lab.faults import Fault

_F = TypeVar("_F")


class ActiveFaults:
    """The lasting faults that act now, at most one of each class."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._active: dict[type[Any], tuple[Any, float]] = {}
        self._lasts: dict[type[Any], float] = {}
        self._uses: dict[type[Any], int] = {}

    def __iter__(self) -> Iterator[Fault]:
        for kind in list(self._active):
            fault = self.active(kind)
            if fault is not None:
                yield fault

    def times(self, fault: Fault) -> dict[str, float]:
        """Return for how many seconds a fault that acts is meant, and how many are left; nothing if no end is known.

        With a count of occasions also how many are left.
        """
        kind = type(fault)
        entry = self._active.get(kind)
        lasts = self._lasts.get(kind, getattr(fault, "for_seconds", None))
        left: dict[str, float] = {}
        if entry is not None and lasts is not None:
            left = {"for_seconds": lasts, "seconds_left": round(max(0.0, entry[1] + lasts - self._clock()), 1)}
        if (times := getattr(fault, "times", None)) is not None:
            left["times_left"] = times - self._uses.get(kind, 0)
        return left

    def add(self, fault: Fault, lasts: float | None = None) -> None:
        """Set a fault; `lasts`: after how many seconds it will be removed, for those who ask."""
        self._active[type(fault)] = (fault, self._clock())
        self._lasts.pop(type(fault), None)
        if lasts is not None:
            self._lasts[type(fault)] = lasts
        self._uses[type(fault)] = 0

    def remove(self, kind: type[Any]) -> bool:
        """Clear a fault; return whether it acted."""
        return self._active.pop(kind, None) is not None

    def active(self, kind: type[_F]) -> _F | None:
        """Return the fault of this class if it acts now."""
        entry = self._active.get(kind)
        if entry is None:
            return None
        fault, since = entry
        lasts = getattr(fault, "for_seconds", None)
        if lasts is not None and self._clock() - since >= lasts:
            del self._active[kind]
            return None
        return fault  # type: ignore[no-any-return]  # keyed by its own class

    def use(self, kind: type[_F], *, index: int | None = None) -> _F | None:
        """Return the fault of this class if it acts on this occasion, and count that against its `times`."""
        fault = self.active(kind)
        if fault is None or getattr(fault, "index", None) not in (None, index):
            return None
        self._uses[kind] += 1
        times = getattr(fault, "times", None)
        if times is not None and self._uses[kind] >= times:
            del self._active[kind]
        return fault
