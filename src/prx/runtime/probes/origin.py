"""Look at the local service: a TCP connection and a GET on `local_addr`.

cloudflared connects to `local_addr` as it is configured: a numeric address is tried alone, `localhost` in both families. So
does this probe. When a numeric loopback address refuses, the other family is asked too, only to say so: a service that
listens on `[::1]` alone is the usual reason, and no tunnel will find it on 127.0.0.1.
"""

from __future__ import annotations

import asyncio
import socket
import ssl

from prx.config.local_addr import is_this_machine
from prx.core.evidence import Origin
from prx.runtime.listening import OTHER_FAMILY
from prx.runtime.probes.http import Answer, Request, exchange
from prx.runtime.probes.transport import (
    Place,
    ProbeError,
    Trouble,
    connected,
    connected_to_one,
    is_address,
    trusting_tls,
    verifying_tls,
)

TIMEOUT = 5.0  # seconds for everything
_NOT_LISTENING = {Trouble.REFUSED, Trouble.NO_ROUTE, Trouble.TIMEOUT, Trouble.NO_NAME, Trouble.LOCAL}


async def probe_origin(
    host: str, port: int, path: str = "/", *, scheme: str = "http", host_header: str = "", timeout: float = TIMEOUT
) -> Origin:
    """Return what the service on `host`:`port` answers to GET `path`, within `timeout` seconds; never raise for what it does.

    `scheme` is http or https; the certificate of a service on this machine is not checked, that of another one is.
    `host_header` is sent instead of `host:port`.
    """
    name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    tls = None if scheme == "http" else trusting_tls() if is_this_machine(host) else verifying_tls()
    try:
        answer = await _ask(host, port, tls, Request(path, host_header or name), timeout)
    except ProbeError as error:
        words = error.words
        if error.trouble is Trouble.REFUSED:
            words += await _other_family(host, port, timeout)
        return Origin(name, listening=error.trouble not in _NOT_LISTENING, error=words)
    return Origin(name, listening=True, status=answer.status, event_stream=answer.is_event_stream)


async def _ask(host: str, port: int, tls: ssl.SSLContext | None, request: Request, timeout: float) -> Answer:
    now = asyncio.get_running_loop().time
    deadline = now() + timeout
    places = [Place(address, port, tls, host) for address in await _addresses(host, port, timeout)]
    async with connected_to_one(places, timeout=deadline - now()) as stream:
        return await exchange(stream, request, timeout=deadline - now())


async def _addresses(host: str, port: int, timeout: float) -> list[str]:
    """Return the addresses behind `host`: a private name, so the system's resolver may be asked."""
    if is_address(host):
        return [host]
    try:
        async with asyncio.timeout(timeout):
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError) as error:
        raise ProbeError(Trouble.NO_NAME, f"this machine does not know the name {host}") from error
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


async def _other_family(host: str, port: int, timeout: float) -> str:
    """Say that the service listens on the other loopback address, when it does."""
    if (other := OTHER_FAMILY.get(host)) is None:
        return ""
    place = Place(other, port)
    try:
        async with connected(place, timeout=min(timeout, 1.0)):
            return f"; the service listens on {place} only: use that as local_addr"
    except ProbeError:
        return ""
