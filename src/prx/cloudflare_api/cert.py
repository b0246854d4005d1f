"""`cert.pem`: the API token that `cloudflared tunnel login` leaves, good for tunnels, and for DNS in one zone.

A PEM block `ARGO TUNNEL TOKEN` whose bytes are JSON: `zoneID`, `accountID`, `apiToken`, and `endpoint` (`fed`) if it is
another Cloudflare. Older files hold `PRIVATE KEY` and `CERTIFICATE` blocks too, which say nothing here (cloudflared's published
source, 2026.8.2; so are the places).
"""

from __future__ import annotations

import base64
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from prx.core.errors import CredentialError, refused
from prx.core.parsing import parse_json
from prx.files import Claim, FileRefusedError
from prx.files.people import home_folder
from prx.files.presence import is_file
from prx.files.reading import read_trusted
from prx.secrets.value import Secret

NAME: Final = "cert.pem"
_FOLDERS: Final = (".cloudflared", ".cloudflare-warp", "cloudflare-warp")
_SYSTEM: Final = ("/etc/cloudflared", "/usr/local/etc/cloudflared")
_BLOCK: Final = re.compile(rb"-----BEGIN ARGO TUNNEL TOKEN-----\s+([A-Za-z0-9+/=\s]+?)-----END ARGO TUNNEL TOKEN-----")
_LIMIT: Final = 1 << 20
CANNOT: Final = "cert.pem serves tunnels, and DNS in one zone; it can do nothing about Access (--allow, --service-token)"


@dataclass(frozen=True, slots=True)
class Cert:
    """What a cert.pem holds. fed: it is for Cloudflare's FedRAMP API. warning: others can read the file."""

    path: Path
    token: Secret
    account_id: str
    zone_id: str
    fed: bool = False
    warning: str = ""


def places(environ: Mapping[str, str]) -> Iterator[Path]:
    """Yield where cloudflared looks for the file, in its order; TUNNEL_ORIGIN_CERT names another."""
    if named := environ.get("TUNNEL_ORIGIN_CERT"):
        yield Path(named)
        return
    try:
        home = home_folder(environ)
    except Exception:  # noqa: BLE001 - a user without a home has the places of the system alone
        home = None
    if home is not None:
        yield from (home / folder / NAME for folder in _FOLDERS)
    yield from (Path(folder) / NAME for folder in _SYSTEM)


def find_cert(environ: Mapping[str, str]) -> Path | None:
    """Return the first cert.pem that is there."""
    return next((path for path in places(environ) if is_file(path)), None)


def read_cert(path: Path, environ: Mapping[str, str]) -> Cert:
    """Read a cert.pem; CredentialError names the defect, never the content. ShortageError if it cannot be read for now."""
    try:
        content = read_trusted(path, Claim.NAMED, limit=_LIMIT, environ=environ)
    except FileRefusedError as error:
        raise CredentialError(error.message, hint=error.hint) from None
    except OSError as error:
        hint = "`cloudflared tunnel login` makes one, or set CLOUDFLARE_API_TOKEN"
        words = f"{path}: {(error.strerror or 'cannot be read').lower()}"
        raise refused(words, error, hint=hint, kind=CredentialError) from None
    found = _document(path, content.data)
    texts = {key: found.get(key) for key in ("zoneID", "accountID", "apiToken")}
    if missing := [key for key, value in texts.items() if not isinstance(value, str) or not value]:
        raise CredentialError(
            f"{path}: its ARGO TUNNEL TOKEN says no {missing[0]}", hint="`cloudflared tunnel login` makes a new one"
        )
    return Cert(
        path,
        Secret(str(texts["apiToken"])),
        str(texts["accountID"]),
        str(texts["zoneID"]),
        found.get("endpoint") == "fed",
        _warning(path),
    )


def _document(path: Path, content: bytes) -> Mapping[str, object]:
    block = _BLOCK.search(content)
    try:
        found = parse_json(base64.b64decode(block[1], validate=False)) if block else None
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise CredentialError(
            f"{path}: expected a PEM block ARGO TUNNEL TOKEN with an API token, found none that can be read",
            hint="`cloudflared tunnel login` makes a new one",
        )
    return found


def _warning(path: Path) -> str:
    mode = stat.S_IMODE(path.stat().st_mode)
    return f"{path} holds an API token and others can read it (mode {mode:04o}): chmod 600 {path}" if mode & 0o077 else ""
