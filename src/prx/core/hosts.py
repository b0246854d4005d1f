"""Whether a host is this machine, or never leaves it: the two answers that every room uses.

`is_this_machine` asks the system for its names and addresses; `is_loopback` and `is_private_channel` read the text alone.
"""

from __future__ import annotations

import ipaddress
import socket
from functools import lru_cache


@lru_cache(maxsize=256)
def is_loopback(host: str) -> bool:
    """Return whether what is sent to `host`, a name or an address without brackets, stays on this machine (RFC 6761, 6890).

    Loopback addresses, `localhost` and the names under it.
    """
    name = host.lower().removesuffix(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def is_private_channel(scheme: str, host: str) -> bool:
    """Return whether what is exchanged cannot be read or changed on the way: https, or http that stays on this machine."""
    return bool(host) and (scheme == "https" or (scheme == "http" and is_loopback(host)))


def is_this_machine(host: str) -> bool:
    """Return whether a host, a name or an address without brackets, is this machine; a certificate would prove nothing then.

    Its own are localhost, the name that it gives itself (also without the domain, or with `.local`), and the addresses that it
    has; 0.0.0.0 and :: lead to it too. Nothing is asked of a name server.
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
    """Return whether an interface has `address`: the system binds a socket to no other. Nothing is sent."""
    if address.is_multicast:
        return False
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind(socket.getaddrinfo(text, 0, family, socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST)[0][4])
    except OSError:
        return False
    return True
