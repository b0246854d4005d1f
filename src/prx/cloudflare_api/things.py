"""What there is at Cloudflare, as far as prx reads it: frozen data from the API's answers, tolerant of what is missing.

Shapes: developers.cloudflare.com/api (tunnels, dns records, access), as of 2026-11. A tunnel's answers hold no `connections`
since 2026-10-05: they have a call of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from prx.config.hostname import to_ascii

Document = Mapping[str, Any]


def _text(document: Document, key: str) -> str:
    value = document.get(key)
    return value if isinstance(value, str) else ""


def dns_name(text: str) -> str:
    """Return a host name, or one with a path behind it, as DNS knows it: an answer may have letters beyond ASCII."""
    name, slash, path = text.partition("/")
    try:
        return to_ascii(name).lower() + slash + path
    except ValueError:  # what DNS cannot hold is no name of ours
        return text


@dataclass(frozen=True, slots=True)
class Zone:
    """A domain of the account; `name` is empty if the token may not read zones (cert.pem)."""

    id: str
    name: str
    account_id: str
    status: str = "active"
    paused: bool = False
    kind: str = "full"
    name_servers: tuple[str, ...] = ()

    @classmethod
    def read(cls, document: Document) -> Zone:
        """Read an element of `GET /zones`."""
        account = document.get("account") or {}
        return cls(
            _text(document, "id"),
            dns_name(_text(document, "name")),
            _text(account, "id"),
            _text(document, "status") or "active",
            document.get("paused") is True,
            _text(document, "type") or "full",
            tuple(map(str, document.get("name_servers") or ())),
        )


@dataclass(frozen=True, slots=True)
class Tunnel:
    """A tunnel that lives; `local`: its configuration is a file of its connector, not Cloudflare's."""

    id: str
    name: str
    local: bool = False
    status: str = field(default="", compare=False)  # changes by itself
    created_at: str = ""

    @classmethod
    def read(cls, document: Document) -> Tunnel:
        """Read a tunnel object."""
        local = document.get("config_src") == "local" or document.get("remote_config") is False
        return cls(
            _text(document, "id"),
            _text(document, "name"),
            local,
            _text(document, "status"),
            _text(document, "created_at"),
        )


@dataclass(frozen=True, slots=True)
class Configuration:
    """What Cloudflare gives to the connectors of a tunnel: version, and the document with `ingress`."""

    version: int
    document: Document
    local: bool = False

    @classmethod
    def read(cls, document: Document) -> Configuration:
        """Read the answer of `…/configurations`."""
        version, config = document.get("version"), document.get("config")
        return cls(
            version if isinstance(version, int) else 0,
            config if isinstance(config, dict) else {},
            document.get("source") == "local",
        )


@dataclass(frozen=True, slots=True)
class Record:
    """A DNS record; `document` is the whole of it, for giving it back. shadowed: a delegation to other servers hides it."""

    id: str
    type: str
    name: str
    content: str
    proxied: bool
    comment: str
    modified_on: str
    document: Document = field(repr=False)
    shadowed: bool = field(default=False, compare=False)

    @classmethod
    def read(cls, document: Document) -> Record:
        """Read a record."""
        meta = document.get("meta")
        return cls(
            _text(document, "id"),
            _text(document, "type"),
            dns_name(_text(document, "name")),
            _text(document, "content").lower(),
            document.get("proxied") is True,
            _text(document, "comment"),
            _text(document, "modified_on"),
            dict(document),
            isinstance(meta, dict) and bool(meta.get("shadowed_by")),
        )

    def __str__(self) -> str:
        marks = [f"comment {self.comment!r}"] if self.comment else []
        marks += [f"changed {self.modified_on[:10]}"] if self.modified_on else []
        return f"{self.type} {self.name} → {self.content}" + (f" ({', '.join(marks)})" if marks else "")


@dataclass(frozen=True, slots=True)
class Application:
    """An Access application; `aud` is its audience tag."""

    id: str
    name: str
    aud: str
    hosts: tuple[str, ...]
    document: Document = field(repr=False)

    @classmethod
    def read(cls, document: Document) -> Application:
        """Read an application."""
        uris = [_text(item, "uri") for item in document.get("destinations") or () if isinstance(item, dict)]
        hosts = dict.fromkeys(dns_name(uri.lower()) for uri in (_text(document, "domain"), *uris) if uri)
        return cls(_text(document, "id"), _text(document, "name"), _text(document, "aud"), tuple(hosts), dict(document))

    def guards(self, hostname: str) -> bool:
        """Return whether it stands before this name, or before a part of it; a wildcard is another, less specific one."""
        return any(host == hostname or host.startswith(f"{hostname}/") for host in self.hosts)


@dataclass(frozen=True, slots=True)
class Team:
    """The Zero Trust organization: the name in `https://NAME.cloudflareaccess.com`, and what it refuses by default."""

    name: str
    strict: bool = False
    denies_unmatched: bool = False

    @classmethod
    def read(cls, document: Document) -> Team:
        """Read `GET …/access/organizations`."""
        domain = _text(document, "auth_domain")
        return cls(
            domain.removesuffix(".cloudflareaccess.com"),
            document.get("strict_service_token_auth") is True,
            document.get("deny_unmatched_requests") is True,
        )


@dataclass(frozen=True, slots=True)
class Provider:
    """A way to log in."""

    id: str
    type: str
    name: str

    @classmethod
    def read(cls, document: Document) -> Provider:
        """Read an identity provider."""
        return cls(_text(document, "id"), _text(document, "type"), _text(document, "name"))


@dataclass(frozen=True, slots=True)
class ServiceToken:
    """What a machine passes Access with; its secret was shown when it was made, and never since."""

    id: str
    name: str
    client_id: str
    expires_at: str = ""

    @classmethod
    def read(cls, document: Document) -> ServiceToken:
        """Read a service token, without the secret that a create or a rotation shows."""
        return cls(_text(document, "id"), _text(document, "name"), _text(document, "client_id"), _text(document, "expires_at"))

    def ends_before(self, moment: float) -> bool:
        """Return whether it is known to end before a moment, in seconds since 1970."""
        try:
            return datetime.fromisoformat(self.expires_at).timestamp() < moment
        except ValueError:
            return False


@dataclass(frozen=True, slots=True)
class Connector:
    """A connector that the edge has connections of: which one, where it is, what it runs."""

    id: str
    version: str
    arch: str
    config_version: int | None
    connections: int
    addresses: tuple[str, ...]
    locations: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the public form."""
        return {
            "id": self.id,
            "version": self.version,
            "addresses": list(self.addresses),
            "connections": self.connections,
            "config_version": self.config_version,
        }

    @classmethod
    def read(cls, document: Document) -> Connector:
        """Read an element of `…/connections`; what is only remembered (`is_pending_reconnect`) does not count."""
        live = [
            item
            for item in document.get("conns") or ()
            if isinstance(item, dict) and item.get("is_pending_reconnect") is not True
        ]
        version = document.get("config_version")
        return cls(
            _text(document, "id"),
            _text(document, "version") or next((_text(item, "client_version") for item in live), ""),
            _text(document, "arch"),
            version if isinstance(version, int) else None,
            len(live),
            tuple(dict.fromkeys(_text(item, "origin_ip") for item in live if item.get("origin_ip"))),
            tuple(dict.fromkeys(_text(item, "colo_name") for item in live if item.get("colo_name"))),
        )
