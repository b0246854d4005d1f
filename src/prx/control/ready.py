"""Wait until a descriptor can be read: with poll, because select refuses every descriptor from 1024 on (select(2))."""

from __future__ import annotations

import math
import select

_LONGEST = 86_400.0  # seconds; poll counts milliseconds in a C int


def wait_readable(fd: int, seconds: float) -> bool:
    """Return whether `fd` can be read, or has come to its end, within `seconds`."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(math.ceil(min(seconds, _LONGEST) * 1000)))
