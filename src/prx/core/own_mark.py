"""The headers that prx alone may send to a service; the first one carries a word that only this prx knows.

Where prx carries the traffic of a tunnel itself, it knows its checks by that word, lets them pass a gate, and takes it away
before the service sees it (`prx.traffic.own`). A `User-Agent` would not do: any visitor can send one. The others mark what prx
sends again, or late: a service may believe them, so a visitor's own ones are taken away as well.
"""

from __future__ import annotations

from typing import Final

OWN_MARK: Final = "X-PRX-Probe"
REPLAY: Final = "X-PRX-Replay"
CAUGHT: Final = "X-PRX-Caught"
RETRY: Final = "X-PRX-Retry"
OWN_HEADERS: Final = (OWN_MARK, REPLAY, CAUGHT, RETRY)
