"""Tunnels that the edge takes away, and an edge that can no longer be reached; with a scripted connector."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
from collections.abc import AsyncIterator
from uuid import UUID

import dns.message
import dns.rcode
import httpx2
import pytest
from tests.lab.edge.connector import dialled, registered
from tests.support.wire import get

from prx.core.tunnel_token import TunnelToken
from prx.lab import Lab, LabConfig
from prx.lab.edge.faults.answer_faults import QuickKind
from prx.lab.events import ConnectionRejected, LabEvent, TunnelForgotten
from prx.lab.faults import BothBlocked, Forget, QuickService, Refuse, Stall
from prx.lab.protocol.rpc.registration import Rejected
from prx.testing.clock import ManualClock

JSON = {"Content-Type": "application/json"}
GONE = "Unauthorized: Tunnel not found"


class Scene:
    """A lab whose time the test moves, and what it asks of it."""

    def __init__(self, lab: Lab, clock: ManualClock, events: list[LabEvent], client: httpx2.AsyncClient) -> None:
        self.lab = lab
        self.clock = clock
        self.events = events
        self.client = client

    async def quick(self) -> tuple[str, str]:
        """Ask for a quick tunnel; give its name and a token that its connector could run with."""
        answer = (await self.client.post(f"{self.lab.quick_service}/tunnel", headers=JSON)).json()["result"]
        await self.turn()
        secret = base64.b64decode(answer["secret"])
        return answer["hostname"], TunnelToken(answer["account_tag"], UUID(answer["id"]), secret).encode()

    async def turn(self) -> None:
        """Run every task that can run."""
        for _ in range(20):
            await asyncio.sleep(0)

    async def later(self, seconds: float) -> None:
        """Advance the time."""
        self.clock.advance(seconds)
        await self.turn()

    async def exists(self, name: str) -> bool:
        """Return whether DNS knows a name."""
        query = dns.message.make_query(name, "A")
        media = {"Content-Type": "application/dns-message"}
        answer = await self.client.post(self.lab.doh, content=query.to_wire(), headers=media)
        return dns.message.from_wire(answer.content).rcode() == dns.rcode.NOERROR

    async def refused(self, token: str) -> str:
        """Try to register; give the cause of the refusal, empty if there is none."""
        async with dialled(self.lab, token) as connector:
            answer = await connector.register()
            return answer.cause if isinstance(answer, Rejected) else ""


@pytest.fixture
async def scene(request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    """A lab in virtual time; parametrized with `LabConfig`'s `forget_after` where a test wants another."""
    clock, events = ManualClock(), list[LabEvent]()
    chosen = {"forget_after": request.param} if hasattr(request, "param") else {}
    config = LabConfig(clock=clock.monotonic, sleep=clock.sleep, on_event=events.append, **chosen)
    async with Lab.start(config) as lab, httpx2.AsyncClient(trust_env=False) as client:
        yield Scene(lab, clock, events, client)


async def test_a_quick_tunnel_that_nobody_serves_is_forgotten(scene: Scene) -> None:
    """Two minutes after it was made, if no connector came: refused, out of DNS, and its name gives 1033."""
    name, token = await scene.quick()
    await scene.later(119.9)
    assert await scene.exists(name)
    await scene.later(0.2)
    assert scene.lab.tunnels() == ()
    assert not await scene.exists(name)
    page = await get(scene.lab, name)
    assert (page.status, page.body) == (530, b"error code: 1033")
    assert await scene.refused(token) == GONE
    assert await scene.refused(token) == GONE
    forgotten = [event for event in scene.events if isinstance(event, TunnelForgotten)]
    assert [(event.hostname, event.quick) for event in forgotten] == [(name, True)]
    assert [event.cause for event in scene.events if isinstance(event, ConnectionRejected)] == [GONE, GONE]


async def test_a_shorter_break_changes_nothing(scene: Scene) -> None:
    """The time counts from the last connection's end, from zero each time, and not at all while one is there."""
    name, token = await scene.quick()
    for _ in range(3):
        async with registered(scene.lab, token):
            await scene.later(1000)
        await scene.lab.wait_for(lambda lab: not lab.tunnel(name).connections)
        await scene.turn()
        await scene.later(119)
    async with registered(scene.lab, token):
        assert (await get(scene.lab, name)).status == 200
    await scene.lab.wait_for(lambda lab: not lab.tunnel(name).connections)
    await scene.turn()
    await scene.later(121)
    assert await scene.refused(token) == GONE


async def test_one_of_two_connections_is_enough(scene: Scene) -> None:
    """A tunnel is left alone as long as any connection is there."""
    name, token = await scene.quick()
    async with registered(scene.lab, token):
        async with registered(scene.lab, token, index=1):
            pass
        await scene.lab.wait_for(lambda lab: len(lab.tunnel(name).connections) == 1)
        await scene.later(500)
        assert await scene.exists(name)


async def test_a_named_tunnel_is_not_forgotten(scene: Scene) -> None:
    """It belongs to an account, and waits for its connector forever."""
    token = scene.lab.token("web")
    async with registered(scene.lab, token):
        pass
    await scene.lab.wait_for(lambda lab: not lab.tunnel("web").connections)
    await scene.later(100_000)
    assert await scene.refused(token) == ""


@pytest.mark.parametrize(("scene", "after"), [(None, None), (5.0, 5.0)], indirect=["scene"])
async def test_the_time_can_be_chosen(scene: Scene, after: float | None) -> None:
    """Shorter, or never."""
    name, _ = await scene.quick()
    await scene.later(10_000 if after is None else after - 0.1)
    assert await scene.exists(name)
    await scene.later(0.2)
    assert await scene.exists(name) is (after is None)


@pytest.mark.parametrize("wrong", [0, -1.0])
def test_no_time_is_no_time(wrong: float) -> None:
    """What would forget a tunnel before it can be served is refused in words."""
    with pytest.raises(ValueError, match="forget_after"):
        LabConfig(forget_after=wrong)


@pytest.mark.parametrize("how", ["script", "json", "python"])
@pytest.mark.parametrize("full", [True, False])
async def test_a_tunnel_can_be_forgotten_at_once(scene: Scene, how: str, full: bool) -> None:
    """By a script, over HTTP and from Python; its connections are dropped, and the token of before is refused."""
    name, token = await scene.quick()
    said = name if full else name.removesuffix(".localhost")
    async with registered(scene.lab, token) as connector:
        if how == "python":
            scene.lab.inject(Forget(said))
        else:
            body = {"script": f"forget {said}"} if how == "script" else {"fault": "Forget", "hostname": said}
            assert (await scene.client.post(f"{scene.lab.control}/faults", json=body)).json() == {"faults": []}
        await connector.session.wait_closed()
    assert await scene.refused(token) == GONE
    assert (await get(scene.lab, name)).body == b"error code: 1033"
    assert not await scene.exists(name)


async def test_a_named_tunnel_can_be_deleted(scene: Scene) -> None:
    """As in the dashboard: the token is dead, and a new tunnel of that name has another."""
    token = scene.lab.token("web")
    scene.lab.inject(Forget("web"))
    assert await scene.refused(token) == GONE
    again = scene.lab.token("web")
    assert again != token
    async with registered(scene.lab, again):
        assert (await get(scene.lab, "web.localhost")).status == 200


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"script": "forget nobody"}, 404, "no tunnel has the name nobody.localhost"),
        ({"fault": "Forget", "hostname": "nobody"}, 404, "no tunnel has the name nobody.localhost"),
        ({"script": "forget"}, 400, "Forget needs hostname"),
        ({"script": "forget a/b"}, 400, "is no host name"),
        ({"script": "forget web for 5s"}, 400, "acts once"),
        ({"script": "random forget web"}, 400, "leaves nothing to chance"),
    ],
)
async def test_what_cannot_be_forgotten(scene: Scene, body: dict[str, str], status: int, words: str) -> None:
    """A name that does not exist is a mistake, not a fault without an effect."""
    answer = await scene.client.post(f"{scene.lab.control}/faults", json=body)
    assert answer.status_code == status
    assert words in answer.json()["error"]


# --- the quick service refuses


@pytest.mark.parametrize(
    ("kind", "status", "expected"),
    [
        ("error", 429, b"error code: 1015"),
        ("error", 403, b"<!DOCTYPE html>"),
        ("error", 500, b"<!DOCTYPE html>"),
        ("json", 429, b'"code":1015'),
        ("json", 500, b'"code":1101'),
        ("no_id", 200, b'"success":false'),
        ("empty", 200, b""),
        ("too_large", 200, b" " * 1_048_577),
    ],
)
async def test_the_quick_service_refuses(scene: Scene, kind: QuickKind, status: int, expected: bytes) -> None:
    """Every way in which the real one does not give a tunnel."""
    scene.lab.inject(QuickService(status, kind))
    answer = await scene.client.post(f"{scene.lab.quick_service}/tunnel", headers=JSON)
    assert answer.status_code == status
    assert answer.content.startswith(expected) if expected.startswith(b"<") else expected in answer.content
    assert scene.lab.tunnels() == ()


# --- both ways to the edge blocked


async def dials(lab: Lab) -> str:
    """Return what a dial over TCP meets: accepted, refused or silence."""
    host, _, port = lab.edge_addrs[0].rpartition(":")
    with socket.socket() as probe:
        probe.setblocking(False)
        try:
            async with asyncio.timeout(0.3):
                await asyncio.get_running_loop().sock_connect(probe, (host, int(port)))
        except TimeoutError:
            return "silence"
        except ConnectionRefusedError:
            return "refused"
    return "accepted"


async def test_both_ways_blocked(lab: Lab) -> None:
    """A dial over TCP hangs, live connections fall silent, and all is as before afterwards, at the same addresses."""
    before = lab.edge_addrs
    async with registered(lab, lab.token("web")):
        assert await dials(lab) == "accepted"
        lab.inject(BothBlocked())
        assert await dials(lab) == "silence"
        async with asyncio.TaskGroup() as group:
            asking = group.create_task(get(lab, "web.localhost"), name="visitor")
            assert (await asyncio.wait({asking}, timeout=0.2))[0] == set()
            lab.clear(BothBlocked)
        assert asking.result().status == 200
        assert await dials(lab) == "accepted"
    assert lab.edge_addrs == before


async def test_both_blocked_beside_others(lab: Lab) -> None:
    """Faults that end leave those alone that go on."""
    lab.inject(Refuse())
    lab.inject(BothBlocked())
    assert await dials(lab) == "silence"
    lab.clear(BothBlocked)
    assert await dials(lab) == "refused"
    lab.inject(BothBlocked())
    lab.clear(Refuse)
    assert await dials(lab) == "silence"
    lab.inject(Stall())
    lab.clear()
    assert await dials(lab) == "accepted"
    assert json.loads(json.dumps(lab.state()))["faults"] == []
