"""Checks of what Cloudflare's API says of a named tunnel, with the token in CLOUDFLARE_API_TOKEN."""

from __future__ import annotations

import asyncio

from prx.backends.cloudflare.ingress import Wanted, route_mismatch
from prx.cloudflare_api.credentials import VARIABLE
from prx.cloudflare_api.edge_view import EdgeView, arrival, read_edge_view, read_obstacles, words
from prx.config.schema import TunnelSettings
from prx.core.errors import PrxError
from prx.core.tunnel_token import TokenError, TunnelToken
from prx.doctor.context import Context
from prx.doctor.finding import Finding, Mark
from prx.secrets.sources import describe, split_reference


async def check_account(context: Context, tunnel: str, settings: TunnelSettings) -> list[Finding]:
    """Read the tunnel's connectors and rules at Cloudflare; nothing is said of a quick tunnel, which has neither."""
    if settings.backend != "cloudflare" or settings.cloudflare.mode != "named":
        return []
    try:
        token = TunnelToken.decode(settings.cloudflare.token.reveal())
    except TokenError:  # the check of the token says so
        return []
    given = context.environ.get(VARIABLE, "").strip()
    if split_reference(given)[0] == "cmd":
        left = f"Cloudflare's API was not asked: {describe(given)} was not run"
        return [Finding("account", Mark.SKIP, left, f"set {VARIABLE} to what it prints", tunnel)]
    try:
        seen = await asyncio.to_thread(read_edge_view, context.environ, token.account_tag, str(token.tunnel_id))
    except PrxError as error:
        return [Finding("account", Mark.SKIP, f"Cloudflare's API could not be asked: {error.message}", error.hint, tunnel)]
    zone = await _zone(context, tunnel, settings.cloudflare.hostname)
    return [*zone, _connectors(tunnel, seen), _arrival(tunnel, seen), _route(tunnel, settings, seen)]


async def _zone(context: Context, tunnel: str, hostname: str) -> list[Finding]:
    """Return whether the zone of the name serves it; nothing is said of a tunnel without a name."""
    if not hostname:
        return []
    try:
        found = await asyncio.to_thread(read_obstacles, context.environ, hostname)
    except PrxError as error:
        return [Finding("zone", Mark.SKIP, f"the zone of {hostname} could not be read: {error.message}", error.hint, tunnel)]
    return [Finding("zone", Mark.FAIL, text, tunnel=tunnel) for text in found] or [
        Finding("zone", Mark.OK, f"the zone of {hostname} serves it", tunnel=tunnel)
    ]


def _connectors(tunnel: str, seen: EdgeView) -> Finding:
    if not seen.connectors:
        return Finding("connectors", Mark.OK, "no connector runs on this tunnel's token", tunnel=tunnel)
    listed = "; ".join(map(words, seen.connectors))
    count = "one connector runs" if len(seen.connectors) == 1 else f"{len(seen.connectors)} connectors run"
    return Finding("connectors", Mark.OK, f"{count} on this tunnel's token: {listed}", tunnel=tunnel)


def _arrival(tunnel: str, seen: EdgeView) -> Finding:
    said = arrival(seen)
    if not said:
        return Finding(
            "ingress-version", Mark.SKIP, "there is no connector that could have got the newest rules", tunnel=tunnel
        )
    remedy = "wait a second; if it stays so, restart that connector" if seen.behind else ""
    return Finding("ingress-version", Mark.WARN if seen.behind else Mark.OK, said, remedy, tunnel)


def _route(tunnel: str, settings: TunnelSettings, seen: EdgeView) -> Finding:
    origin = settings.origin
    wanted = Wanted(settings.cloudflare.hostname, settings.health_check_path, origin.host, origin.port)
    if not seen.configuration.version or not seen.configuration.document:
        return Finding("route", Mark.SKIP, "Cloudflare holds no rules for this tunnel", tunnel=tunnel)
    if wrong := route_mismatch(200, seen.body(), wanted):
        remedy = f"prx setup {settings.cloudflare.hostname} leads it to local_addr"
        return Finding("route", Mark.FAIL, wrong, remedy, tunnel)
    return Finding("route", Mark.OK, f"{settings.cloudflare.hostname} leads to {wanted.local_addr}", tunnel=tunnel)
