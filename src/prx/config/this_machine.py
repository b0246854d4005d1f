"""Whether a host is this machine: that takes a question to the system, which `prx.core.hosts` does not ask.

Nothing is sent, and no name server is asked.
"""

from __future__ import annotations

import ipaddress
import socket

from prx.core.hosts import is_loopback


def is_this_machine(host: str) -> bool:
    """Return whether a host, a name or an address without brackets, is this machine; a certificate would prove nothing then.

    Its own are localhost, the name that it gives itself (also without the domain, or with `.local`), and the addresses that it
    has; 0.0.0.0 and :: lead to it too.
    """
    name = host.lower().removesuffix(".")
    if is_loopback(name):
        return True
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:  # another name
        own = socket.gethostname().lower()
        short = own.partition(".")[0]
        return bool(short) and name in {own, short, f"{short}.local"}
    return address.is_loopback or address.is_unspecified or _is_own(address, name)


def _is_own(address: ipaddress.IPv4Address | ipaddress.IPv6Address, text: str) -> bool:
    """Return whether an interface has `address`: the system binds a socket to no other."""
    if address.is_multicast:
        return False
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind(socket.getaddrinfo(text, 0, family, socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST)[0][4])
    except OSError:
        return False
    return True
