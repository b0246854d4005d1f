"""The token that the fake is given, read and judged as cloudflared does."""

from __future__ import annotations

import json
import os

from prx.testing.fake_cloudflared.flags import Flags
from prx.testing.fake_cloudflared.output import end

_HELP = "See 'cloudflared tunnel run --help'."
_NOBODY = (
    '"cloudflared tunnel run" requires the ID or name of the tunnel to run as the last command line argument or in the '
    "configuration file."
)


def read_token(flags: Flags) -> str | None:
    """Return the token, an empty text if none was given, None if its file cannot be read."""
    if text := flags.get("token") or os.environ.get("TUNNEL_TOKEN", ""):  # the variable beats the file
        return text.strip()
    if not (path := flags.get("token-file")):
        return ""
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123 - pathlib costs several ms of each start
            return file.read().strip()
    except OSError:
        return None


def require_tunnel_id(token: str | None, flags: Flags) -> str:
    """Return the tunnel's id; end with code 255 and cloudflared's words if there is none."""
    if token is None:
        end(255, f"Failed to read token file: open {flags.get('token-file')}: no such file or directory", _HELP)
    if not token:
        end(255, _NOBODY, _HELP)
    tunnel_id = _tunnel_id(token)
    if len(tunnel_id) != 36:
        end(255, "Provided Tunnel token is not valid.", _HELP)
    return tunnel_id


def digest(token: str | None) -> str:
    """Return the SHA-256 of the token, in hex; empty if there is none."""
    if not token:
        return ""
    from hashlib import sha256  # noqa: PLC0415 - only named tunnels pay for it

    return sha256(token.encode()).hexdigest()


def _tunnel_id(token: str) -> str:
    from base64 import b64decode  # noqa: PLC0415 - only named tunnels pay for it

    try:
        return str(json.loads(b64decode(token, validate=True))["t"])
    except (ValueError, KeyError, TypeError):
        return ""
