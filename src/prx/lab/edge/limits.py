"""What an edge refuses, cuts or holds back: Cloudflare's limits for a free plan, or none.

Sources (developers.cloudflare.com): "TryCloudflare" (200 requests in flight on a quick tunnel, then 429; no server-sent
events), "Connection limits" (an origin silent for longer than the proxy read time-out is a 524; request and response heads of
128 KB), "Error 413" (uploads above 100 MB on Free and Pro), "Error 414" and "Workers limits" (URLs above 16 KB). The read
time-out is 100 s in most pages and 120 s in some of 2026; the shorter one is the one to be ready for. Whether a megabyte is
10^6 or 2^20 bytes is nowhere said; here it is the
latter, as web servers count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Limits:
    """None means no limit.

    `in_flight`: requests at a time on a quick tunnel, each more is a 429. `silence`: seconds without a byte of the origin,
    then 524, or the end of a response that has started; a WebSocket is exempt. `upload`: bytes of a request's body, then 413.
    `url`: bytes of path and query, then 414. `response_head`: bytes of an answer's names and values, then 520.
    `holds_events`: server-sent events on a quick tunnel wait until so many bytes are there, or their end.
    """

    in_flight: int | None = 200
    silence: float | None = 100.0
    upload: int | None = 100 * 1024 * 1024
    url: int | None = 16 * 1024
    response_head: int | None = 128 * 1024
    holds_events: int | None = 64 * 1024

    @classmethod
    def named(cls, name: str) -> Limits:
        """Return the limits of that name; ValueError if there are none."""
        if name not in NAMES:
            raise ValueError(f"unknown limits {name!r}; expected one of {', '.join(NAMES)}")
        return NAMES[name]


NAMES: Final = {"free": Limits(), "none": Limits(None, None, None, None, None, None)}
