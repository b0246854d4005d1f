"""Get prx's own probes through Access, and distinguish an answer of Access from one of the app. Pure; standard library only.

A service token is two values that Access takes in two headers (developers.cloudflare.com, "Service tokens"). They let any
holder in who has them, so they go to the one configured host, over TLS, and never along a redirect.

How Access answers a stranger: it redirects to the team's login, `https://TEAM.cloudflareaccess.com/cdn-cgi/access/login/…`;
if the policy knows service tokens only it answers 403 itself, and 401 to scripts, with headers `cf-access-aud` and
`cf-access-domain` and a page titled "… Cloudflare Access" (as people who met these answers report; no document has them). A
protected quick tunnel sends to `https://login.trycloudflare.com/authorize`; there the connector answers, not the edge, and
its counters do not count it (cloudflared's published source, 2026.9.3).

The kind of answer decides what to do: see `AccessAnswer`. With Managed OAuth scripts get a 401 whose `WWW-Authenticate` leads
to a public document. An app with OAuth of its own answers alike, but without Access's headers and title.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import urlsplit

from prx.core.errors import UsageError
from prx.core.hosts import is_loopback, is_private_channel
from prx.core.redirects import REDIRECTS
from prx.core.value import Value, value_class
from prx.secrets.value import Secret

ID_VARIABLE: Final = "CF_ACCESS_CLIENT_ID"
SECRET_VARIABLE: Final = "CF_ACCESS_CLIENT_SECRET"  # noqa: S105 - the name of a variable, not a secret
_LOGIN_PATH: Final = "/cdn-cgi/access/login"
_TEAM_DOMAIN: Final = ".cloudflareaccess.com"
# The titles of Access's own pages: "Error ・ Cloudflare Access", "Forbidden ・ Cloudflare Access".
_TITLE: Final = re.compile(rb"<title>[^<]{0,80}Cloudflare Access\s*</title>", re.IGNORECASE)
_PAGE_BYTES: Final = 16 * 1024
_QUICK_LOGIN_HOSTS: Final = frozenset({"login.trycloudflare.com", "login.trycloudflare.localhost"})  # Cloudflare's, the lab's
_CHALLENGE: Final = re.compile(r"\s*(?P<scheme>[A-Za-z-]+)(?:.*?\bresource_metadata=\"(?P<url>[^\"]*)\")?", re.DOTALL)


class AccessAnswer(enum.StrEnum):
    """Which of Access's own answers this is, and so what would get a request through.

    With strict service tokens (teams made since 2026-10-05, others by choice since 2026-10-02) 401 and 403 say which of two
    things is wrong; without, a wrong pair gets 403 too, or the redirect to the login.
    """

    LOGIN = "login"  # redirect to the team's login: people may log in; a token that was sent was not accepted
    QUICK_LOGIN = "quick_login"  # redirect to the one-time PIN of a protected quick tunnel: no machine can pass
    UNAUTHENTICATED = "unauthenticated"  # 401, and no service token was sent
    OAUTH = "oauth"  # 401 of Managed OAuth: scripts are to get a token from the team
    TOKEN_WRONG = "token_wrong"  # noqa: S105 - 401 although a service token was sent: the pair is wrong
    NO_POLICY = "no_policy"  # 403 although a service token was sent: it is right (strict teams), and no policy lets it in
    FORBIDDEN = "forbidden"  # 403, and no service token was sent
    UNMATCHED = "unmatched"  # 403 that names no application: none matches this host name (`deny_unmatched_requests`)


@value_class(frozen=True, slots=True, eq=False, repr=False)
class ServiceToken(Value):
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


def probe_headers(token: ServiceToken | None, url: str, hostname: str) -> dict[str, str]:
    """Return the headers for a GET of `url`: the token, if that is exactly the configured `hostname`, else nothing.

    Over https only; over http only to this machine itself (loopback addresses, `localhost`, `*.localhost`: the lab).
    """
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    if token is None or not host or host != hostname.lower() or parts.username is not None:
        return {}
    if not is_private_channel(parts.scheme, host):
        return {}
    return {"CF-Access-Client-Id": token.client_id, "CF-Access-Client-Secret": token.client_secret.reveal()}


def access_answer(
    status: int,
    headers: Mapping[str, str] | Iterable[tuple[str, str]],
    body: bytes = b"",
    *,
    sent_token: bool = False,
) -> AccessAnswer | None:
    """Return which of Access's own answers this is; None: it comes from another server. The first 16 KiB of body suffice.

    sent_token: the request carried a service token.
    """
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    found = {name.lower(): value for name, value in pairs}
    if status in REDIRECTS:
        return _login_of(found.get("location", ""))
    challenge = _CHALLENGE.match(found.get("www-authenticate", ""))
    ours = challenge is not None and challenge["scheme"].lower() == "cloudflare-access"
    named = ours or any(name.startswith("cf-access-") for name in found)
    if status not in {401, 403} or not (named or _TITLE.search(body[:_PAGE_BYTES])):
        return None
    if status == 403:
        if not named:
            return AccessAnswer.UNMATCHED
        return AccessAnswer.NO_POLICY if sent_token else AccessAnswer.FORBIDDEN
    if sent_token:
        return AccessAnswer.TOKEN_WRONG
    return AccessAnswer.OAUTH if challenge is not None and not ours and challenge["url"] else AccessAnswer.UNAUTHENTICATED


def _is_team(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme == "https" and (parts.hostname or "").lower().endswith(_TEAM_DOMAIN)


def _login_of(location: str) -> AccessAnswer | None:
    try:
        parts = urlsplit(location)
    except ValueError:
        return None
    host = (parts.hostname or "").lower()
    if parts.path == _LOGIN_PATH or parts.path.startswith(f"{_LOGIN_PATH}/"):
        return AccessAnswer.LOGIN if _is_team(location) or (host and is_loopback(host)) else None
    wanted = {part.partition("=")[0] for part in parts.query.split("&")}
    quick = host in _QUICK_LOGIN_HOSTS and parts.path == "/authorize" and {"hostname", "state"} <= wanted
    return AccessAnswer.QUICK_LOGIN if quick and (parts.scheme == "https" or is_loopback(host)) else None
