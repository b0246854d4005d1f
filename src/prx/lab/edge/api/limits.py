"""How many calls are left, as every answer of the API says since September 2025.

1,200 in five minutes; the lab counts all callers together, and refuses none of them, which is what the fault `rate_limited` is
for (developers.cloudflare.com/fundamentals/api/reference/limits/).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from prx.lab.edge.api.habits import Habits
from prx.lab.edge.services.endpoint import Answer

CALLS: Final = 1200
WINDOW: Final = 300  # seconds
_POLICY: Final = ("Ratelimit-Policy", f'"default";q={CALLS};w={WINDOW}')


class Limits:
    """Counts calls; `wall` returns seconds since 1970."""

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._window = 0
        self._calls = 0

    def of(self, answer: Answer, habits: Habits) -> Answer:
        """Count a call, and return its answer with what is left, unless a fault has said that already."""
        now = int(self._wall())
        if now // WINDOW != self._window:
            self._window, self._calls = now // WINDOW, 0
        self._calls += 1
        if habits.ratelimit == "silent" or any(name == _POLICY[0] for name, _ in answer.headers):
            return answer
        left = ("Ratelimit", f'"default";r={max(1, CALLS - self._calls)};t={WINDOW - now % WINDOW}')
        return replace(answer, headers=(*answer.headers, left, _POLICY))
