"""What the user wants of one host name, understood; and how it is written in Cloudflare's own words. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from prx.config.access_wishes import EVERYONE, split_service_token

MARK = "prx"
"""Begins the name or comment of everything that prx makes at Cloudflare."""


@dataclass(frozen=True, slots=True)
class TokenWish:
    """A service token: its short name, and the entry of the secrets manager that is to keep it (empty: it is printed)."""

    name: str
    kept_as: str = ""


@dataclass(frozen=True, slots=True)
class Wish:
    """A host name, the local service behind it, and who may visit.

    service: SCHEME://HOST:PORT. origin: further keys of `originRequest`. allow: rules as `prx.config.access_wishes` checks
    them. public_paths: patterns that stay open.
    """

    hostname: str
    service: str
    origin: Mapping[str, Any] = field(default_factory=dict)
    allow: tuple[str, ...] = ()
    public_paths: tuple[str, ...] = ()
    service_tokens: tuple[TokenWish, ...] = ()

    @property
    def is_protected(self) -> bool:
        """Return whether an Access application stands before the name."""
        return bool(self.allow or self.service_tokens)

    @property
    def wants_log_in(self) -> bool:
        """Return whether people are to log in."""
        return bool(self.allow)


def token_wish(text: str) -> TokenWish:
    """Read a checked `NAME` or `NAME=secret:ENTRY`."""
    return TokenWish(*split_service_token(text))


def tunnel_name(hostname: str, tail: str) -> str:
    """Return the name of the tunnel; `tail` (4 hex digits) makes it ours and the only one."""
    return f"{MARK}-{hostname}-{tail}"


def is_tunnel_name(name: str, hostname: str) -> bool:
    """Return whether a tunnel of that name is prx's own for this host name."""
    return re.fullmatch(rf"{MARK}-{re.escape(hostname)}-[0-9a-f]{{4}}", name) is not None


def hostname_of_tunnel(name: str) -> str:
    """Return the host name that prx made a tunnel of this name for; empty for another's."""
    match = re.fullmatch(rf"{MARK}-(.+)-[0-9a-f]{{4}}", name)
    return match[1] if match else ""


def app_name(hostname: str) -> str:
    """Return the name of the Access application."""
    return f"{MARK}: {hostname}"


def token_name(hostname: str, name: str) -> str:
    """Return the name that a service token has at Cloudflare."""
    return f"{MARK}: {hostname}: {name}"


def target(tunnel_id: str) -> str:
    """Return what the CNAME points to."""
    return f"{tunnel_id}.cfargotunnel.com"


def record_of(hostname: str, tunnel_id: str) -> dict[str, Any]:
    """Return the DNS record; its comment marks it as ours (tags need a paid plan)."""
    return {
        "type": "CNAME",
        "name": hostname,
        "content": target(tunnel_id),
        "proxied": True,
        "ttl": 1,
        "comment": f"{MARK} {tunnel_id}",
    }


def rule_of(allow: str) -> dict[str, Any]:
    """Return the Access rule of `you@example.com`, `@example.com` or `everyone`."""
    if allow == EVERYONE:
        return {"everyone": {}}
    if allow.startswith("@"):
        return {"email_domain": {"domain": allow[1:]}}
    return {"email": {"email": allow}}


def policies_of(wish: Wish, token_ids: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the policies inside the application; `token_ids`: the id at Cloudflare of each service token's short name."""
    policies: list[dict[str, Any]] = []
    if wish.service_tokens:
        include: list[dict[str, Any]] = [
            {"service_token": {"token_id": token_ids.get(item.name, "")}} for item in wish.service_tokens
        ]
        policies.append({"name": f"{MARK}: machines", "decision": "non_identity", "include": include})
    if wish.allow:
        policies.append({"name": f"{MARK}: people", "decision": "allow", "include": [rule_of(rule) for rule in wish.allow]})
    return [{**policy, "precedence": number} for number, policy in enumerate(policies, 1)]


def app_of(wish: Wish, token_ids: Mapping[str, str]) -> dict[str, Any]:
    """Return the Access application: one, with the open paths as overrides of its destination."""
    destination: dict[str, Any] = {"type": "public", "uri": wish.hostname}
    if wish.public_paths:
        destination["overrides"] = [{"behavior": "public", "path_pattern": path} for path in wish.public_paths]
    return {
        "type": "self_hosted",
        "name": app_name(wish.hostname),
        "domain": wish.hostname,
        "destinations": [destination],
        "session_duration": "24h",
        "app_launcher_visible": False,
        "policies": policies_of(wish, token_ids),
    }


def path_expression(pattern: str) -> str:
    """Return the regular expression (RE2, as `path` of an ingress rule takes it) of a path that stays open.

    A `*` stands for a part of one segment, as in Access's overrides; nothing below is implied.
    """
    return "^" + "[^/]*".join(re.escape(part).replace("\\-", "-").replace("\\/", "/") for part in pattern.split("*")) + "$"
