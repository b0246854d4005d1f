"""Whether links, addresses or routes of this machine may have changed, as the kernel announces it (rtnetlink(7)).

To read the tables of routes and addresses takes a millisecond; to ask whether anything was announced since takes some
microseconds. What an announcement says is not read: it only means that the tables are worth reading.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Final

# linux/rtnetlink.h: RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV4_ROUTE, RTMGRP_IPV6_IFADDR, RTMGRP_IPV6_ROUTE
_GROUPS: Final = 0x1 | 0x10 | 0x40 | 0x100 | 0x400
_MOST: Final = 64  # announcements that are taken in at once; the rest is for the next time
_ENOUGH: Final = 64  # bytes of an announcement, whose rest the kernel drops


class Announcements:
    """What the kernel announces from now on; every question is answered with "maybe" on a system without them."""

    def __init__(self) -> None:
        self._sock: socket.socket | None = None
        try:
            sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
        except (AttributeError, OSError):  # not Linux, forbidden, or no descriptor left
            return
        try:
            sock.bind((0, _GROUPS))
        except OSError:
            sock.close()
        else:
            self._sock = sock

    def __del__(self) -> None:
        """Close it with the last reference."""
        with suppress(AttributeError):
            self.close()

    def close(self) -> None:
        """Close it; from then on everything may have changed."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def may_have_changed(self) -> bool:
        """Return whether anything may have changed since the last call: something was announced, or that is unknown."""
        if self._sock is None:
            return True
        changed = False
        for _ in range(_MOST):
            try:
                self._sock.recv(_ENOUGH)
            except BlockingIOError:
                return changed
            except OSError:  # so many that the kernel has dropped some, for one
                return True
            changed = True
        return True
