"""Count what happens, and write the counters in Prometheus's text format under cloudflared's names.

Names, labels and help texts are those of cloudflared 2026.8.2; the counters of its Go runtime have no counterpart here.
A series with labels appears with its first use.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from prx.lab.connector.version import BUILD, CLOUDFLARED_VERSION

# name → (type, help)
_SERIES: Final = {
    "build_info": ("gauge", "Build and version information"),
    "cloudflared_config_local_config_pushes": ("counter", "Number of local configuration pushes to the edge"),
    "cloudflared_config_local_config_pushes_errors": (
        "counter",
        "Number of errors occurred during local configuration pushes",
    ),
    "cloudflared_orchestration_config_version": ("gauge", "Configuration Version"),
    "cloudflared_rpc_client_failures": ("counter", "Number of rpc method failures by handler requested"),
    "cloudflared_rpc_client_operations": ("counter", "Number of rpc methods by handler requested"),
    "cloudflared_tunnel_concurrent_requests_per_tunnel": (
        "gauge",
        "Concurrent requests proxied through each tunnel",
    ),
    "cloudflared_tunnel_ha_connections": ("gauge", "Number of active ha connections"),
    "cloudflared_tunnel_request_errors": ("counter", "Count of error proxying to origin"),
    "cloudflared_tunnel_response_by_code": ("counter", "Count of responses by HTTP status code"),
    "cloudflared_tunnel_server_locations": (
        "gauge",
        "Where each tunnel is connected to. 1 means current location, 0 means previous locations.",
    ),
    "cloudflared_tunnel_total_requests": ("counter", "Amount of requests proxied through all the tunnels"),
    "cloudflared_tunnel_tunnel_register_fail": ("counter", "Count of tunnel registration errors by type"),
    "cloudflared_tunnel_tunnel_register_success": ("counter", "Count of successful tunnel registrations"),
    "cloudflared_tunnel_user_hostnames_counts": ("counter", "Which user hostnames cloudflared is serving"),
}
_FROM_THE_START: Final = (
    "cloudflared_config_local_config_pushes",
    "cloudflared_config_local_config_pushes_errors",
    "cloudflared_orchestration_config_version",
    "cloudflared_tunnel_concurrent_requests_per_tunnel",
    "cloudflared_tunnel_ha_connections",
    "cloudflared_tunnel_request_errors",
    "cloudflared_tunnel_total_requests",
)

Labels = tuple[tuple[str, str], ...]


class Metrics:
    """The value of every series."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, Labels], float] = {(name, ()): 0 for name in _FROM_THE_START}
        self._values["build_info", _labels({"revision": BUILD, "type": "", "version": CLOUDFLARED_VERSION})] = 1
        self._locations: dict[int, str] = {}

    def add(self, name: str, change: float = 1, **labels: str) -> None:
        """Add to a series, of which the name goes without its prefix `cloudflared_`."""
        key = (f"cloudflared_{name}", _labels(labels))
        assert key[0] in _SERIES, f"{key[0]} is not a known series"
        self._values[key] = self._values.get(key, 0) + change

    def put(self, name: str, value: float, **labels: str) -> None:
        """Set a series, of which the name goes without its prefix `cloudflared_`."""
        assert f"cloudflared_{name}" in _SERIES, f"cloudflared_{name} is not a known series"
        self._values[f"cloudflared_{name}", _labels(labels)] = value

    def called(self, method: str, *, failed: bool = False) -> None:
        """Count one call to the edge."""
        self.add("rpc_client_operations", handler="registration", method=method)
        if failed:
            self.add("rpc_client_failures", handler="registration", method=method)

    def located(self, index: int, location: str) -> None:
        """Record the location that a connection leads to now; cloudflared leaves the value at 1 when the connection is lost."""
        if index in self._locations:
            self.put("tunnel_server_locations", 0, connection_id=str(index), edge_location=self._locations[index])
        self._locations[index] = location
        self.put("tunnel_server_locations", 1, connection_id=str(index), edge_location=location)

    def render(self) -> str:
        """Return all series in the text format, sorted by name."""
        return "".join(self._lines())

    def _lines(self) -> Iterator[str]:
        last = ""
        for (name, labels), value in sorted(self._values.items()):
            if name != last:
                kind, text = _SERIES[name]
                yield f"# HELP {name} {text}\n# TYPE {name} {kind}\n"
                last = name
            pairs = ",".join(f'{key}="{_escape(text)}"' for key, text in labels)
            shown = f"{value:.17g}"  # every digit: the count after a million differs from it
            yield f"{name}{{{pairs}}} {shown}\n" if pairs else f"{name} {shown}\n"


def _labels(labels: Mapping[str, str]) -> Labels:
    return tuple(sorted(labels.items()))


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
