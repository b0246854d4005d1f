"""Every metric that prx gives, declared once: the exposition and the reference page are made from this table.

Names, units and suffixes follow Prometheus' conventions (https://prometheus.io/docs/practices/naming/); `promtool check
metrics` holds them in a test.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: its name, its kind, its labels beside those of the target, and its help text."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    text: str


_TUNNEL: Final = ("tunnel",)

BUILD_INFO: Final = Metric("prx_build_info", "gauge", ("version",), "Always 1; the label says which prx this is.")
UP: Final = Metric(
    "prx_up",
    "gauge",
    _TUNNEL,
    "1 if visitors get through the tunnel (ready, or degraded by something that is not the tunnel), else 0.",
)
STATE: Final = Metric("prx_state", "gauge", ("tunnel", "state"), "1 for the state that the tunnel is in, 0 for the others.")
VERDICT: Final = Metric(
    "prx_verdict", "gauge", ("tunnel", "verdict"), "1 for the verdict that is shown, 0 for the others; all 0 before the first."
)
RESTARTS: Final = Metric(
    "prx_restarts_total",
    "counter",
    ("tunnel", "cause"),
    "Connectors that took another's place, by the verdict that led to it, or asked.",
)
PROBES: Final = Metric(
    "prx_probe_seconds", "histogram", _TUNNEL, "How long answers of the public URL took, for prx's own requests that got one."
)
PROBE_FAILURES: Final = Metric(
    "prx_probe_failures_total", "counter", _TUNNEL, "Requests of prx to the public URL that got no answer at all."
)
CONNECTIONS: Final = Metric("prx_connections", "gauge", _TUNNEL, "Connections between the connector and Cloudflare's edge.")
CONNECTORS: Final = Metric("prx_connectors", "gauge", _TUNNEL, "Connectors of this prx that serve visitors.")
CONNECTORS_WANTED: Final = Metric(
    "prx_connectors_wanted",
    "gauge",
    _TUNNEL,
    "Connectors that this prx is to have (`replicas`); none runs while it is stopped.",
)
URL_CHANGES: Final = Metric(
    "prx_url_changes_total", "counter", _TUNNEL, "Verified public URLs that took another's place; the first one is no change."
)
LOG_LINES: Final = Metric(
    "prx_child_log_lines_total", "counter", ("tunnel", "level"), "Lines that the connector logged and prx took in, by level."
)
DROPPED: Final = Metric(
    "prx_events_dropped_total", "counter", (), "Events that followers of the event stream missed because they were too slow."
)
REQUESTS: Final = Metric(
    "prx_connector_requests_total",
    "counter",
    _TUNNEL,
    "Requests that the connectors passed on (cloudflared_tunnel_total_requests).",
)
REQUEST_ERRORS: Final = Metric(
    "prx_connector_request_errors_total",
    "counter",
    _TUNNEL,
    "Requests that the service did not answer well (cloudflared_tunnel_request_errors).",
)
RESPONSES: Final = Metric(
    "prx_connector_responses_total",
    "counter",
    ("tunnel", "code"),
    "Answers of the service by HTTP status (cloudflared_tunnel_response_by_code).",
)
IN_FLIGHT: Final = Metric(
    "prx_connector_requests_in_flight",
    "gauge",
    _TUNNEL,
    "Requests under way (cloudflared_tunnel_concurrent_requests_per_tunnel).",
)
REGISTRATIONS: Final = Metric(
    "prx_connector_registrations_total",
    "counter",
    ("tunnel", "result"),
    "Registrations at the edge, accepted or rejected (cloudflared_tunnel_tunnel_register_success and _fail).",
)

METRICS: Final = (
    BUILD_INFO,
    UP,
    STATE,
    VERDICT,
    RESTARTS,
    PROBES,
    PROBE_FAILURES,
    CONNECTIONS,
    CONNECTORS,
    CONNECTORS_WANTED,
    URL_CHANGES,
    LOG_LINES,
    DROPPED,
    REQUESTS,
    REQUEST_ERRORS,
    RESPONSES,
    IN_FLIGHT,
    REGISTRATIONS,
)
"""All of them, in the order in which they are written."""

RESTART_CAUSES: Final = ("asked", "crashed", "edge_lost", "offline", "rate_limited", "udp_blocked", "unreachable")
"""The causes that are written from the start, as 0: an increase from nothing to 1 would not be seen."""

LEVELS: Final = ("debug", "info", "warn", "error")
"""The levels that are written from the start."""

BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the histogram's buckets, in seconds; the last one is the default time-out of a check."""
