"""What this machine's own resolver knows: private names, of hosts files, containers' networks and a company's DNS.

Public names are asked of public DNS (`prx.runtime.probes.resolver`): the system remembers that a name was not there.
"""

from __future__ import annotations

import asyncio
import errno
import socket

from prx.runtime.probes.connect import is_address


async def addresses_of(host: str, port: int, *, timeout: float) -> list[str]:
    """Return the addresses of a name, in the resolver's order, or an address itself.

    Raises OSError: socket.gaierror if there are none, TimeoutError after `timeout` seconds, and one with EAGAIN if there is no
    thread to ask in, which says nothing of the name.
    """
    if is_address(host):
        return [host]
    try:
        async with asyncio.timeout(timeout):
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:
        raise socket.gaierror(socket.EAI_NONAME, "no name that DNS can hold") from error
    except RuntimeError as error:  # of the thread that could not be started
        raise OSError(errno.EAGAIN, "no thread is left to ask the resolver in") from error
    return list(dict.fromkeys(str(address[0]) for *_, address in found))
