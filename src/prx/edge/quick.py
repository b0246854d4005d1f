"""The quick-tunnel service: `POST /tunnel` gives a tunnel with a name of its own.

It asks as cloudflared does: without a body, but with `Content-Type: application/json`.

Answer: `{"success":true,"result":{"id","name","hostname","account_tag","secret"},"errors":[]}`, the secret in base64.
cloudflared 2026.8.2 looks only at whether this is JSON with a UUID in `id`, never at the status.
"""

from __future__ import annotations

import base64

from prx.edge.config import Sleep
from prx.edge.endpoint import Answer, Request
from prx.edge.events import QuickServiceAnswered, TunnelCreated
from prx.edge.faults import Faults, QuickService
from prx.edge.forgetting import Forgetting
from prx.edge.hub import Hub
from prx.edge.registry import ACCOUNT_TAG, Registry


class QuickTunnels:
    """Answers requests for quick tunnels, or as a `QuickService` fault says."""

    def __init__(self, registry: Registry, faults: Faults, hub: Hub, sleep: Sleep, forgetting: Forgetting) -> None:
        self._registry = registry
        self._forgetting = forgetting
        self._faults = faults
        self._hub = hub
        self._sleep = sleep

    async def handle(self, request: Request) -> Answer:
        """Answer one request."""
        if request.path != "/tunnel" or request.method != "POST":
            return Answer.error(404, "expected POST /tunnel")
        fault = self._faults.use(QuickService)
        if fault is None:
            answer = self._new_tunnel()
        else:
            if fault.waits:
                await self._sleep(fault.waits)
            status, content_type, body = fault.answer()
            answer = Answer(status, body.encode(), content_type)
        self._hub.emit(QuickServiceAnswered(self._hub.now(), answer.status))
        return answer

    def _new_tunnel(self) -> Answer:
        tunnel = self._registry.new_quick()
        self._forgetting.watch(tunnel)
        self._hub.emit(TunnelCreated(self._hub.now(), tunnel.hostname, str(tunnel.id), quick=True))
        result = {
            "id": str(tunnel.id),
            "name": f"qt-{tunnel.id.hex[:12]}",
            "hostname": tunnel.hostname,
            "account_tag": ACCOUNT_TAG,
            "secret": base64.b64encode(tunnel.secret).decode(),
        }
        return Answer.of({"success": True, "result": result, "errors": []})
