"""Understand what cloudflared's own metrics server says. Nothing here raises: a foreign answer is no answer.

Observed with cloudflared 2026.8.2: `/ready` answers 200 or 503 with JSON; `/quicktunnel` holds an empty name for a named
tunnel; of the connection metrics only the registration counters are reliable (`cloudflared_tunnel_ha_connections` and
`cloudflared_tunnel_server_locations` stay up while everything is lost), and a labelled series appears only after its first
use.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

from prx.backends.base import Counters, Readiness
from prx.core.parsing import parse_json

_LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_SAMPLE: Final = re.compile(
    rb"\n(cloudflared_tunnel_[a-z_]+)(?:\{([^}\n]*)\})? ([0-9.eE+]+)(?: \d+)?\r?$", re.ASCII | re.MULTILINE
)
_FAMILY: Final = b"\ncloudflared_tunnel_"
_CODE: Final = re.compile(rb'status_code="(\d{3})"')
_SERVICE_HOST: Final = "api.trycloudflare.com"  # it stands in error texts and has been taken for a tunnel's name
_SMALL: Final = 16 * 1024  # bytes of an answer that are worth remembering
_MOST: Final = 1_000_000  # connections that can be believed; a real client has at most a few dozen


def parse_ready(status: int, body: bytes) -> Readiness | None:
    """Return the number of ready connections and the connector's id; None when this is no answer of `/ready`."""
    return (_readiness if len(body) <= _SMALL else _readiness.__wrapped__)(status, body)


@lru_cache(maxsize=64)
def _readiness(status: int, body: bytes) -> Readiness | None:
    found = json_object(body)
    ready = found.get("readyConnections")
    if status not in (200, 503) or not isinstance(ready, int) or isinstance(ready, bool) or not 0 <= ready <= _MOST:
        return None
    connector = found.get("connectorId", "")
    return Readiness(ready, connector if isinstance(connector, str) else "")


def parse_quick_hostname(status: int, body: bytes) -> str:
    """Return the quick tunnel's host name in lower case; empty while there is none, or when it is none to be trusted."""
    hostname = json_object(body).get("hostname")
    if status != 200 or not isinstance(hostname, str):
        return ""
    hostname = hostname.lower().removeprefix("https://").rstrip("/.")
    return hostname if is_public_name(hostname) else ""


def is_public_name(hostname: str) -> bool:
    """Return whether this can be the DNS name of a tunnel: two labels or more, no address, not the service's own name."""
    labels = hostname.split(".")
    return (
        len(hostname) <= 253
        and len(labels) >= 2
        and all(_LABEL.fullmatch(label) for label in labels)
        and not labels[-1].isdigit()
        and hostname != _SERVICE_HOST
    )


def parse_counters(body: bytes) -> Counters:
    """Return the counters that are reliable; everything else on the page is ignored.

    While no visitor comes, the lines that count are the same from one reading to the next.
    """
    last = body.rfind(_FAMILY)
    first = 0 if body.startswith(_FAMILY[1:]) else body.find(_FAMILY)
    end = body.find(b"\n", last + 1)
    lines = body[first : end if end >= 0 else None] if first >= 0 else b""
    return (_counters if len(lines) <= _SMALL else _counters.__wrapped__)(lines)


@lru_cache(maxsize=64)
def _counters(lines: bytes) -> Counters:
    totals = dict.fromkeys(("requests", "request_errors", "in_flight", "registered", "rejected", "duplicates"), 0)
    said: dict[int, int] = {}
    for match in _SAMPLE.finditer(b"\n" + lines):  # a newline and a word are looked for faster than the start of a line
        metric, labels, count = match[1], match[2] or b"", _count(match[3])
        if metric == b"cloudflared_tunnel_response_by_code" and (code := _CODE.search(labels)):
            said[int(code[1])] = count
        elif name := _counter(metric, labels):
            totals[name] += count
    return Counters(said=said, **totals)


def _counter(metric: bytes, labels: bytes) -> str:
    match metric:
        case b"cloudflared_tunnel_total_requests":
            return "requests"
        case b"cloudflared_tunnel_request_errors":
            return "request_errors"
        case b"cloudflared_tunnel_concurrent_requests_per_tunnel":
            return "in_flight"
        case b"cloudflared_tunnel_tunnel_register_success":
            return "registered"
        case b"cloudflared_tunnel_tunnel_register_fail":
            return "duplicates" if b'error="dup_edge_conn"' in labels else "rejected"
    return ""


def _count(text: bytes) -> int:
    """Read a sample; large counters are written as 1.234567e+06."""
    try:
        return int(float(text))
    except (ValueError, OverflowError):
        return 0


def json_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object in `body`, an empty one when there is none."""
    try:
        found = parse_json(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
