"""Ask public DNS for a name over HTTPS, and never the system's resolver.

Theory of operation. A new public name exists some seconds after cloudflared has printed it. A question that comes too early
plants "no such name" in every cache on the way, for 30 minutes at trycloudflare.com (its SOA says 1800 s), and the user's own
browser reads that cache. So the question goes to servers given by their addresses. For the same reason only the first server
that answers is asked: the others are spared, so that their users find the name at once. When one server has said "missing" for
a minute, its own cache may say so, and then the next one is asked too.

Networks block these servers (schools, companies, filters in the home). Then `by_system` finds a way that plants nothing: the
system's resolver for a name that exists for long, that of a named tunnel, or that of the zone of the quick tunnels, which leads
to the same edge.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Collection, Sequence
from pathlib import Path

from prx.core.deadline import Deadline
from prx.core.evidence import Dns, DnsState, Unasked
from prx.core.shortage import lack_of
from prx.runtime.host.clock import Clock, SystemClock
from prx.runtime.probes import doh
from prx.runtime.probes.connect import ProbeError, is_address
from prx.runtime.probes.doh import Heard, Server
from prx.runtime.probes.own_resolver import addresses_of

TIMEOUT = 5.0  # seconds for everything
DISTRUST_AFTER = 60.0  # seconds after which a server's "missing" is checked with the next server
_REMEMBERED = 10_000  # names, of all tunnels that share it


class Resolver:
    """Asks DNS-over-HTTPS servers, each a URL with an IP address, in their order.

    `ca_file` replaces the system's CAs. Raises ValueError for a URL with a name in it, and for plain HTTP to another machine.
    """

    def __init__(
        self, doh_urls: Sequence[str], *, ca_file: Path | None = None, timeout: float = TIMEOUT, clock: Clock | None = None
    ) -> None:
        self._servers = [Server.at(url, ca_file) for url in doh_urls]
        self._timeout = timeout
        self._clock = clock or SystemClock()
        self._missing_since: dict[str, float] = {}

    async def resolve(self, name: str) -> Dns:
        """Return what public DNS says of `name`, with its IPv4 and IPv6 addresses; never raise for what that is.

        An IP address is its own answer.
        """
        if is_address(name):
            return Dns(DnsState.RESOLVED, (name,))
        deadline = Deadline(asyncio.get_running_loop().time, self._timeout)
        missing: Dns | None = None
        unknown: list[Dns] = []
        for position, server in enumerate(self._servers):
            found = await _ask(server, name, deadline.left / (len(self._servers) - position))
            if found.state is DnsState.RESOLVED:
                self._missing_since.pop(name, None)
                return found
            if found.state is DnsState.UNKNOWN:
                unknown.append(found)
                continue
            missing = missing or found
            if not self._long_missing(name):
                break
        if missing is not None:
            return missing
        words = "; ".join(found.detail for found in unknown) or "no server is configured"
        return Dns(DnsState.UNKNOWN, detail=words, unasked=_together([found.unasked for found in unknown]))

    def _long_missing(self, name: str) -> bool:
        now = self._clock.monotonic()
        if len(self._missing_since) >= _REMEMBERED:
            self._missing_since.clear()
        return now - self._missing_since.setdefault(name, now) >= DISTRUST_AFTER


async def by_system(name: str, *, timeout: float = 3.0) -> Dns:
    """Ask the system's resolver for `name`, which must be one that exists; never raise for what it says."""
    try:
        addresses = await addresses_of(name, 443, timeout=timeout)
    except (socket.gaierror, TimeoutError):
        return Dns(DnsState.UNKNOWN, detail=f"this machine's own resolver does not know {name} either")
    except OSError as error:
        unasked = Unasked.NO if lack_of(error) is None else Unasked.FOR_NOW
        words = f"this machine's own resolver cannot be asked: {error.strerror or error}"
        return Dns(DnsState.UNKNOWN, detail=words, unasked=unasked)
    return Dns(DnsState.RESOLVED, tuple(addresses), f"this machine's own resolver knows {name}")


def _together(reasons: Collection[Unasked]) -> Unasked:
    """Return why several questions were not put: what keeps prx from one for now is enough, as that may be answered later."""
    if Unasked.FOR_NOW in reasons:
        return Unasked.FOR_NOW
    return Unasked.AS_SET_UP if reasons and Unasked.NO not in reasons else Unasked.NO


async def _ask(server: Server, name: str, timeout: float) -> Dns:
    """Ask one server for both kinds of address at once."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_heard(server, name, kind, timeout), name=f"dns {kind} {name}") for kind in ("A", "AAAA")]
    results = [task.result() for task in tasks]
    heard = [result for result in results if isinstance(result, Heard)]
    if addresses := tuple(address for result in heard for address in result.addresses):
        return Dns(DnsState.RESOLVED, addresses, f"{server} knows it")
    if failed := [result for result in results if isinstance(result, ProbeError)]:
        unasked = _together([error.unasked for error in failed])
        telling = next(error for error in failed if unasked in {error.unasked, Unasked.NO})
        return Dns(DnsState.UNKNOWN, detail=telling.words, unasked=unasked)
    nxdomain = any(result.rcode == "NXDOMAIN" for result in heard)
    return Dns(DnsState.MISSING, detail=f"{server} says {'NXDOMAIN' if nxdomain else 'that it has no address'}")


async def _heard(server: Server, name: str, kind: str, timeout: float) -> Heard | ProbeError:
    try:
        return await doh.ask(server, name, kind, timeout=timeout)
    except ProbeError as error:
        return error
