"""What stands before a name because of an application: its policies, asked for each request.

Service Auth and Bypass come before all others, in their order; then Allow and Block, in theirs ("Access policies",
developers.cloudflare.com). Who is meant by none of them does not pass. Paths with an override are open to all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from prx.core.parsing import parse_json
from prx.lab.edge.api.access import rules
from prx.lab.edge.api.access.rules import Caller
from prx.lab.edge.api.access.store import ServiceToken, Store, duration
from prx.lab.edge.api.records import Records
from prx.lab.edge.public.access import CLIENT_ID, CLIENT_SECRET, AccessFront
from prx.lab.protocol.headers import Headers


@dataclass(frozen=True)
class ApplicationFront(AccessFront):
    """The front of one application."""

    app: Mapping[str, Any] = field(default_factory=dict)
    policies: Sequence[Mapping[str, Any]] = ()
    store: Store | None = field(default=None, repr=False)

    def opens(self, path: str, ip: str) -> bool:
        """Return whether a path is open to every visitor from this address."""
        open_paths = (
            str(override.get("path_pattern", ""))
            for place in self.app.get("destinations", ())
            for override in place.get("overrides") or ()
            if override.get("behavior") == "public"
        )
        if any(matches(pattern, path) for pattern in open_paths):
            return True
        return rules.first(self.policies, ("bypass", "non_identity"), Caller(ip)) != ""

    def service(self, headers: Headers, ip: str) -> str:
        """Return the client id of the service token that lets a request pass; '' if none does."""
        token = self._token(headers)
        if token is None:
            return ""
        decision = rules.first(self.policies, ("non_identity", "bypass"), Caller(ip, service_token=token.id))
        return token.client_id if decision else ""

    def keeps(self, client_id: str, ip: str) -> bool:
        """Return whether who has passed with this service token may go on."""
        assert self.store is not None
        found = [token for token in self.store.service_tokens.values() if token.client_id == client_id]
        return any(
            rules.first(self.policies, ("non_identity", "bypass"), Caller(ip, service_token=token.id)) for token in found
        )

    def welcomes(self, email: str, ip: str) -> bool:
        """Return whether a person who has logged in may pass."""
        return rules.first(self.policies, ("allow", "deny"), Caller(ip, email=email)) == "allow"

    @property
    def strict(self) -> bool:
        """Return whether service tokens are answered strictly."""
        return self.store is not None and self.store.organization["strict_service_token_auth"] is True

    def refuses(self, headers: Headers, *, logged_in: bool) -> int:
        """Return the status of a refusal."""
        names = [name for name, _ in headers]
        if self.strict and (CLIENT_ID in names or CLIENT_SECRET in names):
            return 401 if self._token(headers) is None else 403
        if logged_in:
            return 403
        if not any(policy["decision"] == "allow" for policy in self.policies):
            return 401 if self.app.get("service_auth_401_redirect") is True else 403
        return 401 if (b"x-requested-with", b"XMLHttpRequest") in headers else 302

    def since(self) -> float:
        """Return since when a login is good."""
        assert self.store is not None
        return self.store.revoked_at.get(str(self.app["id"]), 0.0)

    def _token(self, headers: Headers) -> ServiceToken | None:
        assert self.store is not None
        ids = [value.decode("latin-1") for name, value in headers if name == CLIENT_ID]
        secrets = [value.decode("latin-1") for name, value in headers if name == CLIENT_SECRET]
        one_header = self.app.get("read_service_tokens_from_header")
        if isinstance(one_header, str) and one_header and not ids:
            ids, secrets = _from_one_header(headers, one_header.lower().encode())
        if not ids or not secrets or (self.strict and (len(ids) > 1 or len(secrets) > 1)):
            return None
        return self.store.service_token(ids[-1], secrets[-1])


_NOBODY: Final = ({"decision": "deny", "include": [{"everyone": {}}]},)


class ApplicationFronts:
    """Finds the front of a request."""

    def __init__(self, store: Store, records: Records, team: str) -> None:
        self._store = store
        self._records = records
        self._team = team

    def find(self, hostname: str, path: str | None) -> ApplicationFront | None:
        """Find the front of a name, and of a path (None: of any); the application with the longest match has it."""
        best: tuple[tuple[int, int], dict[str, Any]] | None = None
        for app in self._store.apps.values():
            for domain in _domains(app):
                rank = _rank(domain, hostname, path)
                if rank is not None and (best is None or rank > best[0]):
                    best = (rank, app)
        if best is not None:
            return self._front(best[1], self._store.policies_of(best[1]))
        organization = self._store.organization
        exempted = self._records.zone in organization["deny_unmatched_requests_exempted_zone_names"]
        if organization["deny_unmatched_requests"] is True and self._records.covers(hostname) and not exempted:
            return self._front({"id": "", "aud": "0" * 64, "destinations": []}, _NOBODY)
        return None

    def names(self) -> list[str]:
        """Return the names that have an application."""
        return sorted({domain.partition("/")[0] for app in self._store.apps.values() for domain in _domains(app)})

    def _front(self, app: Mapping[str, Any], policies: Sequence[Mapping[str, Any]]) -> ApplicationFront:
        lasts = duration(str(app.get("session_duration", "24h"))) or 0.0
        return ApplicationFront(
            team=self._team,
            aud=str(app["aud"]),
            session_seconds=lasts,
            app=app,
            policies=policies,
            store=self._store,
        )


def _domains(app: Mapping[str, Any]) -> set[str]:
    """Return what an application stands before: names, possibly with a path."""
    places = [str(place.get("uri", "")) for place in app["destinations"] if place.get("type", "public") == "public"]
    return {domain.lower() for domain in (app["domain"], *places) if domain}


def _rank(domain: str, hostname: str, path: str | None) -> tuple[int, int] | None:
    """Return how closely a domain means a name and a path; None if it does not mean them."""
    host, slash, own_path = domain.partition("/")
    if host != hostname and not (host.startswith("*.") and hostname.endswith(host[1:])):
        return None
    if path is None or not slash or not own_path:
        return len(host), 0
    wanted = f"/{own_path.rstrip('/')}"
    plain = path.partition("?")[0]
    if wanted.endswith("*"):
        return (len(host), len(wanted)) if plain.startswith(wanted[:-1]) else None
    return (len(host), len(wanted)) if plain == wanted or plain.startswith(f"{wanted}/") else None


def matches(pattern: str, path: str) -> bool:
    """Return whether a path is one of an override's: `*` stands for what has no `/`, and nothing further below is meant."""
    expression = re.escape(pattern).replace(r"\*", "[^/]*")
    return re.fullmatch(expression, path.partition("?")[0]) is not None


def _from_one_header(headers: Headers, name: bytes) -> tuple[list[str], list[str]]:
    """Read both halves of a service token from one header, in which they stand as JSON."""
    for found, value in headers:
        if found == name:
            try:
                pair = {key.lower(): str(text) for key, text in parse_json(value).items()}
            except (ValueError, AttributeError):
                return [], []
            return [pair.get("cf-access-client-id", "")], [pair.get("cf-access-client-secret", "")]
    return [], []
