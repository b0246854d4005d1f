"""Who becomes a connection of a tunnel, and when a connection ends; with a scripted connector."""

from __future__ import annotations

import asyncio
import dataclasses
from uuid import uuid4

import pytest
from tests.lab.edge.connector import dialled, hello, registered
from tests.support.wire import get

from prx.core.tunnel_token import TunnelToken
from prx.lab import Lab, LabConfig
from prx.lab.edge.faults.answer_faults import RejectKind
from prx.lab.events import ConnectionLost, ConnectionRegistered, ConnectionRejected, LabEvent, LocalConfigurationReceived
from prx.lab.faults import RejectRegistration
from prx.lab.protocol.errors import StreamError
from prx.lab.protocol.h2.stream import H2Stream
from prx.lab.protocol.rpc.registration import LocalConfigurationUpdated, Registered, Rejected, Unregistered


async def test_registration(lab: Lab, events: list[LabEvent]) -> None:
    """A connection with the right token is registered at the location of its slot, and carries requests."""
    async with dialled(lab, lab.token("web"), index=1) as scripted:
        answer = await scripted.register()
        assert isinstance(answer, Registered)
        assert (answer.location, answer.remotely_managed) == ("lab02", False)
        (connection,) = lab.tunnel("web").connections
        assert (connection.index, connection.version, connection.protocol) == (1, "scripted", "http2")
        assert (await get(lab, "web.localhost", "/x")).body == b"hello /x"
    await lab.wait_for(lambda lab: not lab.tunnel("web").connections)
    assert [type(event).__name__ for event in events][-1] == "ConnectionLost"


async def test_wrong_secret(lab: Lab, events: list[LabEvent]) -> None:
    """A token with another secret is refused as unauthorized, and the edge closes."""
    token = dataclasses.replace(TunnelToken.decode(lab.token("web")), secret=b"another")
    async with dialled(lab, token.encode()) as scripted:
        answer = await scripted.register()
        assert isinstance(answer, Rejected)
        assert answer.cause == "Unauthorized: Invalid tunnel secret"
        await scripted.session.wait_closed()
    assert [event.cause for event in events if isinstance(event, ConnectionRejected)] == [answer.cause]


async def test_unknown_tunnel(lab: Lab) -> None:
    """A tunnel that does not exist is refused as unauthorized."""
    token = dataclasses.replace(TunnelToken.decode(lab.token("web")), tunnel_id=uuid4())
    async with dialled(lab, token.encode()) as scripted:
        answer = await scripted.register()
        assert isinstance(answer, Rejected)
        assert answer.cause.startswith("Unauthorized")


@pytest.mark.parametrize("kind", ["permanent", "retryable", "unauthorized", "duplicate"])
async def test_rejections(lab: Lab, kind: RejectKind) -> None:
    """Each kind of rejection reaches the connector as it is, as often as asked for."""
    fault = RejectRegistration(kind, times=1)
    lab.inject(fault)
    async with dialled(lab, lab.token("web")) as scripted:
        assert await scripted.register() == fault.answer()
        await scripted.session.wait_closed()
    async with registered(lab, lab.token("web")):
        pass


async def test_too_many_connections(events: list[LabEvent]) -> None:
    """A tunnel takes no more connections than the lab is set up for."""
    async with (
        Lab.start(LabConfig(max_connections=1)) as lab,
        registered(lab, lab.token("web")),
        dialled(lab, lab.token("web"), index=1) as second,
    ):
        assert isinstance(await second.register(), Rejected)


async def test_same_connector_and_index_again(lab: Lab) -> None:
    """A connection that comes again takes the place of the old one, which is dropped."""
    connector = uuid4()
    async with (
        registered(lab, lab.token("web"), connector=connector) as old,
        registered(lab, lab.token("web"), connector=connector),
    ):
        await old.session.wait_closed()
        await lab.wait_for(lambda lab: len(lab.tunnel("web").connections) == 1)
        assert (await get(lab, "web.localhost")).status == 200


async def test_local_configuration(lab: Lab, events: list[LabEvent]) -> None:
    """A connector may tell its own configuration."""
    async with registered(lab, lab.token("web")) as scripted:
        assert await scripted.update_local_configuration(b'{"ingress":[]}') == LocalConfigurationUpdated()
    assert [event.config for event in events if isinstance(event, LocalConfigurationReceived)] == ['{"ingress":[]}']


async def test_unregister_when_idle(lab: Lab, events: list[LabEvent]) -> None:
    """An idle connection that unregisters is answered and then closed in order."""
    async with registered(lab, lab.token("web")) as scripted:
        assert await scripted.unregister() == Unregistered()
        await scripted.session.wait_closed()
        assert scripted.session.close_reason == ""
    assert [event.reason for event in events if isinstance(event, ConnectionLost)] == [""]


async def test_unregister_with_a_request_under_way(lab: Lab) -> None:
    """A request under way may finish after the unregistration; new ones go elsewhere; then the edge closes."""
    reached, release = asyncio.Event(), asyncio.Event()

    async def slow(stream: H2Stream) -> None:
        reached.set()
        await release.wait()
        await hello(stream)

    async with registered(lab, lab.token("web"), answer=slow) as scripted, asyncio.TaskGroup() as group:
        first = group.create_task(get(lab, "web.localhost", "/first"))
        await reached.wait()
        assert await scripted.unregister() == Unregistered()
        assert scripted.control is not None
        await scripted.control.send_data(b"", end=True)  # as cloudflared does
        scripted.control.reset()
        assert (await get(lab, "web.localhost")).body == b"error code: 1033"
        assert not scripted.session.closed
        release.set()
        assert (await first).body == b"hello /first"
        await scripted.session.wait_closed()


async def test_garbage_on_the_control_stream(lab: Lab, events: list[LabEvent]) -> None:
    """Bytes that are no RPC end that connection with a reason, and no other."""
    async with registered(lab, lab.token("web")), registered(lab, lab.token("web"), index=1) as bad:
        assert bad.control is not None
        await bad.control.send_data(b"\xff" * 64)
        await bad.session.wait_closed()
        await lab.wait_for(lambda lab: len(lab.tunnel("web").connections) == 1)
        assert (await get(lab, "web.localhost")).status == 200
    lost = [event for event in events if isinstance(event, ConnectionLost)]
    assert (lost[0].index, "segments" in lost[0].reason) == (1, True)


async def test_second_registration_on_one_connection(lab: Lab) -> None:
    """A connection registers once; a second call is answered with an error of the RPC."""
    async with registered(lab, lab.token("web")) as scripted:
        answer = await scripted.register()
        assert "registered already" in getattr(answer, "reason", "")


async def test_lab_closes_with_everything_under_way() -> None:
    """Leaving the lab's block ends connections and requests at once."""
    reached = asyncio.Event()

    async def never(stream: H2Stream) -> None:
        reached.set()
        await asyncio.Event().wait()

    async with asyncio.TaskGroup() as group:
        async with Lab.start() as lab:
            holder = dialled(lab, lab.token("web"), answer=never)
            scripted = await holder.__aenter__()
            await scripted.register()
            visit = group.create_task(_broken_visit(lab))
            await reached.wait()
        async with asyncio.timeout(5):
            await scripted.session.wait_closed()
            await visit
        await holder.__aexit__(None, None, None)


async def _broken_visit(lab: Lab) -> None:
    with pytest.raises(ConnectionError):
        await get(lab, "web.localhost")


async def test_load_spreads(lab: Lab, events: list[LabEvent]) -> None:
    """Requests are spread evenly over all connections of all connectors."""
    hits = {0: 0, 1: 0}

    async def count(stream: H2Stream, index: int) -> None:
        hits[index] += 1
        await hello(stream)

    async with (
        registered(lab, lab.token("web"), answer=lambda stream: count(stream, 0)),
        registered(lab, lab.token("web"), index=1, answer=lambda stream: count(stream, 1)),
    ):
        for _ in range(10):
            await get(lab, "web.localhost")
    assert hits == {0: 5, 1: 5}
    assert len({event.connector for event in events if isinstance(event, ConnectionRegistered)}) == 2


async def test_stream_error_is_a_protocol_error(lab: Lab) -> None:
    """A connector that is dropped learns so on its control stream."""
    async with registered(lab, lab.token("web")) as scripted:
        scripted.session.abort()
        with pytest.raises(StreamError):
            await scripted.unregister()
