"""Checks of the way to Cloudflare's edge: TCP and UDP port 7844, and the clock."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from prx.core.errors import short_of
from prx.core.evidence import Dns, DnsState, Unasked
from prx.doctor.context import Context
from prx.doctor.finding import Finding, Mark
from prx.runtime.probes import doh
from prx.runtime.probes.connect import Endpoint, ProbeError, connected_to_one, is_address
from prx.runtime.probes.edge import PORT, REGIONS
from prx.runtime.probes.quic import speaks_quic

_WAIT = 4.0  # seconds for each try
_ADDRESSES = 2  # of each IP version
_SKEW_WARN, _SKEW_FAIL = 60.0, 300.0  # seconds; JWTs of Access bear a minute, certificates a little more

_Try = Callable[[Sequence[Endpoint]], Awaitable[bool]]


async def check_edge(context: Context) -> list[Finding]:
    """Try TCP and UDP to each region of the edge."""
    targets = await _targets(context)
    if isinstance(targets, str):
        return [Finding(check, Mark.SKIP, targets) for check in ("edge-tcp", "edge-udp")]
    tcp, udp = await asyncio.gather(_unreachable(targets, _tcp_works), _unreachable(targets, _udp_works))
    return [_tcp_finding(tcp, len(targets)), _udp_finding(udp, context)]


async def _targets(context: Context) -> dict[str, list[Endpoint]] | str:
    """Return the addresses of each region, or why they are not known."""
    if context.site.edge_addrs:
        split = [address.rpartition(":") for address in context.site.edge_addrs]
        return {
            f"{host}:{port}": [Endpoint(host.strip("[]"), int(port))] for host, _, port in split if is_address(host.strip("[]"))
        }
    answers = dict(zip(REGIONS, await asyncio.gather(*(_region(context, name) for name in REGIONS)), strict=True))
    for name, dns in answers.items():
        if dns.state is not DnsState.RESOLVED:
            return f"public DNS does not give the addresses of {name}"
    return {name: [Endpoint(found, PORT) for found in _tried(context, dns.addresses)] for name, dns in answers.items()}


def _tried(context: Context, addresses: Sequence[str]) -> list[str]:
    """Return the addresses to try: some of each IP version that a connector may take."""
    wanted = {settings.cloudflare.edge_ip_version for settings in context.config.tunnels.values()}
    four = [found for found in addresses if ":" not in found][:_ADDRESSES] if wanted != {"6"} else []
    six = [found for found in addresses if ":" in found][:_ADDRESSES] if wanted != {"4"} else []
    return [*four, *six]


async def _region(context: Context, name: str) -> Dns:
    """Ask for a region as prx does: if no public DNS service answers, the machine's own resolver, as the name exists."""
    found = await context.resolver.resolve(name)
    return await context.by_system(name) if found.state is DnsState.UNKNOWN else found


async def _unreachable(targets: dict[str, list[Endpoint]], works: _Try) -> list[str]:
    """Return the names of the targets that a try does not reach."""
    results = await asyncio.gather(*(works(endpoints) for endpoints in targets.values()))
    return [name for name, reached in zip(targets, results, strict=True) if not reached]


async def _tcp_works(endpoints: Sequence[Endpoint]) -> bool:
    try:
        async with connected_to_one(endpoints, timeout=_WAIT):
            return True
    except ProbeError as error:
        if (short := short_of(error.__cause__ or error)) is not None:
            raise short from error
        return False


async def _udp_works(endpoints: Sequence[Endpoint]) -> bool:
    return any(await asyncio.gather(*(speaks_quic(endpoint, timeout=_WAIT) for endpoint in endpoints)))


def _tcp_finding(missed: Sequence[str], count: int) -> Finding:
    if not missed:
        return Finding("edge-tcp", Mark.OK, f"TCP port {PORT} of the edge is reachable")
    verdict = Mark.FAIL if len(missed) == count else Mark.WARN
    remedy = f"open outgoing TCP port {PORT} in the firewall"
    return Finding("edge-tcp", verdict, f"no connection over TCP to {', '.join(missed)}", remedy)


def _udp_finding(missed: Sequence[str], context: Context) -> Finding:
    if not missed:
        return Finding("edge-udp", Mark.OK, f"UDP port {PORT} of the edge is reachable, so QUIC works")
    pinned = any(settings.cloudflare.protocol == "quic" for settings in context.config.tunnels.values())
    remedy = f'open outgoing UDP port {PORT}, or set protocol = "http2"' if pinned else "nothing: prx goes on with HTTP/2"
    verdict = Mark.FAIL if pinned else Mark.WARN
    return Finding("edge-udp", verdict, f"no answer over UDP from {', '.join(missed)}", remedy)


async def check_public_dns(context: Context) -> list[Finding]:
    """Ask the DNS-over-HTTPS servers, and compare the date on their answers with this machine's clock."""
    servers = [doh.Server.at(url) for url in context.doh]
    answers = await asyncio.gather(*(_ask(server) for server in servers))
    heard = [answer for answer in answers if isinstance(answer, doh.Heard)]
    if not heard:
        if unasked := [answer for answer in answers if isinstance(answer, ProbeError) and answer.unasked is Unasked.FOR_NOW]:
            words = f"not checked: {unasked[0]}"
            return [Finding("public-dns", Mark.SKIP, words), Finding("clock", Mark.SKIP, "no server reported the time")]
        words = f"no public DNS service answers: {'; '.join(str(answer) for answer in answers)}"
        remedy = "allow HTTPS to 1.1.1.1 or 8.8.8.8, or set doh in the configuration"
        verdict, own = Mark.FAIL, await context.by_system(REGIONS[0])
        if own.state is DnsState.RESOLVED:
            verdict, words = Mark.WARN, f"{words}; prx goes on with this machine's own resolver, which knows the edge"
        return [Finding("public-dns", verdict, words, remedy), Finding("clock", Mark.SKIP, "no server reported the time")]
    failed = [str(answer) for answer in answers if isinstance(answer, ProbeError)]
    words = f"{len(heard)} of {len(answers)} DNS-over-HTTPS servers answer" + "".join(f"; {text}" for text in failed)
    return [Finding("public-dns", Mark.OK, words), _clock_finding(heard, context)]


async def _ask(server: doh.Server) -> doh.Heard | ProbeError:
    try:
        return await doh.ask(server, REGIONS[0], "A", timeout=_WAIT)
    except ProbeError as error:
        return error


def _clock_finding(heard: Sequence[doh.Heard], context: Context) -> Finding:
    now = context.clock.wall()
    skews = [now - theirs for answer in heard if (theirs := _date(answer.headers.get("date", ""))) is not None]
    if not skews:
        return Finding("clock", Mark.SKIP, "no server reported the time")
    skew = min(skews, key=abs)  # servers can be wrong, too
    words = f"the clock of this machine is {abs(skew):.0f} s {'ahead' if skew > 0 else 'behind'}"
    if abs(skew) < _SKEW_WARN:
        return Finding("clock", Mark.OK, "the clock of this machine is right")
    verdict = Mark.FAIL if abs(skew) >= _SKEW_FAIL else Mark.WARN
    return Finding("clock", verdict, words, "set it, best by NTP: certificates and tokens are refused otherwise")


def _date(text: str) -> float | None:
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() if isinstance(moment, datetime) else None
