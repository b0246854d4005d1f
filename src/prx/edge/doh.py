"""DNS over HTTPS (RFC 8484) that knows the lab's own names and no others."""

from __future__ import annotations

import base64
import binascii

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

from prx.edge.endpoint import Answer, Request
from prx.edge.faults import Faults, NxDomain, concerns
from prx.edge.login import HOST as LOGIN_HOST
from prx.edge.registry import Registry

PATH = "/dns-query"
MEDIA_TYPE = "application/dns-message"  # RFC 8484, section 6
TTL = 60  # seconds


class Resolver:
    """Answers A with 127.0.0.1, and AAAA with ::1 where the public side listens there (`ipv6`)."""

    def __init__(self, registry: Registry, faults: Faults, *, ipv6: bool) -> None:
        self._registry = registry
        self._faults = faults
        self._addresses = {dns.rdatatype.A: "127.0.0.1"}
        if ipv6:
            self._addresses[dns.rdatatype.AAAA] = "::1"

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
        return Answer(200, self._answer(query).to_wire(), MEDIA_TYPE)

    def _answer(self, query: dns.message.Message) -> dns.message.Message:
        question = query.question[0]
        hostname = question.name.to_text(omit_final_dot=True).lower()
        response = dns.message.make_response(query, recursion_available=True)
        if not self._exists(hostname):
            response.set_rcode(dns.rcode.NXDOMAIN)
        elif (address := self._addresses.get(question.rdtype)) is not None:
            response.answer.append(dns.rrset.from_text(question.name, TTL, question.rdclass, question.rdtype, address))
        return response

    def _exists(self, hostname: str) -> bool:
        fault = self._faults.active(NxDomain)
        if fault is not None and concerns(fault.hostname, hostname):
            return False
        return self._registry.find(hostname) is not None or hostname == LOGIN_HOST


def _from_base64url(text: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        return b""
