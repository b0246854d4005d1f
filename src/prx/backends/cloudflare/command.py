"""Build cloudflared's command line and its whole environment.

Theory of operation. `cloudflared tunnel [tunnel flags] run [run flags]` for a named tunnel, `cloudflared tunnel [tunnel
flags] --url URL` for a quick one. A tunnel flag after `run` ends in usage text and exit code 0, so each flag is placed here,
once. The environment is built from nothing: every flag of cloudflared has a variable (`TUNNEL_URL`, `TUNNEL_TOKEN`, …;
`TUNNEL_TOKEN` even beats `--token-file`), and a leaked `LISTEN_FDS` kills it. Observed with cloudflared 2026.8.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from prx.backends.base import LaunchContext
from prx.backends.cloudflare.version import Feature, Version, require_supported, understands
from prx.config.checks import BUILTIN
from prx.core.errors import PermanentError
from prx.core.launch import SECRET_PATH, Launch
from prx.install.programs import NAME

if TYPE_CHECKING:
    from prx.config.schema import TunnelSettings

INHERITED: Final = ("PATH", "TZ", "LANG", "LC_ALL", "SSL_CERT_FILE", "SSL_CERT_DIR", "GODEBUG", "PRX_ACCESS_CERTS_URL")
"""All that cloudflared gets of prx's own environment. No proxy variables: cloudflared never uses them towards the edge or the
quick-tunnel service, but would send its requests to a local service that is not on this machine through the proxy."""


def build_launch(settings: TunnelSettings, token: str, context: LaunchContext) -> Launch:
    """Return the command for one start. `token` is the canonical tunnel token, empty for a quick tunnel.

    PermanentError when the version in `context` is too old, for anything or for what the settings ask for.
    """
    version = require_supported(context.version)
    env = environment(context.inherited, str(context.home)) | _team(settings, context) | dict(context.needs)
    argv = [*context.program, "tunnel", *_tunnel_flags(settings, context, version)]
    origin = _origin_flags(settings)
    if not token:
        guests = _guest_flags(settings, version, context.version)
        return Launch((*argv, *_quick_flags(context), *guests, *origin), env, cwd=context.home, client=NAME)
    if understands(version, Feature.TOKEN_FILE):
        argv += ["run", "--token-file", SECRET_PATH, *origin]
        return Launch(tuple(argv), env, secret=token.encode(), cwd=context.home, client=NAME)
    return Launch((*argv, "run", *origin), {**env, "TUNNEL_TOKEN": token}, cwd=context.home, client=NAME)


def _team(settings: TunnelSettings, context: LaunchContext) -> dict[str, str]:
    """Return what leads a client to the keys of another Access than Cloudflare's own; nothing if Access is Cloudflare's.

    cloudflared knows the team's domain alone, and is led there by a proxy. The certificates that it trusts otherwise are then
    the site's, so this is for tunnels that Access guards.
    """
    site, found = context.site, dict[str, str]()
    if site.access_certs and "PRX_ACCESS_CERTS_URL" not in context.inherited:
        found["PRX_ACCESS_CERTS_URL"] = site.access_certs
    guarded = settings.access.allow or settings.access.service_tokens
    if site.team_proxy and site.ca_file is not None and guarded and settings.cloudflare.cloudflared_path != "builtin":
        found |= {"HTTPS_PROXY": site.team_proxy, "SSL_CERT_FILE": str(site.ca_file)}
    return found


def environment(inherited: Mapping[str, str], home: str) -> dict[str, str]:
    """Return the environment of an ordinary child; `home` is a private folder without a `.cloudflared` in it."""
    return {name: inherited[name] for name in INHERITED if name in inherited} | {"HOME": home}


_RETRIES: Final = 5  # the default


def doublings(settings: TunnelSettings) -> int:
    """Return how many times cloudflared may double its wait between two tries: never, unless asked for.

    Its own wait grows to five minutes, during which visitors get errors although the edge is back, and Cloudflare deletes a
    quick tunnel that is away for some minutes. A tunnel has four connections at most, so that a try of each every few seconds
    is no burden to the edge.
    """
    wanted = settings.cloudflare.retries
    return wanted if wanted != _RETRIES else 0


def _tunnel_flags(settings: TunnelSettings, context: LaunchContext, version: Version | None) -> list[str]:
    """Return the flags that stand before `run`."""
    cloudflare = settings.cloudflare
    flags = ["--no-autoupdate", "--config", str(context.config_file), "--metrics", f"127.0.0.1:{context.metrics_port}"]
    if understands(version, Feature.JSON_OUTPUT):
        flags += ["--output", "json"]
    if understands(version, Feature.NO_PRECHECKS):
        # `prx doctor` uses the pre-checks; at each start they would only repeat what prx watches, up to 10 s long
        flags.append("--no-prechecks")
    if understands(version, Feature.MANAGEMENT_DIAGNOSTICS):
        flags.append("--management-diagnostics=false")
    flags += ["--loglevel", cloudflare.log_level, "--protocol", context.protocol]
    flags += ["--edge-ip-version", cloudflare.edge_ip_version, "--retries", str(doublings(settings))]
    flags += ["--grace-period", f"{cloudflare.grace_period_secs:g}s"]
    return flags + _edge_flags(context)


def _edge_flags(context: LaunchContext) -> list[str]:
    """Return the flags that lead to another edge than Cloudflare's own."""
    addresses = context.site.edge_addrs
    if len(addresses) == 1:
        # with a single slot and HTTP/2, cloudflared dials a refusing edge thousands of times a second, without a pause
        addresses *= 2
    flags = [word for address in addresses for word in ("--edge", address)]
    return flags if context.site.ca_file is None else [*flags, "--cacert", str(context.site.ca_file)]


def _quick_flags(context: LaunchContext) -> list[str]:
    return ["--quick-service", context.site.quick_service] if context.site.quick_service else []


def _guest_flags(settings: TunnelSettings, version: Version | None, said: str) -> list[str]:
    """Return the flags that let only guests pass a quick tunnel; PermanentError if it could not be protected."""
    rules = settings.cloudflare.allowed_mail
    builtin = settings.cloudflare.cloudflared_path == BUILTIN  # it can, whatever release it stands in for
    if rules and not builtin and not understands(version, Feature.ALLOWED_MAIL):
        found = f"cloudflared {version}" if version else f"a cloudflared of unknown version ({said or 'it says none'})"
        raise PermanentError(
            f"{found} cannot protect a quick tunnel: allowed_mail needs {Feature.ALLOWED_MAIL.value} or later",
            hint="install a current cloudflared, set cloudflared_path to one, or drop allowed_mail: then everybody may visit",
        )
    return [word for rule in rules for word in ("--allowed-mail", rule)]


def _origin_flags(settings: TunnelSettings) -> list[str]:
    """Return the flags that name the local service; they may stand on both sides of `run`."""
    header = ["--http-host-header", settings.host_header] if settings.host_header else []
    return ["--url", settings.origin_url, *header, *(_trust_flags(settings) if settings.origin.scheme == "https" else [])]


def _trust_flags(settings: TunnelSettings) -> list[str]:
    """Return how the certificate of the local service is checked."""
    flags = [] if settings.origin_is_verified else ["--no-tls-verify"]
    flags += ["--origin-ca-pool", settings.origin_ca] if settings.origin_ca and settings.origin_is_verified else []
    return flags + (["--origin-server-name", settings.origin_server_name] if settings.origin_server_name else [])
