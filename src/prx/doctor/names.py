"""Check of the name: what this machine's own resolver says of a public name, compared with public DNS.

Only a name that public DNS knows is asked for: then the answer can plant nothing wrong. The nameservers of resolv.conf(5) are
asked directly, because their answer says for how long they will remember a "no such name".
"""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
from collections.abc import Sequence
from pathlib import Path

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype

from prx.core.evidence import Dns, DnsState
from prx.doctor.context import Context
from prx.doctor.finding import Finding, Mark
from prx.runtime.probes.connect import is_address
from prx.runtime.probes.quic import ask_by_datagram

_WAIT = 3.0  # seconds
_PORT = 53
_SERVERS = 3  # resolv.conf(5): more are not used
_FLUSH = "flush its cache (systemd: resolvectl flush-caches; macOS: dscacheutil -flushcache; a router: restart it), or wait"


def nameservers(file: Path) -> list[str]:
    """Return the addresses of the nameservers in a resolv.conf, at most three; none if there is no such file."""
    try:
        words = [line.split() for line in file.read_text(errors="replace").splitlines()]
    except OSError:
        return []
    return [line[1] for line in words if len(line) > 1 and line[0] == "nameserver" and is_address(line[1])][:_SERVERS]


async def check_local_dns(context: Context, tunnel: str, name: str, public: Dns, *, port: int = _PORT) -> list[Finding]:
    """Compare this machine's resolver with what `public` DNS says of `name`."""
    if public.state is not DnsState.RESOLVED:
        return [Finding("local-dns", Mark.SKIP, f"public DNS does not know {name}", tunnel=tunnel)]
    servers = nameservers(context.endpoint("/etc/resolv.conf"))
    if not servers:
        return [Finding("local-dns", Mark.SKIP, "no nameserver is configured in /etc/resolv.conf", tunnel=tunnel)]
    kind = "A" if any(":" not in address for address in public.addresses) else "AAAA"
    answers = await asyncio.gather(*(_ask(server, name, kind, port) for server in servers))
    heard = [(server, answer) for server, answer in zip(servers, answers, strict=True) if answer is not None]
    if not heard:
        words = f"this machine's resolver does not answer ({', '.join(servers)})"
        return [Finding("local-dns", Mark.WARN, words, "check /etc/resolv.conf", tunnel)]
    return [_finding(tunnel, name, heard, public)]


def _finding(tunnel: str, name: str, heard: Sequence[tuple[str, dns.message.Message]], public: Dns) -> Finding:
    for server, answer in heard:
        if answer.rcode() == dns.rcode.NXDOMAIN:
            words = (
                f"public DNS knows {name}, but this machine's resolver {server} remembers that it does not exist{_for(answer)}"
            )
            return Finding("local-dns", Mark.WARN, words, _FLUSH, tunnel)
        nowhere = [found for found in _addresses(answer) if _leads_nowhere(found) and found not in public.addresses]
        if nowhere:
            words = f"this machine's resolver {server} gives {nowhere[0]} for {name}: a filter in this network blocks the name"
            return Finding("local-dns", Mark.WARN, words, "allow the name in the filter; elsewhere it is known", tunnel)
    if any(_addresses(answer) for _, answer in heard):
        return Finding("local-dns", Mark.OK, f"this machine's resolver knows {name}, too", tunnel=tunnel)
    if any(answer.flags & dns.flags.TC for _, answer in heard):  # the whole of it takes TCP
        return Finding("local-dns", Mark.SKIP, f"the answer of this machine's resolver for {name} is too long", tunnel=tunnel)
    said = "; ".join(f"{server} says {_failure(answer)}" for server, answer in heard)
    words = f"public DNS knows {name}, but this machine's resolver does not: {said}"
    return Finding("local-dns", Mark.WARN, words, "ask its operator, or set another one in /etc/resolv.conf", tunnel)


def _addresses(answer: dns.message.Message) -> list[str]:
    kinds = {dns.rdatatype.A, dns.rdatatype.AAAA}
    return [record.address for part in answer.answer if part.rdtype in kinds for record in part]


def _leads_nowhere(address: str) -> bool:
    """Return whether a filter answers so: no public name leads to this machine itself, or to no machine."""
    found = ipaddress.ip_address(address)
    return found.is_unspecified or found.is_loopback


def _failure(answer: dns.message.Message) -> str:
    code = answer.rcode()
    return "that it has no address" if code == dns.rcode.NOERROR else dns.rcode.to_text(code)


def _for(answer: dns.message.Message) -> str:
    """Say for how long a negative answer is remembered: the TTL of the SOA record in it (RFC 2308, 5)."""
    times = [record.ttl for record in answer.authority if record.rdtype == dns.rdatatype.SOA]
    return f" (for up to {max(1, round(times[0] / 60))} min more)" if times else ""


async def _ask(server: str, name: str, kind: str, port: int) -> dns.message.Message | None:
    query = dns.message.make_query(name, kind, id=secrets.randbelow(65536))

    def fits(data: bytes) -> bool:
        return _read(data, query) is not None

    answer = await ask_by_datagram(server, port, query.to_wire(), fits, timeout=_WAIT)
    return None if answer is None else _read(answer, query)


def _read(data: bytes, query: dns.message.Message) -> dns.message.Message | None:
    try:
        response = dns.message.from_wire(data, ignore_trailing=True, raise_on_truncation=False)
    except (dns.exception.DNSException, ValueError):
        return None
    return response if query.is_response(response) else None
