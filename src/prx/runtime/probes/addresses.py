"""Decide whether an address that public DNS has for a name leads to Cloudflare."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from functools import cache

from prx.core.hosts import is_loopback

# https://www.cloudflare.com/ips, which has not changed since 2021.
_RANGES = (
    "173.245.48.0/20 103.21.244.0/22 103.22.200.0/22 103.31.4.0/22 141.101.64.0/18 108.162.192.0/18 190.93.240.0/20 "
    "188.114.96.0/20 197.234.240.0/22 198.41.128.0/17 162.158.0.0/15 104.16.0.0/13 104.24.0.0/14 172.64.0.0/13 131.0.72.0/22 "
    "2400:cb00::/32 2606:4700::/32 2803:f800::/32 2405:b500::/32 2405:8100::/32 2a06:98c0::/29 2c0f:f248::/32"
)


def strays(name: str, addresses: Sequence[str], *, local: bool) -> str:
    """Say in a few words that none of `addresses` is Cloudflare's; empty if one is, or if there are none.

    With `local` the edge is on this machine, and loopback takes the place of Cloudflare's ranges.
    """
    if not addresses or any(_is_edge(address, local=local) for address in addresses):
        return ""
    shown = ", ".join(addresses[:3])
    if all(_is_private(address) for address in addresses):
        return f"{name} resolves to {shown}, which no visitor can reach: its DNS record is not proxied by Cloudflare"
    return f"{name} resolves to {shown}, which is not Cloudflare's: its DNS record leads elsewhere"


@cache
def _networks() -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in _RANGES.split())


def _is_edge(address: str, *, local: bool) -> bool:
    if local:
        return is_loopback(address)
    return any(ipaddress.ip_address(address) in network for network in _networks())


def _is_private(address: str) -> bool:
    found = ipaddress.ip_address(address)
    return not found.is_global
