"""Verify the token with which Cloudflare Access names a visitor to an app.

The steps, each of which refuses on doubt: exactly one header, of a sane size and shape; a JOSE header that says RS256 and
names a key, and holds none of its own; that key from the team's endpoint; the signature; issuer, audience and times. The
algorithm is fixed here and never taken from the token. cloudflared's own validator (ingress/middleware/jwtvalidator.go) has the
same rules, but is off unless configured; here nothing can be left half on: an empty audience is an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import jwt

from prx.access.claims import AccessDeniedError, Identity, identify
from prx.access.jwks import KeySet, fetch_document
from prx.core.errors import UsageError
from prx.core.parsing import parse_json

HEADER: Final = "cf-access-jwt-assertion"
EMAIL_HEADER: Final = "cf-access-authenticated-user-email"
IDENTITY: Final = "prx.access.identity"  # where the middlewares put the visitor
REFUSAL: Final = b"Forbidden: this service is reached through Cloudflare Access only.\n"
MAX_TOKEN_BYTES: Final = 8 * 1024  # real ones have 1 to 2 KiB; Access keeps them in a cookie, of which browsers take 4 KiB
LEEWAY_SECS: Final = 60.0

_SHAPE: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_TEAM: Final = re.compile(r"(?:https://)?([a-z0-9][a-z0-9-]{0,62})(?:\.cloudflareaccess\.com/?)?", re.IGNORECASE)
# Parameters by which a token would hold its own key or change the rules (RFC 7515, 4.1 and RFC 7797).
_FORBIDDEN: Final = frozenset({"jku", "jwk", "x5u", "x5c", "x5t", "x5t#S256", "crit", "b64", "zip"})
_jws: Final = jwt.PyJWS(algorithms=["RS256"])


Text = TypeVar("Text", str, bytes)


class AccessVerifier:
    """Verify tokens of one Access application; make one and share it, between threads too.

    team: the team's name, `TEAM` of `TEAM.cloudflareaccess.com`. aud: the application's audience tag, or several.
    issuer, certs_url: if they are not Cloudflare's (the lab). now: seconds since 1970. clock: monotonic seconds.
    UsageError when team or audience are empty or malformed.
    """

    def __init__(
        self,
        team: str,
        aud: str | Iterable[str],
        *,
        issuer: str = "",
        certs_url: str = "",
        now: Callable[[], float] = lambda: datetime.now(UTC).timestamp(),
        clock: Callable[[], float] | None = None,
        fetch: Callable[[str], bytes] = fetch_document,
    ) -> None:
        self.issuer = issuer or f"https://{_team_name(team)}.cloudflareaccess.com"
        self.audiences = _checked_audiences(aud)
        url = certs_url or f"{self.issuer}/cdn-cgi/access/certs"
        self._keys = KeySet(url, fetch=fetch) if clock is None else KeySet(url, clock=clock, fetch=fetch)
        self._now = now

    def verify(self, token: str) -> Identity:
        """Return the identity that the token proves, or raise AccessDeniedError. May fetch keys, and so block for seconds."""
        kid = _key_id(token)
        key = self._keys.get(kid)
        if key is None:
            raise AccessDeniedError("unknown_key", "the token is signed with a key that the team does not have")
        return identify(
            _signed_claims(token, key), now=self._now(), issuer=self.issuer, audiences=self.audiences, leeway=LEEWAY_SECS
        )

    def may_block(self, token: str) -> bool:
        """Return whether `verify` would fetch keys for this token; a malformed one fetches nothing."""
        try:
            return self._keys.fetch_due(_key_id(token))
        except AccessDeniedError:
            return False

    def verify_request(self, headers: Mapping[str, str] | Iterable[tuple[str, str]]) -> Identity:
        """Verify the headers of a request: a mapping, or (name, value) pairs, as every web framework has them."""
        pairs = headers.items() if isinstance(headers, Mapping) else headers
        return self.verify(only_token([value for name, value in pairs if name.lower() == HEADER]))


def only_token(values: list[Text]) -> Text:
    """Return the one token of a request's header values; AccessDeniedError when there is none or more than one."""
    if len(values) != 1:
        reason, words = ("duplicate", "sent more than once") if values else ("missing", "missing")
        raise AccessDeniedError(reason, f"the header {HEADER} is {words}")
    return values[0]


def _team_name(team: str) -> str:
    if not (match := _TEAM.fullmatch(team)):
        raise UsageError(f"{team!r} is no Access team: expected the NAME of https://NAME.cloudflareaccess.com")
    return match[1].lower()


def _checked_audiences(aud: str | Iterable[str]) -> frozenset[str]:
    audiences = frozenset([aud] if isinstance(aud, str) else aud)
    if not audiences or not all(isinstance(tag, str) and tag and tag == tag.strip() for tag in audiences):
        raise UsageError(
            "Access verification needs the application's audience tag: expected a text that is not empty",
            hint="Zero Trust › Access controls › Applications, your application: Application Audience (AUD) Tag",
        )
    return audiences


def _key_id(token: str) -> str:
    if len(token) > MAX_TOKEN_BYTES:
        raise AccessDeniedError("too_long", f"the token has {len(token)} characters, expected at most {MAX_TOKEN_BYTES}")
    if not _SHAPE.fullmatch(token):
        raise AccessDeniedError("malformed", "the token is not three parts of base64url")
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise AccessDeniedError("malformed", "the token's header cannot be read") from None
    if header.get("alg") != "RS256":
        raise AccessDeniedError("algorithm", "the token is not signed with RS256")
    if _FORBIDDEN.intersection(header):
        raise AccessDeniedError("header", "the token's header has a key or rules of its own")
    kid = header.get("kid")
    if not isinstance(kid, str) or not 0 < len(kid) <= 256:
        raise AccessDeniedError("unknown_key", "the token names no key")
    return kid


def _signed_claims(token: str, key: Any) -> dict[str, Any]:
    try:
        claims = parse_json(_jws.decode(token, key, algorithms=["RS256"]))
    except jwt.InvalidSignatureError:
        raise AccessDeniedError("signature", "the token's signature is wrong") from None
    except (jwt.PyJWTError, ValueError):
        raise AccessDeniedError("malformed", "the token cannot be read") from None
    if not isinstance(claims, dict):
        raise AccessDeniedError("malformed", "the token holds no claims")
    return claims
