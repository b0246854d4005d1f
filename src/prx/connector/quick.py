"""Ask the quick-tunnel service for a throw-away tunnel: one attempt, 15 seconds.

`POST <service>/tunnel` without a body. Neither the status code nor `success` and `errors` of the answer are looked at;
what counts is that it is JSON and that `result.id` is a UUID. So a refusal such as 429 with a JSON body shows only as an
id of length 0. Observed with cloudflared 2026.8.2, from which the failure texts are.
"""

import asyncio
import base64
import binascii
import json
import re
import ssl
import uuid
from typing import Any, Final
from urllib.parse import urlsplit

from prx.connector.credentials import Credentials
from prx.connector.errors import StartError
from prx.connector.go_errors import dial_text, errno_text, json_text, tls_text
from prx.connector.log import Log
from prx.connector.version import BUILD, CLOUDFLARED_VERSION

TIMEOUT: Final = 15.0  # seconds
_MAX_ANSWER: Final = 1 << 20  # bytes
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


async def request_tunnel(service: str, log: Log, *, limit: float = TIMEOUT) -> Credentials:
    """Return the credentials of a new quick tunnel and log its URL in a box; `limit` in seconds. Raises StartError."""
    log.info(TERMS)
    log.info("Requesting new quick Tunnel on trycloudflare.com...")
    url = f"{service}/tunnel"
    try:
        async with asyncio.timeout(limit):
            status, body = await _post(url)
    except TimeoutError:
        raise StartError(
            f'failed to request quick Tunnel: Post "{url}": net/http: timeout awaiting response headers '
            "(Client.Timeout exceeded while awaiting headers)"
        ) from None
    except _PostError as error:
        raise StartError(f'failed to request quick Tunnel: Post "{url}": {error}') from None
    credentials = _read_answer(status, body, log)
    _log_box(credentials.quick_hostname, log)
    return credentials


class _PostError(Exception):
    """Say why the service could not be asked."""


async def _post(url: str) -> tuple[str, bytes]:
    """Return the status line (code and reason) and the body of the service's answer."""
    import h11  # noqa: PLC0415 - named tunnels start without it

    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise _PostError(f'unsupported protocol scheme "{parts.scheme}"')
    port = parts.port or (443 if parts.scheme == "https" else 80)
    context = ssl.create_default_context() if parts.scheme == "https" else None
    try:
        reader, writer = await asyncio.open_connection(parts.hostname, port, ssl=context)
    except ssl.SSLError as error:
        raise _PostError(tls_text(error)) from None
    except OSError as error:
        raise _PostError(dial_text("tcp", f"{parts.hostname}:{port}", error)) from None
    connection = h11.Connection(h11.CLIENT)
    headers = [
        ("Host", parts.netloc.rpartition("@")[2]),
        ("User-Agent", f"cloudflared/{CLOUDFLARED_VERSION} ({BUILD})"),
        ("Content-Length", "0"),
        ("Content-Type", "application/json"),
        ("Connection", "close"),
    ]
    try:
        request = connection.send(h11.Request(method="POST", target=parts.path, headers=headers))
        writer.write((request or b"") + (connection.send(h11.EndOfMessage()) or b""))
        return await _answer(connection, reader)
    except (h11.RemoteProtocolError, OSError) as error:
        raise _PostError(errno_text(error) if isinstance(error, OSError) else "EOF") from None
    finally:
        writer.close()


async def _answer(connection: Any, reader: asyncio.StreamReader) -> tuple[str, bytes]:
    import h11  # noqa: PLC0415 - see _post

    status, body = "", bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(65536))
        elif isinstance(event, h11.Response):
            status = f"{event.status_code} {event.reason.decode('latin-1')}".strip()
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > _MAX_ANSWER:
                raise _PostError(f"the answer is longer than {_MAX_ANSWER} bytes")
        elif isinstance(event, h11.EndOfMessage):
            return status, bytes(body)
        elif isinstance(event, h11.ConnectionClosed):
            raise _PostError("EOF")


def _read_answer(status: str, body: bytes, log: Log) -> Credentials:
    text = body.decode("utf-8", "replace")
    cause = ""
    try:
        answer = json.loads(text)
    except ValueError:
        cause = json_text(text)
    if cause:
        log.error(f"Error unmarshaling QuickTunnel response: {text}", error=cause, status_code=status)
        raise StartError(f"failed to unmarshal quick Tunnel: {cause}")
    result = answer.get("result") if isinstance(answer, dict) else None
    result = result if isinstance(result, dict) else {}
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


def _log_box(hostname: str, log: Log) -> None:
    url = hostname if hostname.startswith("https://") else f"https://{hostname}"
    width = max(len(_BOX), len(url))
    edge = f"+{'-' * (width + 4)}+"
    for line in (edge, f"|  {_BOX:<{width}}  |", f"|  {url:<{width}}  |", edge):
        log.info(line)
