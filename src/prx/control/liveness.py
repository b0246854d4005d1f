"""Which prx was killed: its control socket lies there, and no process listens on it.

A prx that ends in order takes its socket away; one that lives is connected to by the kernel, also while it is frozen. Both are
facts of this machine and user. Without a socket nothing is known: the prx may have ended, or run elsewhere.
"""

from __future__ import annotations

import socket
from pathlib import Path

from prx.control.instance import sockets
from prx.control.unixpath import address
from prx.core.errors import PrxError


def killed(folder: Path) -> frozenset[str]:
    """Return the keys of the instances in the runtime directory `folder` whose prx was killed; none if it cannot be read."""
    try:
        found = sockets(folder)
    except OSError:
        return frozenset()
    return frozenset(path.name.removesuffix(".sock") for path in found if _refuses(path))


def _refuses(path: Path) -> bool:
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, address(path) as short:
            probe.setblocking(False)
            probe.connect(short)
    except ConnectionRefusedError:
        return True
    except (OSError, PrxError):  # its queue is full, it is another user's, it has ended meanwhile: none was killed
        return False
    return False
