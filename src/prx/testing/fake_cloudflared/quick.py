"""The request for a quick tunnel, with all the ways in which it fails."""

from __future__ import annotations

import json
import socket

from prx.testing.fake_cloudflared.output import Log, end


def ask(service: str, version: str, log: Log) -> str:
    """Return the host name that the service gives; end with code 1 and cloudflared's words if it gives none."""
    status, body = _post(service, version)
    try:
        result = json.loads(body).get("result") or {}
    except ValueError:
        error = f"invalid character '{body[:1].decode('utf-8', 'replace')}' looking for beginning of value"
        text = f"Error unmarshaling QuickTunnel response: {body.decode('utf-8', 'replace')}"
        log("error", text, error=error, status_code=status)
        end(1, f"failed to unmarshal quick Tunnel: {error}")
    # cloudflared checks neither the status nor the list of errors
    tunnel_id = str(result.get("id", ""))
    if len(tunnel_id) != 36:
        end(1, f"failed to parse quick Tunnel ID: invalid UUID length: {len(tunnel_id)}")
    return str(result["hostname"])


def _post(service: str, version: str) -> tuple[str, bytes]:
    host, _, port = service.removeprefix("http://").rstrip("/").partition(":")
    fields = ["Content-Type: application/json", "Content-Length: 0", f"User-Agent: cloudflared/{version}"]
    head = "\r\n".join(["POST /tunnel HTTP/1.0", f"Host: {host}:{port}", *fields, "", ""])
    try:
        with socket.create_connection((host, int(port or 80)), timeout=15) as connection:
            connection.sendall(head.encode())
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
    except ConnectionRefusedError:
        end(1, f'failed to request quick Tunnel: Post "{service}/tunnel": dial tcp {host}:{port}: connect: connection refused')
    except TimeoutError:
        end(1, f'failed to request quick Tunnel: Post "{service}/tunnel": net/http: timeout awaiting response headers')
    top, _, body = answer.partition(b"\r\n\r\n")
    return top.split(b"\r\n")[0].partition(b" ")[2].decode(), body
