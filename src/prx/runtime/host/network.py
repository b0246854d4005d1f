"""Whether this machine has a network, and which one, without sending a packet.

A network counts as up when an interface that is not loopback has a route that leads somewhere: a default route, or one through
a gateway. That is a read of two small files, cheap enough for every second. The fingerprint names those routes and the
networks of their interfaces: it changes with the Wi-Fi, and stays when a container or a temporary IPv6 address comes or goes.
That loopback is down is a part of it, so that its return is noticed as that of a network.

A table that cannot be read (no descriptor is left, /proc is not there) says nothing: neither that there is no network nor that
it is another one. Then `up` is None and the fingerprint empty.
"""

from __future__ import annotations

import fcntl
import hashlib
import ipaddress
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from prx.runtime.host.announcements import Announcements

_LINUX = sys.platform == "linux"

# Flags of linux/route.h
_UP, _GATEWAY, _REJECT = 0x1, 0x2, 0x200
_NO_CARRIER = {"down", "lowerlayerdown", "notpresent"}  # Documentation/networking/operstates.rst
# netdevice(7): SIOCGIFFLAGS of a struct ifreq, in which the name and the flags stand first
_FLAGS, _GET_FLAGS, _INTERFACE_UP = struct.Struct("16sH14x"), 0x8913, 0x1


LOOK_AGAIN_AFTER = 0.1  # seconds
LOOK_ANYWAY_AFTER = 30.0  # seconds; nothing is known to be missed, and one look is cheap


class Network(Protocol):
    """What prx wants to know of the machine's network; a test passes its own."""

    def up(self) -> bool | None:
        """Return whether there is any network; None if that is unknown."""

    def fingerprint(self) -> str:
        """Return a short text that changes when the machine comes into another network; empty if it is unknown."""

    def loopback_up(self) -> bool | None:
        """Return whether the programs of this machine can meet at 127.0.0.1; None if that is unknown."""


class SystemNetwork:
    """The network of this machine, as the kernel shows it. Its tables are read again only if it may have changed.

    What could not be read is tried again, but many who ask at the same moment cost one look.
    """

    def __init__(self, announcements: Announcements | None = None, now: Callable[[], float] = time.monotonic) -> None:
        self._announcements = announcements or Announcements()
        self._now = now
        self._up: tuple[float, bool | None] = (float("-inf"), None)
        self._fingerprint: tuple[float, str] = (float("-inf"), "")

    def up(self) -> bool | None:
        """See `network_up`."""
        if self._is_old(self._up[0], known=self._up[1] is not None):
            self._up = self._now(), network_up()
        return self._up[1]

    def fingerprint(self) -> str:
        """See `fingerprint`."""
        if self._is_old(self._fingerprint[0], known=bool(self._fingerprint[1])):
            self._fingerprint = self._now(), fingerprint()
        return self._fingerprint[1]

    def loopback_up(self) -> bool | None:
        """See `loopback_up`; that is seen each time."""
        return loopback_up()

    def _is_old(self, seen_at: float, *, known: bool) -> bool:
        """Return whether to look again at what was seen at `seen_at`; forget all of it if the network may have changed."""
        if self._now() - seen_at < LOOK_AGAIN_AFTER:
            return False
        if self._announcements.may_have_changed():
            self._up, self._fingerprint = (float("-inf"), None), (float("-inf"), "")
            return True
        return not known or self._now() - seen_at >= LOOK_ANYWAY_AFTER


class LocalNetwork:
    """Loopback, for an edge on this machine: always there, always the same."""

    def up(self) -> bool:
        """Return True."""
        return True

    def fingerprint(self) -> str:
        """Return the name of the one network that this is."""
        return "loopback"

    def loopback_up(self) -> bool | None:
        """See `loopback_up`."""
        return loopback_up()


class Route(NamedTuple):
    """A route that leads out of this machine: its interface, and its gateway as the kernel writes it."""

    interface: str
    gateway: str


def network_up() -> bool | None:
    """Return whether this machine has any network; None if that is unknown. Well under a millisecond on Linux."""
    if not _LINUX:
        return _any_interface_up()
    try:
        found, unsure = routes(), False
    except RoutesUnreadableError as error:
        found, unsure = error.found, None
    return True if any(_has_carrier(route.interface) for route in found) else unsure


def _any_interface_up() -> bool | None:
    try:
        import psutil  # noqa: PLC0415 - 1 MB, which an edge on this machine does not need

        return any(stats.isup and _global_networks(name) for name, stats in psutil.net_if_stats().items())
    except OSError:
        return None


def loopback_up() -> bool | None:
    """Return whether the loopback interface is up; None if that cannot be seen. Some microseconds.

    While it is down, an address of it can be bound and not be reached (seen with Linux 6.18): no connector can be asked.
    """
    if not _LINUX:
        return None
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            _, flags = _FLAGS.unpack(fcntl.ioctl(any_socket, _GET_FLAGS, _FLAGS.pack(b"lo", 0)))
    except OSError:
        return None
    return bool(flags & _INTERFACE_UP)


def fingerprint() -> str:
    """Return a short text that changes when this machine comes into another network; empty if that is unknown."""
    try:
        return hashlib.sha256("\n".join(_seen()).encode()).hexdigest()[:16]
    except OSError:
        return ""


def _seen() -> list[str]:
    if _LINUX:
        ways = sorted(set(routes()))
        interfaces = sorted({route.interface for route in ways})
    else:
        import psutil  # noqa: PLC0415 - as above

        ways = []
        interfaces = sorted(name for name, stats in psutil.net_if_stats().items() if stats.isup)
    return [
        *(f"{way.interface} via {way.gateway}" for way in ways),
        *(f"{name} {_global_networks(name)}" for name in interfaces),
        *(["no loopback"] if loopback_up() is False else []),
    ]


class RoutesUnreadableError(OSError):
    """Not every table could be read; `found` is what the others hold."""

    def __init__(self, found: list[Route]) -> None:
        super().__init__("the routes of this machine cannot be read")
        self.found = found


def routes(proc: Path = Path("/proc/net")) -> list[Route]:
    """Return the routes that lead out, IPv4 and IPv6, from the kernel's tables below `proc` (Linux).

    Raises RoutesUnreadableError if one cannot be read or understood; that of IPv6 is not there without IPv6.
    """
    v4, v6 = _lines(proc / "route"), _lines(proc / "ipv6_route")
    if v6 is None and not (proc / "if_inet6").exists():
        v6 = []
    try:
        found = [*_routes_v4(v4 or []), *_routes_v6(v6 or [])]
    except (ValueError, IndexError) as error:
        raise RoutesUnreadableError([]) from error
    if v4 is None or v6 is None:
        raise RoutesUnreadableError(found)
    return found


def _lines(table: Path) -> list[list[str]] | None:
    try:
        text = table.read_text(encoding="utf-8", errors="surrogateescape")  # the name of an interface may be any bytes
        return [line.split() for line in text.splitlines()]
    except OSError:
        return None


def _routes_v4(lines: list[list[str]]) -> Iterator[Route]:
    """Read /proc/net/route: interface, destination, gateway, flags, …, mask in the eighth column."""
    for interface, destination, gateway, flags_text, _, _, _, mask, *_ in lines[1:]:
        flags = int(flags_text, 16)
        is_default = destination == mask == "00000000"
        if flags & _UP and not flags & _REJECT and (is_default or flags & _GATEWAY):
            yield Route(interface, gateway)


def _routes_v6(lines: list[list[str]]) -> Iterator[Route]:
    """Read /proc/net/ipv6_route: destination, its prefix, source, its prefix, gateway, …, flags, interface."""
    for destination, prefix, _, _, gateway, _, _, _, flags_text, interface in lines:
        flags = int(flags_text, 16)
        is_default = not int(destination, 16) and not int(prefix, 16)
        if flags & _UP and not flags & _REJECT and (is_default or flags & _GATEWAY) and interface != "lo":
            yield Route(interface, gateway)


def _has_carrier(interface: str) -> bool:
    try:
        return Path(f"/sys/class/net/{interface}/operstate").read_text().strip() not in _NO_CARRIER
    except OSError:
        return True


def _global_networks(interface: str) -> list[str]:
    """Return the networks of an interface: whole IPv4 addresses, the first half of IPv6 ones: the rest may change."""
    import psutil  # noqa: PLC0415 - as above

    found = set()
    for entry in psutil.net_if_addrs().get(interface, []):
        if entry.family not in {socket.AF_INET, socket.AF_INET6}:
            continue
        address = ipaddress.ip_address(entry.address.partition("%")[0])
        if not (address.is_loopback or address.is_link_local):
            network = ipaddress.ip_network(f"{address}/{32 if address.version == 4 else 64}", strict=False)
            found.add(str(network))
    return sorted(found)
