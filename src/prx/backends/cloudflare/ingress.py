"""Compare the rules that the Cloudflare dashboard pushed to a named tunnel with what prx is to make public.

Theory of operation. `/config` shows the rules in force; version -1 is the command line, so there is nothing to compare. As
in cloudflared itself the first rule whose host name and path fit answers a request; a host name matches itself, `*` and the
empty one match all, `*.example.com` matches everything below it. That rule's service must lead to `local_addr`. Loopback
names are one host; if two names may or may not be the same machine, nothing is claimed. Shapes observed with cloudflared
2026.8.2.
"""

from __future__ import annotations

import ipaddress
import re
import warnings
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlsplit

from prx.backends.cloudflare.endpoints import json_object
from prx.core.hosts import is_loopback
from prx.core.value import Value, value_class

_PORTS: Final = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_NOT_HTTP: Final = frozenset({"tcp", "ssh", "rdp", "smb"})


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Wanted(Value):
    """What the configuration of prx asks for: a public host name and path, and the origin that they should reach."""

    hostname: str
    path: str
    host: str
    port: int

    @property
    def local_addr(self) -> str:
        """Return HOST:PORT as people write it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@value_class(frozen=True, slots=True, eq=False, repr=False)
class _Rule(Value):
    hostname: str
    path: str
    service: str


def route_mismatch(status: int, body: bytes, wanted: Wanted) -> str:
    """Return how the pushed rules fail to lead to the origin, naming both sides; empty if they do, or if that is not known."""
    answer = json_object(body)
    version, config = answer.get("version"), answer.get("config")
    if status != 200 or not isinstance(version, int) or version < 0 or not isinstance(config, dict) or not wanted.hostname:
        return ""
    rules = list(_rules(config.get("ingress")))
    try:
        rule = next((rule for rule in rules if _matches(rule, wanted)), None)
    except (re.error, OverflowError, RecursionError, FutureWarning):  # Go's and Python's expressions differ in corners
        return ""
    if rule is None:
        return ""
    if rule.service.startswith("http_status:") and not _names(rule.hostname, wanted.hostname):
        return _unrouted(rules, rule.service.removeprefix("http_status:"), wanted)
    if _leads_to(rule.service, wanted):
        return ""
    return f"{wanted.hostname} routes to {rule.service} in the Cloudflare dashboard, but local_addr is {wanted.local_addr}"


def _rules(ingress: Any) -> Iterator[_Rule]:
    for item in ingress if isinstance(ingress, list) else ():
        if isinstance(item, dict):
            texts = (item.get(key) for key in ("hostname", "path", "service"))
            yield _Rule(*(text if isinstance(text, str) else "" for text in texts))


def _matches(rule: _Rule, wanted: Wanted) -> bool:
    if rule.hostname not in ("", "*") and not _names(rule.hostname, wanted.hostname):
        return False
    if not rule.path:
        return True
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)  # Python's word for an expression that means something else elsewhere
        return re.search(rule.path, wanted.path) is not None


def _names(pattern: str, hostname: str) -> bool:
    """Return whether a rule's host name speaks of this one (the catch-all speaks of none)."""
    pattern, hostname = pattern.lower(), hostname.lower()
    return pattern == hostname or (pattern.startswith("*.") and hostname.endswith(pattern[1:]))


def _unrouted(rules: list[_Rule], code: str, wanted: Wanted) -> str:
    """Describe a host name that only the last rule, a bare status, catches."""
    named = sorted({rule.hostname for rule in rules if rule.hostname not in ("", "*")})
    others = f"; it routes {', '.join(named[:5])}{', …' if len(named) > 5 else ''}" if named else ""
    return f"this tunnel has no route for {wanted.hostname} in the Cloudflare dashboard (it answers {code}){others}"


def _leads_to(service: str, wanted: Wanted) -> bool:
    """Return whether a service is the origin, or may be it."""
    if service.startswith(("unix:", "unix+tls:")):  # the same program may listen on both
        return True
    if "://" not in service:  # hello_world, http_status:404, bastion, socks-proxy, …
        return False
    try:
        parts = urlsplit(service)
        port = parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return True
    if parts.scheme in _NOT_HTTP or port != wanted.port:
        return False
    return _same_host(parts.hostname or "", wanted.host)


def _same_host(service: str, local: str) -> bool:
    """Return whether two hosts are, or may be, one machine: only two different addresses, neither loopback, surely are not."""
    if _is_here(service) or _is_here(local):
        return True
    ours, theirs = _address(local), _address(service)
    return ours is None or theirs is None or ours == theirs


def _is_here(host: str) -> bool:
    address = _address(host)
    return is_loopback(host.strip("[]")) or (address is not None and address.is_unspecified)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None
