"""Ask the quick-tunnel service for a throw-away tunnel: one attempt, 15 seconds.

`POST <service>/tunnel` without a body, or with `{"auth_mode":"otp"}` for a protected tunnel: then the answer must confirm
that mode, else there is no tunnel, for it would be a public one. A refusal ends in the words that cloudflared has for it
since 2026.9.3 (from its published source): status, and code and message of each error; before, it dropped all of that. The
answer's body is never quoted, as it may hold a secret. What goes wrong before there is an answer was observed with
cloudflared 2026.8.2.

If the service is on this machine (the lab), it may name its own login service; any other service is Cloudflare's, and so is
the login.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Any, Final

from prx.core.parsing import parse_json
from prx.lab.connector.credentials import Credentials
from prx.lab.connector.errors import StartError
from prx.lab.connector.fetch import FetchError, fetch, is_loopback_url
from prx.lab.connector.go_errors import json_text
from prx.lab.connector.log import Log
from prx.lab.connector.protected.guests import GuestList

TIMEOUT: Final = 15.0  # seconds
_MAX_ANSWER: Final = 1 << 20  # bytes
LOGIN_SERVICE: Final = "https://login.trycloudflare.com"
_MODE: Final = "otp"  # a one-time PIN by mail
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_DASHED: Final = 36  # characters of a UUID with dashes
_UUID_LENGTHS: Final = frozenset({32, 36, 38, 45})  # plain, with dashes, in braces, as urn:uuid:
_BOX: Final = "Your quick Tunnel has been created! Visit it at (it may take some time to be reachable):"
TERMS: Final = (
    "Thank you for trying Cloudflare Tunnel. Doing so, without a Cloudflare account, is a quick way to experiment and "
    "try it out. However, be aware that these account-less Tunnels have no uptime guarantee, are subject to the "
    "Cloudflare Online Services Terms of Use (https://www.cloudflare.com/website-terms/), and Cloudflare reserves the "
    "right to investigate your use of Tunnels for violations of such terms. If you intend to use Tunnels in production "
    "you should use a pre-created named tunnel by following: "
    "https://developers.cloudflare.com/cloudflare-one/connections/connect-apps"
)


async def request_tunnel(
    service: str, log: Log, *, guests: GuestList | None = None, origin: str = "", limit: float = TIMEOUT
) -> Credentials:
    """Return the credentials of a new quick tunnel and log its URL in a box; `limit` in seconds. Raises StartError.

    guests: who may pass a protected tunnel, None for a public one. origin: the local service, which the box of a protected
    one names.
    """
    log.info(TERMS)
    log.info("Requesting new quick Tunnel on trycloudflare.com...")
    url = f"{service}/tunnel"
    wanted = b"" if guests is None else json.dumps({"auth_mode": _MODE}, separators=(",", ":")).encode()
    try:
        async with asyncio.timeout(limit):
            status, body = await fetch("POST", url, body=wanted, limit=_MAX_ANSWER)
    except TimeoutError:
        raise StartError(
            f'failed to request quick Tunnel: Post "{url}": net/http: timeout awaiting response headers '
            "(Client.Timeout exceeded while awaiting headers)"
        ) from None
    except FetchError as error:
        if error.too_long:
            raise StartError("quick tunnel provisioning response exceeds maximum size") from None
        raise StartError(f'failed to request quick Tunnel: Post "{url}": {error}') from None
    result = _read_answer(status, body)
    credentials = _credentials(result)
    if guests is not None:
        if result.get("auth_mode") != _MODE:
            raise StartError("quick tunnel provisioning failed: the service did not confirm the authentication mode")
        credentials = replace(credentials, login=_login_service(service, result))
    _log_box(credentials.quick_hostname, log, guests, origin)
    return credentials


def _read_answer(status: int, body: bytes) -> dict[str, Any]:
    """Return what the service gave, or raise StartError in cloudflared's words."""
    text = body.decode("utf-8", "replace")
    try:
        answer = parse_json(text)
    except ValueError:
        answer = None
    errors = _errors(answer)
    if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        raise StartError(f"quick tunnel provisioning failed with status {status}" + (f": {errors}" if errors else ""))
    if cause := json_text(text) if answer is None else "":
        raise StartError(f"failed to unmarshal quick Tunnel: {cause}")
    if errors:
        raise StartError(f"quick tunnel provisioning failed: {errors}")
    if not isinstance(answer, dict) or answer.get("success") is not True:
        raise StartError("quick tunnel provisioning failed")
    result = answer.get("result")
    return {"auth_mode": answer.get("auth_mode"), **(result if isinstance(result, dict) else {})}


def _errors(answer: Any) -> str:
    found = answer.get("errors") if isinstance(answer, dict) else None
    listed = [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []
    return "; ".join(f"[{item.get('code', 0)}] {item.get('message', '')}" for item in listed)


def _credentials(result: Mapping[str, Any]) -> Credentials:
    tunnel_id = _tunnel_id(str(result.get("id") or ""))
    try:
        secret = base64.b64decode(str(result.get("secret") or ""), validate=True)
    except binascii.Error:
        raise StartError("failed to unmarshal quick Tunnel: the secret is not base64") from None
    return Credentials(
        account_tag=str(result.get("account_tag") or ""),
        tunnel_id=tunnel_id,
        secret=secret,
        quick_hostname=str(result.get("hostname") or ""),
    )


def _login_service(service: str, result: Mapping[str, Any]) -> str:
    named = str(result.get("login_service") or "")
    return named if named and is_loopback_url(service) and is_loopback_url(named) else LOGIN_SERVICE


def _tunnel_id(text: str) -> uuid.UUID:
    if len(text.encode()) not in _UUID_LENGTHS:
        raise StartError(f"failed to parse quick Tunnel ID: invalid UUID length: {len(text.encode())}")
    try:
        found = uuid.UUID(text)
    except ValueError:
        found = None
    if found is None or (len(text) == _DASHED and not _UUID.fullmatch(text)):
        raise StartError("failed to parse quick Tunnel ID: invalid UUID format")
    return found


def _log_box(hostname: str, log: Log, guests: GuestList | None, origin: str) -> None:
    lines = [_BOX, hostname if hostname.startswith("https://") else f"https://{hostname}"]
    if guests is not None:
        lines[0] = _BOX.replace("Your quick", "Your protected quick")
        lines += [
            "Authentication: One-Time PIN (using Cloudflare Access)",
            f"Allowed recipients: {guests.counted()}",
            f"Local origin: {origin}",
        ]
    width = max(map(len, lines))
    edge = f"+{'-' * (width + 4)}+"
    for line in (edge, *(f"|  {line:<{width}}  |" for line in lines), edge):
        log.info(line)
