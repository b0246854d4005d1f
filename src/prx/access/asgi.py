"""Close an ASGI app to visitors who did not come through Access.

    app = AccessMiddleware(app, AccessVerifier("my-team", "AUD-TAG"))

HTTP requests and WebSocket handshakes without a good token get 403 and never reach the app; lifespan messages pass. The app
finds the visitor in `scope["prx.access.identity"]`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from prx.access.claims import AccessDeniedError, Identity
from prx.access.verify import EMAIL_HEADER, HEADER, IDENTITY, REFUSAL, AccessVerifier, only_token

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

__all__ = ["AccessMiddleware"]

_logger = logging.getLogger(__name__)


class AccessMiddleware:
    """Pass on what `verifier` accepts, refuse everything else, unknown kinds of scope included (RuntimeError)."""

    def __init__(self, app: App, verifier: AccessVerifier) -> None:
        self.app = app
        self.verifier = verifier
        self._one_fetch = asyncio.Lock()  # requests that wait for keys wait here, and fill no thread pool

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] not in {"http", "websocket"}:
            raise RuntimeError(f"ASGI scope {scope['type']!r} cannot be verified")
        try:
            identity = await self._verify(scope["headers"])
        except AccessDeniedError as error:
            _logger.info("refused a request: %s (%s)", error.message, error.reason)
            await (_refuse_http(send) if scope["type"] == "http" else _refuse_websocket(receive, send))
            return
        await self.app({**scope, IDENTITY: identity, "headers": _honest(scope["headers"], identity)}, receive, send)

    async def _verify(self, headers: list[tuple[bytes, bytes]]) -> Identity:
        token = only_token([value for name, value in headers if name.lower() == HEADER.encode()]).decode("latin-1")
        if self.verifier.may_block(token):
            async with self._one_fetch:
                if self.verifier.may_block(token):  # a request that waited finds the keys fetched
                    return await asyncio.to_thread(self.verifier.verify, token)
        return self.verifier.verify(token)


def _honest(headers: list[tuple[bytes, bytes]], identity: Identity) -> list[tuple[bytes, bytes]]:
    """Drop a plain-text email header that says something else than the token does."""
    email = identity.email.encode()
    return [(name, value) for name, value in headers if name.lower() != EMAIL_HEADER.encode() or (email and value == email)]


async def _refuse_http(send: Send) -> None:
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(REFUSAL)).encode()),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": REFUSAL})


async def _refuse_websocket(receive: Receive, send: Send) -> None:
    await receive()  # the handshake itself
    await send({"type": "websocket.close", "code": 1008})  # before accept: servers answer 403 (ASGI specification)
