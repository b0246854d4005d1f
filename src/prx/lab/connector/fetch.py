"""Ask a service on the Web for one whole answer: a quick tunnel, or the keys of its login. No redirects, no proxy."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any
from urllib.parse import urlsplit

from prx.core.hosts import is_loopback
from prx.lab.connector.go_errors import dial_text, errno_text, tls_text
from prx.lab.connector.version import BUILD, CLOUDFLARED_VERSION


class FetchError(Exception):
    """There is no answer; the text is Go's. `too_long`: there is one, and it is longer than was to be read."""

    def __init__(self, text: str, *, too_long: bool = False) -> None:
        super().__init__(text)
        self.too_long = too_long


def is_loopback_url(url: str) -> bool:
    """Return whether a URL names this machine: an address of loopback, `localhost`, or a name under it (RFC 6761)."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return False
    return is_loopback(host)


async def fetch(method: str, url: str, *, body: bytes = b"", limit: int) -> tuple[int, bytes]:
    """Return status and body, of at most `limit` bytes, of the answer; raise FetchError if there is none."""
    import h11  # noqa: PLC0415 - named tunnels start without it

    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise FetchError(f'unsupported protocol scheme "{parts.scheme}"')
    reader, writer = await _connect(url)
    connection = h11.Connection(h11.CLIENT)
    headers = [
        ("Host", parts.netloc.rpartition("@")[2]),
        ("User-Agent", f"cloudflared/{CLOUDFLARED_VERSION} ({BUILD})"),
        ("Content-Length", str(len(body))),
        ("Content-Type", "application/json"),
        ("Connection", "close"),
    ]
    try:
        request = connection.send(h11.Request(method=method, target=parts.path or "/", headers=headers)) or b""
        request += (connection.send(h11.Data(body)) or b"") if body else b""
        writer.write(request + (connection.send(h11.EndOfMessage()) or b""))
        return await _answer(connection, reader, limit)
    except (h11.RemoteProtocolError, OSError) as error:
        raise FetchError(errno_text(error) if isinstance(error, OSError) else "EOF") from None
    finally:
        writer.close()


async def _connect(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    context = ssl.create_default_context() if parts.scheme == "https" else None
    # not every resolver knows that these names are this machine
    address = "127.0.0.1" if host.endswith(".localhost") else host
    try:
        return await asyncio.open_connection(address, port, ssl=context, server_hostname=host if context else None)
    except ssl.SSLError as error:
        raise FetchError(tls_text(error)) from None
    except OSError as error:
        raise FetchError(dial_text("tcp", f"{host}:{port}", error)) from None


async def _answer(connection: Any, reader: asyncio.StreamReader, limit: int) -> tuple[int, bytes]:
    import h11  # noqa: PLC0415 - see fetch

    status, body = 0, bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(65536))
        elif isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > limit:
                raise FetchError(f"the answer is longer than {limit} bytes", too_long=True)
        elif isinstance(event, h11.EndOfMessage):
            return status, bytes(body)
        elif isinstance(event, h11.ConnectionClosed):
            raise FetchError("EOF")
