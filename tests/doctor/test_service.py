"""Checks of the local service and of the public URL, against real servers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dns.message
import dns.rcode
import dns.rrset
import pytest
from tests.doctor.conftest import SceneOf, by_check
from tests.support.servers import Served, Servers, answer

from prx.app.inspection import Inspection
from prx.backends.base import EdgeSite
from prx.config.schema import AccessSettings, CloudflareSettings, Config, GateSettings, InspectSettings, TunnelSettings
from prx.doctor.context import Context
from prx.doctor.finding import Finding, Mark
from prx.doctor.service import check_public_url, check_service
from prx.logs.redact import Redactor
from prx.runtime.host.clock import SystemClock
from prx.secrets.value import Secret
from prx.traffic import inspector  # noqa: F401 - else it is first imported while threads run, which this Python cannot

HOST = "agent.example.com"
LOGIN = f"https://team.cloudflareaccess.com/cdn-cgi/access/login/{HOST}"


def serving(served: Served, **settings: Any) -> TunnelSettings:
    """Return settings for a local service."""
    return TunnelSettings(local_addr=f"127.0.0.1:{served.port}", **settings)


async def test_good_service(servers: Servers) -> None:
    """A service that answers as expected, under any name, is fine."""
    served = await servers.canned(answer(200, b"hello"))
    found = by_check(await check_service("web", serving(served, health_check_path="/health")))
    assert {finding.verdict for finding in found.values()} == {Mark.OK}
    assert set(found) == {"service", "event-stream", "host-name"}
    assert found["service"].words == f"127.0.0.1:{served.port}/health answers 200"
    assert served.heads[1].startswith(b"GET /health ")
    assert b"Host: prx-doctor.trycloudflare.com" in served.heads[1]


async def test_service_that_is_not_there(unused_port: int) -> None:
    """A port without a listener is a failure."""
    [finding] = await check_service("web", TunnelSettings(local_addr=f"127.0.0.1:{unused_port}"))
    assert (finding.verdict, finding.words) == (Mark.FAIL, f"connection refused by 127.0.0.1:{unused_port}")


async def test_unexpected_status_is_a_warning(servers: Servers) -> None:
    """A service that answers otherwise than expected would make the tunnel look degraded."""
    served = await servers.canned(answer(500))
    found = by_check(await check_service("web", serving(served)))
    assert found["service"].verdict is Mark.WARN
    assert "answers 500; an answer below 500 is expected" in found["service"].words


async def test_a_webhook_receivers_404_is_all_right(servers: Servers) -> None:
    """An answer below 500 is the service's own business unless the configuration expects another."""
    served = await servers.canned(answer(404))
    assert by_check(await check_service("web", serving(served)))["service"].verdict is Mark.OK


@pytest.mark.parametrize(("mode", "verdict"), [("quick", Mark.WARN), ("named", Mark.OK)])
async def test_event_stream_through_a_quick_tunnel(servers: Servers, mode: str, verdict: Mark) -> None:
    """Quick tunnels hold back streams of events; named ones do not."""
    served = await servers.canned(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: x\n\n")
    found = by_check(await check_service("web", serving(served, cloudflare={"mode": mode, "hostname": HOST})))
    assert found["event-stream"].verdict is verdict


async def test_framework_that_refuses_public_names(servers: Servers) -> None:
    """A development server that refuses the public name is found before any tunnel is started."""

    async def vite(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        local = b"Host: 127.0.0.1" in served.heads[-1]
        writer.write(answer(200) if local else answer(403, b'Blocked request. This host ("x") is not allowed.'))

    served = await servers.start(vite)
    found = by_check(await check_service("web", serving(served, cloudflare={"mode": "named", "hostname": HOST})))
    assert found["service"].verdict is Mark.OK
    assert found["host-name"].verdict is Mark.FAIL
    assert 'This host ("x") is not allowed.' in found["host-name"].words
    assert "allowedHosts" in found["host-name"].remedy
    skipped = by_check(await check_service("web", serving(served, host_header="127.0.0.1")))
    assert skipped["host-name"].verdict is Mark.SKIP


async def doh(servers: Servers, *addresses: str) -> str:
    """Serve DNS over HTTPS with these addresses for every name; without any, no name exists."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        length = int(served.heads[-1].lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        query = dns.message.from_wire(await reader.readexactly(length))
        response = dns.message.make_response(query)
        question = query.question[0]
        if not addresses:
            response.set_rcode(dns.rcode.NXDOMAIN)
        elif question.rdtype == dns.rdatatype.A:
            response.answer = [dns.rrset.from_text(question.name, 60, "IN", "A", *addresses)]
        writer.write(answer(200, response.to_wire()))

    served = await servers.start(handle)
    return f"{served.url}/dns-query"


Look = Callable[..., Any]


@pytest.fixture
def look(servers: Servers, scene_of: SceneOf) -> Look:
    """Return a way to probe a public URL that answers `raw`."""

    async def look_at(raw: bytes, *, token: bool = False, known: bool = True, **settings: Any) -> dict[str, Finding]:
        public = await servers.canned(raw)
        server = await doh(servers, *(["127.0.0.1"] if known else []))
        site = EdgeSite(doh=(server,), public_scheme="http", public_port=public.port)
        tunnel = TunnelSettings(cloudflare=CloudflareSettings(mode="named", token=Secret("x"), hostname=HOST), **settings)
        base = scene_of(site=site)
        access = AccessSettings(client_id="id", client_secret=Secret("secret")) if token else AccessSettings()
        scene = Context(Config(tunnels={"web": tunnel}, access=access), base.environ, site, root=base.root)
        return by_check(await check_public_url(scene, "web", tunnel))

    return look_at


async def test_open_public_url(look: Look) -> None:
    """A URL that answers is fine, and that strangers reach it is said."""
    found = await look(answer(200))
    assert (found["public-url"].verdict, found["access"].verdict) == (Mark.OK, Mark.OK)
    assert "strangers reach the service" in found["access"].words


async def test_required_access_that_is_missing(look: Look) -> None:
    """Where Access is required, a URL that answers strangers is a failure."""
    found = await look(answer(200), require_access=True)
    assert found["access"].verdict is Mark.FAIL


async def test_protected_public_url(look: Look) -> None:
    """Access in front of the service is fine."""
    found = await look(answer(302, Location=LOGIN))
    assert (found["public-url"].verdict, found["access"].verdict) == (Mark.OK, Mark.OK)
    assert found["access"].words == "Cloudflare Access protects the public URL"


async def test_missing_connector(look: Look) -> None:
    """Error 1033 means that nothing runs, which is no failure of the set-up."""
    found = await look(answer(530, b"error code: 1033", Server="cloudflare"))
    assert found["public-url"].verdict is Mark.WARN
    assert found["public-url"].remedy == "start it with: prx start"
    assert found["access"].verdict is Mark.SKIP


async def test_other_answers(look: Look) -> None:
    """Anything else is a warning with the status, or a failure without one."""
    assert "answers 502; an answer below 500 is expected" in (await look(answer(502)))["public-url"].words
    silent = await look(b"")
    assert silent["public-url"].verdict is Mark.FAIL
    assert "closed the connection without an answer" in silent["public-url"].words


async def test_refused_host_name(look: Look) -> None:
    """A framework's refusal is recognised through the public URL, too."""
    found = await look(answer(403, b"Invalid Host header"))
    assert found["host-name"].verdict is Mark.FAIL


async def test_name_without_a_record(look: Look) -> None:
    """A host name that public DNS does not know is a failure of the set-up, and this machine's resolver is not asked."""
    found = await look(answer(200), known=False)
    assert found["public-url"].verdict is Mark.FAIL
    assert f"public DNS does not know {HOST}" in found["public-url"].words
    assert found["local-dns"].verdict is Mark.SKIP


async def test_quick_tunnel_has_no_url(scene_of: SceneOf) -> None:
    """Before a quick tunnel is started there is nothing to ask."""
    found = by_check(await check_public_url(scene_of(), "web", TunnelSettings()))
    assert {finding.verdict for finding in found.values()} == {Mark.SKIP}


async def test_token_does_not_go_to_other_machines_in_plain_text(look: Look) -> None:
    """The service token is not sent over plain HTTP to a name of the Internet."""
    found = await look(answer(302, Location=LOGIN), token=True)
    assert found["access"].words == "Cloudflare Access protects the public URL"


async def test_rejected_service_token(servers: Servers, scene_of: SceneOf) -> None:
    """Access that answers although a service token was sent has rejected it."""
    public = await servers.canned(answer(403, b"", Cf_Access_Domain=HOST))
    server = await doh(servers, "127.0.0.1")
    tunnel = TunnelSettings(backend="none", public_url=f"http://agent.localhost:{public.port}")
    base = scene_of(site=EdgeSite(doh=(server,)))
    config = Config(tunnels={"web": tunnel}, access=AccessSettings(client_id="id", client_secret=Secret("secret")))
    found = by_check(await check_public_url(Context(config, base.environ, base.site, root=base.root), "web", tunnel))
    assert b"CF-Access-Client-Secret: secret" in public.heads[0]
    assert found["access"].verdict is Mark.FAIL
    assert "secret" not in found["access"].words


GATES = {
    "open": GateSettings(),
    "a password": GateSettings(basic_auth=Secret("me:long-password")),
    "a token": GateSettings(bearer=Secret("long-token")),
    "an address": GateSettings(allow_ip=("203.0.113.0/24",)),
}


@pytest.fixture
def look_through(servers: Servers, scene_of: SceneOf, tmp_path: Path) -> Look:
    """Return a way to examine a tunnel that a real relay carries, with its word or without."""

    async def look_at(gate: GateSettings, *, knows: bool) -> tuple[dict[str, Finding], list[Any], list[bytes]]:
        origin = await servers.canned(answer(200))
        inspection = Inspection(SystemClock(), Redactor(), lambda _level, _text: None, folder=lambda: tmp_path)
        tunnel = TunnelSettings(
            local_addr=f"127.0.0.1:{origin.port}",
            cloudflare=CloudflareSettings(mode="named", token=Secret("x"), hostname=HOST),
            health_check_expect="2xx",
            inspect=InspectSettings(enabled=True),
            gate=gate,
        )
        inspection.fit(Config(tunnels={"web": tunnel}))
        port = int(inspection.child_settings("web", tunnel).local_addr.rpartition(":")[2])
        site = EdgeSite(doh=(await doh(servers, "127.0.0.1"),), public_scheme="http", public_port=port)
        base, asked = scene_of(site=site), []

        def own_mark(url: str) -> str:
            asked.append(url)
            return inspection.own_mark if knows else ""

        scene = Context(Config(tunnels={"web": tunnel}), base.environ, site, root=base.root, own_mark=own_mark)
        try:
            found = by_check(await check_public_url(scene, "web", tunnel))
            assert asked == [f"http://{HOST}:{port}"]
            return found, (await inspection.answer({"do": "requests"}))["requests"], origin.heads
        finally:
            await inspection.close()

    return look_at


@pytest.mark.parametrize("gate", GATES.values(), ids=GATES.keys())
async def test_a_check_through_the_relay_of_a_prx_that_runs_is_no_visit(look_through: Look, gate: GateSettings) -> None:
    """With its word the doctor's check passes a gate of each kind, is not listed, and the service does not see the word."""
    found, listed, heads = await look_through(gate, knows=True)
    assert (found["public-url"].verdict, listed) == (Mark.OK, [])
    assert found["public-url"].words.endswith("answers 200")
    expected = Mark.SKIP if gate.is_wanted else Mark.OK  # a check that passes shows nothing of the gate
    assert found["access"].verdict is expected
    assert len(heads) == 1
    assert b"x-prx-probe" not in heads[0].lower()


@pytest.mark.parametrize("gate", list(GATES.values())[1:], ids=list(GATES)[1:])
async def test_a_gate_that_stops_the_doctor_is_no_fault_of_the_service(look_through: Look, gate: GateSettings) -> None:
    """Of a prx on another machine the doctor does not know the word: the gate's refusal is what it should be, and is named."""
    found, _, heads = await look_through(gate, knows=False)
    assert (found["public-url"].verdict, heads) == (Mark.OK, [])
    assert "as its gate does to strangers" in found["public-url"].words


@pytest.mark.parametrize("status", [200, 302])
async def test_a_gate_that_is_not_there_is_found(look: Look, status: int) -> None:
    """A configuration with a password, and a URL that answers without: strangers come in."""
    found = await look(answer(status), gate=GATES["a password"])
    assert found["public-url"].verdict is Mark.WARN
    assert "the gate that is configured is not there" in found["public-url"].words
