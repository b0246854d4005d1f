"""Redirects that lead no visitor anywhere: back to what was asked, to a private address, to a port that the edge has not.

Nothing is followed here: one answer is compared with what was asked. Circles of several URLs are found by asking the service on
this machine (`prx.runtime.probes.redirect_circle`). A redirect that sets a cookie may lead on with it, and the
public name itself is no private address, even if it is one (in the lab, names end in `.localhost`).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Final
from urllib.parse import SplitResult, urljoin, urlsplit

from prx.core.hosts import is_loopback
from prx.core.value import Value, value_class

REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})  # RFC 9110, 15.4: those that name another place to ask
# developers.cloudflare.com, "Network ports": where the edge takes connections for a public name
_EDGE_PORTS: Final = {
    "http": frozenset({80, 8080, 8880, 2052, 2082, 2086, 2095}),
    "https": frozenset({443, 2053, 2083, 2087, 2096, 8443}),
}
# names that public DNS has not (RFC 6761, 6762, 8375; ICANN's reservation of .internal; the customs of routers)
_PRIVATE_ENDINGS: Final = (".local", ".localdomain", ".lan", ".internal", ".home.arpa", ".test")
_BASE_HINT: Final = "set the service's public address (its base URL), or the key host_header"
_LOOP_HINT: Final = (
    "have the service believe X-Forwarded-Proto (Django: SECURE_PROXY_SSL_HEADER, Rails: assume_ssl) or leave https to the"
    " tunnel; if only this page does so, set health_check_path to another"
)

_CIRCLE_HINT: Final = (
    "see which of these rules of the service is wrong (https, www, language, a slash at the end, a login without a cookie);"
    " if only this page does so, set health_check_path to another"
)


@value_class(frozen=True, slots=True, eq=False, repr=False)
class DeadEnd(Value):
    """Why visitors get nowhere, as the end of "the service sends visitors …", and what helps."""

    words: str
    hint: str


def dead_end(asked: str, location: str, *, sets_cookie: bool) -> DeadEnd | None:
    """Return why the redirect from the URL `asked` to `location` leads nowhere; None if it may lead somewhere."""
    if not location:
        return None
    try:
        target, public = urlsplit(urljoin(asked, location)), urlsplit(asked)
        there, here = _place(target), _place(public)
    except ValueError:
        return None
    if there is None or here is None:
        return None
    if there[1] != here[1]:
        where = _private(there[1])
        return DeadEnd(f"to {location}, {where}", _BASE_HINT) if where else None
    if there == here and not sets_cookie:
        return DeadEnd(f"from {asked} to the same URL again, without end", _LOOP_HINT)
    scheme, host, port = there[:3]
    if public.port is None and port not in _EDGE_PORTS[scheme]:
        return DeadEnd(f"to {location}: the edge takes no {scheme} on port {port} for {host}", _BASE_HINT)
    return None


def circle_end(urls: Sequence[str]) -> DeadEnd:
    """Return why redirects that lead through `urls`, and from the last to one before it, lead nowhere."""
    return DeadEnd(f"in a circle, without end: {' → '.join(urls)}", _CIRCLE_HINT)


def next_url(asked: str, location: str) -> str:
    """Return where a redirect from `asked` to `location` leads, if that is the same public name; else an empty string."""
    try:
        target, public = urlsplit(urljoin(asked, location))._replace(fragment=""), urlsplit(asked)
        there, here = _place(target), _place(public)
    except ValueError:
        return ""
    same = there is not None and here is not None and there[1] == here[1]
    return target.geturl() if same and _named_port(target) == _named_port(public) else ""


def _named_port(parts: SplitResult) -> int | None:
    """Return the port that a URL has to name; None if it is the one of its scheme."""
    return None if parts.port == (443 if parts.scheme == "https" else 80) else parts.port


def is_same(one: str, other: str) -> bool:
    """Return whether two URLs are one, however each is written; both are of http or https."""
    return _place(urlsplit(one)) == _place(urlsplit(other))


def _place(parts: SplitResult) -> tuple[str, str, int, str, str] | None:
    """Return what tells two URLs apart; None for what is not http or https. ValueError: it is no URL."""
    scheme, host = parts.scheme, (parts.hostname or "").removesuffix(".")
    if scheme not in _EDGE_PORTS or not host:
        return None
    return scheme, host, parts.port or (443 if scheme == "https" else 80), parts.path or "/", parts.query


def _private(host: str) -> str:
    """Return why `host` is none that a visitor can reach; empty if it may be."""
    if is_loopback(host) or host in {"0.0.0.0", "::"}:  # noqa: S104 - compared with, not bound to
        return "which is their own machine"
    try:
        outside = ipaddress.ip_address(host.partition("%")[0]).is_global
    except ValueError:
        outside = "." in host and not host.endswith(_PRIVATE_ENDINGS)
    return "" if outside else "which leads nowhere outside of your network"
