"""Decide which local service answers a request: the ingress rules, how they are read and how they match.

A rule has a host name (exact, or `*.example.com` for everything below it; empty or `*` matches all), possibly a regular
expression that the path must contain, and a service. The first rule that matches wins; the last must match everything.
Rules come from the command line (one rule), from a configuration file, or from the edge. Semantics and error texts as
observed with cloudflared 2026.8.2.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from prx.core.durations import parse_duration
from prx.lab.connector.origin.access import AccessRule

NO_RULES: Final = (
    "No ingress rules were defined in provided config (if any) nor from the cli, "
    "cloudflared will return 503 for all incoming HTTP requests"
)
_CATCH_ALL: Final = frozenset({"", "*"})
_HTTP_SCHEMES: Final = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
_STREAM_PORTS: Final = {"ssh": 22, "rdp": 3389, "smb": 445, "tcp": 7864}


class IngressError(ValueError):
    """The rules cannot be used; the text is cloudflared's."""


@dataclass(frozen=True, slots=True)
class HttpService:
    """An origin that speaks HTTP over TCP."""

    url: str
    host: str
    port: int
    tls: bool = False

    def __str__(self) -> str:
        return self.url


@dataclass(frozen=True, slots=True)
class UnixService:
    """An origin that speaks HTTP over a Unix socket."""

    path: str
    tls: bool = False

    def __str__(self) -> str:
        return f"unix{'+tls' if self.tls else ''}:{self.path}"


@dataclass(frozen=True, slots=True)
class StatusService:
    """A status without a body for every request; `unconfigured` marks the rule used when there is no other."""

    code: int
    unconfigured: bool = False

    def __str__(self) -> str:
        return f"http_status:{self.code}"


@dataclass(frozen=True, slots=True)
class HelloService:
    """A small built-in page for every request."""

    def __str__(self) -> str:
        return "hello_world"


@dataclass(frozen=True, slots=True)
class StreamService:
    """An origin that speaks something else than HTTP over TCP; a `bastion` leads to the address that the visitor names."""

    text: str
    host: str = ""
    port: int | None = None
    bastion: bool = False

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class UnsupportedService:
    """A service that only cloudflared itself carries (those that speak SOCKS)."""

    name: str

    def __str__(self) -> str:
        return self.name


Service = HttpService | UnixService | StatusService | HelloService | StreamService | UnsupportedService


@dataclass(frozen=True, slots=True)
class OriginOptions:
    """How the origin is spoken to; times in seconds."""

    connect_timeout: float = 30
    tls_timeout: float = 10
    keep_alive_timeout: float = 90
    keep_alive_connections: int = 100
    host_header: str = ""
    server_name: str = ""
    match_sni_to_host: bool = False
    ca_pool: str = ""
    no_tls_verify: bool = False
    http2_origin: bool = False
    bastion: bool = False
    proxy_type: str = ""
    access: AccessRule = field(default_factory=AccessRule)


# Wire name → attribute, in the order in which `/config` lists them.
_OPTION_NAMES: Final = {
    "connectTimeout": "connect_timeout",
    "tlsTimeout": "tls_timeout",
    "keepAliveTimeout": "keep_alive_timeout",
    "keepAliveConnections": "keep_alive_connections",
    "httpHostHeader": "host_header",
    "originServerName": "server_name",
    "matchSNItoHost": "match_sni_to_host",
    "caPool": "ca_pool",
    "noTLSVerify": "no_tls_verify",
    "http2Origin": "http2_origin",
    "bastionMode": "bastion",
    "proxyType": "proxy_type",
}
# Known, checked by name, and without an effect here; what each would do stands in docs/reference/conformance.md. None of them
# guards anything: `ipRules` belong to services that speak SOCKS, which are refused.
_FIXED_OPTIONS: Final[dict[str, Any]] = {
    "tcpKeepAlive": 30,
    "noHappyEyeballs": False,
    "disableChunkedEncoding": False,
    "proxyAddress": "127.0.0.1",
    "proxyPort": 0,
    "ipRules": None,
}


@dataclass(frozen=True, slots=True)
class Rule:
    """A host name pattern and a path pattern, and the service that they lead to."""

    service: Service
    hostname: str = ""
    path: re.Pattern[str] | None = None
    options: OriginOptions = field(default_factory=OriginOptions)

    def matches(self, host: str, path: str) -> bool:
        """Return whether a request for this host name (without a port) and path falls under the rule."""
        names = (self.hostname, _punycode(self.hostname))
        return any(_host_matches(name, host) for name in names) and (self.path is None or self.path.search(path) is not None)


UNCONFIGURED: Final = (Rule(StatusService(503, unconfigured=True)),)


def match(rules: Sequence[Rule], authority: str, path: str) -> tuple[int, Rule]:
    """Return the first rule that matches, and its index; the last one when none does."""
    host = authority.rpartition(":")[0] if re.search(r":\d*$", authority) else authority
    for index, rule in enumerate(rules):
        if rule.matches(host, path):
            return index, rule
    return len(rules) - 1, rules[-1]


def parse_rules(config: Mapping[str, Any]) -> tuple[Rule, ...]:
    """Return the rules of a configuration object (`ingress`, `originRequest`); empty when it has none.

    Raises IngressError for a service, host name or path pattern that cannot be used.
    """
    defaults = parse_options(config.get("originRequest") or {}, OriginOptions())
    entries = config.get("ingress") or []
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise IngressError("ingress is not a list of rules")
    return tuple(_parse_rule(entry, index, len(entries), defaults) for index, entry in enumerate(entries))


def parse_options(entry: Mapping[str, Any], defaults: OriginOptions) -> OriginOptions:
    """Return the options of an `originRequest` object over the defaults; raise IngressError for what cannot be obeyed.

    cloudflared ignores a key that it does not know, so that a misspelt `access` leaves a service open. Here it is an error.
    """
    if not isinstance(entry, Mapping):
        raise IngressError(f"originRequest is {entry!r}, expected an object")
    if unknown := [name for name in entry if name not in _OPTION_ORDER]:
        close = get_close_matches(str(unknown[0]), _OPTION_ORDER, 1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise IngressError(f"originRequest: {unknown[0]!r} is not a setting that this connector knows{hint}")
    changes = {
        attribute: _option(name, attribute, entry[name])
        for name, attribute in _OPTION_NAMES.items()
        if entry.get(name) is not None
    }
    if changes.get("proxy_type") not in {None, "", "socks"}:
        raise IngressError(f"originRequest: proxyType is {changes['proxy_type']!r}, expected 'socks' or nothing")
    if entry.get("access") is not None:
        changes["access"] = parse_access(entry["access"])
    return replace(defaults, **changes)


def _option(name: str, attribute: str, value: object) -> Any:
    """Return a value of the type that the option has; durations are seconds, or as in a file `30s`."""
    default = getattr(OriginOptions(), attribute)
    if isinstance(default, float | int) and not isinstance(default, bool) and name in _DURATIONS:
        if isinstance(value, str):
            try:
                return parse_duration(value)
            except ValueError as error:
                raise IngressError(f"originRequest: {name} is not of the type of {default!r}: {error}") from None
        if isinstance(value, int | float) and not isinstance(value, bool):
            return value
    elif type(value) is type(default):
        return value
    raise IngressError(f"originRequest: {name} is {value!r}, which is not of the type of {default!r}")


def parse_access(entry: object) -> AccessRule:
    """Return an `access` object as a rule; raise IngressError for one that cannot be obeyed to the letter."""
    if not isinstance(entry, Mapping):
        raise IngressError(f"originRequest: access is {entry!r}, expected an object")
    if unknown := [name for name in entry if name not in {"required", "teamName", "audTag", "environment"}]:
        raise IngressError(f"originRequest: access: {unknown[0]!r} is not a setting that this connector knows")
    required, team = entry.get("required") or False, entry.get("teamName") or ""
    tags, environment = entry.get("audTag") or [], entry.get("environment") or ""
    if not isinstance(required, bool):
        raise IngressError(f"originRequest: access.required is {required!r}, expected true or false")
    if not isinstance(team, str) or not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise IngressError("originRequest: access needs a text as teamName and a list of texts as audTag")
    if environment not in {"", "fed", "fedramp"}:
        raise IngressError(f"originRequest: access.environment is {environment!r}, expected 'fed' or nothing")
    if required and tags and not team:
        raise IngressError("access.TeamName cannot be blank when access.audTags are present")
    return AccessRule(required, team, tuple(tags), environment)


def parse_service(text: str) -> Service:
    """Return the service that a rule's text names; raise IngressError if there is none."""
    if text.startswith("unix:"):
        return UnixService(text.removeprefix("unix:"))
    if text.startswith("unix+tls:"):
        return UnixService(text.removeprefix("unix+tls:"), tls=True)
    if text.startswith("http_status:"):
        return StatusService(_status_code(text.removeprefix("http_status:")))
    if text in {"hello_world", "hello-world"}:
        return HelloService()
    if text == "bastion":
        return StreamService(text, bastion=True)
    if text == "socks-proxy":
        return UnsupportedService(text)
    parts = _split(text)
    if parts is None or not parts.scheme or not parts.hostname:
        raise IngressError(f"{text} is an invalid address, please make sure it has a scheme and a hostname")
    if parts.path:
        raise IngressError(
            f"{text} is an invalid address, ingress rules don't support proxying to a different path on the origin "
            "service. The path will be the same as the eyeball request's path"
        )
    return _url_service(parts)


def parse_url_flag(text: str) -> Service:
    """Return the service that `--url` names; the scheme may be missing (http), a path is dropped."""
    parts = _split(text if "://" in text else f"http://{text}")
    if parts is None or not parts.hostname:
        raise IngressError(f"URL {text} has invalid format")
    if parts.scheme not in _HTTP_SCHEMES and parts.scheme not in _STREAM_PORTS:
        raise IngressError(f"Currently Cloudflare Tunnel does not support {parts.scheme} protocol.")
    return _url_service(parts._replace(path="", query="", fragment=""))


def options_to_json(options: OriginOptions) -> dict[str, Any]:
    """Return options the way `/config` shows them."""
    used = {name: getattr(options, attribute) for name, attribute in _OPTION_NAMES.items()}
    used["access"] = _access_to_json(options.access)
    return {name: used.get(name, _FIXED_OPTIONS.get(name)) for name in _OPTION_ORDER}


def _access_to_json(rule: AccessRule) -> dict[str, Any]:
    required = {"required": True} if rule.required else {}
    environment = {"environment": rule.environment} if rule.environment else {}
    return {**required, "teamName": rule.team, "audTag": list(rule.audiences) or None, **environment}


_DURATIONS: Final = frozenset({"connectTimeout", "tlsTimeout", "keepAliveTimeout"})
_OPTION_ORDER: Final = (
    "connectTimeout", "tlsTimeout", "tcpKeepAlive", "noHappyEyeballs", "keepAliveTimeout", "keepAliveConnections",
    "httpHostHeader", "originServerName", "matchSNItoHost", "caPool", "noTLSVerify", "disableChunkedEncoding",
    "bastionMode", "proxyAddress", "proxyPort", "proxyType", "ipRules", "http2Origin", "access",
)  # fmt: skip


def _parse_rule(entry: Mapping[str, Any], index: int, total: int, defaults: OriginOptions) -> Rule:
    options = parse_options(entry.get("originRequest") or {}, defaults)
    service = parse_service("bastion" if options.bastion else str(entry.get("service") or ""))
    if isinstance(service, StreamService) and options.proxy_type == "socks":
        service = UnsupportedService(f"{service} with proxyType socks")
    hostname, pattern = str(entry.get("hostname") or ""), str(entry.get("path") or "")
    _check_hostname(hostname, pattern, index, total)
    try:
        path = re.compile(pattern) if pattern else None
    except re.error as error:
        raise IngressError(f"Rule #{index + 1} has an invalid regex: {error}") from None
    return Rule(service, hostname, path, options)


def _check_hostname(hostname: str, pattern: str, index: int, total: int) -> None:
    if ":" in hostname:
        raise IngressError("Hostname cannot contain a port")
    if hostname.rfind("*") > 0:
        raise IngressError(
            'Hostname patterns can have at most one wildcard character ("*") and it can only be used for subdomains, '
            'e.g. "*.example.com"'
        )
    catches_all = hostname in _CATCH_ALL and not pattern
    if index == total - 1 and not catches_all:
        raise IngressError("The last ingress rule must match all URLs (i.e. it should not have a hostname or path filter)")
    if index < total - 1 and catches_all:
        raise IngressError(
            f"Rule #{index + 1} is matching the hostname '{hostname}', but this will match every hostname, "
            "meaning the rules which follow it will never be triggered."
        )


def _host_matches(pattern: str, host: str) -> bool:
    if pattern in _CATCH_ALL or pattern == host:
        return True
    return pattern.startswith("*.") and host.endswith(pattern[1:])


def _punycode(hostname: str) -> str:
    """Return the form in which the name travels; the name itself if it has none."""
    if hostname.isascii():
        return hostname
    try:
        return hostname.encode("idna").decode("ascii")
    except UnicodeError:
        return hostname


def _status_code(text: str) -> int:
    if not re.fullmatch(r"-?\d+", text):
        raise IngressError(f'invalid HTTP status code: strconv.Atoi: parsing "{text}": invalid syntax')
    code = int(text)
    if not 100 <= code <= 999:
        raise IngressError(f"invalid HTTP status code: {code}")
    return code


def _split(text: str) -> SplitResult | None:
    """Return the parts of a URL, or None if it is not one or its port is no port number."""
    try:
        parts = urlsplit(text)
        _ = parts.port  # raises if it is not a number from 0 to 65535
    except ValueError:
        return None
    return parts


def _url_service(parts: SplitResult) -> Service:
    base = _HTTP_SCHEMES.get(parts.scheme)
    assert parts.hostname is not None
    if base is None:
        port = parts.port or _STREAM_PORTS.get(parts.scheme)
        where = parts.netloc if parts.port or port is None else f"{parts.netloc.rstrip(':')}:{port}"
        return StreamService(f"{parts.scheme}://{where}", parts.hostname, port)
    tls = base == "https"
    return HttpService(parts.geturl(), parts.hostname, parts.port or (443 if tls else 80), tls=tls)
