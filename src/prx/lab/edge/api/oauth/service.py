"""The pages of the sign-in and the token endpoint: `/oauth2/…`, beside /client/v4.

A browser is asked whether it agrees; whatever else asks for `/oauth2/auth` is sent on at once, as if a person had agreed.
`decision=deny` refuses, `decline=dns.write` (scopes, with spaces) grants the rest.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

from prx.lab.edge.api.oauth.clients import OFFLINE, SCOPES, OAuthClient, OAuthClients
from prx.lab.edge.api.oauth.grants import Grants, OAuthError
from prx.lab.edge.api.tokens import ApiTokens
from prx.lab.edge.services.endpoint import Answer, Request

_HTML: Final = "text/html; charset=utf-8"
_USER: Final = {"sub": "3ab0" * 8, "email": "you@example.com"}


class OAuthService:
    """Answers what is below `/oauth2/`, and discovery; `base` is the URL that it is reached by, once the lab listens."""

    def __init__(self, clients: OAuthClients, grants: Grants, tokens: ApiTokens) -> None:
        self._clients = clients
        self._grants = grants
        self._tokens = tokens
        self.base = ""

    def answer(self, request: Request) -> Answer | None:
        """Answer a request; None if it is for no path of these."""
        match request.method, request.path:
            case "GET", "/oauth2/auth":
                return self._authorize(request)
            case "POST", "/oauth2/token":
                return self._token(_form(request))
            case "POST", "/oauth2/revoke":
                self._grants.revoke(_form(request).get("token", ""))
                return Answer(200, b"")
            case "GET", "/oauth2/userinfo":
                return self._user(request)
            case "GET", "/.well-known/openid-configuration":
                return Answer.of(self._discovery())
            case "GET", "/.well-known/jwks.json":
                return Answer.of({"keys": []})
        return None

    def _authorize(self, request: Request) -> Answer:
        query = request.query
        client = self._clients.by_id.get(query.get("client_id", ""))
        if client is None:
            return _page(400, "There is no such client.")
        if query.get("redirect_uri") not in client.redirect_uris:
            return _page(400, "redirect_uri is not one that the client has registered.")
        if "text/html" in request.headers.get("accept", "") and "decision" not in query:
            return _ask(client, query)
        try:
            outcome = {"code": self._decide(query)}
        except OAuthError as error:
            outcome = {"error": error.error, "error_description": error.description}
        state = {"state": query["state"]} if "state" in query else {}
        return Answer(302, b"", _HTML, (("Location", f"{query['redirect_uri']}?{urlencode({**outcome, **state})}"),))

    def _decide(self, query: Mapping[str, str]) -> str:
        """Do what the person decides, and return a code; OAuthError."""
        if query.get("decision") == "deny":
            raise OAuthError("access_denied", "the user has declined")
        return self._grants.code(query, frozenset(query.get("decline", "").split()))

    def _token(self, form: Mapping[str, str]) -> Answer:
        try:
            return Answer.of(self._grants.trade(form))
        except OAuthError as error:
            status = 401 if error.error == "invalid_client" else 400
            return Answer.of({"error": error.error, "error_description": error.description}, status)

    def _user(self, request: Request) -> Answer:
        token = self._tokens.find(request.headers.get("authorization", "").removeprefix("Bearer "))
        if token is None or token.kind != "oauth" or token.status != "active":
            return Answer.of({"error": "invalid_token"}, 401)
        return Answer.of(_USER)

    def _discovery(self) -> dict[str, Any]:
        places = {"authorization": "auth", "token": "token", "revocation": "revoke", "userinfo": "userinfo"}
        return {
            "issuer": self.base,
            **{f"{name}_endpoint": f"{self.base}/oauth2/{path}" for name, path in places.items()},
            "jwks_uri": f"{self.base}/.well-known/jwks.json",
            "response_types_supported": ["code"],
            "grant_types_supported": ["authorization_code", "refresh_token"],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": ["none"],
            "scopes_supported": [*SCOPES, OFFLINE],
        }


def _form(request: Request) -> dict[str, str]:
    if "x-www-form-urlencoded" not in request.headers.get("content-type", ""):
        return {}
    return dict(parse_qsl(request.body.decode("utf-8", "replace")))


def _page(status: int, words: str) -> Answer:
    return Answer(status, f"<!DOCTYPE html><title>Sign in</title><p>{html.escape(words)}".encode(), _HTML)


def _ask(client: OAuthClient, query: Mapping[str, str]) -> Answer:
    """Ask a person; plain links, for a form would have an Origin, which this endpoint refuses."""
    scopes = "".join(f"<li>{html.escape(scope)}" for scope in query.get("scope", "").split()) or "<li>nothing at all"
    links = "".join(
        f'<p><a href="/oauth2/auth?{html.escape(urlencode({**query, "decision": decision}))}">{decision.capitalize()}</a>'
        for decision in ("allow", "deny")
    )
    words = f"<h1>{html.escape(client.name)} asks for</h1><ul>{scopes}</ul>{links}"
    return Answer(200, f"<!DOCTYPE html><title>Sign in (lab)</title>{words}".encode(), _HTML)
