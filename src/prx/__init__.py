"""prx puts a local service on the Internet through Cloudflare Tunnel and keeps it there.

    with prx.tunnel(8080) as t: print(t.url)                    # scripts, notebooks, threads
    async with prx.open_tunnel(8080) as t: ...                  # on a running asyncio loop
    app = FastAPI(lifespan=prx.asgi.lifespan(8080))             # one tunnel however many workers and reloads

`tunnel` returns a `Tunnel`, `open_tunnel` an `AsyncTunnel`; `Status` is how one stands, `Request` what has come through it.
What goes wrong is a `PrxError` with `code`, `hint` and `exit_code`: `UsageError`, `PermanentError`, `NotReadyError`,
`NotRunningError` or `UnresponsiveError`.

What an application or a test may import besides is in four modules, each with its `__all__`:

    prx.asgi       the lifespan of an ASGI application with a tunnel
    prx.access     verifies Cloudflare Access's token in front of an ASGI or WSGI app
    prx.testing    the types of the pytest fixtures: tunnels, a running edge, a scripted client, virtual time
    prx.lab        the edge on this machine, its faults and its events

Where a name in `__all__` is a module (`prx.lab.faults`), that module has an `__all__` as well. Every other module is private
and may change in any release. For programs in other languages, the contract is the command line: its JSON and its exit codes.
"""

from __future__ import annotations

from prx.front_door import late

TYPE_CHECKING = False  # as type checkers read it; importing `typing` takes most of the time before `prx` has a say
if TYPE_CHECKING:
    from prx import access, asgi, lab, testing
    from prx.client.asynchronous import AsyncTunnel, open_tunnel
    from prx.client.status import Status
    from prx.client.tunnel import Tunnel, tunnel
    from prx.control.client import NotRunningError, UnresponsiveError
    from prx.core.captured import Request
    from prx.core.errors import NotReadyError, PermanentError, PrxError, UsageError

__version__ = "0.1.0"
__all__ = [
    "AsyncTunnel", "NotReadyError", "NotRunningError", "PermanentError", "PrxError", "Request", "Status", "Tunnel",
    "UnresponsiveError", "UsageError", "access", "asgi", "lab", "open_tunnel", "testing", "tunnel",
]  # fmt: skip

if not TYPE_CHECKING:
    __getattr__ = late(
        __name__,
        {
            "AsyncTunnel": "prx.client.asynchronous",
            "NotReadyError": "prx.core.errors",
            "NotRunningError": "prx.control.client",
            "PermanentError": "prx.core.errors",
            "PrxError": "prx.core.errors",
            "Request": "prx.core.captured",
            "Status": "prx.client.status",
            "Tunnel": "prx.client.tunnel",
            "UnresponsiveError": "prx.control.client",
            "UsageError": "prx.core.errors",
            "access": "",
            "asgi": "",
            "lab": "",
            "open_tunnel": "prx.client.asynchronous",
            "testing": "",
            "tunnel": "prx.client.tunnel",
        },
    )
