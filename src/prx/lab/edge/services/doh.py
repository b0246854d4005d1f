"""DNS over HTTPS (RFC 8484) that knows the lab's own names and no others, and says of them what faults make it say."""

from __future__ import annotations

import base64
import binascii

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

from prx.lab.edge.api.records import UNREACHABLE, Records
from prx.lab.edge.config import Sleep
from prx.lab.edge.faults.active import ActiveFaults
from prx.lab.edge.faults.visitor_faults import RCODES, Dns, DohError
from prx.lab.edge.public.login import HOST as LOGIN_HOST
from prx.lab.edge.public.visitor import VisitorLeftError
from prx.lab.edge.registry import Registry
from prx.lab.edge.services.endpoint import Answer, Request
from prx.lab.faults import NxDomain, concerns

PATH = "/dns-query"
MEDIA_TYPE = "application/dns-message"  # RFC 8484, section 6
TTL = 60  # seconds
_SILENCE_SECONDS = 60.0  # longer than anything waits for an answer
_FAMILIES = {dns.rdatatype.A: 4, dns.rdatatype.AAAA: 6}
_PORTAL = b"<!DOCTYPE html><html><head><title>Sign in to this network</title></head><body>Sign in</body></html>"


class Resolver:
    """Answers A with 127.0.0.1, and AAAA with ::1 if the public side listens there (`ipv6`).

    That is for names of tunnels and for proxied `records`; the others have their own addresses.
    """

    def __init__(self, registry: Registry, faults: ActiveFaults, sleep: Sleep, records: Records, *, ipv6: bool) -> None:
        self._records = records
        self._registry = registry
        self._faults = faults
        self._sleep = sleep
        self._addresses = {4: ["127.0.0.1"], 6: ["::1"] if ipv6 else []}

    async def handle(self, request: Request) -> Answer:
        """Answer `GET ?dns=BASE64URL` and `POST` with a DNS message as body."""
        wire = request.body
        if request.method == "GET":
            wire = _from_base64url(request.query.get("dns", ""))
        try:
            query = dns.message.from_wire(wire)
        except dns.exception.DNSException:
            return Answer.error(400, "expected a DNS message (RFC 8484)")
        if len(query.question) != 1 or query.flags & dns.flags.QR:
            return Answer.error(400, "expected a DNS query with one question")
        fault = self._faults.use(DohError)
        if fault is not None:
            return await self._fail(fault, query)
        return Answer(200, self._answer(query).to_wire(), MEDIA_TYPE)

    async def _fail(self, fault: DohError, query: dns.message.Message) -> Answer:
        """Answer as a fault says."""
        match fault.kind:
            case "status":
                return Answer.error(fault.status, "a fault of the lab")
            case "page":
                return Answer(200, _PORTAL, "text/html; charset=UTF-8")
            case "garbage":
                return Answer(200, b"\xff" * 7, MEDIA_TYPE)
            case "servfail" | "refused":
                response = dns.message.make_response(query, recursion_available=True)
                response.set_rcode(RCODES[fault.kind])
                return Answer(200, response.to_wire(), MEDIA_TYPE)
            case "silence":
                await self._sleep(_SILENCE_SECONDS)
        raise VisitorLeftError("dropped by a fault")

    def _answer(self, query: dns.message.Message) -> dns.message.Message:
        question = query.question[0]
        hostname = question.name.to_text(omit_final_dot=True).lower()
        response = dns.message.make_response(query, recursion_available=True)
        addresses = self._find(hostname, _FAMILIES.get(question.rdtype))
        if addresses is None:
            response.set_rcode(dns.rcode.NXDOMAIN)
        elif addresses:
            response.answer.append(dns.rrset.from_text_list(question.name, TTL, question.rdclass, question.rdtype, addresses))
        return response

    def _find(self, hostname: str, family: int | None) -> list[str] | None:
        """Return the addresses of a name of one family (None: no address was asked for); None if there is no such name."""
        record = self._faults.active(Dns)
        if record is not None and record.concerns(hostname):
            return [] if family is None else record.of(family)
        if not self._exists(hostname):
            return None
        return [] if family is None else self._of_family(hostname, family)

    def _of_family(self, hostname: str, family: int) -> list[str]:
        """Return the addresses of a name that exists: those of the edge, unless an unproxied record leads elsewhere."""
        records = self._records.visible(hostname)
        if not records or any(record.proxied for record in records):
            return self._addresses[family]
        kind = {4: "A", 6: "AAAA"}[family]
        tunnels = [UNREACHABLE for record in records if record.leads_to_a_tunnel and family == 6]
        return [record.content for record in records if record.type == kind] + tunnels

    def _exists(self, hostname: str) -> bool:
        fault = self._faults.active(NxDomain)
        if fault is not None and concerns(fault.hostname, hostname):
            return False
        if self._records.covers(hostname):
            return bool(self._records.visible(hostname))
        return self._registry.find(hostname) is not None or hostname == LOGIN_HOST


def _from_base64url(text: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        return b""
