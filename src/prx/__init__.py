"""prx puts a local service on the Internet through Cloudflare Tunnel and keeps it there.

What an application or a test may import is in three packages, each with its `__all__`:

    prx.access     verifies Cloudflare Access's token in front of an ASGI or WSGI app
    prx.testing    the types of the pytest fixtures: tunnels, a running edge, a scripted client, virtual time
    prx.lab        the edge on this machine, its faults and its events

Where a name in `__all__` is a module (`prx.lab.faults`), that module has an `__all__` as well. Every other module is private
and may change in any release. For programs, the contract is the command line: its JSON and its exit codes.
"""

from __future__ import annotations

from prx.front_door import late

__version__ = "0.1.0"
__all__ = ["access", "lab", "testing"]

__getattr__ = late(__name__, dict.fromkeys(__all__, ""))
