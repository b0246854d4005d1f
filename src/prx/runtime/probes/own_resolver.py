"""What this machine's own resolver knows: private names, of hosts files, containers' networks and a company's DNS.

Public names are asked of public DNS (`prx.runtime.probes.resolver`): the system remembers that a name was not there.
"""

from __future__ import annotations

import asyncio
import errno
import socket

from prx.core.shortage import lack_for_connection, no_memory
from prx.runtime.probes.connect import is_address


async def addresses_of(host: str, port: int, *, timeout: float) -> list[str]:
    """Return the addresses of a name, in the resolver's order, or an address itself.

    Raises OSError: socket.gaierror if there are none, TimeoutError after `timeout` seconds, and one of another kind without a
    thread (EAGAIN), descriptor (EMFILE) or memory (ENOMEM) to ask with, which says nothing of the name.
    """
    if is_address(host):
        return [host]
    try:
        async with asyncio.timeout(timeout):
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:
        raise socket.gaierror(socket.EAI_NONAME, "no name that DNS can hold") from error
    except TimeoutError:
        raise
    except OSError as error:
        if (lack := _lack_of_the_resolver(error)) is not None:
            raise lack from error
        raise
    except RuntimeError as error:  # of the thread that could not be started
        raise OSError(errno.EAGAIN, "no thread is left to ask the resolver in") from error
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def _lack_of_the_resolver(error: OSError) -> OSError | None:
    """Return what the machine lacked, if that is why no address was found; None if the error may be an answer about the name.

    The library has a number of its own for memory (getaddrinfo(3)) and none for descriptors: without one it says what it says
    of a name that does not exist, or has the system's error of something before (observed with glibc 2.36).
    """
    if isinstance(error, socket.gaierror) and error.errno == socket.EAI_MEMORY:
        return no_memory()
    try:
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()
    except OSError as own:
        return own if lack_for_connection(own) is not None else None
    return None
