"""What must hold of a token's content, and the identity that it names. Pure; the signature is checked elsewhere.

The claims are those of Cloudflare's "Application token" page (developers.cloudflare.com, Cloudflare One, authorization cookie):
a person has `email`, `sub`, `nbf`; a service token has `common_name` (its client id), an empty `sub` and no `email`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from prx.core.errors import PrxError


class AccessDeniedError(PrxError):
    """The request did not come through Access; `reason` is a short word for logs, the message has no part of the token."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Identity:
    """Who came through Access: a person, by `email` and `subject`, or a service token, by `common_name` (its client id).

    `claims` is everything that the token says, read-only. Fields that the kind does not have are empty.
    """

    kind: Literal["person", "service"]
    email: str = ""
    subject: str = ""
    common_name: str = ""
    claims: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


def identify(claims: Mapping[str, Any], *, now: float, issuer: str, audiences: Collection[str], leeway: float) -> Identity:
    """Check issuer, audience and times of verified claims (seconds since 1970), and say whom they name.

    AccessDeniedError for the first thing that does not hold. `nbf` may be missing (service tokens have none); `exp` and `iat`
    may not.
    """
    if claims.get("iss") != issuer:
        raise AccessDeniedError("issuer", f"the token was not issued by {issuer}")
    if _audience(claims) not in audiences:
        raise AccessDeniedError("audience", "the token is for another application, or not for one alone")
    if _time(claims, "exp") + leeway <= now:
        raise AccessDeniedError("expired", "the token has expired")
    if _time(claims, "iat") - leeway > now:
        raise AccessDeniedError("issued_later", "the token was issued in the future; is this machine's clock right?")
    if "nbf" in claims and _time(claims, "nbf") - leeway > now:
        raise AccessDeniedError("not_yet", "the token is not valid yet; is this machine's clock right?")
    return _identity(claims)


def _audience(claims: Mapping[str, Any]) -> str | None:
    """Return the one audience; None when there is none or more than one: Access makes each token for one application."""
    found = claims.get("aud")
    listed = found if isinstance(found, list) else [found]
    only = listed[0] if len(listed) == 1 else None
    return only if isinstance(only, str) else None


def _time(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 2**53:  # also refuses NaN
        raise AccessDeniedError("malformed", f"the token's {name} is missing or not a number")
    return value


def _identity(claims: Mapping[str, Any]) -> Identity:
    def text(name: str) -> str:
        value = claims.get(name, "")
        return value if isinstance(value, str) else ""

    email, subject, common_name = text("email"), text("sub"), text("common_name")
    everything = MappingProxyType(dict(claims))
    if email:  # a person may carry a common_name too, of a client certificate
        return Identity("person", email, subject, common_name, everything)
    if common_name:
        return Identity("service", "", subject, common_name, everything)
    raise AccessDeniedError("nobody", "the token names neither a person nor a service")
