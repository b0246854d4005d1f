"""What Access holds, as plain documents by id, and the service tokens, whose secrets stay here."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import uuid4

from prx.lab.edge.api import errors
from prx.lab.edge.api.errors import ApiError
from prx.lab.edge.api.habits import Habits
from prx.lab.edge.api.times import maybe, rfc3339
from prx.lab.edge.api.tokens import new_value

TEAM: Final = "lab"


@dataclass
class ServiceToken:
    """A pair of id and secret for machines; times are seconds since 1970. `former`: the secret before, good until its time."""

    name: str
    duration: str
    created_at: float
    expires_at: float | None
    id: str = field(default_factory=lambda: str(uuid4()))
    client_id: str = field(default_factory=lambda: f"{uuid4().hex}.access")
    secret: str = field(default_factory=lambda: new_value("cfast_"), repr=False)
    former: tuple[str, float] | None = field(default=None, repr=False)
    version: int = 1
    enabled: bool = True
    updated_at: float = 0.0
    last_seen_at: float | None = None

    def fits(self, secret: str, now: float) -> bool:
        """Return whether it is good now, with this secret."""
        if not self.enabled or (self.expires_at is not None and now >= self.expires_at):
            return False
        if hmac.compare_digest(secret.encode(), self.secret.encode()):
            return True
        return (
            self.former is not None and now < self.former[1] and hmac.compare_digest(secret.encode(), self.former[0].encode())
        )

    def rotate(self, until: float | None) -> None:
        """Take a new secret; the one before is good until then, None: no longer."""
        self.former = None if until is None else (self.secret, until)
        self.secret = new_value("cfast_")
        self.version += 1

    def describe(self, *, secret: bool = False) -> dict[str, Any]:
        """Write it as the API does, the secret only if it is asked for."""
        shown = {"client_secret": self.secret} if secret else {}
        return {
            "id": self.id,
            "client_id": self.client_id,
            **shown,
            "name": self.name,
            "duration": self.duration,
            "enabled": self.enabled,
            "client_secret_version": self.version,
            "expires_at": maybe(self.expires_at),
            "created_at": rfc3339(self.created_at),
            "updated_at": rfc3339(self.updated_at or self.created_at),
            "last_seen_at": maybe(self.last_seen_at),
        }


class Store:
    """The objects of Access in one account; `wall` returns seconds since 1970."""

    def __init__(self, wall: Callable[[], float]) -> None:
        self.wall = wall
        self.apps: dict[str, dict[str, Any]] = {}
        self.policies: dict[str, dict[str, Any]] = {}  # `app` in one that belongs to an application alone
        self.service_tokens: dict[str, ServiceToken] = {}
        self.revoked_at: dict[str, float] = {}  # by application
        login = {"id": str(uuid4()), "type": "cloudflare", "name": "Cloudflare", "config": {}}
        self.identity_providers: dict[str, dict[str, Any]] = {str(login["id"]): login}
        self.organization: dict[str, Any] = {
            "name": "The lab's team",
            "auth_domain": f"{TEAM}.cloudflareaccess.com",
            "login_design": {},
            "session_duration": "24h",
            "auto_redirect_to_identity": False,
            "allow_authenticate_via_warp": False,
            "is_ui_read_only": False,
            "ui_read_only_toggle_reason": "",
            "strict_service_token_auth": False,
            "service_token_inactivity": {"enabled": False},
            "deny_unmatched_requests": False,
            "deny_unmatched_requests_exempted_zone_names": [],
            "warp_auth_non_browser_401": False,
            "mfa_config": {},
            "created_at": rfc3339(wall()),
            "updated_at": rfc3339(wall()),
        }

    def now(self) -> str:
        """Return the time as it is written."""
        return rfc3339(self.wall())

    def policies_of(self, app: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the policies of an application in the order in which they are asked."""
        links = sorted(app["links"], key=lambda link: int(link["precedence"]))
        return [
            {**self.policies[link["id"]], "precedence": link["precedence"]} for link in links if link["id"] in self.policies
        ]

    def service_token(self, client_id: str, secret: str) -> ServiceToken | None:
        """Find the service token that a pair of id and secret is good for, and note that it was seen."""
        for token in self.service_tokens.values():
            if token.client_id == client_id and token.fits(secret, self.wall()):
                token.last_seen_at = self.wall()
                return token
        return None

    def state(self) -> dict[str, Any]:
        """Return everything, without secrets and without what visitors leave behind."""
        tokens = [token.describe() for token in self.service_tokens.values()]
        return {
            "access_apps": _sorted(self.apps.values()),
            "access_policies": _sorted(self.policies.values()),
            "service_tokens": _sorted({key: value for key, value in one.items() if key != "last_seen_at"} for one in tokens),
            "identity_providers": _sorted(self.identity_providers.values()),
            "organization": self.organization,
        }


def unknown(what: str, habits: Habits) -> ApiError:
    """Refuse an id that is not known."""
    return ApiError(404, int(habits.access_unknown), f"access.api.error.unknown_{what}")


def refused(message: str, status: int = 400) -> ApiError:
    """Refuse what cannot be."""
    return ApiError(status, 12130, f"access.api.error.invalid_request: {message}")


def duration(text: str) -> float | None:
    """Read a length of time such as `24h` in seconds; None for `forever`."""
    if text == "forever":
        return None
    units = {"h": 3600.0, "m": 60.0, "s": 1.0}
    if not text[:-1].isdecimal() or text[-1] not in units:
        raise errors.invalid(f"duration: {text!r} is none; expected such as 24h or forever", 12130)
    return int(text[:-1]) * units[text[-1]]


def _sorted(documents: Any) -> list[dict[str, Any]]:
    return sorted(documents, key=lambda one: str(one["id"]))
