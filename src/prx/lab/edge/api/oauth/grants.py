"""What users have granted: codes, good once and for a minute, and the tokens that they are traded for."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from prx.lab.edge.api.oauth.clients import OFFLINE, SCOPES, OAuthClients
from prx.lab.edge.api.tokens import ApiTokens

_CODE_SECONDS: Final = 60.0
LIFETIME_SECONDS: Final = 3600.0


class OAuthError(Exception):
    """A request is refused (RFC 6749, 4.1.2.1 and 5.2)."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(error)
        self.error = error
        self.description = description


@dataclass(frozen=True)
class Grant:
    """What a user has granted to a client."""

    client_id: str
    scopes: tuple[str, ...]
    redirect_uri: str = ""
    challenge: str = ""
    until: float = 0.0


class Grants:
    """Trades codes and refresh tokens for tokens; `lifetime`: for how many seconds those are good."""

    def __init__(self, clients: OAuthClients, tokens: ApiTokens, wall: Callable[[], float]) -> None:
        self._clients = clients
        self._tokens = tokens
        self._wall = wall
        self._codes: dict[str, Grant] = {}
        self._refresh: dict[str, Grant] = {}
        self.lifetime = LIFETIME_SECONDS

    def code(self, query: Mapping[str, str], declined: frozenset[str]) -> str:
        """Grant what an authorization request asks for, except what the user declines, and return the code; OAuthError."""
        client = self._clients.by_id[query["client_id"]]
        if query.get("response_type") != "code":
            raise OAuthError("unsupported_response_type", "only code is supported")
        if query.get("code_challenge_method") != "S256" or not query.get("code_challenge"):
            raise OAuthError("invalid_request", "a public client must send a code_challenge with S256")
        asked = tuple(query.get("scope", "").split())
        allowed = {*client.scopes, *((OFFLINE,) if "refresh_token" in client.grant_types else ())}
        if unknown := set(asked) - allowed:
            raise OAuthError("invalid_scope", f"the client may not ask for {min(unknown)}")
        granted = tuple(scope for scope in asked if scope not in declined)
        code = secrets.token_urlsafe(32)
        until = self._wall() + _CODE_SECONDS
        self._codes[code] = Grant(client.id, granted, query["redirect_uri"], query["code_challenge"], until)
        return code

    def trade(self, form: Mapping[str, str]) -> dict[str, Any]:
        """Answer a request for tokens; OAuthError."""
        if form.get("client_id") not in self._clients.by_id:
            raise OAuthError("invalid_client", "no such client")
        match form.get("grant_type"):
            case "authorization_code":
                return self._issue(self._redeem(form))
            case "refresh_token":
                grant = self._refresh.pop(form.get("refresh_token", ""), None)
                if grant is None or grant.client_id != form["client_id"]:
                    raise OAuthError("invalid_grant", "the refresh token is not known, used or revoked")
                return self._issue(grant)
        raise OAuthError("unsupported_grant_type", "expected authorization_code or refresh_token")

    def revoke(self, token: str) -> None:
        """Revoke a token; what is not known does not matter (RFC 7009, 2.2)."""
        self._tokens.revoke(token)
        self._refresh.pop(token, None)

    def _redeem(self, form: Mapping[str, str]) -> Grant:
        grant = self._codes.pop(form.get("code", ""), None)  # good once, whatever comes of it
        if grant is None or self._wall() >= grant.until:
            raise OAuthError("invalid_grant", "the code is not known, used or expired")
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        proven = hmac.compare_digest(base64.urlsafe_b64encode(digest).rstrip(b"=").decode(), grant.challenge)
        if not proven or grant.client_id != form["client_id"] or grant.redirect_uri != form.get("redirect_uri"):
            raise OAuthError("invalid_grant", "the code was made for another verifier, client or redirect_uri")
        return grant

    def _issue(self, grant: Grant) -> dict[str, Any]:
        granted = frozenset[str]().union(*(SCOPES.get(scope, ()) for scope in grant.scopes))
        token = self._tokens.mint(granted, kind="oauth", seconds=self.lifetime)
        answer: dict[str, Any] = {
            "access_token": token.value,
            "token_type": "bearer",
            "expires_in": int(self.lifetime),
            "scope": " ".join(grant.scopes),
        }
        if OFFLINE in grant.scopes:
            answer["refresh_token"] = secrets.token_urlsafe(32)
            self._refresh[answer["refresh_token"]] = grant
        return answer
