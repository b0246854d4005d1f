"""The addresses of a service: whether it answers at the expected one, and at which it is found instead.

An address of loopback has two families, and a program that listens in one is not found in the other: `localhost` is tried
in both, as cloudflared does, a number in its own alone. What a process listens on is read from its own sockets, so a
service that took another port than the one it was meant to take is reported at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from prx.config.local_addr import LocalAddr
from prx.runtime.probes.connect import Endpoint, ProbeError, connected_to_one
from prx.runtime.probes.own_resolver import addresses_of

OTHER_FAMILY = {"127.0.0.1": "::1", "::1": "127.0.0.1", "localhost": "::1"}
"""Where else a service may listen than at the address that the connector dials; many systems know localhost as IPv4 only."""

_BOTH = {"localhost": ("127.0.0.1", "::1")}
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - read, not bound
_CONNECT_SECONDS = 2.0


class Listener(NamedTuple):
    """A TCP address that a process listens on, as this machine can reach it."""

    host: str
    port: int

    @property
    def authority(self) -> str:
        """Return HOST:PORT, with brackets around an IPv6 address."""
        return LocalAddr("http", self.host, self.port).authority

    @property
    def argument(self) -> str:
        """Return the shortest word that names it to `prx start`."""
        return str(self.port) if self.host == "127.0.0.1" else self.authority


async def accepts(address: LocalAddr, *, timeout: float = _CONNECT_SECONDS) -> bool:
    """Return whether a connection to `address` is taken, in either family if it is a name."""
    try:
        hosts: Sequence[str] = _BOTH.get(address.host, ())
        if not hosts:
            hosts = await addresses_of(address.host, address.port, timeout=_CONNECT_SECONDS)
        async with connected_to_one([Endpoint(host, address.port) for host in hosts], timeout=timeout):
            return True
    except (ProbeError, OSError):
        return False


def listeners(pids: Iterable[int]) -> set[Listener]:
    """Return what these processes listen on, both families; nothing for those that cannot be inspected.

    A program that listens everywhere is named by its IPv4 address if it has one, `::` included: nearly every system lets
    such a socket take both.
    """
    found: set[Listener] = set()
    for pid in pids:
        found |= _listeners_of(pid)
    return {item for item in found if not (item.host == "::1" and Listener("127.0.0.1", item.port) in found)}


def _listeners_of(pid: int) -> set[Listener]:
    try:
        import psutil  # noqa: PLC0415 - 1 MB, for a service of prx's own that does not answer
    except OSError:  # no descriptor is left to load it with
        return set()
    try:
        sockets = psutil.Process(pid).net_connections(kind="tcp")
    except (psutil.Error, OSError, RuntimeError):
        return set()
    return {
        Listener(_EVERYWHERE.get(entry.laddr.ip, entry.laddr.ip).removeprefix("::ffff:"), entry.laddr.port)
        for entry in sockets
        if entry.status == psutil.CONN_LISTEN
    }


async def reachable(found: set[Listener]) -> list[Listener]:
    """Return `found`, sorted; those that listen on `::` by the IPv4 address if that answers as well."""
    named = set()
    for item in found:
        both = item.host == "::1" and await accepts(LocalAddr("http", "127.0.0.1", item.port), timeout=0.5)
        named.add(Listener("127.0.0.1", item.port) if both else item)
    return sorted(named)
