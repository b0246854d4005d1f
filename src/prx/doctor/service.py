"""Checks of a tunnel's two ends: the local service, and the public URL if it is known beforehand."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from prx.backends import create
from prx.config.schema import TunnelSettings
from prx.core.evidence import Dns, DnsState, Origin, Public, Unasked
from prx.doctor.context import Context
from prx.doctor.finding import Finding, Mark
from prx.doctor.names import check_local_dns
from prx.runtime.probes.access import probe_headers, service_token
from prx.runtime.probes.connect import is_address
from prx.runtime.probes.origin import check_origin
from prx.runtime.probes.public import probe_public
from prx.secrets.sources import is_reference

_NO_CONNECTOR = 1033
_GATE_STATUSES: Final = frozenset({401, 403, 429})  # `prx.traffic.gate`
_STRANGE_NAME = "prx-doctor.trycloudflare.com"  # stands for the name of a quick tunnel, which is not known beforehand


async def check_service(tunnel: str, settings: TunnelSettings) -> list[Finding]:
    """Ask the local service."""
    seen = await check_origin(settings)
    findings = [_origin_finding(tunnel, settings, seen)]
    if seen.status is None:
        return findings
    return [*findings, _event_stream_finding(tunnel, settings, seen), await _host_finding(tunnel, settings)]


def _origin_finding(tunnel: str, settings: TunnelSettings, seen: Origin) -> Finding:
    if seen.unasked is Unasked.FOR_NOW:
        return Finding("service", Mark.SKIP, f"not checked: {seen.error}", seen.hint, tunnel)
    if seen.status is None:
        remedy = seen.hint or f"start the service on {seen.address}, or set local_addr"
        return Finding("service", Mark.FAIL, seen.error, remedy, tunnel)
    if seen.error:
        return Finding("service", Mark.FAIL, seen.error, "set local_addr to that", tunnel)
    words = f"{seen.address}{settings.health_check_path} answers {seen.status}"
    if settings.expected_status.allows(seen.status):
        return Finding("service", Mark.OK, words, tunnel=tunnel)
    words += f"; {settings.expected_status.text} is expected"
    return Finding("service", Mark.WARN, words, "set health_check_path or health_check_expect", tunnel)


def _event_stream_finding(tunnel: str, settings: TunnelSettings, seen: Origin) -> Finding:
    quick = settings.backend == "cloudflare" and settings.cloudflare.mode == "quick"
    if not seen.event_stream:
        return Finding("event-stream", Mark.OK, "the service does not stream events on the checked path", tunnel=tunnel)
    if not quick:
        return Finding("event-stream", Mark.OK, "the service streams events, which this tunnel passes on", tunnel=tunnel)
    words = "the service streams events, which a quick tunnel holds back until the end"
    return Finding("event-stream", Mark.WARN, words, "use a named tunnel, or stream the answer to a POST", tunnel)


async def _host_finding(tunnel: str, settings: TunnelSettings) -> Finding:
    """Ask the local service under a public name: many development servers refuse names that they do not know."""
    origin = settings.origin
    name = settings.cloudflare.hostname or urlsplit(settings.public_url).hostname or _STRANGE_NAME
    address = origin.host if is_address(origin.host) else "127.0.0.1" if origin.host == "localhost" else ""
    if settings.host_header or origin.scheme != "http" or not address:
        return Finding(
            "host-name", Mark.SKIP, "the service sees a Host header of its own, or cannot be asked here", tunnel=tunnel
        )
    seen = await probe_public(f"http://{name}:{origin.port}{settings.health_check_path}", [address])
    if seen.status is None:
        return Finding("host-name", Mark.SKIP, f"not known, as there was no answer: {seen.error}", tunnel=tunnel)
    return _blocked(tunnel, seen) or Finding(
        "host-name", Mark.OK, "the service takes requests for a public name", tunnel=tunnel
    )


def _blocked(tunnel: str, seen: Public) -> Finding | None:
    if not seen.host_blocked:
        return None
    words = f"the service refuses the public host name: {seen.host_blocked}"
    remedy = (
        "allow it in the framework (Vite: server.allowedHosts, Django: ALLOWED_HOSTS), or set host_header to its local name"
    )
    return Finding("host-name", Mark.FAIL, words, remedy, tunnel)


async def check_public_url(context: Context, tunnel: str, settings: TunnelSettings) -> list[Finding]:
    """Ask the public URL if it is known without a running tunnel, and the resolvers for its name."""
    url = create(settings).fixed_url(context.site)
    if not url:
        words = "a quick tunnel has no URL before it is started"
        return [Finding(check, Mark.SKIP, words, tunnel=tunnel) for check in ("public-url", "local-dns", "access")]
    name = urlsplit(url).hostname or ""
    dns = await context.resolver.resolve(name)
    local = [] if is_address(name) else await check_local_dns(context, tunnel, name, dns)
    if dns.state is not DnsState.RESOLVED:
        return [_unresolved(tunnel, name, dns), *local]
    headers = _service_token(context, url, name)
    mark = await asyncio.to_thread(context.own_mark, url)  # so that the prx that runs lists no visit, and lets it pass its gate
    seen = await probe_public(
        url + settings.health_check_path,
        dns.addresses,
        headers=headers,
        headers_host=name,
        own_mark=mark,
        ca_file=context.site.public_ca,
    )
    blocked = _blocked(tunnel, seen)
    return [
        _gate_finding(tunnel, settings, url, seen, mark) or _public_finding(tunnel, settings, url, seen),
        *local,
        _access_finding(tunnel, settings, seen, mark),
        *([blocked] if blocked else []),
    ]


def _service_token(context: Context, url: str, name: str) -> Mapping[str, str]:
    access = context.config.access
    if is_reference(access.client_secret):  # nothing was run for it, and its reference is no secret to send
        return {}
    return probe_headers(service_token(access.client_id, access.client_secret), url, name)


def _unresolved(tunnel: str, name: str, dns: Dns) -> Finding:
    if dns.state is DnsState.MISSING:
        remedy = "add the host name to the tunnel in the Cloudflare dashboard (Networking › Tunnels): that makes its DNS record"
        return Finding("public-url", Mark.FAIL, f"public DNS does not know {name} ({dns.detail})", remedy, tunnel)
    return Finding("public-url", Mark.SKIP, f"no public DNS service could be asked for {name} ({dns.detail})", tunnel=tunnel)


def _public_finding(tunnel: str, settings: TunnelSettings, url: str, seen: Public) -> Finding:
    if seen.unasked:
        return Finding("public-url", Mark.SKIP, f"not checked: {seen.error}", tunnel=tunnel)
    if seen.status is None:
        return Finding("public-url", Mark.FAIL, f"{url} does not answer: {seen.error}", tunnel=tunnel)
    if seen.edge_error == _NO_CONNECTOR:
        words = f"{url} answers {seen.status} (error {_NO_CONNECTOR}): no connector is there"
        return Finding("public-url", Mark.WARN, words, "start it with: prx start", tunnel)
    if seen.access or settings.expected_status.allows(seen.status):
        by = "Cloudflare Access answers" if seen.access else "answers"
        return Finding("public-url", Mark.OK, f"{url}: {by} {seen.status}", tunnel=tunnel)
    number = f" (error {seen.edge_error})" if seen.edge_error else ""
    words = f"{url} answers {seen.status}{number}; {settings.expected_status.text} is expected"
    return Finding("public-url", Mark.WARN, words, "prx status says who is at fault while the tunnel runs", tunnel)


def _gate_finding(tunnel: str, settings: TunnelSettings, url: str, seen: Public, mark: str) -> Finding | None:
    """Return what a check without the word `mark`, which no gate lets pass, says of the gate; None if it says nothing."""
    gate = settings.gate
    if mark or not gate.is_wanted or seen.status is None or seen.access or seen.edge_error:
        return None
    if seen.status in _GATE_STATUSES:
        words = f"{url} answers {seen.status}, as its gate does to strangers; the service behind it was not asked"
        return Finding("public-url", Mark.OK, words, tunnel=tunnel)
    if (gate.basic_auth or gate.bearer) and seen.status < HTTPStatus.BAD_REQUEST:
        words = (
            f"{url} answers {seen.status} to a request without a password or token: the gate that is configured is not there"
        )
        return Finding("public-url", Mark.WARN, words, "prx reload, or look for another connector of this tunnel", tunnel)
    return None


def _access_finding(tunnel: str, settings: TunnelSettings, seen: Public, mark: str) -> Finding:
    if seen.status is None or seen.edge_error:
        return Finding("access", Mark.SKIP, "the public URL did not answer", tunnel=tunnel)
    if seen.access and seen.sent_token:
        remedy = "check CF_ACCESS_CLIENT_ID, CF_ACCESS_CLIENT_SECRET, their expiry, and the application's Service Auth policy"
        return Finding("access", Mark.FAIL, "Cloudflare Access rejects the service token", remedy, tunnel)
    if seen.access:
        return Finding("access", Mark.OK, "Cloudflare Access protects the public URL", tunnel=tunnel)
    if seen.sent_token:
        return Finding("access", Mark.OK, "the public URL answers, with the service token of Access", tunnel=tunnel)
    if settings.require_access:
        remedy = "add an Access application for this host name (Zero Trust › Access controls › Applications)"
        return Finding(
            "access", Mark.FAIL, "strangers reach the service: Cloudflare Access does not protect it", remedy, tunnel
        )
    if settings.gate.is_wanted:
        return _at_the_gate(tunnel, seen, mark)
    return Finding("access", Mark.OK, "strangers reach the service, as the configuration allows", tunnel=tunnel)


def _at_the_gate(tunnel: str, seen: Public, mark: str) -> Finding:
    """Return whether strangers meet the gate, as far as a check with the word `mark`, or without one, shows it."""
    if mark:
        words = "not checked: the gate of the configuration lets prx's own check pass"
        return Finding("access", Mark.SKIP, words, tunnel=tunnel)
    if seen.status not in _GATE_STATUSES:
        return Finding("access", Mark.SKIP, "not known: the answer does not come from the gate", tunnel=tunnel)
    return Finding("access", Mark.OK, "strangers meet the gate of the configuration, not Access", tunnel=tunnel)
