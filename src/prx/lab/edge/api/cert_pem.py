"""`cert.pem`, as `cloudflared tunnel login` writes it: an API token in a PEM block.

The form is that of cloudflared's published source (2026.8.2).
"""

from __future__ import annotations

import base64
import json
import textwrap
from pathlib import Path
from typing import Final

from prx.lab.edge.api import permissions
from prx.lab.edge.api.zones import ZONE_ID
from prx.lab.edge.registry import ACCOUNT_TAG

CERT_PERMISSIONS: Final = permissions.parse(("Cloudflare Tunnel Write", "DNS Write", "Zone Read"))  # not Access
_LABEL: Final = "ARGO TUNNEL TOKEN"


def cert_pem(token: str) -> str:
    """Return the file's text for an API token."""
    content = {"zoneID": ZONE_ID, "accountID": ACCOUNT_TAG, "apiToken": token}
    lines = textwrap.wrap(base64.b64encode(json.dumps(content).encode()).decode(), 64)
    return "\n".join((f"-----BEGIN {_LABEL}-----", *lines, f"-----END {_LABEL}-----", ""))


def write_cert_pem(file: Path, token: str) -> None:
    """Write the file, readable to this user only."""
    file.touch(mode=0o600)
    file.write_text(cert_pem(token))
