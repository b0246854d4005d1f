"""The header in which prx's own checks carry a word that only this prx knows.

Where prx carries the traffic of a tunnel itself, it knows its checks by that word, lets them pass a gate, and takes it away
before the service sees it (`prx.traffic.own`). A `User-Agent` would not do: any visitor can send one.
"""

from __future__ import annotations

from typing import Final

OWN_MARK: Final = "X-PRX-Probe"
