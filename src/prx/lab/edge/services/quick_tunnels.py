"""The quick-tunnel service: `POST /tunnel` creates a tunnel with a name of its own.

It is asked as cloudflared does: without a body, but with `Content-Type: application/json`; since 2026.9.3 with the body
`{"auth_mode":"otp"}` for a protected tunnel.

Answer: `{"success":true,"result":{"id","name","hostname","account_tag","secret"},"errors":[]}`, the secret in base64.
cloudflared 2026.8.2 checks only whether this is JSON with a UUID in `id`, never at the status. For a protected tunnel the
result has `auth_mode` again, which confirms it, and `login_service`, the lab's own (Cloudflare's is known to its client).
"""

from __future__ import annotations

import base64

from prx.lab.edge.config import Sleep
from prx.lab.edge.event_hub import EventHub
from prx.lab.edge.faults.active import ActiveFaults
from prx.lab.edge.forgetting import Forgetting
from prx.lab.edge.public.login import LoginService
from prx.lab.edge.registry import ACCOUNT_TAG, Registry
from prx.lab.edge.services.endpoint import Answer, Request
from prx.lab.events import QuickServiceAnswered, TunnelCreated
from prx.lab.faults import QuickService


class QuickTunnels:
    """Answers requests for quick tunnels, or as a `QuickService` fault says."""

    def __init__(
        self,
        registry: Registry,
        faults: ActiveFaults,
        hub: EventHub,
        sleep: Sleep,
        *,
        forgetting: Forgetting,
        login: LoginService,
    ) -> None:
        self._registry = registry
        self._login = login
        self._forgetting = forgetting
        self._faults = faults
        self._hub = hub
        self._sleep = sleep

    async def handle(self, request: Request) -> Answer:
        """Answer one request."""
        if request.path != "/tunnel" or request.method != "POST":
            return Answer.error(404, "expected POST /tunnel")
        mode = str(request.json().get("auth_mode", ""))
        fault = self._faults.use(QuickService)
        if mode not in ("", "otp"):
            answer = _refusal(400, "unknown auth_mode")
        elif fault is None or fault.kind == "unprotected":
            answer = self._new_tunnel(mode if fault is None else "")
        else:
            if fault.waits:
                await self._sleep(fault.waits)
            status, content_type, body = fault.answer()
            answer = Answer(status, body.encode(), content_type)
        self._hub.emit(QuickServiceAnswered(self._hub.now(), answer.status))
        return answer

    def _new_tunnel(self, mode: str) -> Answer:
        tunnel = self._registry.new_quick()
        tunnel.auth_mode = mode
        self._forgetting.watch(tunnel)
        self._hub.emit(TunnelCreated(self._hub.now(), tunnel.hostname, str(tunnel.id), quick=True))
        result = {
            "id": str(tunnel.id),
            "name": f"qt-{tunnel.id.hex[:12]}",
            "hostname": tunnel.hostname,
            "account_tag": ACCOUNT_TAG,
            "secret": base64.b64encode(tunnel.secret).decode(),
        }
        confirmed = {"auth_mode": mode, "login_service": self._login.base} if mode else {}
        return Answer.of({"success": True, "result": {**result, **confirmed}, "errors": []})


def _refusal(status: int, message: str) -> Answer:
    return Answer.of({"success": False, "result": None, "errors": [{"code": 1000, "message": message}]}, status)
