"""The one bound on waiting, and a port that is free."""

from __future__ import annotations

import socket

PATIENCE = 30.0  # seconds that a test waits at most for what must come: far above what it takes on a loaded machine


def free_port() -> int:
    """Return a port that is free at the moment, in both families if there are two."""
    if socket.has_dualstack_ipv6():
        with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as probe:
            return int(probe.getsockname()[1])
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
