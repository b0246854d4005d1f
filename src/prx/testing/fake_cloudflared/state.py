"""What the fake pretends to be: its connections, its counters, and what its metrics server says of them."""

from __future__ import annotations

import json
from typing import Any

CONNECTOR_ID = "5c0ffee5-0000-4000-8000-000000000000"


class State:
    """One run's pretended state. `answering` False: the metrics server accepts and says nothing."""

    def __init__(self, service: str, protocol: str) -> None:
        self.hostname = ""
        self.protocol = protocol
        self.connected: set[int] = set()
        self.answering = True
        self.counters = dict.fromkeys(
            ("total_requests", "request_errors", "register_success", "server_error", "dup_edge_conn"), 0
        )
        rules = [{"hostname": "", "path": None, "service": service}]
        self.config: dict[str, Any] = {"version": -1, "config": {"ingress": rules}}

    def answer(self, path: str) -> tuple[int, bytes]:
        """Return status and body of the metrics server's answer."""
        match path:
            case "/ready":
                status = 200 if self.connected else 503
                ready = {"status": status, "readyConnections": len(self.connected), "connectorId": CONNECTOR_ID}
                return status, json.dumps(ready).encode()
            case "/quicktunnel":
                return 200, json.dumps({"hostname": self.hostname}).encode()
            case "/config":
                return 200, json.dumps(self.config).encode()
            case "/metrics":
                return 200, self._metrics().encode()
            case "/healthcheck":
                return 200, b"OK\n"
        return 404, b"404 page not found\n"

    def _metrics(self) -> str:
        counters = self.counters
        lines = [f"cloudflared_tunnel_{name} {counters[name]}" for name in ("total_requests", "request_errors")]
        if successes := counters["register_success"]:  # a labelled series appears after its first use
            lines.append(f'cloudflared_tunnel_tunnel_register_success{{rpcName="registerConnection"}} {successes}')
        for error in ("server_error", "dup_edge_conn"):
            if failures := counters[error]:
                labels = f'error="{error}",rpcName="registerConnection"'
                lines.append(f"cloudflared_tunnel_tunnel_register_fail{{{labels}}} {failures}")
        return "\n".join(lines) + "\n"
