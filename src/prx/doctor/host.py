"""Checks of the machine: stray configuration, environment, proxies, network."""

from __future__ import annotations

from prx.core.shortage import NO_LOOPBACK
from prx.doctor.context import STRAY_FOLDERS, Context
from prx.doctor.finding import Finding, Mark
from prx.files.presence import is_file
from prx.runtime.host.network import loopback_up, network_up

_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
_ALSO_READ = {"NO_AUTOUPDATE", "STDIN_CONTROL"}  # cloudflared's variables without the usual beginning


async def check_stray_config(context: Context) -> list[Finding]:
    """Look for configuration files that cloudflared would take by itself: their ingress beats its command line."""
    files = (context.endpoint(f"{folder}/config.{end}") for folder in STRAY_FOLDERS for end in ("yml", "yaml"))
    found = [str(file) for file in files if is_file(file)]
    if not found:
        return [Finding("stray-config", Mark.OK, "cloudflared has no configuration file of its own here")]
    words = f"{', '.join(found)}: harmless, as prx starts cloudflared with a configuration of its own"
    return [Finding("stray-config", Mark.OK, words, "it matters only for a cloudflared that you start by hand")]


async def check_environment(context: Context) -> list[Finding]:
    """Look for variables that cloudflared would take as options."""
    found = sorted(name for name in context.environ if name.startswith("TUNNEL_") or name in _ALSO_READ)
    if not found:
        return [Finding("environment", Mark.OK, "no variable would change what cloudflared does")]
    words = f"{', '.join(found)}: set, and harmless, as prx hands on none of cloudflared's variables"
    remedy = "for the token of a named tunnel set CLOUDFLARE_TUNNEL_TOKEN" if "TUNNEL_TOKEN" in found else ""
    return [Finding("environment", Mark.OK, words, remedy)]


async def check_proxy(context: Context) -> list[Finding]:
    """Look for proxy variables: if only a proxy leads out, no tunnel can work."""
    found = [name for name in _PROXIES if context.environ.get(name)]
    if not found:
        return [Finding("proxy", Mark.OK, "no proxy is set")]
    words = f"{', '.join(found)}: set, but cloudflared cannot use an HTTP proxy, it connects to the edge directly"
    return [Finding("proxy", Mark.WARN, words, "if only a proxy leads out, have TCP and UDP port 7844 opened")]


async def check_network(context: Context) -> list[Finding]:
    """Look whether this machine has a way out at all, and loopback."""
    if loopback_up() is False:
        return [Finding("network", Mark.FAIL, NO_LOOPBACK.words, NO_LOOPBACK.hint)]
    if context.site.local:
        return [Finding("network", Mark.SKIP, "the local edge needs no network")]
    up = network_up()
    if up is None:
        return [Finding("network", Mark.SKIP, "the routes of this machine cannot be read, so nothing is known of its network")]
    if up:
        return [Finding("network", Mark.OK, "this machine has a route to the outside")]
    return [Finding("network", Mark.FAIL, "this machine has no route to the outside", "connect it to a network")]
