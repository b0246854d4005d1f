"""A plain client of the lab's API for tests: it takes answers apart and knows nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import dns.message
import dns.rcode
import httpx2

from prx.lab import Lab
from prx.lab.edge.api.zones import ZONE_ID
from prx.lab.edge.registry import ACCOUNT_TAG

ACCOUNT = f"/accounts/{ACCOUNT_TAG}"
ZONE = f"/zones/{ZONE_ID}"
TUNNELS = f"{ACCOUNT}/cfd_tunnel"
RECORDS = f"{ZONE}/dns_records"


@dataclass(frozen=True)
class Told:
    """An answer, taken apart."""

    status: int
    document: dict[str, Any]
    headers: httpx2.Headers

    @property
    def result(self) -> Any:
        """The result of a call that must have succeeded."""
        assert self.status in (200, 202), (self.status, self.document)
        assert self.document["success"] is True
        return self.document["result"]

    @property
    def refused(self) -> tuple[int, int]:
        """Status and code of a call that must have failed."""
        assert self.document["success"] is False, self.document
        return self.status, self.document["errors"][0]["code"]

    @property
    def message(self) -> str:
        """The text of the error."""
        return str(self.document["errors"][0]["message"])


class Client:
    """Calls the API of a lab."""

    def __init__(self, http: httpx2.AsyncClient, base: str) -> None:
        self.http = http
        self._base = base

    async def __call__(self, method: str, path: str, body: Any = None, **query: str) -> Told:
        """Make one call."""
        answer = await self.http.request(method, self._base + path, json=body, params=query)
        assert answer.headers["content-type"] == "application/json"
        document = answer.json()
        assert document.keys() - {"result_info"} == {"success", "errors", "messages", "result"}
        assert document["messages"] == []
        return Told(answer.status_code, document, answer.headers)

    async def tunnel(self, name: str, **body: Any) -> Any:
        """Create a tunnel whose configuration lies in the account."""
        return (await self("POST", TUNNELS, {"name": name, "config_src": "cloudflare", **body})).result

    async def lead(self, hostname: str, tunnel_id: str) -> Any:
        """Lead a name to a tunnel."""
        body = {"type": "CNAME", "name": hostname, "content": f"{tunnel_id}.cfargotunnel.com", "proxied": True}
        return (await self("POST", RECORDS, body)).result


@asynccontextmanager
async def calling(lab: Lab, token: str | None = None) -> AsyncIterator[Client]:
    """Yield a client with this token, or the lab's own."""
    headers = {"Authorization": f"Bearer {token or lab.api_token}"}
    async with httpx2.AsyncClient(headers=headers, trust_env=False, verify=False) as http:  # no TLS: its context takes longest
        yield Client(http, lab.api)


async def resolve(lab: Lab, hostname: str, kind: str = "A") -> list[str] | None:
    """Ask the lab's DNS for the addresses of a name; None if it says that there is no such name."""
    query = dns.message.make_query(hostname, kind)
    headers = {"Content-Type": "application/dns-message"}
    async with httpx2.AsyncClient(trust_env=False, verify=False) as http:
        answer = await http.post(lab.doh, content=query.to_wire(), headers=headers)
    told = dns.message.from_wire(answer.content)
    if told.rcode() == dns.rcode.NXDOMAIN:
        return None
    return [str(item) for found in told.answer for item in found]
