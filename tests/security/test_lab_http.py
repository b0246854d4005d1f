"""A web page that is open in a browser on this machine can neither change the lab nor read it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.support.wire import exchange

from prx.lab import AccessFront, Lab, LabConfig
from prx.lab.faults import NxDomain

NONE: Mapping[str, str] = MappingProxyType({})
QUERY = b"\0\0\1\0\0\1\0\0\0\0\0\0\3app\tlocalhost\0\0\1\0\1"  # RFC 1035: A app.localhost
CHANGING = [
    ("POST", "/token", b'{"hostname": "stolen"}'),
    ("POST", "/push", b'{"hostname": "app", "config": {"ingress": []}}'),
    ("POST", "/protect", b'{"hostname": "app"}'),
    ("POST", "/unprotect", b'{"hostname": "private"}'),
    ("POST", "/login", b'{"hostname": "private", "email": "a@b.test"}'),
    ("POST", "/rotate-keys", b""),
    ("POST", "/faults", b'{"fault": "NxDomain"}'),
    ("DELETE", "/faults", b""),
]
READING = [
    ("GET", "/state", b""),
    ("GET", "/faults", b""),
    ("GET", "/dns-query?dns=AAABAAABAAAAAAAAA2FwcAlsb2NhbGhvc3QAAAEAAQ", b""),
    ("POST", "/dns-query", QUERY),
]
ROUTES = [*CHANGING, *READING]
NAMES = [f"{method} {path.partition('?')[0]}" for method, path, _ in ROUTES]

# what a browser sends as Host when a name of the attacker's leads to 127.0.0.1
FOREIGN_HOSTS = [
    "evil.example",
    "evil.example:{port}",
    "127.0.0.1.evil.example:{port}",
    "localhost.evil.example:{port}",
    "app.localhost:{port}",
    "0.0.0.0:{port}",
    "127.0.0.1:1",
    "127.0.0.1:{port}@evil.example",
    "",
]
CROSS_SITE = [
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://app.localhost:{port}"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Origin": "http://127.0.0.1:1", "Sec-Fetch-Site": "same-site"},
]
FORMS = ["application/x-www-form-urlencoded", "text/plain", "text/plain;charset=UTF-8", "multipart/form-data; boundary=x"]
TRAVERSALS = [
    "/../../etc/passwd",
    "/..%2f..%2fetc%2fpasswd",
    "/%2e%2e/%2e%2e/etc/passwd",
    "/state/../../../etc/passwd",
    "/./state",
    "/x/../state",
    "/%2e/state",
    "/state/",
    "/STATE",
    "//evil.example/state",
    "http://evil.example/state",
    "/state%00",
    "/state;x",
    "/cdn-cgi/access/../../state",
    "/static/..\\..\\etc\\passwd",
]


@dataclass(frozen=True)
class Reply:
    """Status, head and body of an answer; status 0: the connection was closed without one."""

    status: int
    head: str
    body: str


class Target:
    """A lab with a tunnel, a protected name and a fault: something that can be seen and changed."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.secrets = [lab.token("app"), lab.token("private")]
        lab.protect("private", AccessFront(client_id="id.access", client_secret="front-secret"))
        lab.inject(NxDomain(hostname="private"))
        self.port = urlsplit(lab.control).port

    def picture(self) -> Any:
        """Return everything that a request could have changed."""
        return json.dumps([self.lab.state(), self.lab.access_keys()], default=str)

    async def ask(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] = NONE, port: int | None = None
    ) -> Reply:
        """Send one request as it stands; `{port}` in a header is the lab's, and Host is right if none is given."""
        all_headers = {"Host": f"127.0.0.1:{port or self.port}", "Content-Type": "application/json", **headers}
        lines = [f"{name}: {value.replace('{port}', str(self.port))}" for name, value in all_headers.items()]
        head = "\r\n".join([f"{method} {path} HTTP/1.1", *lines, f"Content-Length: {len(body)}", "Connection: close", "", ""])
        reader, writer = await asyncio.open_connection("127.0.0.1", port or self.port)
        async with asyncio.timeout(10):
            heard = await exchange(reader, writer, head.encode("latin-1") + body, method=method)
        head = "\n".join(f"{name}: {value}" for name, value in heard.headers)
        return Reply(heard.status, head, heard.body.decode("latin-1"))

    def refused(self, reply: Reply) -> bool:
        """Return whether the answer is a refusal that gives nothing away."""
        return reply.status in {0, *range(400, 500)} and "front-secret" not in reply.body and not self._tells(reply.body)

    def _tells(self, body: str) -> bool:
        return any(secret in body for secret in self.secrets)


@pytest.fixture
async def target() -> AsyncIterator[Target]:
    """Yield a running lab."""
    async with Lab.start(LabConfig()) as lab:
        yield Target(lab)


@pytest.mark.parametrize(("method", "path", "body"), ROUTES, ids=NAMES)
async def test_a_program_on_this_machine_may(target: Target, method: str, path: str, body: bytes) -> None:
    """Every route answers a request that no web page can have made: so the refusals below are refusals."""
    kind = "application/dns-message" if "dns-query" in path else "application/json"
    reply = await target.ask(method, path, body, {"Content-Type": kind})
    assert reply.status == 200
    assert "access-control-allow" not in reply.head.lower()


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
async def test_dns_rebinding_is_refused(target: Target, host: str) -> None:
    """A request under a name that is not this machine's own gets nothing from any route, and changes nothing."""
    before = target.picture()
    for method, path, body in ROUTES:
        reply = await target.ask(method, path, body, {"Host": host})
        assert target.refused(reply), (method, path, reply)
    assert target.picture() == before


@pytest.mark.parametrize("headers", CROSS_SITE, ids=str)
async def test_a_request_of_another_site_is_refused(target: Target, headers: dict[str, str]) -> None:
    """A request that a browser marks as another site's changes nothing and reads nothing, on any route."""
    before = target.picture()
    for method, path, body in ROUTES:
        reply = await target.ask(method, path, body, headers)
        assert target.refused(reply), (method, path, reply)
    assert target.picture() == before


@pytest.mark.parametrize("kind", FORMS)
async def test_a_form_is_refused(target: Target, kind: str) -> None:
    """What an HTML form can send without asking changes nothing, even from a browser that marks nothing."""
    before = target.picture()
    for method, path, body in CHANGING:
        if method == "POST":
            reply = await target.ask(method, path, body, {"Content-Type": kind})
            assert target.refused(reply), (method, path, reply)
    assert target.picture() == before


async def test_get_changes_nothing(target: Target) -> None:
    """No route takes a change by GET or HEAD."""
    before = target.picture()
    for _, path, body in CHANGING:
        for method in ("GET", "HEAD", "OPTIONS"):
            reply = await target.ask(method, path, body)
            assert "access-control-allow" not in reply.head.lower()
    assert target.picture() == before


@pytest.mark.parametrize("path", TRAVERSALS)
async def test_path_traversal_leads_nowhere(target: Target, path: str) -> None:
    """A path that is not exactly a route is unknown, however it is written; no file is ever read."""
    for method in ("GET", "POST"):
        reply = await target.ask(method, path, b"{}" if method == "POST" else b"")
        assert target.refused(reply), (method, path, reply)
        assert "root:" not in reply.body
        assert "quick_service" not in reply.body


@pytest.mark.parametrize("headers", [{"Host": "evil.example"}, {"Origin": "http://evil.example"}], ids=str)
async def test_no_page_makes_quick_tunnels(target: Target, headers: dict[str, str]) -> None:
    """The quick-tunnel service takes requests from programs of this machine alone, too."""
    before = target.picture()
    port = urlsplit(target.lab.quick_service).port
    assert target.refused(await target.ask("POST", "/tunnel", b"", headers, port))
    assert target.picture() == before
    assert (await target.ask("POST", "/tunnel", port=port)).status == 200
