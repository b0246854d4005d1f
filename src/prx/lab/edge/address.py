"""Addresses of this machine as text: "127.0.0.1:7844", "[::1]:7844"."""

from __future__ import annotations

import ipaddress
from typing import Any, TypeAlias
from urllib.parse import urlsplit

Place: TypeAlias = tuple[str, int]


def parse(text: str) -> Place:
    """Take "HOST:PORT" apart, port 0 meaning a free one; ValueError if the host is not a loopback address."""
    expected = f"{text!r}: expected a loopback address and a port, such as 127.0.0.1:7844 or [::1]:7844"
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname or "", parts.port
        loopback = ipaddress.ip_address(host).is_loopback  # no name: it is bound to
    except ValueError:
        raise ValueError(expected) from None
    if port is None or not loopback or text != show((host, port)):
        raise ValueError(expected)
    return host, port


def show(place: Any) -> str:
    """Return the text of a socket's name; what follows host and port in one of IPv6 is left out."""
    host, port = place[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
