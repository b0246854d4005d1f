"""Know the addresses of the edge, and which connection uses which.

Every mention of `--edge` is one slot, and a slot serves one connection at a time, so fewer slots than connections mean
fewer connections. A connection keeps its slot until dialling it fails, then it takes another that is free. Without
`--edge` the addresses come from DNS. Observed with cloudflared 2026.8.2, which with a single slot dials without pause
when it is refused; here a single slot is dialled again after the usual wait.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

SERVICE: Final = "_v2-origintunneld._tcp.argotunnel.com"
_LOOKUP_LIMIT: Final = 15.0  # seconds
_FAMILIES: Final = {"4": socket.AF_INET, "6": socket.AF_INET6}

Regions: TypeAlias = Callable[[], Awaitable[list[tuple[str, int]]]]
Lookup: TypeAlias = Callable[..., Awaitable[list[Any]]]


class NoEdgeError(Exception):
    """There is no edge address to dial."""


@dataclass(frozen=True, slots=True)
class EdgeAddress:
    """One slot: an IP address and a port."""

    ip: str
    port: int

    def __str__(self) -> str:
        return f"[{self.ip}]:{self.port}" if ":" in self.ip else f"{self.ip}:{self.port}"


class EdgeAddresses:
    """The slots, and which connection has which; `pick` chooses a number below its argument."""

    def __init__(self, addresses: Sequence[EdgeAddress], pick: Callable[[int], int]) -> None:
        self._free = list(addresses)
        self._used: dict[int, EdgeAddress] = {}
        self._pick = pick

    def __len__(self) -> int:
        return len(self._free) + len(self._used)

    def slot(self, index: int) -> EdgeAddress:
        """Return the slot of a connection, taking a free one if it has none."""
        if index not in self._used:
            if not self._free:
                raise NoEdgeError("there are no free edge addresses left to resolve to")
            self._used[index] = self._free.pop(self._pick(len(self._free)))
        return self._used[index]

    def move(self, index: int) -> None:
        """Move a connection to another slot if one is free."""
        if self._free:
            old = self._used.pop(index)
            self.slot(index)
            self._free.append(old)


async def resolve(names: Sequence[str], *, ip_version: str = "auto") -> list[EdgeAddress]:
    """Return a slot for each `host:port` that resolves; without names, what DNS says of the public edge.

    Raises NoEdgeError if there is none.
    """
    found = [address for name in names if (address := await _resolve_one(name))]
    if not names:
        found = await discover(ip_version)
    if not found:
        raise NoEdgeError("failed to resolve any edge address")
    return found


async def _resolve_one(name: str) -> EdgeAddress | None:
    host, _, port = name.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdigit() or int(port) > 65535:
        return None
    loop = asyncio.get_running_loop()
    try:
        entries = await loop.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
    except OSError:
        return None
    # One slot for each mention; IPv4 first, as the edge of a lab listens there.
    entries.sort(key=lambda entry: entry[0] != socket.AF_INET)
    address = entries[0][4]
    return EdgeAddress(str(address[0]), int(address[1]))


async def discover(ip_version: str, *, regions: Regions | None = None, lookup: Lookup | None = None) -> list[EdgeAddress]:
    """Return the addresses that DNS names for the public edge, of one family in each region.

    `ip_version` auto means the family that this machine's resolver puts first. Raises NoEdgeError.
    """
    lookup = lookup or asyncio.get_running_loop().getaddrinfo
    found: list[EdgeAddress] = []
    try:
        async with asyncio.timeout(_LOOKUP_LIMIT):
            for host, port in await (regions or _regions)():
                entries = await lookup(host, port, type=socket.SOCK_STREAM)
                family = _FAMILIES.get(ip_version, entries[0][0])
                found += [EdgeAddress(str(entry[4][0]), port) for entry in entries if entry[0] == family]
    except (OSError, TimeoutError) as error:
        raise NoEdgeError(f"edge discovery: error looking up Cloudflare edge IPs: {error}") from None
    return found


async def _regions() -> list[tuple[str, int]]:
    """Return name and port of each region of the public edge. Raises OSError."""
    import dns.asyncresolver  # noqa: PLC0415 - only needed without --edge
    import dns.exception  # noqa: PLC0415 - the same

    try:
        services = await dns.asyncresolver.Resolver().resolve(SERVICE, "SRV")
    except dns.exception.DNSException as error:
        raise OSError(str(error)) from None
    return [(str(service.target).rstrip("."), int(service.port)) for service in services]
