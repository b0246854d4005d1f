"""What faults do to the bytes of one connection: delay, count and change them. The same for every carrier."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from random import Random
from typing import Any, Generic, TypeAlias, TypeVar

from prx.lab import faults
from prx.lab.edge.config import Sleep
from prx.lab.edge.faults.active import ActiveFaults

Spawn: TypeAlias = Callable[[Coroutine[Any, Any, None], str], None]

_T = TypeVar("_T")
_W = TypeVar("_W", bound=faults.Wire)


@dataclass(frozen=True, slots=True)
class LinkFaults:
    """What wires need of their lab."""

    faults: ActiveFaults
    clock: Callable[[], float]
    sleep: Sleep
    chance: Random
    spawn: Spawn

    def acting(self, kind: type[_W], slot: int) -> _W | None:
        """Return the fault of this class if it acts now on connections at edge address number `slot`."""
        fault = self.faults.active(kind)
        return fault if fault is not None and fault.slot in (None, slot) else None


class Lane(Generic[_T]):
    """One direction: what comes in goes out in its order, at once or when `delay` says."""

    def __init__(
        self, conditions: LinkFaults, deliver: Callable[[_T], None], drained: Callable[[], None] | None = None
    ) -> None:
        self._conditions = conditions
        self._deliver = deliver
        self._drained = drained
        self._waiting: deque[tuple[float, _T, int]] = deque()
        self._pumping = False
        self._latest = 0.0
        self.delay: faults.Delay | None = None
        self.size = 0  # bytes that wait

    @property
    def straight(self) -> bool:
        """Return whether nothing has to wait."""
        return self.delay is None

    def push(self, item: _T, size: int) -> None:
        """Take what has so many bytes."""
        if self.straight and not self._pumping:
            self._deliver(item)
            return
        due = self._conditions.clock()
        if self.delay is not None:
            due += self.delay.seconds + self._conditions.chance.uniform(0, self.delay.jitter)
        self._latest = max(self._latest, due)  # chance must not change the order
        self._waiting.append((self._latest, item, size))
        self.size += size
        if not self._pumping:
            self._pumping = True
            self._conditions.spawn(self._pump(), "wire")

    def cut(self) -> None:
        """Drop what waits."""
        self._waiting.clear()
        self.size = 0

    async def let_go(self, item: _T, size: int) -> None:
        """Deliver what is due, and take it off the account."""
        self.account(size)
        self._deliver(item)

    def account(self, size: int) -> None:
        """Note that so many bytes wait no longer."""
        self.size = max(0, self.size - size)

    async def _pump(self) -> None:
        while self._waiting:
            due, item, size = self._waiting[0]
            if (wait := due - self._conditions.clock()) > 0:
                await self._conditions.sleep(wait)
                continue
            self._waiting.popleft()
            await self.let_go(item, size)
        self._pumping = False
        if self._drained is not None:
            self._drained()


class DropTimer:
    """`DropAfter` on one connection: calls `blow` when its time is over or its bytes have passed, possibly more than once."""

    def __init__(self, conditions: LinkFaults, blow: Callable[[], None]) -> None:
        self._conditions = conditions
        self._blow = blow
        self._fault: faults.DropAfter | None = None
        self._passed = 0

    def set(self, fault: faults.DropAfter | None) -> None:
        """Follow this fault from now on; one that is followed already goes on."""
        if fault is self._fault:
            return
        self._fault, self._passed = fault, 0
        if fault is not None and fault.seconds is not None:
            self._conditions.spawn(self._burn(fault, fault.seconds), "wire-drop")

    def count(self, size: int) -> None:
        """Note that so many bytes pass."""
        self._passed += size
        if self._fault is not None and self._fault.bytes is not None and self._passed > self._fault.bytes:
            self._blow()

    async def _burn(self, fault: faults.DropAfter, seconds: float) -> None:
        await self._conditions.sleep(seconds)
        if self._fault is fault:
            self._blow()


def garbled(data: bytes, every: int, chance: Random) -> bytes:
    """Change one byte in about `every`."""
    changed = bytearray(data)
    at = int(chance.expovariate(1 / every))
    while at < len(changed):
        changed[at] ^= chance.randint(1, 255)
        at += 1 + int(chance.expovariate(1 / every))
    return bytes(changed)
