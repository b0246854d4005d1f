"""The Cloudflare backend: one tunnel's settings, and what cloudflared is given and reports about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from prx.backends.base import (
    Backend,
    Client,
    Counters,
    EdgeSite,
    Endpoints,
    LaunchContext,
    LogLine,
    Readiness,
    service_keys,
)
from prx.backends.cloudflare import classify, endpoints, exits, ingress
from prx.backends.cloudflare.command import build_launch, doublings
from prx.backends.cloudflare.token import GivenToken, read_token, secret_forms
from prx.config.checks import BUILTIN
from prx.core.errors import PermanentError
from prx.core.evidence import ChildExit, ExitCause
from prx.core.exit_status import ExitStatus
from prx.core.launch import Launch
from prx.install.programs import HINT, builtin_connector

if TYPE_CHECKING:
    from prx.config.schema import TunnelSettings


# Never `/healthcheck`: cloudflared answers 200 there even when it is frozen (observed with cloudflared 2026.8.2).
_QUICK = Endpoints(ready="/ready", url="/quicktunnel", counters="/metrics")
_NAMED = Endpoints(ready="/ready", rules="/config", counters="/metrics")
_DEBUG = "at log_level = debug cloudflared logs the headers of every visitor's request; prx redacts what it knows"


class CloudflareBackend(Backend, Client):
    """The `Backend` and `Client` for cloudflared and for what takes its place (the builtin connector, the scripted fake)."""

    name = "cloudflare"
    has_known_edge = True
    install_hint = f"{HINT}, or set cloudflared_path in the configuration"
    landmarks = classify.LANDMARKS

    def __init__(self, settings: TunnelSettings) -> None:
        cloudflare = settings.cloudflare
        self.settings = settings
        self.mode: str = cloudflare.mode
        self.secrets = secret_forms(cloudflare.token)
        self.warnings = (_DEBUG,) if cloudflare.log_level == "debug" else ()
        self.url_is_temporary = self.mode == "quick"
        self.has_replicas = self.mode == "named"
        self.endpoints = _QUICK if self.mode == "quick" else _NAMED
        self.stop_grace = cloudflare.grace_period_secs
        self.metrics_port = cloudflare.metrics_port
        self.replicas, self.replicas_min = cloudflare.replicas, cloudflare.replicas_min
        self.can_overlap = self.can_overlap_with(self)

    @property
    def client(self) -> Client:
        """The client is cloudflared."""
        return self

    @cached_property
    def _token(self) -> GivenToken:
        return read_token(self.settings.cloudflare.token)

    @property
    def tunnel_id(self) -> str:
        """The UUID in the token of a named tunnel; empty for a quick one. PermanentError when the token is malformed."""
        return self._token.tunnel_id if self.mode == "named" else ""

    def check(self) -> None:
        """Raise PermanentError when token and host name cannot work, before anything is spawned."""
        if self.mode != "named":
            return
        if not self.settings.cloudflare.hostname:
            raise PermanentError(
                'the named tunnel has no host name: mode = "named" needs hostname',
                hint='set hostname in [tunnel.cloudflare] to the public host name, such as "app.example.com"',
            )
        _ = self._token

    def can_overlap_with(self, old: Backend) -> bool:
        """Return whether a connector may come up beside one that `old` has started: each quick one has a URL of its own."""
        return isinstance(old, CloudflareBackend) and "quick" not in {self.mode, old.mode}

    def needs_new_child(self, old: Backend) -> bool:
        """Return whether anything differs that stands on the command line of cloudflared."""
        return not isinstance(old, CloudflareBackend) or _keys(old.settings) != _keys(self.settings)

    def protocols(self, site: EdgeSite, connector: int = 0) -> tuple[str, ...]:
        """Return the protocol that the user has chosen, or with `auto` all that the edge speaks.

        Of `replica_protocols` each connector has its own, in turn.
        """
        if several := self.settings.cloudflare.replica_protocols:
            return (several[connector % len(several)],)
        chosen = self.settings.cloudflare.protocol
        return site.protocols if chosen == "auto" else (chosen,)

    def lasting_name(self, hostname: str, site: EdgeSite) -> str:
        """Return the zone of the quick tunnels for a name in it, which is young; else the name itself."""
        return site.quick_zone if self.mode == "quick" else hostname

    def rate_limiter(self, site: EdgeSite) -> str:
        """Return the quick-tunnel service, for a quick tunnel."""
        return (site.quick_service or self.name) if self.mode == "quick" else ""

    def program(self) -> tuple[str, ...]:
        """Return `cloudflared_path`, or how the connector is run that comes with prx."""
        path = self.settings.cloudflare.cloudflared_path
        return builtin_connector() if path == BUILTIN else (path,)

    def launch(self, context: LaunchContext) -> Launch:
        """Return the command, its whole environment, and the token; PermanentError for a too old cloudflared."""
        return build_launch(self.settings, self._token.text if self.mode == "named" else "", context)

    def fixed_url(self, site: EdgeSite) -> str:
        """Return the public URL of a named tunnel; empty for a quick one."""
        return site.url(self.settings.cloudflare.hostname) if self.mode == "named" else ""

    def parse_line(self, stream: str, line: str) -> LogLine:
        """Understand one line of its log; never raise."""
        return classify.parse_line(stream, line)

    def announced_url(self, line: LogLine, site: EdgeSite) -> str:
        """Return the URL of the name in the box that announces a quick tunnel."""
        hostname = str(line.fields.get("hostname", ""))
        return site.url(hostname) if hostname else ""

    def longest_wait(self, rounds: int) -> float:
        """Return the longest wait of cloudflared's supervisor between two rounds of connecting: 10 s, doubled with each.

        Read in its source (2026.8.2): a random part of 10 s x 2^round, the round limited by `--retries`. If no round has ended
        as far as is known, the longest of all.
        """
        most = doublings(self.settings)
        return 10.0 * float(2 ** (min(rounds, most) if rounds else most))

    def classify_exit(self, end: ExitStatus, tail: Sequence[LogLine], *, age: float) -> ChildExit:
        """Return why it ended by itself.

        A port that the user chose is no port that prx lost in a race; a quick tunnel that the edge refuses has no token that
        could be wrong, and the next start gets another tunnel.
        """
        found = exits.classify_exit(end, tail, age=age)
        if found.cause is ExitCause.PORT_TAKEN and self.settings.cloudflare.metrics_port:
            return replace(found, cause=ExitCause.CONFIG)
        if found.cause is ExitCause.AUTH and self.mode == "quick":
            return replace(
                found, cause=ExitCause.CRASH, detail=f"the quick tunnel is no more: {exits.last_words(tail)}", hint=""
            )
        return found

    def parse_ready(self, status: int, body: bytes) -> Readiness | None:
        """Understand `/ready`."""
        return endpoints.parse_ready(status, body)

    def parse_url(self, status: int, body: bytes, site: EdgeSite) -> str:
        """Understand `/quicktunnel`."""
        hostname = endpoints.parse_quick_hostname(status, body)
        return site.url(hostname) if hostname else ""

    def parse_counters(self, body: bytes) -> Counters:
        """Understand `/metrics`."""
        return endpoints.parse_counters(body)

    def route_mismatch(self, status: int, body: bytes) -> str:
        """Compare `/config` with `local_addr` and `hostname`; nothing is pushed to a quick tunnel."""
        if self.mode != "named":
            return ""
        settings = self.settings
        wanted = ingress.Wanted(
            settings.cloudflare.hostname, settings.health_check_path, settings.origin_host, settings.origin_port
        )
        return ingress.route_mismatch(status, body, wanted)


def _keys(settings: TunnelSettings) -> tuple[object, ...]:
    """Return what a running child cannot take: how many connectors there are is no business of any of them."""
    return (replace(settings.cloudflare, replicas=1, replicas_min=1), *service_keys(settings))
