"""Get prx's own probes through Access, and tell an answer of Access from one of the app. Pure; standard library only.

A service token is two values that Access takes in two headers (developers.cloudflare.com, "Service tokens"). They let anybody
in who has them, so they go to the one configured host, over TLS, and never along a redirect.

How Access answers a stranger: it redirects to the team's login, `https://TEAM.cloudflareaccess.com/cdn-cgi/access/login/…`;
where the policy knows service tokens only it answers 403 itself, and 401 to scripts, with headers `cf-access-aud` and
`cf-access-domain` and a page titled "… Cloudflare Access" (as people who met these answers report; no document has them).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from prx.core.errors import UsageError
from prx.secrets.value import Secret

ID_VARIABLE: Final = "CF_ACCESS_CLIENT_ID"
SECRET_VARIABLE: Final = "CF_ACCESS_CLIENT_SECRET"  # noqa: S105 - the name of a variable, not a secret
_LOGIN_PATH: Final = "/cdn-cgi/access/login"
_TEAM_DOMAIN: Final = ".cloudflareaccess.com"
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
# The titles of Access's own pages: "Error ・ Cloudflare Access", "Forbidden ・ Cloudflare Access".
_TITLE: Final = re.compile(rb"<title>[^<]{0,80}Cloudflare Access\s*</title>", re.IGNORECASE)
_PAGE_BYTES: Final = 16 * 1024


@dataclass(frozen=True)
class ServiceToken:
    """A service token of Access: its id, which may be shown, and its secret."""

    client_id: str
    client_secret: Secret


def service_token(client_id: str, client_secret: Secret) -> ServiceToken | None:
    """Make a service token; None when both parts are empty, UsageError when one is missing or fits into no header."""
    if not client_id and not client_secret:
        return None
    if not client_id or not client_secret:
        present, missing = (ID_VARIABLE, SECRET_VARIABLE) if client_id else (SECRET_VARIABLE, ID_VARIABLE)
        raise UsageError(f"{present} is set, {missing} is not: a service token needs both")
    for name, value in ((ID_VARIABLE, client_id), (SECRET_VARIABLE, client_secret.reveal())):
        if not value.isascii() or not value.isprintable() or " " in value:
            raise UsageError(f"{name} holds characters that no service token has (spaces, line ends, other than ASCII)")
    return ServiceToken(client_id, client_secret)


def service_token_from(environ: Mapping[str, str]) -> ServiceToken | None:
    """Make the service token that CF_ACCESS_CLIENT_ID and CF_ACCESS_CLIENT_SECRET hold, None where there is none."""
    try:
        return service_token(environ.get(ID_VARIABLE, ""), Secret(environ.get(SECRET_VARIABLE, "")))
    except ValueError:
        raise UsageError(f"{SECRET_VARIABLE} is not UTF-8 text") from None


def probe_headers(token: ServiceToken | None, url: str, hostname: str) -> dict[str, str]:
    """Give the headers for a GET of `url`: the token, if that is exactly the configured `hostname`, else nothing.

    Over https only; over http only to this machine itself (loopback addresses, `localhost`, `*.localhost`: the lab).
    """
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    if token is None or not host or host != hostname.lower() or parts.username is not None:
        return {}
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_local(host)):
        return {}
    return {"CF-Access-Client-Id": token.client_id, "CF-Access-Client-Secret": token.client_secret.reveal()}


def is_access_challenge(status: int, headers: Mapping[str, str] | Iterable[tuple[str, str]], body: bytes = b"") -> bool:
    """Say whether this answer is Access's own: a redirect to its login, or its 401 or 403. The first 16 KiB of body suffice."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    found = {name.lower(): value for name, value in pairs}
    if status in _REDIRECTS:
        return _is_login(found.get("location", ""))
    if status not in {401, 403}:
        return False
    if any(name.startswith("cf-access-") for name in found) or found.get("www-authenticate", "").startswith(
        "Cloudflare-Access"
    ):
        return True
    return _TITLE.search(body[:_PAGE_BYTES]) is not None


def _is_login(location: str) -> bool:
    try:
        parts = urlsplit(location)
    except ValueError:
        return False
    host = (parts.hostname or "").lower()
    path = parts.path == _LOGIN_PATH or parts.path.startswith(f"{_LOGIN_PATH}/")
    if not path:
        return False
    return (parts.scheme == "https" and host.endswith(_TEAM_DOMAIN)) or (bool(host) and _is_local(host))


def _is_local(host: str) -> bool:
    return host in {"127.0.0.1", "::1", "localhost"} or host.endswith(".localhost")
