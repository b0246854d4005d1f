"""Probe the public URL as a visitor would, but at addresses that are already known: this probe resolves nothing.

It connects to an address, names the URL's host in SNI and Host, and reads one answer. Redirects are not followed, so headers
that prove an identity can go nowhere else; they are sent only to the host that they are meant for, over TLS or on loopback.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import Mapping, Sequence
from itertools import chain, zip_longest
from pathlib import Path
from types import MappingProxyType
from urllib.parse import SplitResult, urlsplit

from prx.core.deadline import Deadline
from prx.core.evidence import Public
from prx.core.hosts import is_loopback
from prx.core.numbers import whole
from prx.core.own_mark import OWN_MARK
from prx.logs.text import printable
from prx.runtime.probes.access import AccessAnswer, access_answer
from prx.runtime.probes.connect import Endpoint, FailureKind, ProbeError, connected_to_one, verifying_tls
from prx.runtime.probes.error_pages import asks_for_tls, edge_error, host_blocked
from prx.runtime.probes.http import Answer, Request, exchange

TIMEOUT = 10.0  # seconds for everything
_ADDRESSES = 4  # more are not tried: each would have too small a share of the time
_QUOTED = 200  # characters of a header that are kept
# What each of Access's own answers means for a request with a service token, and for one without.
_ACCESS_WORDS = MappingProxyType(
    {
        AccessAnswer.LOGIN: "it asks for a login",
        AccessAnswer.QUICK_LOGIN: "it asks for a one-time PIN, which no machine has",
        AccessAnswer.OAUTH: "it asks for a token of Managed OAuth",
        AccessAnswer.TOKEN_WRONG: "401: the pair of id and secret is wrong or has expired",
        AccessAnswer.NO_POLICY: "403: the pair is right, and no policy lets it in",
        AccessAnswer.UNMATCHED: "403: no application of Access matches this host name, and the team denies what is unmatched",
    }
)
_NOTHING: Mapping[str, str] = MappingProxyType({})


async def probe_public(
    url: str,
    addresses: Sequence[str],
    *,
    headers: Mapping[str, str] = _NOTHING,
    headers_host: str = "",
    own_mark: str = "",
    ca_file: Path | None = None,
    timeout: float = TIMEOUT,
) -> Public:
    """Return what `url` answers at `addresses`, tried in turn, IPv4 first, within `timeout` seconds; never raise for that.

    `headers` (an Access service token) are sent only when the URL's host is exactly `headers_host`. `own_mark`, by which a
    relay of this prx knows its checks, is worth nothing elsewhere: any host may see it. `ca_file` replaces the system's CAs.
    Raise ValueError when `url` is no http or https URL or when an address is a name.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"expected a URL that starts with http:// or https://, found {url!r}")
    if not addresses:
        return Public(None, error=f"no address is known for {parts.hostname}", by_cloudflare=False)
    targets = _in_turn(addresses)
    sent = headers if _may_carry(parts, headers_host, targets) else _NOTHING
    marks = {OWN_MARK: own_mark} if own_mark and _is_private(parts, targets) else {}
    begin = asyncio.get_running_loop().time()
    try:
        answer = await _ask(parts, targets, {**sent, **marks}, ca_file, timeout)
    except ProbeError as error:
        return Public(
            None,
            error=error.words,
            sent_token=bool(sent),
            by_cloudflare=False,
            silent=error.trouble is FailureKind.SILENT,
            waited=asyncio.get_running_loop().time() - begin,
            unasked=error.unasked,
        )
    return _seen(answer, latency_ms=(answer.came_at - begin) * 1000, sent=bool(sent))


def _in_turn(addresses: Sequence[str]) -> list[str]:
    """Return the first few addresses, the families in turn: one family that leads nowhere must not use up the time."""
    old = [address for address in addresses if ipaddress.ip_address(address).version == 4]
    new = [address for address in addresses if address not in old]
    return [address for address in chain.from_iterable(zip_longest(old, new)) if address][:_ADDRESSES]


def _may_carry(parts: SplitResult, headers_host: str, addresses: Sequence[str]) -> bool:
    return parts.hostname == headers_host.lower() and _is_private(parts, addresses)


def _is_private(parts: SplitResult, addresses: Sequence[str]) -> bool:
    return parts.scheme == "https" or all(is_loopback(address) for address in addresses)


async def _ask(
    parts: SplitResult, addresses: Sequence[str], headers: Mapping[str, str], ca_file: Path | None, timeout: float
) -> Answer:
    deadline = Deadline(asyncio.get_running_loop().time, timeout)
    host = parts.hostname or ""
    tls: ssl.SSLContext | None = verifying_tls(ca_file) if parts.scheme == "https" else None
    port = parts.port or (443 if tls else 80)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    request = Request(target, parts.netloc.rpartition("@")[2], headers=headers)
    endpoints = [Endpoint(address, port, tls, host) for address in addresses]
    async with connected_to_one(endpoints, timeout=deadline.left) as stream:
        return await exchange(stream, request, timeout=deadline.left)


def _seen(answer: Answer, *, latency_ms: float, sent: bool) -> Public:
    retry_after = answer.headers.get("retry-after", "")
    access = access_answer(answer.status, answer.headers, answer.body, sent_token=sent)
    return Public(
        answer.status,
        access=access is not None,
        access_detail=_ACCESS_WORDS.get(access, "") if access else "",
        edge_error=edge_error(answer),
        host_blocked=host_blocked(answer),
        latency_ms=latency_ms,
        retry_after=whole(retry_after),
        event_stream=answer.is_event_stream,
        sent_token=sent,
        by_cloudflare="cf-ray" in answer.headers or answer.headers.get("server", "").lower() == "cloudflare",
        wants_tls=asks_for_tls(answer),
        mitigated=printable(answer.headers.get("cf-mitigated", ""))[:_QUOTED],
        location=printable(answer.headers.get("location", ""))[:_QUOTED],
        sets_cookie="set-cookie" in answer.headers,
        broken_off=answer.broken_off,
    )
