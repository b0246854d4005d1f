"""Faults that a lab can be asked to have; with a scripted connector."""

from __future__ import annotations

import asyncio

import dns.message
import dns.rcode
import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.lab.edge.connector import dialled, hello, registered
from tests.support.waits import PATIENCE
from tests.support.wire import get, visiting

from prx.lab import Lab, LabConfig
from prx.lab.edge.faults import notation
from prx.lab.events import ConnectionLost, HandshakeFailed, LabEvent
from prx.lab.faults import (
    DelayRegistration,
    Drop,
    DropAfter,
    ExpireCert,
    Fault,
    Garble,
    GoAway,
    NxDomain,
    QuickService,
    Refuse,
    RejectRegistration,
    Reset,
    Stall,
    Unroute,
)
from prx.lab.protocol.h2.stream import H2Stream
from prx.lab.protocol.rpc.registration import Registered

JSON = {"Content-Type": "application/json"}


async def test_refuse(lab: Lab) -> None:
    """While the edge refuses, dialling fails and live connections go on; afterwards the same addresses answer."""
    before = lab.edge_addrs
    async with registered(lab, lab.token("web")):
        lab.inject(Refuse())
        with pytest.raises(ConnectionRefusedError):
            async with dialled(lab, lab.token("web"), index=1):
                pass
        assert (await get(lab, "web.localhost")).status == 200
        lab.clear(Refuse)
        async with registered(lab, lab.token("web"), index=1):
            assert len(lab.tunnel("web").connections) == 2
    assert lab.edge_addrs == before


async def test_drop_one_and_all(lab: Lab, events: list[LabEvent]) -> None:
    """One connection or all of them can be dropped; requests then find the others, or none."""
    async with registered(lab, lab.token("web")), registered(lab, lab.token("web"), index=1) as second:
        lab.inject(Drop(index=1))
        await second.session.wait_closed()
        assert (await get(lab, "web.localhost")).status == 200
        lab.inject(Drop())
        await lab.wait_for(lambda lab: not lab.tunnel("web").connections)
        assert (await get(lab, "web.localhost")).status == 530
    assert [event.index for event in events if isinstance(event, ConnectionLost)] == [1, 0]


async def test_drop_by_name(lab: Lab) -> None:
    """A drop may be meant for one tunnel alone."""
    async with registered(lab, lab.token("one")), registered(lab, lab.token("two")) as two:
        lab.inject(Drop(hostname="two"))
        await two.session.wait_closed()
        assert (await get(lab, "one.localhost")).status == 200


async def test_goaway(lab: Lab) -> None:
    """A connection asked to go gets no new requests, finishes those under way, and is closed."""
    reached, release = asyncio.Event(), asyncio.Event()

    async def slow(stream: H2Stream) -> None:
        reached.set()
        await release.wait()
        await hello(stream)

    async with (
        asyncio.timeout(PATIENCE),
        registered(lab, lab.token("web"), answer=slow) as leaving,
        asyncio.TaskGroup() as group,
    ):
        first = group.create_task(get(lab, "web.localhost", "/first"))
        await reached.wait()
        lab.inject(GoAway())
        assert (await get(lab, "web.localhost")).status == 530
        release.set()
        assert (await first).body == b"hello /first"
        await leaving.session.wait_closed()
        assert leaving.session.goaway_received


async def test_stall(lab: Lab) -> None:
    """A silent edge keeps connections and answers nothing; afterwards everything that waited goes on."""
    async with (
        asyncio.timeout(PATIENCE),
        registered(lab, lab.token("web")) as scripted,
        visiting(lab, "web.localhost") as visitor,
    ):
        lab.inject(Stall())
        await visitor.send_head("GET", "/late")
        await visitor.send_body(())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await visitor.read_reply()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2), dialled(lab, lab.token("web"), index=1):
                pass
        assert not scripted.session.closed
        lab.clear()
        assert (await visitor.read_reply()).body == b"hello /late"


async def test_unroute(lab: Lab) -> None:
    """A name can be cut off from its tunnel although the connectors stay connected; others are not."""
    async with registered(lab, lab.token("one")), registered(lab, lab.token("two")):
        lab.inject(Unroute("one"))
        reply = await get(lab, "one.localhost")
        assert (reply.status, reply.body) == (530, b"error code: 1033")
        assert (await get(lab, "two.localhost")).status == 200
        lab.inject(Unroute())
        assert (await get(lab, "two.localhost")).status == 530
        lab.clear(Unroute)
        assert (await get(lab, "one.localhost")).status == 200


async def test_delayed_registration(lab: Lab) -> None:
    """A registration can be made to take its time."""
    lab.inject(DelayRegistration(0.3))
    began = asyncio.get_running_loop().time()
    async with registered(lab, lab.token("web")):
        assert asyncio.get_running_loop().time() - began >= 0.3


async def test_rejection_of_one_index(lab: Lab) -> None:
    """A rejection may be meant for one connection of each connector."""
    lab.inject(RejectRegistration("retryable", index=1))
    async with registered(lab, lab.token("web")), dialled(lab, lab.token("web"), index=1) as second:
        assert not isinstance(await second.register(), Registered)


async def test_handshake_that_fails(lab: Lab, events: list[LabEvent]) -> None:
    """A client that speaks no TLS, or leaves, is noted and does no harm."""
    host, _, port = lab.edge_addrs[2].partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    assert b"HTTP" not in await reader.read()
    writer.close()
    await writer.wait_closed()
    await lab.wait_for(lambda _: any(isinstance(event, HandshakeFailed) and event.slot == 2 for event in events))


async def test_quick_service(lab: Lab, events: list[LabEvent]) -> None:
    """The quick service gives tunnels that work, or an error as often as asked for."""
    async with httpx2.AsyncClient(base_url=lab.quick_service, trust_env=False) as client:
        lab.inject(QuickService(429, times=1))
        limited = await client.post("/tunnel", headers=JSON)
        assert (limited.status_code, limited.text) == (429, "error code: 1015")
        lab.inject(QuickService(500, times=1))
        assert "<html>" in (await client.post("/tunnel", headers=JSON)).text
        lab.inject(QuickService(200, "page", times=1))
        assert (await client.post("/tunnel", headers=JSON)).headers["content-type"].startswith("text/html")
        lab.inject(QuickService(200, "no_id", times=1))
        assert (await client.post("/tunnel", headers=JSON)).json()["result"] is None
        lab.inject(QuickService(503, body='{"success":false}', content_type="application/json", times=1))
        assert (await client.post("/tunnel", headers=JSON)).json() == {"success": False}
        answer = (await client.post("/tunnel", headers=JSON)).json()
        assert answer["success"] is True
        assert answer["result"]["hostname"].endswith(".localhost")
        assert (await client.get("/tunnel")).status_code == 404
    assert [tunnel.tunnel_id for tunnel in lab.tunnels()] == [answer["result"]["id"]]


async def test_quick_service_that_is_late() -> None:
    """A time-out of the quick service is no answer within the 15 seconds that cloudflared waits."""
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    async with Lab.start(LabConfig(sleep=sleep)) as lab, httpx2.AsyncClient(trust_env=False) as client:
        lab.inject(QuickService(kind="timeout"))
        await client.post(f"{lab.quick_service}/tunnel", headers=JSON)
    assert waited == [20.0]


async def ask(lab: Lab, client: httpx2.AsyncClient, name: str, kind: str = "A") -> dns.message.Message:
    """Ask the lab's resolver with POST."""
    query = dns.message.make_query(name, kind)
    answer = await client.post(lab.doh, content=query.to_wire(), headers={"Content-Type": "application/dns-message"})
    assert answer.headers["content-type"] == "application/dns-message"
    return dns.message.from_wire(answer.content)


async def test_names_that_exist(lab: Lab) -> None:
    """The resolver knows the lab's names and no others, and an existing name without such a record has no answer."""
    lab.token("web")
    async with httpx2.AsyncClient(trust_env=False) as client:
        known = await ask(lab, client, "Web.localhost")
        assert known.answer[0][0].to_text() == "127.0.0.1"
        assert (await ask(lab, client, "other.localhost")).rcode() == dns.rcode.NXDOMAIN
        text = await ask(lab, client, "web.localhost", "TXT")
        assert (text.rcode(), text.answer) == (dns.rcode.NOERROR, [])
        bad = await client.get(lab.doh, params={"dns": "AAAA"})
        assert bad.status_code == 400


async def test_names_that_are_late() -> None:
    """A name can be made to exist only after some time."""
    now = 1000.0
    async with Lab.start(LabConfig(clock=lambda: now)) as lab, httpx2.AsyncClient(trust_env=False) as client:
        lab.token("web")
        lab.inject(NxDomain(for_seconds=240, hostname="web.localhost"))
        assert (await ask(lab, client, "web.localhost")).rcode() == dns.rcode.NXDOMAIN
        now = 1239.9
        assert (await ask(lab, client, "web.localhost")).rcode() == dns.rcode.NXDOMAIN
        now = 1240.0
        assert (await ask(lab, client, "web.localhost")).rcode() == dns.rcode.NOERROR


async def test_control_endpoint(lab: Lab) -> None:
    """What a lab can do can be done over HTTP, and mistakes are named."""
    async with httpx2.AsyncClient(base_url=lab.control, trust_env=False) as client:
        minted = (await client.post("/token", json={"hostname": "web"})).json()
        assert minted == {"hostname": "web.localhost", "token": lab.token("web")}
        assert (await client.get("/state")).json()["tunnels"][0]["hostname"] == "web.localhost"
        pushed = await client.post("/push", json={"hostname": "web", "config": {"ingress": []}})
        assert pushed.json() == {"results": []}
        await client.post("/faults", json={"fault": "RejectRegistration", "kind": "retryable"})
        assert (await client.get("/faults")).json()["faults"][0]["kind"] == "retryable"
        assert (await client.delete("/faults", params={"fault": "RejectRegistration"})).json() == {"faults": []}
        await client.post("/protect", json={"hostname": "web", "client_id": "a", "client_secret": "b"})
        assert (await get(lab, "web.localhost")).status == 302
        await client.post("/unprotect", json={"hostname": "web"})
        assert (await get(lab, "web.localhost")).status == 530


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("/token", "{}", "'hostname' is missing"),
        ("/token", '{"hostname":"a b"}', "expected letters"),
        ("/token", "[]", "not a JSON object"),
        ("/token", "{", "Expecting"),
        ("/push", '{"hostname":"web","config":1}', "'config' is missing"),
        ("/faults", '{"fault":"Nope"}', "expected one of Drop, GoAway"),
        ("/faults", '{"fault":"Drop","x":1}', "Drop has no field 'x'; it has count, hostname, index, random"),
        ("/faults", '{"fault":"RejectRegistration","kind":"x"}', "expected one of permanent"),
        ("/faults", '{"fault":"DelayRegistration"}', "needs seconds"),
        ("/faults", '{"fault":"DelayRegistration","seconds":"1"}', "'seconds' is '1'; expected float"),
        ("/protect", '{"hostname":"web","deny":"x"}', "expected 'login' or 'forbidden'"),
        ("/protect", '{"hostname":"web","x":"x"}', "expected only hostname"),
    ],
)
async def test_control_mistakes(lab: Lab, path: str, body: str, words: str) -> None:
    """A wrong request gets 400 and a text that says what is expected."""
    lab.token("web")
    async with httpx2.AsyncClient(base_url=lab.control, trust_env=False) as client:
        answer = await client.post(path, content=body, headers=JSON)
    assert answer.status_code == 400
    assert words in answer.json()["error"]


async def test_control_of_what_does_not_exist(lab: Lab) -> None:
    """A name or a path that does not exist gets 404."""
    async with httpx2.AsyncClient(base_url=lab.control, trust_env=False) as client:
        unknown = await client.post("/push", json={"hostname": "nobody", "config": {}})
        assert (unknown.status_code, unknown.json()) == (404, {"error": "no tunnel has the name nobody.localhost"})
        assert "expected one of GET /state" in (await client.get("/nothing")).json()["error"]


async def test_control_is_not_for_web_pages(lab: Lab) -> None:
    """A web page in the user's browser cannot use the control endpoint."""
    async with httpx2.AsyncClient(base_url=lab.control, trust_env=False) as client:
        assert (await client.get("/state", headers={"Origin": "http://evil.example"})).status_code == 403
        assert (await client.get("/state", headers={"Host": "evil.example"})).status_code == 403


@pytest.mark.parametrize("name", ["localhost", "LOCALHOST", "127.0.0.1", "[::1]"])
async def test_control_by_any_name_of_this_machine(lab: Lab, name: str) -> None:
    """Programs may call the control endpoint by every name of loopback, with its port."""
    async with httpx2.AsyncClient(base_url=lab.control, trust_env=False) as client:
        host = f"{name}:{lab.control.rpartition(':')[2]}"
        assert (await client.get("/state", headers={"Host": host})).status_code == 200
        assert (await client.get("/state", headers={"Host": name})).status_code == 403  # that is port 80


@pytest.mark.parametrize(
    ("path", "kind", "words"),
    [
        ("/token", "text/plain", "the Content-Type of the request is text/plain; expected application/json"),
        ("/rotate-keys", "", "the Content-Type of the request is missing; expected application/json"),
        ("/dns-query", "application/json", "application/json; expected application/dns-message"),
    ],
)
async def test_control_wants_the_content_type(lab: Lab, path: str, kind: str, words: str) -> None:
    """A body of another type than the path's is refused, with the type that is expected; a parameter does no harm."""
    async with httpx2.AsyncClient(base_url=lab.control, trust_env=False) as client:
        refused = await client.post(path, content=b"{}", headers={"Content-Type": kind})
        taken = await client.post(
            "/token", content=b'{"hostname":"web"}', headers={"Content-Type": "Application/JSON;charset=utf-8"}
        )
    assert refused.status_code == 415
    assert words in refused.json()["error"]
    assert taken.status_code == 200


@given(
    st.one_of(
        st.builds(Drop, st.none() | st.integers(0, 255), st.none() | st.just("web")),
        st.builds(RejectRegistration, st.sampled_from(["permanent", "duplicate"]), st.none() | st.integers(1, 9)),
        st.builds(QuickService, st.integers(200, 599), delay=st.floats(0, 9)),
        st.builds(NxDomain, st.none() | st.floats(0, 9)),
        st.builds(Garble, st.integers(1, 9), st.none() | st.integers(0, 3)),
        st.builds(DropAfter, st.floats(0, 9), st.none() | st.integers(0, 9)),
        st.sampled_from([Stall(), Refuse(), GoAway(), Reset(count=2, random=True), ExpireCert()]),
    )
)
def test_faults_as_json(fault: Fault) -> None:
    """A fault written as JSON reads back as itself."""
    assert notation.from_json(notation.describe(fault)) == fault
