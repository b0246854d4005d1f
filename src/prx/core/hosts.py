"""Whether what is sent to a host never leaves this machine, read from its text alone: the answer that every room uses."""

from __future__ import annotations

import ipaddress
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
