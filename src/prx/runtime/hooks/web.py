"""A hook that is a URL: the change is sent there as JSON by POST.

Any status from 200 to 299 is success. Redirects are not followed: a POST that is redirected usually arrives as a GET, and an
address that has moved should be corrected. The URL's path often holds a secret, so only scheme and host are ever named.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import socket
from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote, urlsplit

from prx.runtime.hooks.kinds import HookError, Message
from prx.runtime.probes.connect import Endpoint, ProbeError, connected_to_one, verifying_tls
from prx.runtime.probes.http import Answer, Request, exchange
from prx.runtime.probes.own_resolver import addresses_of

TIMEOUT = 30.0  # seconds
_ADDRESSES = 4

_REFUSED = frozenset({400, 405, 410, 413, 415, 422})
"""Statuses that concern the request itself. Others may be those of a proxy while the receiver is away: some answer 404 then."""


@dataclass(frozen=True, slots=True)
class WebHook:
    """An http or https URL, with a user name and password if it needs them; `secret` signs the requests."""

    text: str
    timeout: float = TIMEOUT
    secret: str = field(default="", repr=False)

    @property
    def label(self) -> str:
        """Name scheme, host and port."""
        parts = urlsplit(self.text)
        return f"{parts.scheme}://{_host(parts)}"

    async def deliver(self, change: Message) -> None:
        """Send the change; the server must answer 2xx in time."""
        try:
            async with asyncio.timeout(self.timeout):
                answer = await self._post(change)
        except TimeoutError as error:
            raise HookError(f"no answer within {self.timeout:g} s") from error
        except ProbeError as error:
            raise HookError(error.words) from error
        if not 200 <= answer.status <= 299:
            raise HookError(f"it answers {answer.status}", refused=answer.status in _REFUSED)

    async def _post(self, change: Message) -> Answer:
        parts = urlsplit(self.text)
        tls = verifying_tls() if parts.scheme == "https" else None
        name, port = parts.hostname or "", parts.port or (443 if tls else 80)
        try:
            addresses = await addresses_of(name, port, timeout=self.timeout)
        except socket.gaierror as error:
            raise HookError(f"this machine does not know the name {name}") from error
        except OSError as error:
            raise HookError(f"this machine cannot look up the name {name}: {error.strerror or 'no answer in time'}") from error
        places = [Endpoint(address, port, tls, name) for address in addresses[:_ADDRESSES]]
        async with connected_to_one(places, timeout=self.timeout) as stream:
            return await exchange(stream, _request(parts, change.to_json(), self.secret), timeout=self.timeout)


def _request(parts: SplitResult, body: bytes, secret: str) -> Request:
    headers = {"Content-Type": "application/json"}
    if secret:
        headers["X-PRX-Signature"] = f"sha256={hmac.new(secret.encode(), body, 'sha256').hexdigest()}"
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Request(target, _host(parts), "POST", headers, body)


def _host(parts: SplitResult) -> str:
    return parts.netloc.rpartition("@")[2]
