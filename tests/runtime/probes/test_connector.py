"""The child's own endpoints: what they answer, and how little asking costs."""

import asyncio
import gc
import time
from typing import Any

from tests.support.servers import Servers, answer, forever

from prx.runtime.probes.connector import ConnectorEndpoints, Reply


async def test_answers_come_as_they_are(servers: Servers) -> None:
    """Status and body are handed on, also those of an answer that says "not ready"."""
    body = b'{"status":503,"readyConnections":0,"connectorId":"caef692d-6877-4518-8065-031fe158a52c"}'
    served = await servers.canned(answer(503, body))
    endpoints = ConnectorEndpoints(served.port)
    assert await endpoints.get("/ready") == Reply(503, body)
    await endpoints.get("/config")
    assert [head.split(b" ")[1] for head in served.heads] == [b"/ready", b"/config"]


async def test_large_ingress_is_whole(servers: Servers) -> None:
    """The rules of a tunnel with hundreds of names are not cut off."""
    body = b'{"x":"' + b"y" * 500_000 + b'"}'
    served = await servers.canned(answer(200, body))
    assert await ConnectorEndpoints(served.port).get("/config") == Reply(200, body)


async def test_half_an_answer_is_none(servers: Servers) -> None:
    """An answer that breaks off is not taken for one."""
    served = await servers.canned(answer(200, b"x" * 100)[:-50])
    assert await ConnectorEndpoints(served.port).get("/ready") is None


async def test_nobody_there_is_none(unused_port: int) -> None:
    """Before the child listens, and after its end, there is no answer."""
    assert await ConnectorEndpoints(unused_port).get("/ready") is None


async def test_stuck_child_is_noticed_in_time(servers: Servers) -> None:
    """A child that takes the connection and is stuck gives no answer within the time-out."""

    async def stuck(*_: Any) -> None:
        await forever()

    served = await servers.start(stuck)
    async with asyncio.timeout(3):
        assert await ConnectorEndpoints(served.port, timeout=0.2).get("/ready") is None


async def test_sixty_polls_cost_little(servers: Servers) -> None:
    """A minute of polls each second takes less than a hundredth of it, with the serving side in the same process."""
    served = await servers.canned(answer(200, b'{"status":200,"readyConnections":4,"connectorId":"x"}'))
    endpoints = ConnectorEndpoints(served.port)
    await endpoints.get("/ready")
    begin = time.process_time()
    for _ in range(60):
        assert await endpoints.get("/ready") is not None
    assert time.process_time() - begin < 0.6


async def test_a_refused_question_leaves_nothing_to_collect(unused_port: int) -> None:
    """What a failed look needed is freed at once: with hundreds of tunnels the collector of cycles would stop prx for it."""
    endpoints = ConnectorEndpoints(unused_port)
    for _ in range(3):
        await endpoints.get("/ready")
    await asyncio.sleep(0)
    gc.collect()
    gc.disable()
    try:
        for _ in range(20):
            await endpoints.get("/ready")
        assert gc.collect() < 20
    finally:
        gc.enable()
