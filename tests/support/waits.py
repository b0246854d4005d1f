"""The one bound on waiting, and a port that is free."""

from __future__ import annotations

import random
import socket
from contextlib import suppress
from typing import Final

PATIENCE = 30.0  # seconds that a test waits at most for what must come: far above what it takes on a loaded machine


# Below what the kernel draws from (32768 and above), so that no server that asks for any port, as a lab does, is given one of
# these before the test comes to use it.
_PORTS: Final = range(28_000, 32_700)


def free_port() -> int:
    """Return a port that is free at the moment, in both families if there are two, and that nothing is given by chance."""
    while True:
        with suppress(OSError), _server(random.SystemRandom().choice(_PORTS)) as probe:
            return int(probe.getsockname()[1])


def _server(port: int) -> socket.socket:
    if socket.has_dualstack_ipv6():
        return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("127.0.0.1", port))
