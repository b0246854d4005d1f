"""Latencies added up so that they can be added up again: counts in buckets whose bounds grow by 5 %.

Percentiles of percentiles mean nothing; percentiles of merged buckets are right to within 2.5 %. A bucket's number is
⌊log(milliseconds) ÷ log(1.05)⌉, so that 100 ms are bucket 94; anything below 0.1 ms counts as 0.1 ms.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from typing import Final

_GROWTH: Final = math.log(1.05)
_LEAST_MS: Final = 0.1
_NUMBER: Final = re.compile(r"-?[0-9]{1,3}")  # 999 are 10^18 seconds
_MOST: Final = 1 << 62


def bucket(milliseconds: float) -> int:
    """Return the number of the bucket that a latency falls into."""
    return round(math.log(max(_LEAST_MS, milliseconds)) / _GROWTH)


def middle(number: int) -> float:
    """Return the latency in milliseconds that a bucket stands for, to three digits."""
    return float(f"{math.exp(number * _GROWTH):.3g}")


def percentile(buckets: Mapping[int, int], percent: float) -> float | None:
    """Return the latency in milliseconds that `percent` % of all did not exceed (nearest rank); None if there is none."""
    total = sum(buckets.values())
    if total == 0:
        return None
    rank = max(1, math.ceil(total * percent / 100))
    seen = 0
    for number in sorted(buckets):
        seen += buckets[number]
        if seen >= rank:
            return middle(number)
    raise AssertionError("a rank beyond the total")  # rank ≤ total


def merged(into: Counter[int], stored: object) -> None:
    """Add buckets as they stand in a record ({"94": 3, …}); what is not such is left out."""
    if not isinstance(stored, dict):
        return
    for name, count in stored.items():
        if isinstance(name, str) and _NUMBER.fullmatch(name) and isinstance(count, int) and 0 < count < _MOST:
            into[int(name)] += count
