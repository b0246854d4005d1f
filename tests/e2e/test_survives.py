"""What happens when something is killed."""

import os
import signal

from tests.e2e.bench import Bench
from tests.e2e.prx_process import prx_start
from tests.support.origin import HostedOrigin
from tests.support.visitor import get


async def test_a_killed_child_is_replaced_with_growing_waits(quick_bench: Bench, origin: HostedOrigin) -> None:
    """`kill -9` of the child: restarted after 5 s; killed again: the next wait is 10 s."""
    bench = quick_bench
    async with prx_start(str(origin.port), "--lab", environ=bench.environ, cwd=bench.folder) as prx:
        old_url = await prx.url()
        first = await prx.event("child_started")
        os.kill(first["pid"], signal.SIGKILL)
        exited = await prx.event("child_exited")
        assert (exited["pid"], exited["code"], exited["signal"]) == (first["pid"], None, 9)
        scheduled = await prx.event("restart_scheduled")
        assert (scheduled["delay"], scheduled["attempt"]) == (5, 1)
        second = await prx.event("child_started", after=first["seq"])
        changed = await prx.event("url_changed", after=second["seq"])
        assert changed["old"] == old_url
        assert (await get(changed["url"])).status_code == 200
        os.kill(second["pid"], signal.SIGKILL)
        again = await prx.event("restart_scheduled", after=scheduled["seq"])
        assert (again["delay"], again["attempt"]) == (10, 2)
        assert await prx.stop() == 0


async def test_the_child_dies_with_prx(bench: Bench, origin: HostedOrigin) -> None:
    """`kill -9` of prx takes the child along within a second."""
    async with prx_start(str(origin.port), "--lab", environ=bench.environ, cwd=bench.folder) as prx:
        await prx.url()
        child = (await prx.event("child_started"))["pid"]
        handle = os.pidfd_open(child)
        try:
            prx.process.kill()
            assert await _ends(handle, within=1.0)
        finally:
            os.close(handle)


async def _ends(handle: int, *, within: float) -> bool:
    import asyncio

    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(handle, ended.set)
    try:
        async with asyncio.timeout(within):
            await ended.wait()
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(handle)
    return True
