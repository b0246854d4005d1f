"""How a call of Cloudflare's API can fail: one class for each way in which a caller acts differently.

    ApiError                  1   refused for another reason; status, code and words are Cloudflare's own
    ├── UnreachableError      1   no answer after all tries, and nothing can have changed
    ├── LostAnswerError       1   it is not known whether the call took effect: look before you ask again
    ├── RateLimitedError      1   429 again after the wait that was asked for
    ├── GoneError             1   there is no such thing (any more)
    ├── TakenError            1   something of that name is there already
    ├── InUseError            1   it cannot go while something else uses it
    ├── TokenRefusedError     3   the API token is unknown, dead or malformed
    ├── MissingRightError     3   the API token may not do this; `right` says what is missing
    └── ZeroTrustOffError     3   the account has no Zero Trust organization

There is no official list of codes; the pairs below are quoted by several public projects from real answers. Both status and
code decide, then the text; what is unknown is shown as it came.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from prx.cloudflare_api.rights import ALL, Right, how_to_get
from prx.core.errors import PrxError
from prx.logs.text import printable

_DEAD_TOKEN: Final = frozenset({1000, 6003, 6111})
_FORBIDDEN: Final = frozenset({9103, 9106, 9107, 9109, 10000})
_GONE: Final = frozenset({1003, 81044})
_TAKEN: Final = frozenset({1013, 81053, 81054, 81056, 81057, 81058, 12136})
_ACCESS_REFUSES: Final = 12130  # access.api.error.invalid_request: … for whatever it does not like
_OFF: Final = 9999
_NO_LIMIT_CODE: Final = 971


@dataclass(frozen=True, slots=True)
class Refusal:
    """What an answer says: HTTP status, Cloudflare's first code (0: none) and its words."""

    status: int
    code: int
    text: str

    def __str__(self) -> str:
        number = f", code {self.code}" if self.code else ""
        return f"{printable(self.text) or 'no reason given'} (HTTP {self.status}{number})"


class ApiError(PrxError):
    """Cloudflare refused `what` (words for the call); `refusal` is None if there was no answer."""

    def __init__(self, what: str, refusal: Refusal | None, *, reason: str = "", hint: str = "") -> None:
        super().__init__(f"{what}: {reason or refusal}", hint=hint)
        self.what = what
        self.refusal = refusal


class UnreachableError(ApiError):
    """No answer came, and the call changes nothing."""


class LostAnswerError(ApiError):
    """The call may have taken effect, or not."""


class RateLimitedError(ApiError):
    """Too many calls."""


class GoneError(ApiError):
    """There is no such thing."""


class TakenError(ApiError):
    """Something is there already."""


class InUseError(ApiError):
    """Something else still uses it."""


class TokenRefusedError(ApiError):
    """The token itself is of no use."""

    exit_code = 3


class MissingRightError(ApiError):
    """The token lacks a permission, or it does not cover this account or zone."""

    exit_code = 3

    def __init__(self, what: str, refusal: Refusal | None, right: Right) -> None:
        reason = f"the API token lacks the permission {right.title}, or does not cover this account or zone"
        super().__init__(what, refusal, reason=reason, hint=f"edit the token, or make {how_to_get((*ALL, right))}")
        self.right = right


class ZeroTrustOffError(ApiError):
    """Access cannot be used in this account yet."""

    exit_code = 3

    def __init__(self, what: str, refusal: Refusal | None) -> None:
        super().__init__(
            what,
            refusal,
            reason="Zero Trust is not switched on in this account",
            hint="open https://one.dash.cloudflare.com once, choose a team name and the Free plan, then try again",
        )


def refused(what: str, refusal: Refusal, right: Right) -> ApiError:
    """Return the error that an answer stands for."""
    text = refusal.text.lower()
    if refusal.code == _OFF or "not_enabled" in text:
        return ZeroTrustOffError(what, refusal)
    if refusal.status == 429 or refusal.code == _NO_LIMIT_CODE:
        return RateLimitedError(what, refusal, reason="Cloudflare allows no more calls for now (HTTP 429)")
    if refusal.code in _DEAD_TOKEN or (refusal.code == 9109 and "access token" in text):
        return TokenRefusedError(
            what, refusal, reason="Cloudflare does not know this API token, or it is malformed or expired", hint=how_to_get()
        )
    if refusal.status in {401, 403} or (refusal.code in _FORBIDDEN and "identifier" not in text):
        return MissingRightError(what, refusal, right)
    return _about_a_thing(what, refusal, text)


def _about_a_thing(what: str, refusal: Refusal, text: str) -> ApiError:
    if refusal.code in _TAKEN or refusal.status == 409 or "already exists" in text or "already_exists" in text:
        return TakenError(what, refusal)
    if refusal.code == 1022 or (refusal.code == _ACCESS_REFUSES and "use" in text):
        return InUseError(what, refusal, hint=_IN_USE if refusal.code == 1022 else "")
    if refusal.status == 404 and refusal.code not in {7000, 7003}:  # these say that an id has a wrong form
        return GoneError(what, refusal)
    if refusal.code in _GONE:
        return GoneError(what, refusal)
    return ApiError(what, refusal)


_IN_USE: Final = "end what runs the tunnel (`prx tunnels` shows its connectors), then run the same command again"
