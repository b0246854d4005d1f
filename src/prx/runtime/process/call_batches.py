"""Do much work of one kind in batches: a few calls in each turn of the event loop.

If hundreds of children end in one moment, the loop learns it in one turn, and would serve nothing else until it has dealt with
all of them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from weakref import WeakKeyDictionary

BATCH = 4


class CallBatches:
    """What waits for its turn on the running event loop."""

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque()

    def add(self, call: Callable[[], None]) -> None:
        """Have `call` called, after those that wait already."""
        self._waiting.append(call)
        if len(self._waiting) == 1:  # nothing is on its way
            asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        loop = asyncio.get_running_loop()
        calls = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
        if self._waiting:
            loop.call_soon(self._go_on)
        for call in calls:
            loop.call_soon(call)  # one that fails concerns itself alone


_of_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, CallBatches] = WeakKeyDictionary()


def call_batched(call: Callable[[], None]) -> None:
    """Call `call` on the running loop, soon, and not too many of these in one turn of it."""
    loop = asyncio.get_running_loop()
    if loop not in _of_loop:
        _of_loop[loop] = CallBatches()
    _of_loop[loop].add(call)
